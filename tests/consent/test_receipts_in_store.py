"""With receipts="store" nobody reads that something is saved which would be gone with the disk of this machine."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Message
from consent_mw.exceptions import ConfigurationError, StoreUnavailable
from consent_mw.records import Record
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.site import LivingSite


async def home(_: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


class Elsewhere(SQLiteStore):
    """A store that outlives the data directory, and may be away."""

    away: bool | int = False  # or how many more attempts fail

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if self.away:
            self.away = self.away if self.away is True else self.away - 1
            raise StoreUnavailable("the store is away")
        await super().append(records, durable=durable)


@pytest.fixture
def store(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path / "elsewhere.sqlite3")


@pytest.fixture
def site(tmp_path: Path, store: Elsewhere) -> Generator[LivingSite]:
    (tmp_path / "site").mkdir()
    app = Starlette(routes=[Route("/", home)])
    with LivingSite(app, policy=POLICY, directory=tmp_path / "site", store=store, receipts="store") as site:
        yield site


def sends(site: LivingSite, page: str, **fields: str) -> int:
    """What somebody new is answered."""
    visitor = site.visitor()
    headers = {"Accept": "application/json", "Origin": str(visitor.base_url).rstrip("/")}
    return visitor.post(f"/consent/{page}", data=fields, headers=headers).status_code


def chooses(site: LivingSite, choice: str) -> int:
    return sends(site, "choice", choice=choice)


@pytest.mark.parametrize(("receipts", "kept"), [("store", 1), ("disk", 0)])
def test_an_acceptance_is_in_the_store_when_it_is_said_to_be_saved(
    receipts: Literal["store", "disk"], kept: int, tmp_path: Path, store: Elsewhere
) -> None:
    app = Starlette(routes=[Route("/", home)])
    with LivingSite(app, policy=POLICY, directory=tmp_path, store=store, receipts=receipts) as site:
        assert chooses(site, "accept") == 200
        with closing(sqlite3.connect(store.path)) as connection:  # nothing was handed over
            (count,) = connection.execute("SELECT count(*) FROM records").fetchone()
    assert count == kept


def test_while_the_store_is_away_no_acceptance_is_taken_and_a_refusal_holds(site: LivingSite, store: Elsewhere) -> None:
    store.away = True
    assert chooses(site, "accept") == 503
    assert chooses(site, "reject") == 200
    store.away = False
    site.settle()
    assert [record.data["consent.choice"] for record in site.records("receipt")] == ["reject"]
    assert chooses(site, "accept") == 200


def test_a_request_is_in_the_store_when_it_is_said_to_be_received(site: LivingSite, store: Elsewhere) -> None:
    asked = {"action": "ask", "kind": "access", "email": "kim@example.com", "message": "what do you hold?"}
    store.away = True
    assert sends(site, "my-data", **asked) == 503
    store.away = False
    assert sends(site, "my-data", **asked) == 200
    assert len(site.records("request")) == 1


def test_another_place_than_these_two_is_refused(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/", home)])
    with pytest.raises(ConfigurationError, match='write receipts="disk" or "store"'):
        LivingSite(app, policy=POLICY, directory=tmp_path, receipts="cloud")


@pytest.mark.parametrize("away", [False, True, 3])
def test_a_shut_down_that_leaves_records_on_a_disk_that_may_go_fails_and_says_how_many(
    away: bool | int, tmp_path: Path, store: Elsewhere
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)

    async def life() -> Message:
        site = ConsentMiddleware(
            Starlette(routes=[Route("/", home)]),
            policy=tmp_path / "policy.toml",
            secret_keys=["k" * 32],
            store=store,
            receipts="store",
        )
        sent: asyncio.Queue[Message] = asyncio.Queue()
        asked: asyncio.Queue[Message] = asyncio.Queue()
        task = asyncio.ensure_future(site({"type": "lifespan"}, asked.get, sent.put))
        asked.put_nowait({"type": "lifespan.startup"})
        await sent.get()
        await drive(site, scope("/"))
        store.away = away
        asked.put_nowait({"type": "lifespan.shutdown"})
        ended = await sent.get()
        await task
        return ended

    ended = asyncio.run(life())
    if away is True:
        assert ended["type"] == "lifespan.shutdown.failed"
        assert re.match(r"[1-9][0-9,]* bytes of records are left in the spool", ended["message"])
    else:
        assert ended["type"] == "lifespan.shutdown.complete"
