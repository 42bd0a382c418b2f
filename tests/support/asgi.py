"""The least of an ASGI server: one scope in, the messages out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from consent_mw._asgi import ASGIApp, Message, Scope


def scope(path: str = "/", kind: str = "http", headers: Iterable[tuple[bytes, bytes]] = (), **more: Any) -> Scope:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        "client": ("203.0.113.77", 4711),
        "server": ("testserver", 80),
    } | more


async def drive(app: ASGIApp, scope: Scope, incoming: Iterable[Message] = ()) -> list[Message]:
    """Run one exchange, and return what the application sent. What comes in by itself is an empty body."""
    messages = list(incoming) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()  # a client that says nothing more
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def set_cookies(sent: Iterable[Message]) -> list[bytes]:
    """Return every Set-Cookie line that left."""
    return [value for m in sent for name, value in m.get("headers") or () if name.lower() == b"set-cookie"]
