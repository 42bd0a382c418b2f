"""A shop whose revisions come into force as time passes, and those who visit it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.asgi import drive, scope, set_cookies
from tests.support.policies import POLICY
from tests.support.publishing import dated, published

from consent_mw import Choice, ConsentMiddleware
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.policy.model import Policy
from consent_mw.testing.clock import Clock

KEY = "the secret key of the tests"


HTML = "text/html; charset=utf-8"


def policy(
    revision: int, published: str, effective: str, zone: str = "Asia/Seoul", *, functional: str = "180 days"
) -> str:
    text = POLICY.replace("revision = 1", f"revision = {revision}").replace("Asia/Seoul", zone)
    return dated(text.replace('"180 days"', f'"{functional}"'), published, effective)


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", HTML.encode()), (b"set-cookie", b"theme=1"), (b"set-cookie", b"session=1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html><body><main>x</main></body>"})


class Site:
    """A site in one directory, and as many workers of it as there are calls."""

    def __init__(self, directory: Path, first: str, clock: Clock) -> None:
        self.file = directory / "policy.toml"
        self.data = directory / "consent-data"
        self.clock = clock
        self.file.write_text(first, "utf-8")

    def worker(self, app: Any = shop, **options: Any) -> ConsentMiddleware:
        return ConsentMiddleware(app, policy=self.file, secret_keys=[KEY], clock=self.clock, **options)

    def publish(self, text: str) -> Policy:
        return published(self.data, text)

    def accepted(self, revision: int) -> tuple[bytes, bytes]:
        given = self.clock.now.date()
        consent = Consent(choice=Choice.ACCEPT, revision=revision, given_on=given, receipt="R" * 22)
        return (b"cookie", b"consent=" + ConsentCookie([KEY]).sign(consent).encode())


def visits(app: ConsentMiddleware, path: str = "/", headers: Iterable[tuple[bytes, bytes]] = (), **more: Any) -> Page:
    async def run() -> list[Message]:
        try:
            given = dict([(b"accept-language", b"en"), *headers])
            return await drive(app, scope(path, headers=given.items(), **more))
        finally:
            await app.runtime.drain.stop()

    return Page(asyncio.run(run()))


class Page:
    """What a visitor got."""

    def __init__(self, sent: list[Message]) -> None:
        self.cookies = {line.partition(b"=")[0].decode(): line for line in set_cookies(sent)}
        self.body = b"".join(message.get("body", b"") for message in sent).decode()
        self.announces = 'class="consent-mw consent-mw-notice"' in self.body
        self.asks = 'data-consent="banner"' in self.body


FORM = (b"content-type", b"application/x-www-form-urlencoded")
