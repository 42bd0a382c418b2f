"""A site with members, what a visitor asks of the page of their data, and what became of it: shared by its tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, PersonalData, get_consent
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.records import Query, Record, Scalar
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.request import Case

KEYS = ["a key of at least 16 bytes"]
PAGE = "/consent/my-data"
FORM = (b"content-type", b"application/x-www-form-urlencoded")
OURS = (b"sec-fetch-site", b"same-origin")
JSON = (b"accept", b"application/json")
EXAMPLES = Path(__file__).parents[2] / "examples"
ERASE = (("action", "erase"), ("confirm", "yes"))


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Anything: it reports abuse, and takes consent back, where its path says so."""
    consent = get_consent(scope)
    if scope["path"] == "/abuse":
        consent.report_abuse("tried every password")
    if scope["path"] == "/withdraw":
        consent.withdraw("analytics")
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html><body>shop</body>"})


class Members(PersonalData):
    """What an application holds; `broken` makes every call fail."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Scalar]] = {"kim": {"name": "Kim", "note": "=1+1"}}
        self.broken = False

    async def read(self, sign_in: str) -> Mapping[str, Scalar]:
        if self.broken:
            raise OSError("no database")
        return self.held.get(sign_in, {})

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        if self.broken:
            raise OSError("no database")
        if item == "note":
            return False
        self.held[sign_in][item] = value
        return True

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        self.held.pop(sign_in, None)


def signed_in(scope: Scope) -> str | None:
    """The application's own session, in a header here."""
    return next((value.decode() for name, value in scope["headers"] if name == b"x-user"), None)


def site(directory: Path, text: str = POLICY, **options: Any) -> ConsentMiddleware:
    policy = directory / "policy.toml"
    policy.write_text(text, "utf-8")
    return ConsentMiddleware(page, policy=policy, secret_keys=KEYS, **options)


def body(sent: Sequence[Message]) -> str:
    return b"".join(message.get("body", b"") for message in sent).decode()


def header(sent: Sequence[Message], name: str) -> str:
    return ", ".join(value.decode() for key, value in sent[0]["headers"] if key == name.encode())


def words(sent: Sequence[Message]) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body(sent)))


async def asks(visitor: Visitor, *fields: tuple[str, str], headers: Sequence[tuple[bytes, bytes]] = (OURS,),
               **more: Any) -> list[Message]:  # fmt: skip
    """Post a form of the page, as it does without JavaScript."""
    form: list[Message] = [{"type": "http.request", "body": urlencode(fields).encode(), "more_body": False}]
    return await visitor.gets(PAGE, method="POST", headers=[FORM, *headers], incoming=form, **more)


async def reads(visitor: Visitor, sent: Sequence[Message] = (), **more: Any) -> list[Message]:
    """Open the page, or where an answer leads."""
    target = header(sent, "location") if sent else PAGE
    path, _, query = target.partition("?")
    return await visitor.gets(path, query_string=f"{query}&lang=en".encode(), **more)


async def data(visitor: Visitor, **more: Any) -> dict[str, Any]:
    """Return the whole document; a machine under load may need more than the page's patience to have all of it."""
    while True:
        document: dict[str, Any] = json.loads(body(await visitor.gets(f"{PAGE}.json", **more)))
        if document.get("complete", True):
            return document


async def handed_over(app: ConsentMiddleware) -> None:
    """Bring what was written to the store: where the application's own drain is at it, wait for that."""
    await app.runtime.drain.once()
    while app.runtime.spool.waiting_bytes:
        await asyncio.sleep(0.02)
        await app.runtime.drain.once()


async def erased(app: ConsentMiddleware) -> None:
    """Wait until every open erasure and withdrawal is done: what a visitor waits for is short."""
    await handed_over(app)
    for _ in range(1_200):
        outcome = await app.runtime.erasure.once(datetime.now(UTC))
        if not outcome.busy and not outcome.waiting:
            return
        await asyncio.sleep(0.05)
    pytest.fail("an erasure is still open after a minute")


async def cases(app: ConsentMiddleware) -> list[Case]:
    await handed_over(app)
    return await desk(app).all()


def desk(app: ConsentMiddleware) -> Desk:
    return Desk(app.runtime.store, app.runtime.sealer, kept_by_store(app.runtime.store))


async def records(app: ConsentMiddleware, *kinds: str) -> Sequence[Record]:
    await handed_over(app)
    return await app.runtime.store.fetch(Query(kinds=frozenset(kinds)))


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())
