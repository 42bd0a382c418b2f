"""A site's store and its earlier one, joined into one store until the earlier one is empty."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

from consent_mw.kinds import PENDING
from consent_mw.records import Query, Record
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.merging import merged
from consent_mw.stores.move import Move
from consent_mw.stores.other_kinds import others
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.several import SeveralStores

#: Looked for on its own, in requests of any visitor, and kept for minutes only: an older store must not delay that.
_NEVER_OLD: Final = frozenset({PENDING})


class JoinedStore(SeveralStores):
    """
    The store contract over two stores, of which the older one gets nothing new. Records are found, erased, restricted
    and destroyed in both. Each verb is atomic in each store, not over both.

    Args:
        store: Opens itself.
        older: Opened at its first use, and again after an error. While it cannot be reached, every call that needs it
            fails.
        journal: The file of the `Move` from the older one, which may be running at any time.
    """

    def __init__(self, store: Store, older: Store, journal: Path) -> None:
        self._store, self._older = store, OpenedStore(older)
        super().__init__([store, self._older])
        self._move = Move(self._older, store, journal)

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

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`, in both. What moves meanwhile may count twice, and never not at all."""
        return await others(self._older, kinds) + await others(self._store, kinds)

    def archive(self) -> Store | None:
        """As `Archiving.archive`. Where the newer store has none, that of the older one stays the site's."""
        return archive_beside(self._store) or archive_beside(self._older)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """Give True to the holder of `name` in the newer store. Only this machine uses the older one."""
        async with lease(self._store, name) as mine:
            yield mine
