"""A framework that hydrates the whole document finds its own nodes where it looks for them, in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.support.browser_site import ARGUMENTS, DECLARATION, KEY
from tests.support.serving import served

from consent_mw import ConsentMiddleware

#: Takes the nodes of head and body one after the other, as React does: 19 passes over elements of another name, 18 over
#: nothing. What follows the last of its own neither of them looks at.
TAKE = """({ wanted, passes }) => Object.entries(wanted).flatMap(([within, names]) => {
  let node = document[within].firstChild;
  return names.filter((name) => {
    while (passes && node?.nodeType === Node.ELEMENT_NODE && node.localName !== name) node = node.nextSibling;
    const found = node?.nodeName.toLowerCase() === name;
    node = node?.nextSibling;
    return !found;
  });
})"""
WANTED = {"head": ["title"], "body": ["noscript", "section", "main", "footer"]}


async def page(request: Request) -> StreamingResponse:
    mark = ' data-consent-mw="end"' if "end" in request.query_params else ""

    async def pieces() -> AsyncIterator[str]:  # as a renderer sends it: the shell first
        yield f"<!DOCTYPE html><html lang=en><head><title>App</title></head><body{mark}><noscript>x</noscript><section>"
        yield "s</section><main><h1>App</h1></main><footer>end</footer></body></html>"

    headers = {"cache-control": "public"} if "public" in request.query_params else None
    return StreamingResponse(pieces(), media_type="text/html", headers=headers)


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory, shell: str) -> Iterator[tuple[Page, str]]:
    directory: Path = tmp_path_factory.mktemp("hydrated")
    (directory / "policy.toml").write_text(DECLARATION, "utf-8")
    app = Starlette(routes=[Route("/", page)])
    wrapped = ConsentMiddleware(app, policy=directory / "policy.toml", secret_keys=[KEY])
    with ExitStack() as stack:
        port = stack.enter_context(served(wrapped))
        play = stack.enter_context(sync_playwright())
        browser = stack.enter_context(play.chromium.launch(executable_path=shell, args=ARGUMENTS))
        yield browser.new_page(locale="en"), f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(("query", "passes"), [("", True), ("?public", True), ("?end", True), ("?end", False)])
def test_it_finds_all_that_it_rendered(visited: tuple[Page, str], query: str, passes: bool) -> None:
    shown, address = visited
    shown.goto(address + query)
    expect(shown.locator("#consent-mw")).to_be_visible()
    assert shown.evaluate(TAKE, {"wanted": WANTED, "passes": passes}) == []


def test_a_banner_at_the_end_answers_as_any_other(visited: tuple[Page, str]) -> None:
    shown, address = visited
    shown.goto(address + "?end")
    shown.locator("#consent-mw button[value=reject]").click()
    expect(shown.locator("#consent-mw")).to_be_hidden()
    shown.goto(address + "?end")
    expect(shown.locator("#consent-mw")).to_have_count(0)


def test_a_banner_thrown_out_with_the_whole_document_is_put_back_as_it_looked(visited: tuple[Page, str]) -> None:
    """As React 18 does when it finds what it did not render, and the body says nothing."""
    shown, address = visited
    shown.context.clear_cookies()
    shown.goto(address)
    banner = shown.locator("#consent-mw")
    before = banner.bounding_box()
    shown.evaluate("""() => {
      const html = document.createElement("html");
      html.lang = "en";
      html.innerHTML = "<head><title>App</title></head><body><main><h1>App</h1></main><footer>end</footer></body>";
      document.documentElement.replaceWith(html);
    }""")
    expect(banner).to_have_css("position", "fixed")
    assert banner.bounding_box() == before
    banner.get_by_role("button", name="Reject all").click()
    expect(banner).to_be_hidden()
    expect(shown.get_by_role("status")).to_have_text("Your choice is saved.")
