"""Large answers of a store: everything is there once, and a search for a person does not begin again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from tests.support.spooled import clear_records

from consent_mw.records import Query, Record
from consent_mw.stores.pages import every, pages
from consent_mw.stores.sqlite import SQLiteStore

_VISITS = Query(kinds=frozenset(("visit",)))


class CountingStore(SQLiteStore):
    """Counts how often it is asked."""

    asked = 0

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self.asked += 1
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


def test_what_is_held_whole_is_asked_for_once(tmp_path: Path) -> None:
    async def work() -> None:
        store, records = CountingStore(tmp_path / "a.sqlite3"), clear_records(2_500)
        await store.open()
        await store.append(records)
        assert [record.id for record in await every(store, _VISITS)] == [record.id for record in records]
        assert store.asked == 1
        assert [len(page) async for page in pages(store, _VISITS)] == [1_000, 1_000, 500]
        assert [len(page) async for page in pages(store, _VISITS, size=1_250)] == [1_250, 1_250]
        await store.close()

    asyncio.run(work())
