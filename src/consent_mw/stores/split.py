"""Two stores that look like one: one holds most of the log, the other holds everything else."""

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
    The store contract over two stores. Each verb is atomic in each store, not over both: an append that raises may have
    kept one part, and a fetch reads one store a moment after the other. A caller that appends again after an error, as
    the drain does, loses nothing.

    Each of the two is opened at its first use, and again after an error. While the log store cannot be reached, choices
    are still kept.

    Args:
        store: Holds receipts, requests, waiting cookies and every other kind. Records of `kinds.IN_LOG_STORE` are also
            looked for and deleted here: a site without a log store at first kept them here.
        log_store: Holds new records of those kinds.
    """

    def __init__(self, store: Store, log_store: Store) -> None:
        self._main = OpenedStore(store)
        self._log = OpenedStore(log_store)

    async def open(self) -> None:
        """Open the main store only: a visitor's choice must not wait for the log store. Raises as `Store.open`."""
        await self._main.open()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records`: first those outside the log, then the log's. Raises as `Store.append`."""
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
        """As `Searching.tokens_at_once`: the smaller number of the two."""
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
        """Give True to the holder of `name` in both stores, if they have leases."""
        async with lease(self._main, name) as main, lease(self._log, name) as log:
            yield main and log

    def _parts(self, query: Query) -> list[tuple[OpenedStore, Query]]:
        """Return the stores that may hold what the query means, each with its part of the query."""
        parts = [(self._log, query.kinds & IN_LOG_STORE), (self._main, query.kinds)]
        return [(store, msgspec.structs.replace(query, kinds=kinds)) for store, kinds in parts if kinds]
