"""How our parts of a page behave in a living site, in Chromium: room, printing, confirmation, settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from json import dumps
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from tests.support import browser_site
from tests.support.browser_site import DECLARATION, KEY, SECOND, site
from tests.support.publishing import dated, published
from tests.support.serving import served

from consent_mw import ConsentMiddleware

BANNER = "#consent-mw"
PAGES = {
    "/": "<main><h1>Invoice</h1>" + "<p>A line</p>" * 18 + "</main>",
    "/app": "<style>html, body { margin: 0 } body { height: 100vh; display: flex; flex-direction: column }"
    "main { flex: 1; overflow: auto }</style><header>Head</header><main><h1>App</h1></main><footer>Foot</footer>",
}


async def page_of(request: Request) -> Response:
    html = PAGES[request.url.path]
    response = HTMLResponse(f"<!doctype html><html lang=en><title>A page</title><body>{html}</body></html>")
    response.set_cookie("theme", "dark")
    response.set_cookie("ad_id", "1")
    return response


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("site") / "policy.toml"
    file.write_text(DECLARATION, "utf-8")
    routes = [Route(path, page_of, methods=["GET", "POST"]) for path in PAGES]
    with served(ConsentMiddleware(Starlette(routes=routes), policy=file, secret_keys=[KEY])) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def announcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("announcing")
    spoken = f"languages = {dumps(LONG_WORDS)}"
    app = site(directory, DECLARATION.replace('languages = ["ko", "en"]', spoken))
    today = datetime.now(UTC).date()
    september = date(today.year + 1, 9, 25)  # the longest name of a month
    revision = SECOND.replace('languages = ["ko", "en"]', spoken)
    published(directory / "consent-data", dated(revision, str(today), str(september)))
    app.runtime.poll_published()
    with served(app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def arrive(browser: Browser, address: str) -> Iterator[Any]:
    with browser_site.profiles(browser, base_url=address) as arrive:
        yield arrive


def height(page: Page) -> float:
    return float(page.evaluate("document.querySelector('#consent-mw').offsetHeight"))


ROOM = "parseFloat(getComputedStyle(document.body, '::after').height)"


@pytest.mark.parametrize("javascript", [True, False])
def test_the_room_at_the_end_of_the_page_is_the_banner_s_height(arrive: Any, javascript: bool) -> None:
    page = arrive(java_script_enabled=javascript)
    if javascript:
        expect(page.locator(".consent-mw-status")).to_be_attached()
        page.wait_for_function(f"Math.abs({ROOM} - document.querySelector('#consent-mw').offsetHeight) < 1")
        page.set_viewport_size({"width": 320, "height": 640})
        page.wait_for_function(f"Math.abs({ROOM} - document.querySelector('#consent-mw').offsetHeight) < 1")
        page.locator("button[value=reject]").click()
        expect(page.locator(BANNER)).to_be_hidden()
        page.wait_for_function("getComputedStyle(document.body, '::after').content === 'none'")
    else:  # room for the highest that a banner may be
        assert height(page) - 1 <= page.evaluate(ROOM) <= page.evaluate("innerHeight") / 2


def test_an_application_of_one_screen_stays_one_and_nothing_of_it_is_covered(arrive: Any) -> None:
    page = arrive("/app")
    expect(page.locator(".consent-mw-status")).to_be_attached()
    page.wait_for_function(f"Math.abs({ROOM} - document.querySelector('#consent-mw').offsetHeight) < 1")
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight") == 0
    foot = page.evaluate("document.querySelector('footer').getBoundingClientRect().bottom")
    assert foot <= page.evaluate("document.querySelector('#consent-mw').getBoundingClientRect().top") + 1


def test_an_unanswered_banner_costs_no_paper(arrive: Any) -> None:
    page = arrive(viewport={"width": 1280, "height": 720})
    before = sheets(page)
    page.locator("button[value=reject]").click()
    expect(page.locator(BANNER)).to_be_hidden()
    assert before == sheets(page) == 1


def test_the_printed_policy_has_no_controls_and_numbered_pages(arrive: Any) -> None:
    page = arrive("/consent/policy")
    page.emulate_media(media="print")
    assert page.locator(".consent-mw-main h2").first.is_visible()
    controls = page.locator("button, header nav, main > footer, main [data-consent]")
    assert controls.count() > 3
    assert not [control.inner_text() for control in controls.all() if control.is_visible()]
    rules = "[...document.styleSheets].flatMap(function inner(each) { return [...each.cssRules].flatMap((rule) => "
    margins = page.evaluate(f"{rules}[rule.cssText, ...rule.cssRules ? inner(rule) : []]) }}).join(' ')")
    assert "counter(page)" in margins


def sheets(page: Page) -> int:
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf()))


#: Those with the longest words among our catalogues.
LONG_WORDS = ["en", "ko", "de", "es", "fr", "vi"]
#: The words of the three answers that are broken in two.
BROKEN = """found => found.flatMap((button) => [...button.firstChild.data.matchAll(/\\S+/g)].filter((word) => {
  const range = new Range();
  range.setStart(button.firstChild, word.index);
  range.setEnd(button.firstChild, word.index + word[0].length);
  return range.getClientRects().length > 1;
}).map(String))"""


@pytest.mark.parametrize("language", LONG_WORDS)
def test_notice_and_banner_leave_a_third_of_a_small_phone(arrive: Any, announcing: str, language: str) -> None:
    page = arrive(base_url=announcing, locale=language, viewport={"width": 320, "height": 640})
    covered = height(page) + page.locator(".consent-mw-notice").bounding_box()["height"]
    assert covered <= 640 * 2 / 3
    answers = page.locator("#consent-mw .consent-mw-buttons button")
    assert answers.evaluate_all(BROKEN) == []
    page.evaluate("document.documentElement.style.fontSize = '200%'")  # as visitors who enlarge text alone have it
    assert answers.evaluate_all(BROKEN) == []
    page.evaluate("document.documentElement.style.fontSize = ''")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.locator(".consent-mw-notice").bounding_box()["height"] <= 48, "one line"
    assert page.locator(".consent-mw-notice li").count() == 0
    page.goto("/consent/")  # where nothing is asked beside it, it tells what changes
    assert page.locator(".consent-mw-notice li").count() > 0


@pytest.mark.parametrize("language", LONG_WORDS)
@pytest.mark.parametrize("path", ["/consent/", "/consent/policy"])
def test_no_word_of_a_title_or_an_answer_is_broken_on_our_pages(
    arrive: Any, announcing: str, path: str, language: str
) -> None:
    page = arrive(path, base_url=announcing, locale=language, viewport={"width": 320, "height": 640})
    assert page.locator("h1, .consent-mw-block .consent-mw-buttons button").evaluate_all(BROKEN) == []


def test_that_a_choice_was_taken_is_seen_and_heard_for_some_seconds(arrive: Any) -> None:
    page = arrive("/")
    page.clock.install()
    page.goto("/")
    page.locator("button[value=reject]").click()
    status = page.get_by_role("status")
    expect(status).to_have_text("Your choice is saved.")
    box = status.bounding_box()
    assert box["height"] > 20
    assert box["width"] > 100
    assert status.evaluate(
        "e => document.elementFromPoint(...['x', 'y'].map((of) => e.getBoundingClientRect()[of] + 9)) === e"
    )
    page.clock.fast_forward(20_000)
    expect(status).to_have_text("")
    expect(status).to_be_attached()  # the same region tells the next one


def test_the_settings_begin_with_no_and_what_is_not_touched_is_refused(arrive: Any) -> None:
    page = arrive("/consent/")
    checked = "[...document.querySelectorAll(':checked')].map((each) => each.name.split('.')[0] + ' ' + each.value)"
    assert set(page.evaluate(checked)) == {"purpose no", "cookie ask"}
    page.get_by_role("group", name="Analytics").get_by_label("Yes").first.check()
    page.get_by_role("button", name="Save my choices").click()
    expect(page.get_by_role("status").first).to_contain_text("Your choice is saved.")
    answers = page.evaluate("fetch('/consent/state').then((answer) => answer.json()).then((state) => state.purposes)")
    assert answers == {"functional": False, "analytics": True, "marketing": False}


@pytest.mark.parametrize("javascript", [True, False])
def test_what_waits_is_asked_by_purpose_with_all_of_it_first_and_what_it_does_before_its_name(
    arrive: Any, javascript: bool
) -> None:
    page = arrive(java_script_enabled=javascript)
    page.locator("button[value=prompt]").click()
    expect(page.locator("button[value=prompt]")).to_be_hidden()
    page.goto("/")
    questions = page.locator(".consent-mw-waiting > li")
    assert [question.partition("\n")[0] for question in questions.all_inner_texts()] == [
        "All of these",
        "Functional",
        "Marketing",
    ]
    text = questions.last.inner_text()
    assert text.index("Recognises your browser") < text.index("ad_id")
    assert questions.locator("button").count() == 6, "two a question"
    questions.nth(1).get_by_role("button", name="Refuse").click()
    expect(questions).to_have_count(1)
    page.goto("/")
    assert [question.partition("\n")[0] for question in questions.all_inner_texts()] == ["Marketing"], "one was refused"
