"""The contract between this package and whatever keeps its records. Five verbs, no business rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable
from uuid import UUID

from consent_mw.records import Query, Record

__all__ = ["Store"]


@runtime_checkable
class Store(Protocol):
    """
    A place for records. Retention, rights, reports and the drain are functions over these five verbs.

    A store is opened on the event loop that uses it, and used by that loop alone. It never looks into
    `Record.data` or `Record.sealed`, and there is no update: what was appended is deleted or stays.

    Every method raises `StoreUnavailable` when the store cannot be reached now (the caller tries again),
    `SchemaError` when it holds something that is not ours or is newer than we are, and `StoreError` for the
    rest, each from the driver's own error.
    """

    async def open(self) -> None:
        """Connect, create or migrate what is missing, and refuse what is not ours. Opening twice is harmless."""
        ...

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """
        Keep all of `records`, or none. Of two records with one id the first stays, in the store and in the batch.

        On return every later `fetch`, by any process, sees them, and they survive a SIGKILL of this process.
        With `durable` they survive a power cut too; without it, the last moments before one may be lost.
        Appending again after a crash or an error is always safe.
        """
        ...

    async def fetch(self, query: Query, *, after: UUID | None = None, limit: int = 1000) -> Sequence[Record]:
        """
        Return at most `limit` records that match, in order of id (as 16 bytes, which is order of time), from the
        one after `after`. Fewer than `limit` means that there are no more now.
        """
        ...

    async def delete(self, query: Query) -> int:
        """
        Delete every record that matches, at once and as a whole, and return how many they were.

        Two callers never both count the same record: a return of 1 for a single id claims it.
        No later `fetch` returns them. A crash before the return leaves either all of them or none.
        """
        ...

    async def close(self) -> None:
        """Release the connection. What was appended stays. Closing twice is harmless."""
        ...
