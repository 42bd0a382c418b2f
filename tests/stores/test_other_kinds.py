"""Records of kinds that are none of ours: no query finds them, so stores count them for the checks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.postgres import PostgresServer

from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.other_kinds import others
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.split import SplitStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.sample_records import NOON, VISITS, make_record

KINDS = frozenset(("visit", "event"))


async def strangers(store: Store) -> tuple[int, int]:
    """Keep visits and something else, of many days; return how many are counted, and how many with that known too."""
    await store.open()
    batch = [make_record(n, at=NOON.replace(day=1 + n % 20), kind="visit" if n % 2 else "visot") for n in range(40)]
    await store.append(batch)
    counts = await others(store, KINDS), await others(store, KINDS | {"visot"})
    assert len(await store.fetch(VISITS)) == 20
    await store.close()
    return counts


@pytest.mark.parametrize(
    "store_at",
    [
        SQLiteStore,
        lambda path: OpenedStore(SQLiteStore(path)),
        lambda path: JoinedStore(OpenedStore(MemoryStore()), SQLiteStore(path), path.with_name("move")),
        lambda path: SplitStore(SQLiteStore(path), MemoryStore()),
    ],
    ids=["sqlite", "opened", "joined", "split"],
)
def test_what_is_of_no_kind_of_ours_is_counted(store_at: Callable[[Path], Store], tmp_path: Path) -> None:
    store = store_at(tmp_path / "records.sqlite3")
    if isinstance(store, JoinedStore):
        asyncio.run(strangers(SQLiteStore(tmp_path / "records.sqlite3")))
        assert asyncio.run(others(store, KINDS)) == 20
    else:
        assert asyncio.run(strangers(store)) == (20, 0)


def test_postgresql_counts_it_too(postgres: PostgresServer) -> None:
    assert asyncio.run(strangers(PostgresStore(postgres.url(), schema=f"test_{uuid4().hex[:12]}"))) == (20, 0)


def test_a_purpose_that_is_no_text_is_found_by_no_query_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite3"
    asyncio.run(strangers(SQLiteStore(path)))
    with closing(sqlite3.connect(path)) as database, database:
        changed = "UPDATE records SET purpose = CAST(x'e1' AS TEXT) WHERE id = (SELECT min(id) FROM records)"
        assert database.execute(changed).rowcount == 1

    async def counted(store: SQLiteStore) -> int:
        await store.open()
        count = await others(store, KINDS | {"visot"})
        await store.close()
        return count

    assert asyncio.run(counted(SQLiteStore(path))) == 1


def test_a_store_that_cannot_tell_counts_none() -> None:
    assert asyncio.run(strangers(MemoryStore())) == (0, 0)
