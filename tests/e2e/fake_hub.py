"""A hub of one model on this machine: the routes that huggingface_hub asks for, with ranges."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

MODEL_ID = "owner/model"
COMMIT = "c" * 40


@dataclass
class FakeHub:
    """Serves the files of a folder as `MODEL_ID` while the `with` block runs."""

    folder: Path
    stall: str | None = None
    """A file of which only the first half comes; then the connection stays open."""
    break_once: str | None = None
    """A file whose first connection ends in its middle."""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """Every file asked for, with the range."""
    halfway: threading.Event = field(default_factory=threading.Event)
    """Set when the first half of `stall` is out."""
    _released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def log_message(self, *arguments: object) -> None:
                """Nothing: the test asserts on `gets`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must say."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        """One request."""
        path = urlsplit(handler.path).path
        if path.startswith(f"/api/models/{MODEL_ID}/revision/"):
            _send_json(handler, {"id": MODEL_ID, "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/models/{MODEL_ID}/tree/"):
            _send_json(handler, [_entry(file) for file in sorted(self.folder.iterdir())])
        elif path.startswith(f"/{MODEL_ID}/resolve/"):
            self._send_file(handler, path.rsplit("/", 1)[1], with_body)
        else:
            handler.send_response(404)
            handler.send_header("X-Error-Code", "RepoNotFound")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    def _send_file(self, handler: BaseHTTPRequestHandler, name: str, with_body: bool) -> None:
        content = (self.folder / name).read_bytes()
        span = handler.headers.get("Range")
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        handler.send_response(206 if span else 200)
        handler.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(content) - start))
        if span:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if not with_body:
            return
        self.gets.append((name, span))
        if name in (self.stall, self.break_once):
            handler.wfile.write(content[start : len(content) // 2])
            handler.wfile.flush()
            self.halfway.set()
            if name == self.stall:
                self._released.wait()
            self.break_once = None
            handler.close_connection = True
        else:
            handler.wfile.write(content[start:])


def _entry(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {
        "type": "file",
        "path": file.name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }


def _send_json(handler: BaseHTTPRequestHandler, value: object) -> None:
    content = json.dumps(value).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
