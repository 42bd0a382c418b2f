"""A request into which a browser puts no consent cookie takes nothing away and asks nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import set_cookies
from tests.support.policies import POLICY
from tests.support.visitors import HOST, Visitor, now

from consent_mw import ConsentMiddleware

PAGE = b"<!doctype html><html><head></head><body><p>paid</p></body></html>"
BANNER = 'data-consent="banner"'
#: What a browser says of a return by POST, of a frame, of a page fetched beforehand; and without those headers.
RETURNS = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]
FRAMED = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"iframe")]
FETCHED = [*RETURNS[:2], (b"sec-fetch-dest", b"document"), (b"sec-purpose", b"prefetch;anonymous-client-ip")]
#: What a page in that frame asks of its own site, later: only this last header tells it from the site's own pages.
WITHIN = [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-dest", b"empty"), (b"sec-fetch-storage-access", b"active")]
OLDER = [(b"origin", b"https://bank.example")]
FOREIGN = [
    ("POST", RETURNS),
    ("GET", FRAMED),
    ("GET", FETCHED),
    ("GET", WITHIN),
    ("POST", OLDER),
    ("POST", [(b"origin", b"null")]),
]
HOME = [
    ("GET", RETURNS),
    ("POST", [(b"sec-fetch-site", b"same-site")]),
    ("POST", [(b"origin", b"https://" + HOST.upper().encode())]),
    ("GET", []),
]


def shown(sent: list[Any]) -> str:
    """How the page asks: not at all, by a banner that only our script shows, or openly."""
    text = b"".join(message.get("body", b"") for message in sent).decode()
    return "" if BANNER not in text else "hidden" if "data-shared hidden" in text else "open"


def site(tmp_path: Path, seen: list[bytes]) -> ConsentMiddleware:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]).get(b"cookie", b""))
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"set-cookie", b"theme=new")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})

    (tmp_path / "policy.toml").write_text(POLICY)
    return ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=["the secret key of the tests"])


def visits(tmp_path: Path, method: str, headers: list[Any], cookie: bytes) -> tuple[list[bytes], str, bytes]:
    """Return what the answer sets, how its page asks, and the cookies that the application saw."""
    seen: list[bytes] = []
    app = site(tmp_path, seen)

    async def story() -> list[Any]:
        try:
            return await Visitor(app).gets("/return", method=method, headers=headers, cookie=cookie)
        finally:
            await app.runtime.drain.stop()

    sent = asyncio.run(story())
    return set_cookies(sent), shown(sent), seen[0]


@pytest.mark.parametrize(("method", "headers"), FOREIGN)
def test_a_choice_that_cannot_have_come_along_is_not_taken_for_none(
    tmp_path: Path, method: str, headers: list[Any]
) -> None:
    sets, asks, seen = visits(tmp_path, method, headers, b"theme=dark; other=1")
    # In a frame nobody is asked: the page around it asks.
    assert (sets, asks, seen) == ([], "" if headers is FRAMED else "hidden", b"theme=dark")


@pytest.mark.parametrize(("method", "headers"), HOME)
def test_where_it_would_have_come_along_its_absence_is_no_choice(
    tmp_path: Path, method: str, headers: list[Any]
) -> None:
    sets, asks, seen = visits(tmp_path, method, headers, b"theme=dark")
    assert {line.partition(b";")[0] for line in sets} == {b"theme="}
    assert (asks, seen) == ("open", b"")


def test_a_choice_that_came_along_holds_wherever_the_request_comes_from(tmp_path: Path) -> None:
    seen: list[bytes] = []
    app = site(tmp_path, seen)

    async def story() -> None:
        visitor = Visitor(app)
        await visitor.picks("reject")
        visitor.browser.receive(b"theme=1; Path=/", b"/", now())
        sent = await visitor.gets("/return", method="POST", headers=RETURNS)
        assert {line.partition(b";")[0] for line in set_cookies(sent)} == {b"theme="}
        assert (shown(sent), b"theme" in seen[0]) == ("", False)
        await app.runtime.drain.stop()

    asyncio.run(story())
