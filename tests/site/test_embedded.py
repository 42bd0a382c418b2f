"""A site in a frame of another site: in a real Chromium over TLS, a choice is kept for each site around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from tests.support.browser_site import ARGUMENTS, site
from tests.support.certificate import certificate
from tests.support.serving import served

#: Chromium as it is where visitors have switched third-party cookies off.
STRICT = "--test-third-party-cookie-phaseout"


async def around(request: Request) -> Response:
    frame = f'<iframe src="https://shop.test:{request.query_params["port"]}/" width=900 height=700></iframe>'
    return HTMLResponse(f"<!doctype html><title>Portal</title><body>{frame}")


@pytest.fixture
def framed(tmp_path: Path, shell: str, request: pytest.FixtureRequest) -> Iterator[tuple[Page, str, str]]:
    """A page, the address of the site itself, and that of a portal which has it in a frame."""
    tls = certificate(tmp_path)
    with ExitStack() as stack:
        shop = stack.enter_context(served(site(tmp_path / "shop", embedded=request.param), **tls))
        portal = stack.enter_context(served(Starlette(routes=[Route("/", around)]), **tls))
        play = stack.enter_context(sync_playwright())
        mapped = [*ARGUMENTS, STRICT, "--host-resolver-rules=MAP *.test 127.0.0.1"]
        browser = stack.enter_context(play.chromium.launch(executable_path=shell, args=mapped))
        page = browser.new_context(ignore_https_errors=True, locale="en").new_page()
        yield page, f"https://shop.test:{shop}/", f"https://portal.test:{portal}/?port={shop}"


@pytest.mark.parametrize("framed", [True], indirect=True)
@pytest.mark.parametrize("answer", ["accept", "reject"])
def test_in_a_frame_of_another_site_the_answer_holds_there_and_there_alone(
    framed: tuple[Page, str, str], answer: str
) -> None:
    page, shop, portal = framed
    page.goto(portal)
    frame = page.frame_locator("iframe")
    with page.expect_response("**/consent/choice"):
        frame.locator(f"#consent-mw button[value={answer}]").click()
    frame.locator("#consent-mw").wait_for(state="hidden")
    page.goto(portal)
    assert frame.locator("h1").inner_text() == "A page"
    assert frame.locator("#consent-mw").count() == 0
    held = {str(cookie.get("name")): cookie for cookie in page.context.cookies()}
    assert held["__Host-consent"].get("sameSite") == "None"
    page.goto(shop)  # no portal around it: another jar
    assert page.locator("#consent-mw").is_visible()


@pytest.mark.parametrize("framed", [False], indirect=True)
def test_without_the_option_a_frame_asks_nobody(framed: tuple[Page, str, str]) -> None:
    page, shop, portal = framed
    page.goto(portal)
    assert page.frame_locator("iframe").locator("h1").inner_text() == "A page"
    assert page.frame_locator("iframe").locator("#consent-mw").count() == 0
    page.goto(shop)
    assert page.locator("#consent-mw").is_visible()
