"""Two stores that look like one: one holds most of the log, the other holds everything else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from uuid import UUID

import msgspec

from consent_mw.kinds import IN_LOG_STORE
from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.merging import merged
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.several import SeveralStores, at_once


class SplitStore(SeveralStores):
    """
    The store contract over two stores. Each verb is atomic in each store, not over both: an append that raises may have
    kept one part, and a fetch may read one store a moment after the other. A caller that appends again after an error,
    as the drain does, loses nothing.

    Each of the two is opened at its first use, and again after an error. While the log store cannot be reached, choices
    are still kept.

    Args:
        store: Holds receipts, requests, waiting cookies and every other kind. Records of `kinds.IN_LOG_STORE` are also
            looked for and deleted here: a site without a log store at first kept them here.
        log_store: Holds new records of those kinds.
    """

    def __init__(self, store: Store, log_store: Store) -> None:
        # The main store first: its clock counts, and a visitor's choice opens it alone.
        self._main, self._log = OpenedStore(store), OpenedStore(log_store)
        super().__init__([self._main, self._log])

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
        pages = await at_once(
            store.fetch(part, after=after, limit=limit, newest_first=newest_first) for store, part in self._parts(query)
        )
        return list(islice(merged(pages, newest_first=newest_first), limit))

    async def delete(self, query: Query) -> int:
        """Delete every record that matches, in both at once, and return how many they were."""
        return sum(await at_once(store.delete(part) for store, part in self._parts(query)))

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """
        As `SeveralStores.lease`. All hosts ask first in the store; a caller it refuses gets none of the log's.
        Those have another name: the log may be in the store's own database.
        """
        async with lease(self._main, name) as mine:
            if not mine:
                yield False
                return
            async with lease(self._log, f"{name} of the log") as also_there:
                yield also_there

    def _parts(self, query: Query) -> list[tuple[OpenedStore, Query]]:
        """Return the stores that may hold what the query means, each with its part of the query."""
        parts = [(self._log, query.kinds & IN_LOG_STORE), (self._main, query.kinds)]
        return [(store, msgspec.structs.replace(query, kinds=kinds)) for store, kinds in parts if kinds]
