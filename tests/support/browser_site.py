"""A small site behind the middleware, under the strictest policy of its own, for tests that use a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consent_mw import ConsentMiddleware

DECLARATION = (files("consent_mw.demo") / "policy.toml").read_text("utf-8")
#: Announces nothing new but asks again about what is counted, and about a cookie.
SECOND = DECLARATION.replace("revision = 1", "revision = 2", 1).replace('"13 months"', '"14 months"')
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'"
KEY = "a key of at least sixteen bytes"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
#: How long a page is waited for: on a busy machine it comes late, and that is no fault.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
#: What sites do to the elements that a banner is made of.
HOSTILE = """
html { font-size: 10px } body { font: italic 40px/3 serif; color: red; text-transform: uppercase; text-align: right }
* { box-sizing: content-box; margin: 7px } button { all: unset } button, a { letter-spacing: 9px; color: yellow }
section, form { padding: 4rem; float: left; background: lime } h2 { font-size: 9rem } li { display: inline; width: 9px }
p { margin: 9rem; text-indent: 9rem; white-space: nowrap } ul { list-style: square; columns: 3 } a { display: none }
"""
LINKS = '<p>Some words and <a href="/elsewhere">a link</a></p>' * 25
PAGE = """<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">{head}</head><body><main><h1>A page</h1>{main}</main><footer>
<a href="/consent/" data-consent="settings">Cookie settings</a></footer></body></html>"""


def launch(chromium: BrowserType, path: str) -> Browser:
    return chromium.launch(
        executable_path=path,
        args=ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],  # a visitor's browser has one
    )


@contextmanager
def launched(chromium: str) -> Iterator[Browser]:
    """Give a browser. Meanwhile no other loop runs in this thread: playwright has one of its own there."""
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium, chromium)
        yield browser
        browser.close()


@contextmanager
def profiles(browser: Browser, start: str = "/", *, watch: str = "", **usual: Any) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a page, `start` if none is named, in a profile of its own; `watch` runs before it."""
    with ExitStack() as contexts:

        def arrive(path: str = start, **options: Any) -> Page:
            context = contexts.enter_context(browser.new_context(**{"locale": "en", **usual, **options}))
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            if watch and options.get("java_script_enabled", True):
                page.add_init_script(watch)
            page.goto(path)
            return page

        yield arrive


def axe() -> str:
    """Return the source of axe-core, as `scripts/setup browser` fetched it."""
    copies = sorted(Path(__file__).parents[2].glob(".make/axe-core-*.js"))
    if not copies:
        pytest.skip("no axe-core: scripts/setup browser")
    return copies[-1].read_text("utf-8")


async def page(request: Request) -> Response:
    """
    A page of many links, which sets a cookie of each kind.

    With `?fetch` its scripts may send; with `?hostile` it has a style sheet of that kind; with `?public` a shared cache
    may keep it, and it sets none.
    """
    policy = STRICT + "; img-src data:" + ("; connect-src 'self'" if "fetch" in request.query_params else "")
    head = '<link rel="stylesheet" href="/hostile.css">' if "hostile" in request.query_params else ""
    language = "ko" if request.headers.get("accept-language", "").startswith("ko") else "en"
    html = PAGE.format(language=language, head=head, main=LINKS)
    response = HTMLResponse(html, headers={"content-security-policy": policy})
    if "public" in request.query_params:
        response.headers["cache-control"] = "public, max-age=60"
        return response
    for name in ("theme", "_shop_visits", "ad_id", "undeclared"):
        response.set_cookie(name, "1")
    return response


async def hostile(request: Request) -> Response:
    return Response(HOSTILE, media_type="text/css")


def site(directory: Path, declaration: str = DECLARATION, **options: Any) -> ConsentMiddleware:
    """Return the site, whose data are in `directory`."""
    directory.mkdir(exist_ok=True)
    (directory / "policy.toml").write_text(declaration, "utf-8")
    routes = [Route("/hostile.css", hostile), Route("/{path:path}", page)]
    file = directory / "policy.toml"
    return ConsentMiddleware(Starlette(routes=routes), policy=file, secret_keys=[KEY], **options)
