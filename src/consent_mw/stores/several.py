"""Several stores that look like one: each host appends to one of them, and everything is read from all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from consent_mw.records import Query, Record
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.merging import merged
from consent_mw.stores.other_kinds import others
from consent_mw.stores.store_clock import store_now
from consent_mw.stores.subjects import tokens_at_once

_T = TypeVar("_T")


class SeveralStores:
    """
    The store contract over several stores, none of which knows of the others. Each verb is atomic in each store, not
    over all. An append needs the first one only. A fetch or a delete that cannot reach one of them fails: part of the
    records must not pass for all of them.

    Args:
        stores: Each opens itself, as an `OpenedStore` does. The first one takes what this host appends. Every host has
            to name all of them.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self._all = stores
        self._mine = stores[0]

    async def open(self) -> None:
        """Open the first. Raises as `Store.open`."""
        await self._mine.open()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records` in the first. Raises as `Store.append`."""
        await self._mine.append(records, durable=durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """As `Store.fetch`, from all."""
        pages = await at_once(
            store.fetch(query, after=after, limit=limit, newest_first=newest_first) for store in self._all
        )
        return list(islice(merged(pages, newest_first=newest_first), limit))

    async def delete(self, query: Query) -> int:
        """Delete every record that matches, in all at once and beside one that fails; return how many they were."""
        return sum(await at_once(store.delete(query) for store in self._all))

    @property
    def tokens_at_once(self) -> int:
        """As `Searching.tokens_at_once`: the smallest number."""
        return min(map(tokens_at_once, self._all))

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`, in all."""
        return sum(await at_once(others(store, kinds) for store in self._all))

    async def now(self) -> datetime | None:
        """As `Timed.now`: the first one's. Raises as `Store.fetch`."""
        return await store_now(self._mine)

    def archive(self) -> Store | None:
        """As `Archiving.archive`: the first one's, which every host names."""
        return archive_beside(self._mine)

    async def close(self) -> None:
        """Close all; the next use opens them again."""
        async with AsyncExitStack() as closing:
            for store in self._all:
                closing.push_async_callback(store.close)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """Give True to the holder of `name` in all of them. Raises as `Store.open`."""
        async with AsyncExitStack() as leases:
            yield all([await leases.enter_async_context(lease(store, name)) for store in self._all])


async def at_once(calls: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Make all calls at the same time, and return what each returns. The first error is raised when all have ended."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return [result for result in done if not isinstance(result, BaseException)]
