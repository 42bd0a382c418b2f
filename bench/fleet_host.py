"""A host of a measured fleet: a process of its own that asks itself, drains when told, and says what that took."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.policies import POLICY

from bench.lived import Browser, handed_over
from bench.site import HEADERS, SECRET
from consent_mw import Choice, ConsentMiddleware, get_consent
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.kinds import EVENT
from consent_mw.records import Query
from consent_mw.stores.pages import pages
from consent_mw.testing.driver import body, drive, http_scope, lifespan

__all__ = ["Host", "Taken"]

#: Distinct ones of each host, so that tokens fall all over their index.
VISITORS: Final = 2_000
UNNUMBERED: Final = -1
_decode: Final = msgspec.msgpack.Decoder(dict[str, Any]).decode
_spawn = multiprocessing.get_context("spawn")


class Taken(NamedTuple):
    """What some work of a host led to, and what it took: of the processor in all threads, and by the clock."""

    result: Any
    core_seconds: float
    seconds: float


class Host:
    """The process, as the one that began it sees it. `ask` begins some work of `_Served`, and `taken` waits for it."""

    def __init__(self, directory: Path, store: str, logs: Sequence[str]) -> None:
        directory.mkdir()
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, directory, store, list(logs)), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, work: str, *words: Any) -> None:
        """Let it begin."""
        self._pipe.send((work, words))

    def taken(self) -> Taken:
        """Return what it took, when it is done. Raises EOFError where the process has ended."""
        taken: Taken = self._pipe.recv()
        return taken

    def do(self, work: str, *words: Any) -> Taken:
        """Let it do that, and return what it took."""
        self.ask(work, *words)
        return self.taken()

    def end(self) -> None:
        """End it in order, so that no connection stays at the server."""
        if self._process.is_alive():
            self._pipe.send(None)
        self._process.join(30)
        self._process.kill()


def _serve(pipe: Connection, directory: Path, store: str, logs: list[str]) -> None:
    logging.getLogger("consent_mw").setLevel(logging.ERROR)  # that hosts join is known
    asyncio.run(_until_ended(pipe, _Served(directory, store, logs)))


async def _until_ended(pipe: Connection, served: _Served) -> None:
    async with lifespan(served.app):
        while asked := await asyncio.to_thread(pipe.recv):  # meanwhile the host does what it does by itself
            work, words = asked
            began, worked = time.perf_counter(), time.process_time()
            result = await getattr(served, work)(*words)
            pipe.send(Taken(result, time.process_time() - worked, time.perf_counter() - began))


class _Served:
    def __init__(self, directory: Path, store: str, logs: list[str]) -> None:
        (directory / "policy.toml").write_text(POLICY)
        self.app = ConsentMiddleware(
            Starlette(routes=[Route("/search", _search)]),
            policy=directory / "policy.toml",
            secret_keys=[SECRET],
            directory=directory / "data",
            store=store,
            log_store=logs or None,
            drain=False,  # until it is told
        )
        self._visitors = [_headers() for _ in range(VISITORS)]

    async def ready(self) -> None:
        """Nothing, once it serves."""

    async def answer(self, first: int, count: int) -> None:
        """Answer so many requests of many visitors, each of which becomes two visits and an event with its number."""
        for number in range(first, first + count):
            headers = self._visitors[number % VISITORS]
            done = await drive(self.app, http_scope("/search", headers=headers, query_string=b"n=%d" % number), body())
            if done.status != 200:
                raise RuntimeError(f"request {number}: {done.status}, {done.error!r}")
            await asyncio.sleep(0)  # as a server does between requests

    async def drain(self) -> int:
        """Move everything to the store, and return how many records that were."""
        before = self.app.runtime.drain.handed_over
        await handed_over(self.app)
        return self.app.runtime.drain.handed_over - before

    async def missing_and_twice(self, answered: int) -> tuple[int, int]:
        """Return of how many of the answered requests the store has no event, and how many events it has twice."""
        query, sealer = Query(kinds=frozenset((EVENT,)), purposes=frozenset(("analytics",))), self.app.runtime.sealer
        seen: Counter[int] = Counter()
        async for page in pages(self.app.runtime.store, query):
            seen.update(_decode(sealer.open(record))["event.results"] for record in page)
        numbers = seen.keys() - {UNNUMBERED}
        return len(set(range(answered)) - numbers), sum(seen[number] - 1 for number in numbers)

    async def choose(self, count: int) -> dict[str, str]:
        """Let so many visitors choose, each of whom gets a receipt. Return the cookies of the last."""
        browser = Browser(self.app)
        for _ in range(count):
            browser = Browser(self.app)
            await browser.post("/consent/choice", choice="accept")
        return browser.cookies

    async def visit(self, cookies: Mapping[str, str], times: int) -> None:
        """Let a visitor come so many times."""
        browser = Browser(self.app, cookies=cookies)
        for _ in range(times):
            await browser.get("/search")

    async def my_data(self, cookies: Mapping[str, str]) -> int:
        """Show a visitor their data, and return how many records of an event are in it."""
        page = await Browser(self.app, cookies=cookies).get("/consent/my-data", as_json=True)
        return sum(row["kind"] == "event" for part in json.loads(page)["held"] for row in part["records"])


async def _search(request: Request) -> PlainTextResponse:
    get_consent(request).record_event("search", results=int(request.query_params.get("n", UNNUMBERED)))
    return PlainTextResponse("found")


def _headers() -> list[tuple[bytes, bytes]]:
    """Return what the browser of a visitor who allowed all but marketing sends."""
    purposes = {"functional": True, "analytics": True, "marketing": False}
    today, receipt = datetime.now(UTC).date(), secrets.token_urlsafe(16)
    consent = Consent(choice=Choice.PROMPT, revision=1, given_on=today, purposes=purposes, receipt=receipt)
    headers = HEADERS | {"Cookie": f"theme=dark; consent={ConsentCookie([SECRET]).sign(consent)}"}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
