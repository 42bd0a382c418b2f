"""The page of one's own data in a real Chromium: found in two actions, usable by keyboard alone and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support import browser_site
from tests.support.axe import faults
from tests.support.browser_site import site
from tests.support.my_data_site import Members, signed_in
from tests.support.serving import served

MY_DATA = "/consent/my-data"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("site")
    with served(site(directory, subject=signed_in, personal_data=Members())) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def arrive(browser: Browser, address: str) -> Iterator[Any]:
    with browser_site.profiles(browser, "/?fetch", base_url=address) as arrive:
        yield arrive


def accepts(page: Page) -> None:
    page.locator("#consent-mw button[value=accept]").click()
    expect(page.locator("#consent-mw")).not_to_be_visible()


def sends(page: Page, form: str) -> None:
    """Send the form that holds an element, past what the browser itself would check."""
    with page.expect_navigation():
        page.locator(f"form:has({form})").first.evaluate("form => { form.noValidate = true; form.requestSubmit(); }")


def test_axe_finds_nothing_on_what_is_held_and_what_is_asked(arrive: Any) -> None:
    source = browser_site.axe()
    page = arrive(locale="ko", extra_http_headers={"x-user": "kim"})
    accepts(page)
    page.goto(MY_DATA)
    page.locator("#dispute-message").fill("Not me")
    page.locator("#dispute-email").fill("kim@example.com")
    sends(page, "#dispute-message")
    for summary in page.locator("summary").all():
        summary.click()
    assert faults(page, source) == []


def test_axe_finds_nothing_once_everything_is_erased_and_on_the_form_of_somebody_unknown(arrive: Any) -> None:
    source = browser_site.axe()
    page = arrive()
    accepts(page)
    page.goto(MY_DATA)
    sends(page, "[value=erase]")
    violations = faults(page, source)  # the form is on the same page
    page.locator("#ask-email").fill("nobody@nowhere(")
    sends(page, "#ask-email")
    expect(page.get_by_text("name@example.com")).to_be_visible()
    assert violations + faults(page, source) == []


def actions_to(page: Page, start: str, *, javascript: bool) -> int:
    """Count the clicks from a page to one's own data, the way that its links lead."""
    page.goto(start)
    direct = page.locator(f'a[href^="{MY_DATA}"]:visible')
    if direct.count():
        direct.first.click()
        page.wait_for_url(f"**{MY_DATA}*")
        return 1
    page.locator('[data-consent="settings"]:visible').first.click()
    inside = page.locator('dialog[open] a[href^="/consent/my-data"]' if javascript else f'main a[href^="{MY_DATA}"]')
    inside.first.click()
    page.wait_for_url(f"**{MY_DATA}*")
    return 2


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])
def test_promise_8_ones_own_data_is_two_actions_away_from_every_page(arrive: Any, javascript: bool) -> None:
    page = arrive(java_script_enabled=javascript)
    starts = ["/?fetch", "/consent", "/consent/policy/1", "/consent/cookies", "/consent/receipt", "/consent/nowhere"]
    before = [actions_to(page, start, javascript=javascript) for start in starts]  # the banner is there
    page.goto("/?fetch")
    page.locator("#consent-mw button[value=reject]").click()
    expect(page.locator("#consent-mw")).not_to_be_visible()
    after = [actions_to(page, start, javascript=javascript) for start in starts]
    assert max(before + after) <= 2


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no-javascript"])
def test_promise_8_consent_is_withdrawn_from_every_page_in_two_actions(arrive: Any, javascript: bool) -> None:
    """Conformance 35."""
    page = arrive(java_script_enabled=javascript)
    for start in ("/?fetch", "/consent/policy", "/consent/my-data"):
        page.goto("/consent")
        page.locator("main button[value=accept]").click()
        expect(page.get_by_text("Your choice is saved.").first).to_be_visible()
        page.goto(start)
        if start == "/consent/my-data":
            page.locator("button[value=all]").click()
        else:
            page.locator('footer a, .consent-mw-header a[href="/consent"]').first.click()
            page.locator("button[value=reject]:visible").click()
        expect(page.locator("dialog")).to_have_count(0)  # the answer has come
        assert page.context.request.get("/consent/state").json()["choice"] == "reject"


def test_without_javascript_and_by_keyboard_alone_data_is_read_withdrawn_and_erased(arrive: Any) -> None:
    page = arrive(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page.locator("#consent-mw button[value=accept]").press("Enter")
    page.goto(MY_DATA)
    expect(page.get_by_role("heading", name="Analytics")).to_be_visible()
    page.get_by_role("checkbox", name="Analytics").press("Space")
    page.get_by_role("button", name="Withdraw selected").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Your consent is withdrawn.")
    page.locator("#erase summary").first.press("Enter")  # the first action
    page.get_by_role("button", name="Erase everything for good").press("Enter")  # the second
    expect(page.get_by_role("status")).to_contain_text("We've received your request to erase your data.")
    while not page.get_by_text("Erased records:").count():  # a machine under load is not done at once
        page.get_by_role("link", name="Check progress").press("Enter")
    page.goto(MY_DATA)
    expect(page.get_by_text("can't identify you from this browser")).to_be_visible()
