"""Takes the pictures of the playground that the documentation shows: `make pictures`.

A conversation with a real model, beside other streams that give the server something to do. The
page takes the system's fonts: the committed pictures have Debian's fonts-inter and
fonts-jetbrains-mono.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
from browser import Playground, chromium, playground
from playwright.sync_api import Browser
from running_server import RunningServer, native_request
from texts import prose

OUTPUT = Path(__file__).parents[2] / "docs" / "images"
# Few pages, so that the picture of the pool has something to show.
FLAGS = ("--max-batch-total-tokens", "8192", "--max-total-tokens", "4096")
STREAMS = 2
QUESTIONS = [
    "Explain in two sentences why the tides come and go.",
    "Write a short Python function that adds two numbers.",
    "Thank you! Now name three oceans.",
]
SETTLE_MS = 3000
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


@contextmanager
def other_streams(url: str) -> Iterator[None]:
    """Other people's requests, one after the other, until the block ends."""
    done = Event()

    def ask(number: int) -> None:
        with httpx2.Client(base_url=url, timeout=60.0, trust_env=False) as http:
            while not done.is_set():
                # Of different lengths, or they would begin and end together.
                body = native_request(prose(number, 120), 40 + number % 37, ignore_eos=True)
                http.post("/generate", json=body).raise_for_status()
                number += 100

    threads = [Thread(target=ask, args=(number,)) for number in range(STREAMS)]
    for thread in threads:
        thread.start()
    yield
    done.set()
    for thread in threads:
        thread.join()


def converse(opened: Playground, questions: list[str]) -> None:
    """Ask one question after the other."""
    for turn, question in enumerate(questions):
        opened.ask(question, max_tokens=90)
        opened.receipt(turn)
    opened.page.wait_for_timeout(SETTLE_MS)


def picture(browser: Browser, url: str, name: str, questions: list[str], **options: Any) -> None:
    """One picture after a conversation."""
    with playground(browser, url, **options) as opened:
        converse(opened, questions)
        opened.page.screenshot(path=OUTPUT / f"playground-{name}.png")


def main() -> None:
    """Writes all pictures."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningServer(Path(folder) / "log", *FLAGS) as server,
        chromium() as browser,
        other_streams(server.url),
    ):
        for scheme in ("light", "dark"):
            picture(browser, server.url, scheme, QUESTIONS, color_scheme=scheme, viewport=DESKTOP)
        picture(browser, server.url, "phone", QUESTIONS[:2], color_scheme="light", viewport=PHONE)


if __name__ == "__main__":
    sys.exit(main())
