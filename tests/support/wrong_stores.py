"""Stores that break one promise each: `StoreSuite` has to find them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from uuid import UUID

from consent_mw.exceptions import StoreError
from consent_mw.records import Query, Record
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
