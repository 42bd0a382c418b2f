"""Applications under the middleware with one policy: a choice as a header, an exchange, and what was recorded of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tests.support.asgi import drive, scope

from consent_mw import Choice, ConsentMiddleware
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.records import Query
from consent_mw.stores.sqlite import SQLiteStore

KEY = "the secret key of the tests"


ALL_COOKIES = [b"session=1", b"theme=2; Path=/", b"_ga_x=3", b"ad=4", b"mystery=5"]


def cookie_for(choice, **answers):
    consent = Consent(
        choice=choice,
        revision=1,
        given_on=datetime.now(UTC).date(),
        receipt="r" * 22 if choice is not Choice.REJECT else None,
        **answers,
    )
    return (b"cookie", b"consent=" + ConsentCookie([KEY]).sign(consent).encode())


def response(status=200, headers=(), body=b"hello", **more):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)} | more)
        await send({"type": "http.response.body", "body": body})

    return app


def cookies(names=ALL_COOKIES):
    return [(b"Set-Cookie", line) for line in names]


class Site:
    """Wraps applications under one policy; what they keep goes below `directory`."""

    def __init__(self, place: Path) -> None:
        self.policy = place / "policy.toml"
        self.directory = place / "consent-data"

    def __call__(self, app, **options):
        return ConsentMiddleware(app, policy=self.policy, secret_keys=[KEY], **options)


def exchange(app, *args, incoming=(), **more):
    """Run one exchange and stop the drain, so that all of it is in the store."""

    async def run():
        try:
            return await drive(app, scope(*args, **more), incoming)
        finally:
            await app.runtime.drain.stop()

    return asyncio.run(run())


def records(directory: Path, kind: str):
    """Return (purpose, clear fields, sealed fields) of every record of a kind, oldest first."""

    async def read():
        store = SQLiteStore(directory / "consent.sqlite3")
        await store.open()
        rows = await store.fetch(Query(kinds=frozenset((kind,))))
        await store.close()
        return rows

    sealer = Sealer.of_site(Places(directory))
    return [
        (r.purpose, dict(r.data), msgspec.msgpack.decode(sealer.open(r)) if r.ring else {}) for r in asyncio.run(read())
    ]
