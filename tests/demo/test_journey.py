"""A visitor's journey through the demo shop, in a real Chromium: what they meet, pick and see; and the log."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from tests.support.browser_site import PATIENCE_MS

from consent_mw.crypto.sealer import Sealer
from consent_mw.demo.texts import texts
from consent_mw.paths import Places
from consent_mw.records import Query, Record
from consent_mw.stores.sqlite import SQLiteStore

SERVE = "import sys; from consent_mw.demo.server import serve; serve('127.0.0.1', 0, sys.argv[1])"
NECESSARY = {"session", "consent", "consent-pending", "consent-waiting"}
LABELS = {
    "en": {"accept": "Accept all", "prompt": "Ask me each time", "reject": "Reject all"},
    "ko": {"accept": "모두 허용", "prompt": "매번 묻기", "reject": "모두 거부"},
}
KINDS = frozenset(("visit", "event", "abuse", "receipt"))


class Shop:
    """The demo in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        program = [sys.executable, "-c", SERVE, str(directory)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        match = re.search(r"http://\S+(?=/)", self._process.stdout.readline())
        if match is None:
            self._process.kill()
            pytest.fail(f"the demo did not start: {self._process.communicate()[1]}")
        self.address = match.group()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=60)

    def records(self) -> list[tuple[Record, Mapping[str, Any]]]:
        """Close the shop and return what its log holds, each record with what it sealed."""
        self.close()
        places = Places(self.directory)
        sealer = Sealer.of_site(places)

        async def fetched() -> list[Record]:
            store = SQLiteStore(places.database)
            await store.open()
            try:
                return list(await store.fetch(Query(kinds=KINDS)))
            finally:
                await store.close()

        with ThreadPoolExecutor(1) as thread:  # this one runs Playwright's loop
            records = thread.submit(asyncio.run, fetched()).result()
        return [(record, msgspec.msgpack.decode(sealer.open(record)) if record.ring else {}) for record in records]


class Visitor:
    """One browser profile, on one page."""

    def __init__(self, shop: Shop, context: BrowserContext, language: str) -> None:
        self.shop = shop
        self.context = context
        self.language = language
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def goes_to(self, path: str = "/") -> None:
        self.page.goto(self.shop.address + path)

    @property
    def cookies(self) -> dict[str, str]:
        return {str(cookie.get("name")): str(cookie.get("value")) for cookie in self.context.cookies()}

    @property
    def banner(self) -> Locator:
        return self.page.locator('[data-consent="banner"]')

    def button(self, choice: str) -> Locator:
        return self.banner.get_by_role("button", name=LABELS[self.language][choice], exact=True)

    def picks(self, choice: str) -> None:
        self.button(choice).click()
        expect(self.banner).to_be_hidden()

    def waiting(self, name: str) -> Locator:
        """What asks about the cookie called `name`."""
        asked = self.page.locator(".consent-mw-waiting > li")
        return asked.filter(has=self.page.get_by_text(name, exact=True))

    def is_asked_about(self, name: str) -> None:
        """
        The cookie waits. A line that could not be kept in 50 ms is blocked, and waits when the page sets it again:
        on a machine that is busy with a whole test run that is the next page.
        """
        for _ in range(3):
            if self.waiting(name).count():
                break
            self.page.wait_for_timeout(500)
            if not self.waiting(name).count():
                self.page.reload()
        expect(self.waiting(name)).to_be_visible()

    def sees(self, verdicts: Mapping[str, str], *, choice: str) -> None:
        """The panel says so; what a script may still change is waited for."""
        expect(self.page.locator("#choice")).to_have_text(texts(self.language)["choice"][choice])
        for name, verdict in verdicts.items():
            row = self.page.locator(f'#panel [data-cookie="{name}"]')
            expect(row, f"the panel's row of {name}").to_have_attribute("data-verdict", verdict)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop") / "data")
    yield shop
    shop.close()


@pytest.fixture
def arrive(browser: Browser, shop: Shop) -> Iterator[Any]:
    """Return a function that makes a new visitor, who stands on the shop's first page."""
    contexts: list[BrowserContext] = []

    def arrive(language: str = "en", width: int = 1280, *, at: Shop = shop, **options: Any) -> Visitor:
        options["viewport"] = {"width": width, "height": 900}
        context = browser.new_context(locale=language, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        visitor = Visitor(at, context, language)
        visitor.goes_to()
        return visitor

    yield arrive
    for context in contexts:
        context.close()


with_and_without_javascript = pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])
in_each_language = pytest.mark.parametrize("language", ["ko", "en"])
in_each_width = pytest.mark.parametrize("width", [320, 1280])


# -- no choice -----------------------------------------------------------------------------------------------------


@in_each_language
@in_each_width
def test_before_a_choice_the_banner_offers_three_equal_ways(arrive, language, width):
    visitor = arrive(language, width)
    boxes = []
    for choice in ("accept", "prompt", "reject"):
        expect(visitor.button(choice)).to_be_visible()
        boxes.append(visitor.button(choice).bounding_box())
    assert len({(round(box["y"]), round(box["width"]), round(box["height"])) for box in boxes}) == 1, boxes
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"], boxes
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


@with_and_without_javascript
def test_before_a_choice_the_browser_holds_only_what_is_necessary(arrive, javascript):
    visitor = arrive(java_script_enabled=javascript)
    visitor.sees(
        {"session": "kept", "_shop_visits": "blocked", "ad_id": "blocked", "legacy_tracker": "blocked"}, choice="none"
    )
    for path in ("/books?q=kim", "/contact", "/about"):
        visitor.goes_to(path)
    visitor.page.get_by_role("button", name="Forest").click()
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "paper")
    visitor.sees({"theme": "blocked"}, choice="none")
    assert set(visitor.cookies) <= {"session"}
    if javascript:
        assert visitor.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        assert visitor.page.evaluate("indexedDB.databases().then(found => found.length)") == 0


def test_before_a_choice_script_and_frame_wait(arrive):
    visitor = arrive()
    expect(visitor.page.locator("#counter")).not_to_have_class(re.compile("running"))
    expect(visitor.page.locator("#partner iframe")).not_to_have_attribute("src", re.compile("."))
    assert not [url for url in visitor.requested if url.endswith(("counter.js", "/partner"))]


def test_ignoring_the_banner_chooses_nothing(arrive):
    visitor = arrive()
    visitor.page.keyboard.press("Escape")
    visitor.page.mouse.wheel(0, 2_000)
    visitor.goes_to("/about")
    expect(visitor.banner).to_be_visible()
    assert set(visitor.cookies) <= {"session"}


# How much of the view moved: with ours at any time (the room at the page's end has no node), and with anything once the
# page has been read whole.
MOVED = """new Promise(done => {
    const ours = ({ node }) => !node || node.parentElement?.closest(".consent-mw") || node.matches?.(".consent-mw");
    const read = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
    const moved = [];
    new PerformanceObserver(list => moved.push(...list.getEntries())).observe({type: "layout-shift", buffered: true});
    requestAnimationFrame(() => requestAnimationFrame(() => done(moved
        .filter(entry => entry.startTime > read || entry.sources.some(ours)).map(entry => entry.value))));
})"""


def test_nothing_moves_nothing_is_inline_and_nothing_comes_from_elsewhere(arrive):
    visitor = arrive()
    expect(visitor.banner).to_be_visible()
    visitor.page.wait_for_load_state()
    assert visitor.page.evaluate(MOVED) == []
    assert visitor.complaints == [], "the browser complained, for instance of the Content-Security-Policy"
    assert [url for url in visitor.requested if not url.startswith(visitor.shop.address)] == []


class SlowLine(ThreadingHTTPServer):
    """The shop behind a line on which the first page stops for a moment after so many bytes."""

    daemon_threads = True

    def __init__(self, shop: Shop) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.shop = shop
        self.first = 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(BaseHTTPRequestHandler):
    server: SlowLine

    def do_GET(self) -> None:
        asked = {"accept": self.headers["accept"], "accept-language": "en"}
        with urlopen(Request(self.server.shop.address + self.path, headers=asked)) as answer:
            page = answer.read()
        self.send_response(200)
        for name in ("content-type", "content-security-policy"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        first = self.server.first if self.path == "/" else 0
        self.wfile.write(page[:first])
        if first:
            self.wfile.flush()
            time.sleep(0.3)
        self.wfile.write(page[first:])

    def log_message(self, *_: object) -> None:
        pass


@in_each_width
def test_a_banner_that_comes_in_pieces_is_seen_when_it_is_whole(shop, browser, width):
    line = SlowLine(shop)
    Thread(target=line.serve_forever, daemon=True).start()
    page = browser.new_page(viewport={"width": width, "height": 900})
    with urlopen(Request(f"{shop.address}/", headers={"accept": "text/html"})) as answer:
        whole = answer.read()
    begin, end = whole.index(b'<consent-mw id="consent-mw"'), whole.index(b"</consent-mw>")
    for line.first in range(begin + 300, end, 300):
        page.goto(line.address)
        expect(page.locator('[data-consent="banner"]')).to_be_visible()
        # On a busy machine one frame counts the room at the page's end, which shows nothing, as 0.0025 of the view.
        assert sum(page.evaluate(MOVED)) < 0.01, f"after {line.first} of {len(whole)} bytes"
    page.close()
    line.shutdown()
    line.server_close()


# -- each of the three choices -------------------------------------------------------------------------------------


@with_and_without_javascript
@in_each_language
def test_accept_all_lets_every_declared_cookie_through(arrive, javascript, language):
    visitor = arrive(language, java_script_enabled=javascript)
    visitor.picks("accept")
    visitor.goes_to()
    visitor.sees(
        {"session": "kept", "_shop_visits": "kept", "ad_id": "kept", "legacy_tracker": "blocked"}, choice="accept"
    )
    assert set(visitor.cookies) == {"session", "consent", "_shop_visits", "ad_id"}
    visitor.page.get_by_role("button", name=texts(language)["themes"]["night"]).click()
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "night")
    visitor.sees({"theme": "kept"}, choice="accept")
    expect(visitor.banner).to_have_count(0)


def test_accept_all_starts_the_script_and_the_frame_at_once_and_on_every_page(arrive):
    visitor = arrive()
    visitor.picks("accept")
    visitor.sees({"session": "kept", "_shop_visits": "kept", "ad_id": "kept"}, choice="accept")
    for _ in range(2):
        expect(visitor.page.locator("#counter")).to_have_class(re.compile("running"))
        frame = visitor.page.frame_locator("#partner iframe")
        expect(frame.get_by_role("heading")).to_have_text(texts("en")["partner"]["headline"])
        visitor.goes_to()
    assert visitor.complaints == []


@with_and_without_javascript
@in_each_language
def test_reject_all_lets_only_the_necessary_through_and_asks_no_more(arrive, javascript, language):
    visitor = arrive(language, java_script_enabled=javascript)
    visitor.picks("reject")
    visitor.goes_to()
    visitor.sees(
        {"session": "kept", "_shop_visits": "blocked", "ad_id": "blocked", "legacy_tracker": "blocked"}, choice="reject"
    )
    visitor.page.get_by_role("button", name=texts(language)["themes"]["night"]).click()
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "paper")
    expect(visitor.banner).to_have_count(0)
    expect(visitor.page.locator("#counter")).not_to_have_class(re.compile("running"))
    assert set(visitor.cookies) == {"session", "consent"}


@with_and_without_javascript
@in_each_language
@in_each_width
def test_ask_me_each_time_asks_by_name_and_one_answer_brings_one_cookie(arrive, javascript, language, width):
    visitor = arrive(language, width, java_script_enabled=javascript)
    visitor.picks("prompt")
    visitor.sees({"session": "kept", "_shop_visits": "pending", "ad_id": "pending"}, choice="prompt")
    visitor.is_asked_about("_shop_visits")
    visitor.is_asked_about("ad_id")
    expect(visitor.waiting("legacy_tracker")).to_have_count(0)
    assert set(visitor.cookies) <= NECESSARY
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width if javascript else True

    visitor.waiting("_shop_visits").locator('button[value="allow"]').click()
    expect(visitor.waiting("_shop_visits")).to_have_count(0)
    assert visitor.cookies.keys() - NECESSARY == {"_shop_visits"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", visitor.cookies["_shop_visits"])

    visitor.waiting("ad_id").locator('button[value="refuse"]').click()
    visitor.sees({"_shop_visits": "kept"}, choice="prompt")
    visitor.goes_to("/about")
    assert visitor.cookies.keys() - NECESSARY == {"_shop_visits"}, "a refused cookie arrived, or an allowed one left"
    visitor.sees({"_shop_visits": "kept"}, choice="prompt")


def test_a_waiting_cookie_goes_with_the_browser(arrive):
    visitor = arrive()
    visitor.picks("prompt")
    expect(visitor.waiting("ad_id")).to_be_visible()
    session = next(cookie for cookie in visitor.context.cookies() if cookie.get("name") == "consent-pending")
    assert session.get("expires") == -1
    assert session.get("httpOnly")


def test_the_keyboard_alone_is_enough(arrive):
    visitor = arrive()
    reached = []
    for _ in range(30):
        visitor.page.keyboard.press("Tab")
        value = visitor.page.evaluate("document.activeElement.value")
        reached.append(value)
        if value == "reject":
            break
    assert [value for value in reached if value in ("accept", "prompt", "reject")] == ["accept", "prompt", "reject"]
    visitor.page.keyboard.press("Enter")
    expect(visitor.banner).to_be_hidden()
    visitor.goes_to()
    visitor.sees({"ad_id": "blocked"}, choice="reject")


# -- a change of mind ----------------------------------------------------------------------------------------------


@with_and_without_javascript
def test_from_any_page_an_acceptance_is_taken_back_and_its_cookies_go(arrive, javascript):
    visitor = arrive(java_script_enabled=javascript)
    visitor.picks("accept")
    visitor.goes_to("/about")
    assert {"_shop_visits", "ad_id"} <= visitor.cookies.keys()
    visitor.page.get_by_role("link", name="Change your mind").click()
    visitor.page.locator('.consent-mw-main button[name="choice"][value="reject"]').click()
    expect(visitor.page.locator("dialog")).to_have_count(0)  # with JavaScript it was one, over the page
    visitor.page.wait_for_load_state()
    visitor.goes_to("/about")
    visitor.sees({"_shop_visits": "blocked", "ad_id": "blocked"}, choice="reject")
    assert set(visitor.cookies) == {"session", "consent"}


@with_and_without_javascript
def test_a_single_purpose_can_be_allowed_in_the_settings(arrive, javascript):
    visitor = arrive(java_script_enabled=javascript)
    visitor.goes_to("/consent/")
    for purpose, answer in (("functional", "no"), ("analytics", "yes"), ("marketing", "no")):
        visitor.page.locator(f'input[name="purpose.{purpose}"][value="{answer}"]').check()
    visitor.page.locator('button[name="choice"][value="save"]').click()
    visitor.page.wait_for_load_state()
    visitor.goes_to()
    visitor.sees({"_shop_visits": "kept", "ad_id": "blocked"}, choice="prompt")
    assert set(visitor.cookies) == {"session", "consent", "_shop_visits"}


def test_a_browser_that_sends_gpc_has_refused_marketing(arrive):
    visitor = arrive(extra_http_headers={"Sec-GPC": "1"})
    expect(visitor.page.get_by_text(texts("en")["panel"]["gpc"])).to_be_visible()
    visitor.sees({"ad_id": "blocked"}, choice="none")
    assert texts("en")["reason"]["SIGNAL"] in visitor.page.locator('#panel [data-cookie="ad_id"]').inner_text()


# -- the shop goes on working --------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["accept", "reject"])
def test_json_stream_and_websocket_work_whatever_was_chosen(arrive, choice):
    visitor = arrive()
    visitor.picks(choice)
    visitor.page.get_by_role("link", name="Check the stock").click()
    expect(visitor.page.locator("#stock .output li").first).to_have_text("Sky, Wind, Star and Poem: 7 copies")
    visitor.page.get_by_role("link", name="Read a poem").click()
    expect(visitor.page.locator("#poem .output li")).to_have_count(4)
    visitor.page.get_by_label("Message").fill("Wings")
    visitor.page.get_by_label("Message").press("Enter")
    expect(visitor.page.locator("#chat .output li").last).to_contain_text("“Wings”")
    assert visitor.complaints == []


# -- the log -------------------------------------------------------------------------------------------------------


def test_the_log_holds_what_the_policy_says_and_nothing_else(arrive, tmp_path):
    shop = Shop(tmp_path / "data")
    visitor = arrive(at=shop)
    visitor.goes_to("/books?q=kim")  # no choice: no event
    visitor.goes_to("/about")
    visitor.picks("reject")
    visitor.goes_to("/books?q=kim")  # refused: no event
    visitor.goes_to("/consent/")
    visitor.page.locator('button[name="choice"][value="accept"]').click()
    visitor.page.wait_for_load_state()
    visitor.goes_to("/books?q=kim")  # allowed: one event
    visitor.goes_to("/contact")
    visitor.page.get_by_label("What happened?").fill("spam in the guest book")
    visitor.page.get_by_role("button", name="Send the report").click()
    expect(visitor.page.locator("#done")).to_be_visible()
    visitor.context.close()
    log = shop.records()
    kinds = Counter(record.kind for record, _ in log)

    receipts = [record.data["consent.choice"] for record, _ in log if record.kind == "receipt"]
    assert receipts == ["reject", "accept"], f"one receipt for each choice, in order; the log holds {kinds}"

    events = [(record, sealed) for record, sealed in log if record.kind == "event"]
    assert [(record.purpose, record.data["event.name"]) for record, _ in events] == [("analytics", "search")]
    assert events[0][1]["event.results"] == 2

    abuse = [(record, sealed) for record, sealed in log if record.kind == "abuse"]
    assert [record.purpose for record, _ in abuse] == ["abuse"]
    assert abuse[0][1] == {"client.address": "127.0.0.1", "abuse.reason": "spam in the guest book"}

    visits = [(record, sealed) for record, sealed in log if record.kind == "visit"]
    searches = [(record, sealed) for record, sealed in visits if record.data.get("http.route") == "/books"]
    assert Counter((record.purpose, record.data["consent.choice"]) for record, _ in searches) == {
        ("necessary", None): 1,
        ("necessary", "reject"): 1,
        ("necessary", "accept"): 1,
        ("analytics", "accept"): 1,
    }
    for record, sealed in visits:
        if record.purpose == "necessary":
            assert set(sealed) == {"client.address", "url.path"}, record
            assert sealed["client.address"] == "127.0.0.0", "the policy says masked"
        else:
            assert record.purpose == "analytics", record
            assert record.data["consent.choice"] == "accept", "nobody else is recorded for analytics"
            assert set(sealed) <= {"http.request.header.referer"}, record
            assert record.data["user_agent.name"], record
    assert b"127.0.0" not in (tmp_path / "data" / "consent.sqlite3").read_bytes()
