"""The policies that Google and Django recommend, enforced by a real Chromium: nonces, strict-dynamic, Trusted Types."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from tests.support.browser_site import DECLARATION, KEY, launch
from tests.support.serving import served

from consent_mw import ConsentMiddleware

STRICT = "script-src 'nonce-{nonce}' 'strict-dynamic' https: 'unsafe-inline'; object-src 'none'; base-uri 'none'"
TYPES = "; require-trusted-types-for 'script'"
POLICIES = {
    "strict-dynamic": STRICT,
    "nonces-for-all": "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
    "form-action 'self'; img-src data:",
    "trusted-types": STRICT + TYPES,
    "trusted-types-by-name": STRICT + TYPES + "; trusted-types consent-mw",
    "all-at-once": "default-src 'self'; style-src 'nonce-{nonce}'; img-src data:; " + STRICT + TYPES,
}
#: Two that wait and may run, and two that the page does not trust.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<link rel="icon" href="data:,">
<script nonce="{nonce}">document.addEventListener("securitypolicyviolation", (event) =>
  (window.violations ||= []).push(event.violatedDirective + " " + event.blockedURI + " " + event.sample))
</script></head>
<body><h1>A page</h1>
<script type="text/plain" data-purpose="analytics" nonce="{nonce}">
document.documentElement.dataset.inline = "ran"</script>
<script type="text/plain" data-purpose="analytics" nonce="{nonce}" data-src="/counter.js"></script>
<script type="text/plain" data-purpose="analytics">document.documentElement.dataset.untrusted = "ran"</script>
<script type="text/plain" data-purpose="marketing" nonce="{nonce}">
document.documentElement.dataset.refused = "ran"</script>
<a href="/consent/" data-consent="settings">Cookie settings</a></body></html>"""


async def page(request: Request) -> Response:
    nonce = secrets.token_urlsafe(16)
    policy = POLICIES[request.path_params["policy"]]
    headers = {"content-security-policy": policy.replace("{nonce}", nonce)}
    return HTMLResponse(PAGE.replace("{nonce}", nonce), headers=headers)


async def counter(request: Request) -> Response:
    return Response('document.documentElement.dataset.outside = "ran"', media_type="text/javascript")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, shell: str) -> Iterator[tuple[Browser, int]]:
    directory = tmp_path_factory.mktemp("strict")
    (directory / "policy.toml").write_text(DECLARATION, "utf-8")
    inner = Starlette(routes=[Route("/counter.js", counter), Route("/{policy}", page)])
    app = ConsentMiddleware(inner, policy=Path(directory / "policy.toml"), secret_keys=[KEY])
    with served(app) as port, sync_playwright() as play:
        browser = launch(play.chromium, shell)
        yield browser, port
        browser.close()


@pytest.fixture
def visited(started: tuple[Browser, int], request: pytest.FixtureRequest) -> Iterator[Page]:
    browser, port = started
    context = browser.new_context(locale="en", viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.goto(f"http://127.0.0.1:{port}/{request.param}")
    yield opened
    context.close()


def violations(opened: Page) -> list[str]:
    reported: list[str] = opened.evaluate("window.violations || []")
    return reported


@pytest.mark.parametrize("visited", POLICIES, indirect=True)
def test_banner_dialog_and_what_waits_work_under_it(visited: Page) -> None:
    assert visited.locator("#consent-mw").evaluate("each => getComputedStyle(each).position") == "fixed"
    visited.get_by_role("link", name="Cookie settings").last.click()
    dialog = visited.locator("dialog[open]")
    dialog.wait_for()
    assert dialog.locator(".consent-mw-bar").evaluate("each => getComputedStyle(each).position") == "sticky"
    dialog.locator('input[name="purpose.analytics"][value=yes]').check()
    with visited.expect_response("**/consent/choice") as answered:
        dialog.locator("button[value=save]").last.click()
    assert answered.value.ok
    visited.locator("html[data-inline=ran][data-outside=ran]").wait_for()
    assert visited.locator("html:is([data-untrusted],[data-refused])").count() == 0
    assert not visited.locator("#consent-mw").is_visible()
    # A policy of nonces alone refuses the one without by itself, and says so; nothing else is refused.
    assert [violation for violation in violations(visited) if "inline" not in violation] == []


@pytest.mark.parametrize("visited", POLICIES, indirect=True)
def test_what_waits_runs_as_soon_as_all_is_accepted(visited: Page) -> None:
    visited.locator("#consent-mw button[value=accept]").click()
    visited.locator("html[data-inline=ran][data-outside=ran][data-refused=ran]").wait_for()
    assert visited.locator("html[data-untrusted]").count() == 0


@pytest.mark.parametrize("visited", ["trusted-types"], indirect=True)
def test_the_policy_is_really_enforced(visited: Page) -> None:
    """Else none of the above would prove anything."""
    assert (
        visited.evaluate("() => { try { document.body.innerHTML = 'x' } catch (error) { return error.name } }")
        == "TypeError"
    )
