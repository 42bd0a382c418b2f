"""A store that opens itself at its first use, and again after an error or a close."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from consent_mw.exceptions import StoreUnavailable
from consent_mw.records import Query, Record
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.other_kinds import others
from consent_mw.stores.store_clock import Timed, store_now
from consent_mw.stores.subjects import tokens_at_once


class OpenedStore:
    """
    The same five verbs over another store. Requests, drain and pages share it. None of them has to know which came
    first, whether the server speaks lifespan, or that the database went away and came back.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_open = False

    async def open(self) -> None:
        """Open the store unless it is open. Raises as `Store.open`."""
        if not self._is_open:
            await self._store.open()
            self._is_open = True

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """As `Store.append`."""
        await self.open()
        try:
            await self._store.append(records, durable=durable)
        except StoreUnavailable:
            await self.close()
            raise

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """As `Store.fetch`."""
        await self.open()
        return await self._store.fetch(query, after=after, limit=limit, newest_first=newest_first)

    async def delete(self, query: Query) -> int:
        """As `Store.delete`."""
        await self.open()
        return await self._store.delete(query)

    @property
    def tokens_at_once(self) -> int:
        """As `Searching.tokens_at_once`."""
        return tokens_at_once(self._store)

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`."""
        await self.open()
        return await others(self._store, kinds)

    async def now(self) -> datetime | None:
        """As `Timed.now`. Raises as `Store.open`."""
        if not isinstance(self._store, Timed):
            return None
        await self.open()
        return await store_now(self._store)

    def archive(self) -> Store | None:
        """As `Archiving.archive`."""
        return archive_beside(self._store)

    async def close(self) -> None:
        """Close the store. The next use opens it again."""
        if self._is_open:
            self._is_open = False
            await self._store.close()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """As `Leasing.lease`. Raises as `Store.open`."""
        await self.open()
        async with lease(self._store, name) as mine:
            yield mine
