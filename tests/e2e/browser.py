"""A headless Chromium of the operating system, and the playground in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 30_000
# What the browser itself says about a status that is no success.
FAILED_LOAD = "Failed to load resource"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, for as long as the block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@dataclass
class Playground:
    """The open page, and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def ask(self, text: str, max_tokens: int) -> None:
        """Send a message greedily, by keyboard."""
        self.set("#temperature", "0")
        self.set("#max-tokens", str(max_tokens))
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def set(self, field_id: str, value: str) -> None:
        """Change a setting, whether or not the settings are folded in."""
        script = "(element, value) => { element.value = value }"
        self.page.locator(field_id).evaluate(script, value)

    def receipt(self, turn: int) -> dict[str, str]:
        """What turn number `turn`, from 0, says that it cost: values by term."""
        receipt = self.page.locator(".receipt").nth(turn)
        receipt.locator("dl").wait_for()
        items = receipt.locator("dl > div").all()
        return {i.locator("dt").inner_text(): i.locator("dd").inner_text() for i in items}


@contextmanager
def playground(browser: Browser, url: str, **options: Any) -> Iterator[Playground]:
    """The playground of the server at `url`; `options` are those of a browser context."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    opened = Playground(context.new_page())

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and FAILED_LOAD not in message.text:
            opened.complaints.append(message.text)

    opened.page.on("console", note)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(f"{url}/playground")
    yield opened
    context.close()
