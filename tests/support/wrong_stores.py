"""Stores that break one promise each: `StoreSuite` has to find them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from consent_mw.exceptions import StoreError
from consent_mw.records import Query, Record, time_of
from consent_mw.stores.pages import pages
from consent_mw.stores.sqlite import SQLiteStore


class InPieces(SQLiteStore):
    """Each record is appended and deleted for itself, so that a crash leaves some."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        for record in records:
            await super().append([record], durable=durable)

    async def delete(self, query: Query) -> int:
        rows = [record async for page in pages(self, query) for record in page]
        return sum(
            [await super(InPieces, self).delete(Query(kinds=query.kinds, ids=frozenset({row.id}))) for row in rows]
        )


class RaisesItsDriversErrors(SQLiteStore):
    """What its driver raises reaches the caller as it is."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        try:
            return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        except StoreError as error:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.") from error


class TiesUnsorted(SQLiteStore):
    """Records of one millisecond come as they were written."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        return sorted(
            page, key=lambda record: (time_of(record.id), record.sealed, -record.id.int), reverse=newest_first
        )


class MillisecondsOnly(SQLiteStore):
    """Of the ends of a span it drops what is less than a millisecond."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        since = query.since and query.since.replace(microsecond=query.since.microsecond // 1000 * 1000)
        query = replace(query, since=since)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class SortsWhatItIsGiven(SQLiteStore):
    """The caller's list is in another order after an append."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if isinstance(records, list):
            records.sort(key=lambda record: record.id)
        await super().append(records, durable=durable)


class ErasesOneTooMany(SQLiteStore):
    """The record right behind a span goes with it, and is not counted."""

    async def delete(self, query: Query) -> int:
        count = await super().delete(query)
        if query.until is not None:
            behind = await self.fetch(Query(kinds=query.kinds, since=query.until), limit=1)
            await super().delete(Query(kinds=query.kinds, ids=frozenset(record.id for record in behind)))
        return count


class PagesMeet(SQLiteStore):
    """The last record of a page is the first of the next."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        after = after and UUID(int=after.int + (1 if newest_first else -1) if 0 < after.int < 2**128 - 1 else after.int)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class CommitsLate(SQLiteStore):
    """An append returns while another connection cannot see it yet."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self._late = asyncio.ensure_future(self._later(list(records), durable))

    async def _later(self, records: Sequence[Record], durable: bool) -> None:
        await asyncio.sleep(0.01)
        await super().append(records, durable=durable)


class DeletesLate(SQLiteStore):
    """It counts at once, and deletes afterwards."""

    async def delete(self, query: Query) -> int:
        count = len([record async for page in pages(self, query) for record in page])
        self._late = asyncio.ensure_future(self._later(query))
        return count

    async def _later(self, query: Query) -> None:
        await asyncio.sleep(0.01)
        await super().delete(query)


class ClosesEarly(SQLiteStore):
    """What is on its way when it is closed is dropped, and its caller told that it was kept."""

    closed = False

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await asyncio.sleep(0.01)
        if not self.closed:
            await super().append(records, durable=durable)

    async def close(self) -> None:
        self.closed = True
        await super().close()


class OneTaskAtATime(SQLiteStore):
    """What one task asks is kept where the next one writes it, too."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self._query = query
        await asyncio.sleep(0)
        return await super().fetch(self._query, after=after, limit=limit, newest_first=newest_first)


class BlocksInDelete(SQLiteStore):
    """Deleting alone is done on the loop."""

    async def delete(self, query: Query) -> int:
        session = self._session
        assert session is not None
        deleting = session.thread.submit(self._with_store_errors, self._connected, session, self._delete, query)
        return int(deleting.result())
