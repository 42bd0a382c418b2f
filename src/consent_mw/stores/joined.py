"""A site's store and its earlier one, joined into one store until the earlier one is empty."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

from consent_mw.kinds import PENDING
from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.merging import merged
from consent_mw.stores.move import Move
from consent_mw.stores.other_kinds import others
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.store_clock import store_now
from consent_mw.stores.subjects import tokens_at_once

__all__ = ["JoinedStore"]

#: Looked for on its own, in requests of any visitor, and kept for minutes only: an older store must not delay that.
_NEVER_OLD: Final = frozenset({PENDING})


class JoinedStore:
    """
    The store contract over two stores, of which the older one gets nothing new. Records are found, erased, restricted
    and destroyed in both. Each verb is atomic in each store, not over both.

    Args:
        older: Opened at its first use, and again after an error. While it cannot be reached, every call that needs it
            fails.
        journal: The file of the `Move` from the older one, which may be running at any time.
    """

    def __init__(self, store: Store, older: Store, journal: Path) -> None:
        self._store = store
        self._older = OpenedStore(older)
        self._move = Move(self._older, store, journal)

    async def open(self) -> None:
        """Open the store. Raises as `Store.open`."""
        await self._store.open()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records` in the newer store. Raises as `Store.append`."""
        await self._store.append(records, durable=durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """As `Store.fetch`, from both."""
        stores = [self._store] if query.kinds <= _NEVER_OLD else [self._older, self._store]
        pages = [await store.fetch(query, after=after, limit=limit, newest_first=newest_first) for store in stores]
        return list(islice(merged(pages, newest_first=newest_first), limit))

    async def delete(self, query: Query) -> int:
        """Delete every record that matches, in one store after the other, and return how many they were."""
        if query.kinds <= _NEVER_OLD:
            return await self._store.delete(query)
        async with self._move.alone():
            return await self._older.delete(query) + await self._store.delete(query)

    @property
    def tokens_at_once(self) -> int:
        """As `Searching.tokens_at_once`: the smaller number of the two."""
        return min(tokens_at_once(self._store), tokens_at_once(self._older))

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`, in both."""
        return await others(self._older, kinds) + await others(self._store, kinds)

    async def now(self) -> datetime | None:
        """As `Timed.now`: the newer store's. Raises as `Store.fetch`."""
        return await store_now(self._store)

    async def close(self) -> None:
        """Close both. The next use opens the older one again."""
        try:
            await self._store.close()
        finally:
            await self._older.close()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """Give True to the holder of `name` in the newer store. Only this machine uses the older one."""
        async with lease(self._store, name) as mine:
            yield mine
