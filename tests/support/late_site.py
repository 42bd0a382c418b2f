"""A site that goes on writing to what it has sent. Started by a server: the directory of its policy is in LATE_SITE."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.responses import StreamingResponse
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send

EVIL = (b"set-cookie", b"evil=1; Max-Age=31536000")
PAGE = b"<!doctype html><html><head></head><body>whole</body></html>"
LENGTH = (b"content-length", b"%d" % len(PAGE))
HTML = (b"content-type", b"text/html; charset=utf-8")

#: A header that no two servers read alike, by the path that answers with it.
ODD: dict[str, Any] = {
    "/texts": ("Set-Cookie", "evil=1"),
    "/blank-behind": (b"set-cookie ", b"evil=1"),
    "/blank-before": (b" set-cookie", b"evil=1"),
    "/line-end": (b"x-a", b"1\r\nSet-Cookie: evil=1"),
    "/line-feed": (b"x-a", b"1\nSet-Cookie: evil=1"),
    "/buffer": (bytearray(b"Set-Cookie"), bytearray(b"evil=1")),
}
#: Answers that are changed after they were sent, or before the server gets to them.
LATE = ("/list", "/message", "/pair", "/task", "/stream")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path = scope["path"]
    if scope["type"] == "websocket":
        await receive()
        line = ODD.get(path, EVIL)
        await send({"type": "websocket.accept", "headers": [(b"x-fine", b"1"), line]})
        await send({"type": "websocket.close"})
    elif path == "/stream":
        await _stream(scope, receive, send)
    else:
        await _late(path, send)


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield PAGE[:30]
        response.set_cookie("evil", "1", max_age=31536000)
        yield PAGE[30:]

    response = StreamingResponse(parts(), media_type="text/html")
    await response(scope, receive, send)


async def _late(path: str, send: Send) -> None:
    headers: list[Any] = [[HTML[0], HTML[1]], LENGTH, (b"x-fine", b"1")]
    headers += [ODD[path]] if path in ODD else []
    said: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}
    sending = asyncio.ensure_future(send(said)) if path == "/task" else None
    if sending is None:
        await send(said)
    if path in ("/list", "/task"):
        headers.append(EVIL)
    elif path == "/message":
        said["headers"] = [*headers, EVIL]
    elif path == "/pair":
        headers[0][:] = EVIL
    if sending is not None:
        await sending
    await send({"type": "http.response.body", "body": PAGE})


def site(directory: Path) -> ConsentMiddleware:
    """Return the site, its banner in all pages of who has not chosen."""
    (directory / "policy.toml").write_text(POLICY)
    return ConsentMiddleware(application, policy=directory / "policy.toml", secret_keys=["the secret key of the tests"])


if "LATE_SITE" in os.environ:  # a test has only the tables
    app = site(Path(os.environ["LATE_SITE"]))
