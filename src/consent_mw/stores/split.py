"""Two stores that look like one: the mass of the log in one of them, everything else in the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from uuid import UUID

import msgspec

from consent_mw.kinds import IN_LOG_STORE
from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.merging import merged
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.store_clock import store_now
from consent_mw.stores.subjects import tokens_at_once

__all__ = ["SplitStore"]


class SplitStore:
    """
    The store contract over two. Each verb is atomic in each store, not over both: an append that raises may have
    kept the one part, and a fetch reads one store a moment after the other. Who appends again after an error, as
    the drain does, loses nothing.

    Each of the two is opened by its first use, and again after an error: while the log store is away, choices are
    kept.

    Args:
        store: Receipts, requests, waiting cookies and every other kind. Those of `kinds.IN_LOG_STORE` are
            looked for and deleted here too: a site that had no log store at first kept them here.
        log_store: New records of those kinds.
    """

    def __init__(self, store: Store, log_store: Store) -> None:
        self._main = OpenedStore(store)
        self._log = OpenedStore(log_store)

    async def open(self) -> None:
        """Open the main store: a visitor's choice must not wait for the log's. Raises as `Store.open`."""
        await self._main.open()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records`: first what is not of the log, then what is. Raises as `Store.append`."""
        for store, part in (
            (self._main, [record for record in records if record.kind not in IN_LOG_STORE]),
            (self._log, [record for record in records if record.kind in IN_LOG_STORE]),
        ):
            if part:
                await store.append(part, durable=durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """As `Store.fetch`, from both."""
        pages = [
            await store.fetch(part, after=after, limit=limit, newest_first=newest_first)
            for store, part in self._parts(query)
        ]
        return list(islice(merged(pages, newest_first=newest_first), limit))

    async def delete(self, query: Query) -> int:
        """Delete every record that matches, in one store after the other, and return how many they were."""
        return sum([await store.delete(part) for store, part in self._parts(query)])

    @property
    def tokens_at_once(self) -> int:
        """As `Searching.tokens_at_once`, of the narrower one."""
        return min(tokens_at_once(self._main), tokens_at_once(self._log))

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`, in both."""
        return await self._main.count_others(kinds) + await self._log.count_others(kinds)

    async def now(self) -> datetime | None:
        """As `Timed.now`: the main store's. Raises as `Store.fetch`."""
        return await store_now(self._main)

    async def close(self) -> None:
        """Close both; the next use opens them again."""
        try:
            await self._main.close()
        finally:
            await self._log.close()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """Give True to who holds `name` in both stores, where they have leases."""
        async with lease(self._main, name) as main, lease(self._log, name) as log:
            yield main and log

    def _parts(self, query: Query) -> list[tuple[OpenedStore, Query]]:
        """Return the stores that may hold what is meant, each with its part of the query."""
        parts = [(self._log, query.kinds & IN_LOG_STORE), (self._main, query.kinds)]
        return [(store, msgspec.structs.replace(query, kinds=kinds)) for store, kinds in parts if kinds]
