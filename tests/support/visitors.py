"""A visitor for tests: posts what the forms post, keeps what a browser keeps, and remembers what arrived."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tests.support.asgi import drive, scope, set_cookies
from tests.support.browser_model import Browser, Key

from consent_mw._asgi import ASGIApp, Message

HOST = "www.example.com"


class Visitor:
    """One browser in front of one application, or of several workers of it."""

    def __init__(self, app: ASGIApp, *, secure: bool = True) -> None:
        self.app = app
        self.browser = Browser(HOST, secure=secure)
        self.signals: list[tuple[bytes, bytes]] = []
        self.prefix = "__Host-" if secure else ""

    async def gets(self, path: str = "/", *, kind: str = "http", cookie: bytes | None = None,
                   headers: Iterable[tuple[bytes, bytes]] = (), incoming: Iterable[Message] = (),
                   app: ASGIApp | None = None, **more: Any) -> list[Message]:  # fmt: skip
        """Run one exchange and take its cookies. `cookie` is sent in place of the browser's own header."""
        place = path.encode()
        sends = self.browser.header(place, now()) if cookie is None else cookie
        given = [(b"host", self.browser.host.encode()), *self.signals, *headers]
        given += [(b"cookie", sends)] if sends else []
        scheme = ("https" if kind == "http" else "wss") if self.browser.secure else ("http" if kind == "http" else "ws")
        asked = scope(path, kind, given, scheme=scheme, **more)
        sent = await drive(app or self.app, asked, incoming)
        self.takes(sent, path)
        return sent

    async def posts(self, *fields: tuple[str, str], headers: Iterable[tuple[bytes, bytes]] | None = None,
                    app: ASGIApp | None = None, **more: Any) -> list[Message]:  # fmt: skip
        """Post a form to the choice, as a page of ours does without JavaScript."""
        form = (b"content-type", b"application/x-www-form-urlencoded")
        own = [(b"sec-fetch-site", b"same-origin")] if headers is None else list(headers)
        body: list[Message] = [{"type": "http.request", "body": urlencode(fields).encode(), "more_body": False}]
        return await self.gets("/consent/choice", method="POST", headers=[form, *own], incoming=body, app=app, **more)

    async def picks(self, choice: str, **more: Any) -> list[Message]:
        """Press one of the three buttons."""
        return await self.posts(("choice", choice), **more)

    def takes(self, sent: list[Message], path: str) -> list[Key]:
        """Let the browser store what an answer sets."""
        keys = [self.browser.receive(line, path.encode(), now()) for line in set_cookies(sent)]
        return [key for key in keys if key is not None]

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser holds beside our own cookies, by name."""
        ours = {f"{self.prefix}consent{use}" for use in ("", "-pending", "-waiting", "-form")}
        held = {key.name.decode("latin-1"): held.value.decode("latin-1") for key, held in self.browser.jar.items()}
        return {name: value for name, value in held.items() if name not in ours}


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
