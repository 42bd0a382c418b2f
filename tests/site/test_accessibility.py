"""What the visitor meets, held to axe-core and to the browser's own measures: nothing moves, nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support import browser_site
from tests.support.axe import SCHEMES, SHIFT, STORED, WATCH, WIDTHS, faults
from tests.support.browser_site import DECLARATION, SECOND, site
from tests.support.publishing import published
from tests.support.serving import served

OPENED = 'dialog[data-consent="dialog"][open]'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("site")
    site(directory, DECLARATION)
    published(directory / "consent-data", SECOND)
    with served(site(directory, SECOND)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def arrive(browser: Browser, address: str) -> Iterator[Any]:
    with browser_site.profiles(browser, "/?fetch", watch=WATCH, base_url=address) as arrive:
        yield arrive


def banner(page: Page) -> Any:
    return page.locator("#consent-mw")


def is_asked(page: Page) -> None:
    """Cookies wait, and the page asks about them. One that was not kept in 50 ms waits when it is set again."""
    banner(page).locator("button[value=prompt]").click()
    for _ in range(3):
        page.goto("/?fetch")
        if page.locator(".consent-mw-waiting").count():
            return
    expect(page.locator(".consent-mw-waiting")).to_be_visible()


def opens_settings(page: Page) -> None:
    page.locator("footer a").focus()
    page.keyboard.press("Enter")
    expect(page.locator(OPENED)).to_be_visible()


@pytest.mark.parametrize(("language", "schemes"), [("ko", SCHEMES), ("en", SCHEMES[::-1])], ids=["ko", "en"])
def test_axe_finds_nothing_on_anything_that_asks_or_tells(
    arrive: Any, language: str, schemes: Sequence[Literal["light", "dark"]]
) -> None:
    source = browser_site.axe()
    page = arrive(locale=language)
    violations = faults(page, source, schemes)
    opens_settings(page)
    page.locator("summary").first.click()
    violations += faults(page, source, schemes)
    page.keyboard.press("Escape")
    is_asked(page)
    violations += faults(page, source, schemes)
    for path in (
        "/consent",
        "/consent/policy",
        "/consent/policy/1",
        "/consent/cookies",
        "/consent/receipt",
        "/consent/nowhere",
    ):
        page.goto(path)
        violations += faults(page, source, schemes)
    assert violations == []


@pytest.mark.parametrize("path", ["/", "/?fetch"], ids=["strictest", "with connect-src"])
def test_nothing_moves_nothing_is_inline_and_nothing_is_stored(arrive: Any, path: str) -> None:
    page = arrive(path)
    expect(banner(page)).to_be_visible()
    page.keyboard.press("Escape")
    page.mouse.wheel(0, 3_000)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("violations") == []
    assert page.evaluate(SHIFT) == 0
    assert page.context.cookies() == []
    assert page.evaluate(STORED) == [0, 0, 0, 0, 0]
    banner(page).locator("button[value=reject]").click()
    if path == "/":
        page.wait_for_load_state()  # a script may send nothing there: the browser itself sent the form
    expect(banner(page)).not_to_be_visible()
    assert page.evaluate(SHIFT) == 0
    assert page.evaluate("violations") == []
    assert [cookie["name"] for cookie in page.context.cookies()] == ["consent"]
    assert page.evaluate(STORED) == [0, 0, 0, 0, 0]


def test_the_settings_open_over_the_page_and_give_the_focus_back(arrive: Any) -> None:
    page = arrive()
    opens_settings(page)
    heading = page.locator("#consent-mw-dialog-title")
    expect(heading).to_be_focused()
    expect(page.locator("dialog button[value=save]")).to_be_in_viewport()  # the purposes are longer than the view
    assert page.locator("dialog :checked[value=yes]").count() == 0
    inside = "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    seen = set()
    for _ in range(30):  # there are fewer stops than that: it goes round
        page.keyboard.press("Tab")
        assert page.evaluate(inside)
        seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 90)"))
    assert len(seen) < 25
    page.locator('dialog input[name="purpose.functional"][value="yes"]').check()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("footer a")).to_be_focused()
    expect(banner(page)).to_be_visible()
    assert page.context.cookies() == []
    assert page.evaluate("violations") == []


def test_to_save_answers_nothing_that_was_not_ticked(arrive: Any) -> None:
    page = arrive()
    for ticked in ({}, {"analytics": "yes"}):
        opens_settings(page)
        for purpose, answer in ticked.items():
            page.locator(f'dialog input[name="purpose.{purpose}"][value="{answer}"]').check()
        page.locator("dialog button[value=save]").click()
        expect(page.locator("dialog")).to_have_count(0)
        expect(page.locator(".consent-mw-status")).to_have_text("Your choice is saved.")
        state = page.evaluate("consent.refresh()")
        assert state["choice"] != "accept"
        assert [name for name, answer in state["purposes"].items() if answer] == list(ticked)
    assert page.evaluate("document.activeElement !== document.body")


def test_the_address_and_each_link_lead_to_the_settings(arrive: Any) -> None:
    page = arrive("/?fetch#consent-mw")
    expect(page.locator(OPENED)).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_have_count(0)
    banner(page).get_by_role("link", name="Settings").click()
    expect(page.locator(OPENED)).to_be_visible()
    page.goto("/")  # where no script may send
    page.locator("footer a").click()
    page.wait_for_url("**/consent")


def test_without_javascript_everything_is_reached_by_keyboard_and_nothing_by_itself(arrive: Any) -> None:
    page = arrive(java_script_enabled=False)
    expect(banner(page).get_by_role("button")).to_have_text(["Accept all", "Ask me each time", "Reject all"])
    banner(page).get_by_role("link", name="Settings").press("Enter")
    page.wait_for_url("**/consent")
    assert page.locator(":checked[value=yes]").count() == 0
    page.locator('input[name="purpose.marketing"][value="no"]').press("Space")
    page.locator("button[value=save]").press("Enter")
    expect(page.get_by_text("Your choice is saved.")).to_be_visible()
    assert page.locator(":checked").evaluate_all("found => found.map(each => each.value)").count("yes") == 0


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])
@pytest.mark.parametrize(("answer", "held"), [("purpose", ["ad_id"]), ("never", [])])
def test_always_and_never_answer_for_the_purpose(arrive: Any, javascript: bool, answer: str, held: list[str]) -> None:
    page = arrive(java_script_enabled=javascript)
    is_asked(page)
    asked = page.locator(".consent-mw-waiting > li").filter(has=page.get_by_text("ad_id", exact=True))
    looks = (
        asked.locator("button").evaluate_all(
            "found => found.map(each => [each.offsetWidth, each.offsetHeight, getComputedStyle(each).font].join())"
        )
        if javascript
        else ["alike"]
    )
    assert len(set(looks)) == 1
    asked.get_by_label("Don't ask again about Marketing").check()
    asked.locator(f"button[value={'allow' if answer == 'purpose' else 'refuse'}]").click()
    expect(asked).to_have_count(0)
    page.goto("/consent")
    value = "yes" if answer == "purpose" else "no"
    expect(page.locator(f'input[name="purpose.marketing"][value="{value}"]')).to_be_checked()
    ours = {"consent", "consent-pending", "consent-waiting"}
    assert [cookie["name"] for cookie in page.context.cookies() if cookie["name"] not in ours] == held


def test_a_page_with_a_hostile_style_sheet_still_asks_readably(arrive: Any) -> None:
    for width in WIDTHS:
        page = arrive("/?fetch&hostile", viewport={"width": width, "height": 640})
        sizes = (
            banner(page)
            .locator("button, p, li, a")
            .evaluate_all(
                """found => found.map(each => {
                const style = getComputedStyle(each), box = each.getBoundingClientRect();
                return [parseFloat(style.fontSize), style.textTransform, style.letterSpacing, style.float,
                    box.left >= 0 && box.right <= innerWidth && box.height > 0];
            })"""
            )
        )
        assert all(12 <= size <= 20 and rest == ["none", "normal", "none", True] for size, *rest in sizes), sizes
        heights = (
            banner(page)
            .locator("button")
            .evaluate_all(
                """found => found.map(each => each.getBoundingClientRect())
                    .map(box => [box.top, box.height, box.bottom])"""
            )
        )
        assert len({tuple(box) for box in heights}) == 1
        assert heights[0][1] >= 40
        assert heights[0][2] <= 640
        page.close()
