"""Records in a dictionary: for tests and demonstrations. Nothing survives the process, `durable` or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest, nsmallest
from operator import attrgetter
from threading import Lock
from uuid import UUID

from consent_mw.records import Query, Record
from consent_mw.stores.base import is_after, matches

__all__ = ["MemoryStore"]


class MemoryStore:
    """
    The store contract in memory: everything is lost with the object, and no other process sees it.

    So a receipt kept here is no proof after a restart. `close` keeps the records for a later `open` of the same object.
    Any thread and any number of loops may use it. Each verb looks at every record, so the cost follows the number of
    records: fine for some ten thousand.
    """

    def __init__(self) -> None:
        self._records: dict[UUID, Record] = {}
        # Threads may share the object. No verb waits for anything while it holds the lock.
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._records)} records>"

    async def open(self) -> None:
        """Do nothing: there is no place to connect to."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records`; the first of an id stays. `durable` has no effect: memory is never durable."""
        with self._lock:
            for record in records:
                self._records.setdefault(record.id, record)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """Return at most `limit` records that match, in order of id or its reverse, from the one after `after`."""
        first = nlargest if newest_first else nsmallest
        with self._lock:
            rest = (record for record in self._meant(query) if is_after(record.id, after, newest_first))
            return first(limit, rest, key=attrgetter("id"))

    async def delete(self, query: Query) -> int:
        """Delete every record that matches and return how many they were."""
        with self._lock:
            gone = list(self._meant(query))
            for record in gone:
                del self._records[record.id]
        return len(gone)

    async def close(self) -> None:
        """Do nothing: the records stay in the object."""

    def _meant(self, query: Query) -> Iterator[Record]:
        if query.ids is None:
            candidates = iter(self._records.values())
        else:
            candidates = (self._records[known] for known in query.ids if known in self._records)
        return (record for record in candidates if matches(query, record))
