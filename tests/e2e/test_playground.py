"""The playground in a real browser."""

import json
import re
from collections.abc import Iterator

import pytest
from browser import CHROMIUM, Playground, chromium, playground
from playwright.sync_api import Browser, Page, Route, expect
from running_server import RunningServer, Start, wait_until
from texts import prose

KEY = "a-key-of-the-test"
CHAT = "**/v1/chat/completions"

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="chromium is absent; as root, `make test-e2e` installs it"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def oracle_page(browser: Browser, oracle: RunningServer) -> Iterator[Playground]:
    """The page of a server that answers to the limit; at the end nothing has gone wrong on it."""
    with playground(browser, oracle.url) as opened:
        yield opened
        check_conduct(opened, oracle.url)


def check_conduct(opened: Playground, url: str) -> None:
    assert opened.complaints == []
    assert [request for request in opened.requests if not request.startswith(f"{url}/")] == []


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def test_a_second_turn_comes_from_the_cache(browser: Browser, smollm: RunningServer) -> None:
    with playground(browser, smollm.url) as opened:
        opened.ask(f"Name three rivers. {prose(21, 20)}", max_tokens=12)
        first = opened.receipt(0)
        opened.ask("Which is the longest?", max_tokens=12)
        second = opened.receipt(1)
        check_conduct(opened, smollm.url)
    cached = next(value for term, value in second.items() if "cached" in term)
    # The first prompt and its answer but for the last token, which nobody has computed on.
    prompt = sum(number(v) for term, v in first.items() if "cached" in term or term == "new")
    assert number(cached) >= prompt
    assert number(second["new"]) < prompt
    assert {"to the first token", "tokens/s"} <= second.keys()


def test_the_panel_shows_the_server(oracle_page: Playground, oracle: RunningServer) -> None:
    page = oracle_page.page
    expect(page.locator("#health-dot")).to_have_attribute("data-state", "up")
    model = oracle.http.get("/info").json()["model_id"]
    expect(page.locator("#model-name")).to_have_text(model)
    oracle_page.ask("Fill some pages. " + prose(22, 200), max_tokens=5)
    oracle_page.receipt(0)
    expect(page.locator("#pages-legend")).to_contain_text(re.compile(r"[1-9]\d*\s*cached"))
    expect(page.locator("#hits-now")).to_contain_text("%")
    total = sum(oracle.pages().values())
    assert number(page.locator("#pages-total").inner_text()) == total


def test_escape_stops_an_answer(oracle_page: Playground, oracle: RunningServer) -> None:
    page = oracle_page.page
    oracle_page.ask("Count to infinity.", max_tokens=20_000)
    expect(page.locator(".answer p")).to_be_visible()
    page.keyboard.press("Escape")
    assert any("stopped" in term for term in oracle_page.receipt(0))
    wait_until(lambda: oracle.pages()["referenced"] == 0, "the request left the server")
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#prompt")).to_be_focused()
    # The conversation goes on with what was said.
    oracle_page.ask("Go on.", max_tokens=5)
    assert number(next(v for t, v in oracle_page.receipt(1).items() if "cached" in t)) > 0


def test_a_wrong_key_asks_for_another(browser: Browser, start: Start) -> None:
    login = {"username": "anybody", "password": KEY}
    with (
        start("--executor", "oracle", "--api-key", KEY) as server,
        playground(browser, server.url, http_credentials=login) as opened,
    ):
        page = opened.page
        assert server.http.get("/playground").status_code == 401
        # The browser sends the password along, until the page is told a key.
        opened.ask("Hello.", max_tokens=5)
        opened.receipt(0)
        opened.set("#key", "wrong")
        opened.ask("Hello?", max_tokens=5)
        expect(page.get_by_role("alert")).to_contain_text("does not know this API key")
        expect(page.locator("#key")).to_be_focused()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        opened.receipt(1)
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.locator("#health-dot")).to_have_attribute("data-state", "up")
        check_conduct(opened, server.url)
        # It survives a reload of the tab and reaches no other tab.
        page.reload()
        expect(page.locator("#key")).to_have_value(KEY)
        assert page.evaluate("() => localStorage.length") == 0


def test_a_full_server_says_when_to_come_again(oracle_page: Playground) -> None:
    page = oracle_page.page
    refuse(page, 429, {"retry-after": "3600"}, "the server holds 1 request, which is its limit")
    page.clock.install()
    oracle_page.ask("Hello.", max_tokens=5)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server is full")
    expect(alert).to_contain_text("which is its limit")
    again = alert.get_by_role("button")
    expect(again).to_be_disabled()
    expect(again).to_have_text(re.compile(r"^Try again in 3\d\d\d s$"))
    page.unroute(CHAT)
    page.clock.run_for(3_600_000)
    again.click()
    assert oracle_page.receipt(0)["new"]


def test_a_server_that_is_gone_is_said(oracle_page: Playground) -> None:
    page = oracle_page.page
    page.route("**/metrics", lambda route: route.abort())
    page.route(CHAT, lambda route: route.abort())
    expect(page.locator("#health-dot")).to_have_attribute("data-state", "down")
    oracle_page.ask("Hello.", max_tokens=5)
    expect(page.get_by_role("alert")).to_contain_text("The server is gone")
    page.unroute_all()
    expect(page.locator("#health-dot")).to_have_attribute("data-state", "up")
    page.get_by_role("button", name="Try again").click()
    oracle_page.receipt(0)


def test_an_answer_stays_text(oracle_page: Playground) -> None:
    evil = "<img src=x onerror=alert(1)> **bold** and `code`\n\n```html\n<script>2</script>\n```"
    say(oracle_page.page, evil)
    oracle_page.ask("Be evil.", max_tokens=5)
    answer = oracle_page.page.locator(".answer")
    expect(answer.locator("p")).to_have_text("<img src=x onerror=alert(1)> bold and code")
    expect(answer.locator("pre")).to_have_text("<script>2</script>")
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("img, script")).to_have_count(0)


def test_an_answers_markdown_is_laid_out(oracle_page: Playground) -> None:
    words = """## Oceans
Two *of* them, 2*3*4:
1. Pacific
   and more
   - wide
2. Atlantic

- Arctic
> said
---
end"""
    say(oracle_page.page, words)
    oracle_page.ask("List.", max_tokens=5)
    answer = oracle_page.page.locator(".answer")
    expect(answer.locator("h3")).to_have_text("Oceans")
    expect(answer.locator("p")).to_have_text(["Two of them, 2*3*4:", "end"])
    expect(answer.locator("em")).to_have_text("of")
    expect(answer.locator(":scope > ol > li")).to_have_count(2)
    expect(answer.locator("ol li li")).to_have_text("wide")
    expect(answer.locator(":scope > ul > li")).to_have_text("Arctic")
    expect(answer.locator("blockquote")).to_have_text("said")
    expect(answer.locator("hr")).to_have_count(1)


def test_fits_a_phone(browser: Browser, oracle: RunningServer) -> None:
    viewport = {"width": 320, "height": 568}
    with playground(browser, oracle.url, viewport=viewport) as opened:
        page = opened.page
        expect(page.locator("#panel")).to_be_hidden()
        opened.ask("word " * 40 + "x" * 200, max_tokens=5)
        opened.receipt(0)
        page.get_by_role("button", name="Server").click()
        expect(page.locator("#panel")).to_be_visible()
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= viewport["width"]
        check_conduct(opened, oracle.url)


def say(page: Page, words: str) -> None:
    """The chat route answers with these words."""
    choice = {"index": 0, "delta": {"content": words}, "finish_reason": "stop"}
    body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
    headers = {"content-type": "text/event-stream"}
    page.route(CHAT, lambda route: route.fulfill(body=body, headers=headers))


def refuse(page: Page, status: int, headers: dict[str, str], message: str) -> None:
    """The chat route answers with this error."""

    def answer(route: Route) -> None:
        error = {"error": {"message": message, "type": "rate_limit_error"}}
        route.fulfill(status=status, headers=headers, json=error)

    page.route(CHAT, answer)
