"""A site whose connections stay open. As a program it opens some, ends all but one, and is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.support.asgi import scope
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.testing.driver import Connection

KEY = "a key of the trials, at least 16 characters"
EVENTS = [(b"content-type", b"text/event-stream")]
STREAM = [(b"content-type", b"application/x-ndjson")]


async def stays_open(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        await send(
            {"type": "http.response.start", "status": 200, "headers": EVENTS if scope["path"] == "/head" else STREAM}
        )
        if scope["path"] != "/head":
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    while (await receive())["type"] in ("http.request", "websocket.receive"):
        pass


def site(directory: Path) -> ConsentMiddleware:
    (directory / "policy.toml").write_text(POLICY)
    return ConsentMiddleware(stays_open, policy=directory / "policy.toml", secret_keys=[KEY])


async def opened(app: ConsentMiddleware, kind: str) -> Connection:
    """Return a connection of which the first message has come."""
    of_http = "websocket" if kind == "websocket" else "http"
    connection = await Connection(app, scope(f"/{kind}", of_http)).__aenter__()
    await connection.send({"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"})
    message: Message = await connection.receive()
    if kind == "http":
        message = await connection.receive()
    assert message["type"] in ("websocket.accept", "http.response.start", "http.response.body")
    return connection


async def die(directory: Path, kind: str, ended: int) -> None:
    """Open one connection more than `ended`, end those, and be killed."""
    app = site(directory)
    for _ in range(ended):
        await (await opened(app, kind)).__aexit__(None, None, None)
    await opened(app, kind)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(die(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
