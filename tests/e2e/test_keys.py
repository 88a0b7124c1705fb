"""Keys of tenants: from a file that is read again, never in logs or arguments."""

import signal
from pathlib import Path

from running_server import Start, wait_until

FIRST, SECOND = "Key-One-of-Acme", "Key-Two-of-Globex"


def test_keys_come_from_a_file_that_is_read_again(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# tenants\nacme:{FIRST}\n")
    keys.chmod(0o600)
    with start("--executor", "oracle", "--api-keys-file", str(keys)) as server:

        def status(key: str, path: str = "/info") -> int:
            return server.http.get(path, headers={"authorization": f"Bearer {key}"}).status_code

        assert (status(FIRST), status(SECOND), status(FIRST.lower())) == (200, 401, 401)
        assert server.http.get("/metrics").status_code == 401
        assert status(FIRST, "/metrics") == 200
        info = server.http.get("/info", headers={"x-api-key": FIRST}).text

        keys.write_text(f"globex:{SECOND}\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: status(SECOND) == 200, "the new key is taken")
        assert status(FIRST) == 401

        keys.write_text("nonsense")
        server.signal(signal.SIGHUP)
        wait_until(
            lambda: "line 1: it is not of the form tenant:key" in server.output(), "it is said"
        )
        assert status(SECOND) == 200

        arguments = " ".join(word for process in server.processes() for word in process.cmdline())
        for key in (FIRST, SECOND):
            assert key not in server.output() + info + arguments


def test_a_keys_file_that_cannot_be_used_ends_the_launch(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("acme:two words\n")
    server = start("--executor", "oracle", "--api-keys-file", str(keys))
    assert server.wait_exit() == 64
    assert "line 1" in server.output()
    assert "two words" not in server.output()


def test_sigterm_is_announced_before_the_port_closes(start: Start) -> None:
    with start("--executor", "oracle", "--lame-duck", "6") as server:
        server.signal(signal.SIGTERM)
        wait_until(lambda: server.http.get("/health/ready").status_code == 503, "it is announced")
        assert server.http.get("/health/live").status_code == 200
        assert server.generate("x", 3).ids
        assert server.wait_exit() == 0
