"""Three small middlewares as they are often written, each with a defect that the strategies find by themselves."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import Phase, find, settings
from tests.support.browser_model import Browser
from tests.support.visitors import now

from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send
from consent_mw.testing.driver import body, drive, http_scope
from consent_mw.testing.strategies import cookie_headers, http_scopes, set_cookie_headers

# Found is enough here; a tester of their own would have the example made small too.
THOROUGH = settings(max_examples=2_000, database=None, deadline=None, phases=[Phase.generate])


class RefusesTheme:
    """Takes `theme` out of each answer. It compares what stands before the first `=` with the name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def gated(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [line for line in message["headers"] if not self.refused(*line)]
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, receive, gated)

    def refused(self, name: bytes, value: bytes) -> bool:
        return name == b"set-cookie" and value.split(b"=")[0] == b"theme"


def sets(headers: list[tuple[bytes, bytes]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


def browser_has_theme(headers: list[tuple[bytes, bytes]]) -> bool:
    browser = Browser("www.example.com", secure=True)
    for line in asyncio.run(drive(RefusesTheme(sets(headers)), http_scope())).set_cookies:
        browser.receive(line, b"/", now())
    return any(key.name == b"theme" for key in browser.jar)


def test_they_find_a_refused_cookie_that_a_browser_stores_all_the_same() -> None:
    headers = find(set_cookie_headers(["theme"]), browser_has_theme, settings=THOROUGH)
    assert browser_has_theme(headers)


class ReadsTheChoice:
    """Reads the visitor's choice with the standard library's parser, which gives up at the first odd neighbour."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        jar = SimpleCookie()
        for name, value in scope["headers"]:
            if name == b"cookie":
                jar.load(value.decode("latin-1"))
        refused = "choice" in jar and jar["choice"].value == "reject"
        await self.app({**scope, "refused": refused}, receive, send)


def overlooks_a_refusal(lines: list[bytes]) -> bool:
    """Whether a browser that holds `choice=reject` behind other cookies is read as one that refused nothing."""
    refused: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        refused.append(scope["refused"])

    headers = [(b"cookie", b"; ".join([*lines, b"choice=reject"]))]
    crashed = asyncio.run(drive(ReadsTheChoice(app), http_scope(headers=headers))).error is not None
    return crashed or refused == [False]


def test_they_find_a_refusal_that_is_overlooked() -> None:
    lines = find(cookie_headers(["theme"]), overlooks_a_refusal, settings=THOROUGH)
    assert overlooks_a_refusal(lines)
    assert not overlooks_a_refusal([b"theme=dark"])


class LogsTheVisit:
    """Writes a line for each visit. It takes every scope for one of a browser that it knows from its tests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        agent = headers.get(b"user-agent", b"").decode()
        address = headers.get(b"x-forwarded-for", scope["client"][0].encode()).decode()
        self.lines.append(f"{address} {scope['path']} {agent}")
        await self.app(scope, receive, send)


def crashes(scope: dict[str, Any]) -> bool:
    return asyncio.run(drive(LogsTheVisit(sets([])), scope)).error is not None


def forges_a_line(scope: dict[str, Any]) -> bool:
    logs = LogsTheVisit(sets([]))
    asyncio.run(drive(logs, scope, body()))
    return any(line != "".join(filter(str.isprintable, line)) for line in logs.lines)


@pytest.mark.parametrize("defect", [crashes, forges_a_line])
def test_they_find_a_visit_that_crashes_the_log_and_one_that_forges_a_line(defect: Any) -> None:
    assert defect(find(http_scopes(), defect, settings=THOROUGH))
