"""The notice of a revision that is ahead, in Chromium: closed with and without JavaScript, and in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support import browser_site
from tests.support.axe import SHIFT, STORED, WATCH, faults
from tests.support.browser_site import DECLARATION, SECOND, site
from tests.support.publishing import dated, published
from tests.support.serving import served

NOTICE = ".consent-mw-notice"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("site")
    app = site(directory, DECLARATION)
    today = datetime.now(UTC).date()
    published(directory / "consent-data", dated(SECOND, str(today), str(today + timedelta(days=40))))
    app.runtime.poll_published()
    with served(app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def arrive(browser: Browser, address: str) -> Iterator[Any]:
    with browser_site.profiles(browser, "/?fetch", watch=WATCH, base_url=address) as arrive:
        yield arrive


def closes(page: Page) -> None:
    page.locator(f"{NOTICE} button").press("Enter")
    expect(page.locator(NOTICE)).to_be_hidden()


@pytest.mark.parametrize("language", ["ko", "en"])
def test_axe_finds_nothing_on_a_page_with_a_notice(arrive: Any, language: str) -> None:
    source = browser_site.axe()
    page = arrive(locale=language)
    assert page.locator(NOTICE).get_attribute("lang") == language
    violations = faults(page, source)
    page.goto("/consent/policy/2")
    page.locator("summary").click()
    violations += faults(page, source)
    assert violations == []


@pytest.mark.parametrize("width", [320, 1280])
def test_the_notice_takes_no_focus_moves_nothing_and_stands_before_the_page(arrive: Any, width: int) -> None:
    page = arrive("/", viewport={"width": width, "height": 640})
    expect(page.locator(NOTICE)).to_be_visible()
    expect(page.locator("[data-consent=banner]")).to_be_visible()
    assert page.evaluate("document.activeElement === document.body")
    assert (page.evaluate("violations"), page.evaluate(SHIFT), page.context.cookies()) == ([], 0, [])
    assert page.evaluate(STORED) == [0, 0, 0, 0, 0]
    for _ in range(2):  # its link and its button come first, and what has the focus is in sight
        page.keyboard.press("Tab")
        assert page.evaluate(IN_SIGHT)
    page.keyboard.press("Enter")
    expect(page.locator(NOTICE)).to_be_hidden()
    expect(page.locator("[data-consent=banner]")).to_be_visible()


IN_SIGHT = """(() => {
    const each = document.activeElement, box = each.getBoundingClientRect();
    return !!each.closest(".consent-mw-notice")
        && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === each;
})()"""


@pytest.mark.parametrize(
    ("path", "javascript"),
    [("/?fetch", True), ("/", True), ("/", False), ("/consent/policy/2", True), ("/consent", False)],
    ids=["fetch", "no connect-src", "no javascript", "own page", "own page, no javascript"],
)
def test_who_closes_the_notice_does_not_meet_it_again(arrive: Any, path: str, javascript: bool) -> None:
    page = arrive(path, java_script_enabled=javascript)
    closes(page)
    assert page.url.endswith(path)
    for where in ("/", "/?fetch", "/?public" if javascript else "/", "/consent/policy"):
        page.goto(where)
        expect(page.locator(NOTICE)).to_be_hidden()
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["value"], cookie["path"], cookie["sameSite"]) == ("consent-notice", "2", "/", "Lax")
    page.goto("/")
    expect(page.locator("[data-consent=banner]")).to_be_visible()  # closing a notice answers nothing


def test_without_a_reload_the_focus_goes_to_the_page(arrive: Any) -> None:
    page = arrive()
    page.evaluate("same = true")
    closes(page)
    assert page.evaluate("same && document.activeElement.localName") == "main"
    assert page.evaluate("violations") == []


def test_a_page_for_everyone_has_one_notice_that_moves_nothing_for_who_has_closed_it(arrive: Any) -> None:
    page = arrive("/?public&fetch")
    before = page.request.get("/?public&fetch").body()
    expect(page.locator(NOTICE)).to_be_visible()
    closes(page)
    page.goto("/?public&fetch")
    expect(page.locator(NOTICE)).to_be_hidden()
    expect(page.locator("[data-consent=banner]")).to_be_visible()
    assert page.evaluate(SHIFT) == 0
    assert page.request.get("/?public&fetch").body() == before
