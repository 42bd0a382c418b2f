"""The middleware on other loops than asyncio's own: under trio, and on one that refuses to be blocked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import trio
from blockbuster import BlockingError, blockbuster_ctx
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.records import Query
from consent_mw.site.templating import our_templates
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.blocking import allow_in
from consent_mw.testing.driver import http_scope

KEY = "a key of the trials, at least 16 characters"


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/breaks":
        raise ZeroDivisionError
    get_consent(scope)
    if scope["path"] == "/text":
        cookies = [(b"set-cookie", b"surprise=1"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": cookies})
        await send({"type": "http.response.body", "body": b"x"})
        return
    cookies = [(b"set-cookie", b"theme=dark"), (b"set-cookie", b"session=1")]
    head = [(b"content-type", b"text/html; charset=utf-8"), *cookies]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"<!doctype html><title>x</title><body><h1>x</h1></body>"})


@pytest.fixture
def site(tmp_path: Path) -> ConsentMiddleware:
    (tmp_path / "policy.toml").write_text(POLICY)
    return ConsentMiddleware(shop, policy=tmp_path / "policy.toml", secret_keys=[KEY])


async def asks(site: ConsentMiddleware, path: str, form: str = "", cookies: str = "") -> tuple[int, str, list[str]]:
    """Return the status, the body and the cookies of one exchange, on any loop."""
    sent: list[Message] = []
    incoming = [{"type": "http.request", "body": form.encode(), "more_body": False}]

    async def receive() -> Message:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"shop.example"), (b"origin", b"https://shop.example"), (b"cookie", cookies.encode())]
    headers.append((b"content-type", b"application/x-www-form-urlencoded"))
    scope = http_scope(path, method="POST" if form else "GET", scheme="https", headers=headers)
    await site(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    lines = [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    return sent[0]["status"], body.decode(), [line.partition(";")[0] for line in lines]


async def visit(site: ConsentMiddleware) -> None:
    """Ask for a page, choose, ask again, look at what is kept, meet an error: each crosses to asyncio elsewhere."""
    _, page, cookies = await asks(site, "/")
    assert "/consent/" in page
    assert cookies == ["session=1"]
    _, _, prompt = await asks(site, "/consent/choice", "choice=prompt")
    _, _, waits = await asks(site, "/", cookies="; ".join(prompt))
    assert "theme=dark" not in waits
    _, settings, _ = await asks(site, "/consent/", cookies="; ".join(prompt))
    assert "theme" in settings
    _, _, accepted = await asks(site, "/consent/choice", "choice=accept", "; ".join(prompt))
    assert "theme=dark" in accepted  # what waited is delivered
    choice = next(pair for pair in accepted if pair.startswith("__Host-consent=1|"))
    assert "theme=dark" in (await asks(site, "/", cookies=choice))[2]
    assert (await asks(site, "/consent/my-data", cookies=choice))[0] == 200
    assert (await asks(site, "/consent/choice", "choice=what"))[0] == 422
    with pytest.raises(ZeroDivisionError):
        await asks(site, "/breaks")


async def kept(site: ConsentMiddleware, *kinds: str) -> int:
    store = SQLiteStore(site.runtime.places.database)
    await store.open()
    try:
        return len(await store.fetch(Query(kinds=frozenset(kinds))))
    finally:
        await store.close()


def test_a_site_serves_under_trio(site: ConsentMiddleware) -> None:
    trio.run(visit, site)
    assert not site.runtime.drain.loop or not site.runtime.drain.loop.is_running()  # it has ended with the run
    asyncio.run(site.runtime.drain.once())
    assert asyncio.run(kept(site, "receipt")) == 2


def test_nothing_of_a_request_blocks_the_loop(site: ConsentMiddleware) -> None:
    async def watched() -> None:
        with blockbuster_ctx() as detector:
            allow_in(detector)
            await visit(site)
            with pytest.raises(BlockingError):
                time.sleep(0)  # noqa: ASYNC251 - it does look

    asyncio.run(watched())


def test_the_first_page_of_each_kind_reads_its_templates_beside_the_loop(site: ConsentMiddleware) -> None:
    pages = ("", "policy", "policy.md", "cookies", "my-data", "nothing", "policy/1", "policy/9", "proof")

    async def watched() -> list[int]:
        with blockbuster_ctx() as detector:
            allow_in(detector)
            return [(await asks(site, f"/consent/{page}"))[0] for page in pages]

    our_templates.cache_clear()
    assert asyncio.run(watched()) == [200, 200, 200, 200, 200, 404, 200, 404, 200]


def test_what_is_no_page_of_html_never_waits_for_the_disk(site: ConsentMiddleware) -> None:
    async def watched() -> None:
        with blockbuster_ctx():
            for _ in range(3):
                assert (await asks(site, "/text"))[:2] == (200, "x")

    asyncio.run(watched())
    asyncio.run(site.runtime.drain.once())
    assert asyncio.run(kept(site, "visit", "gap")) == 3
