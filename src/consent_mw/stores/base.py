"""The contract between this package and whatever keeps its records. Five verbs, no business rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from uuid import UUID

from consent_mw.records import Query, Record, time_of
from consent_mw.system.days import EPOCH

__all__ = ["Store", "first_id", "is_after", "matches"]

_MILLISECOND = timedelta(milliseconds=1)


@runtime_checkable
class Store(Protocol):
    """
    A place for records. Retention, rights, reports and the drain are functions over these five verbs.

    A store is opened on the event loop that uses it, after any fork, and used by that loop alone; several
    tasks of the loop may use it at once, and other stores, of this process or of others, may hold the same
    place. It never looks into `Record.data` or `Record.sealed`, and there is no update: what was appended is
    deleted or stays.

    What a store is given: an id of 16 bytes, version 7; `kind`, `purpose` and `ring` are names of at most
    100 characters without control characters, a few dozen different ones in all; `subject` at most 64
    bytes, any; `sealed` any bytes, also none; `data` holds text (any that UTF-8 can carry, so NUL but no
    lone surrogate), integers of 64 bits with sign, finite floats, booleans and None, and comes back equal.

    Every method raises `StoreUnavailable` when the store cannot be reached now (the caller tries again),
    `SchemaError` when it holds something that is not ours or is newer than we are, and `StoreError` for the
    rest, each `from` the driver's own error.

    A call that is cancelled has happened as a whole or not at all, and the store stays usable.
    """

    async def open(self) -> None:
        """
        Connect, create or migrate what is missing, and refuse what is not ours. Opening twice is harmless.

        Raises:
            SchemaError: The place holds something else, or was written by a newer version. Not a byte of it changed.
        """
        ...

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """
        Keep all of `records`, or none. Of two records with one id the first stays, in the store and in the batch.

        On return every later `fetch`, by any process, sees them, and they survive a SIGKILL of this process.
        With `durable` they survive a power cut too; without it, the last moments before one may be lost.
        Appending again after a crash or an error is always safe.
        """
        ...

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """
        Return at most `limit` records that match, in order of id (as 16 bytes, which is order of time), from the
        one after `after`, which need not exist (any more). Fewer than `limit` means that there are no more now.

        With `newest_first` the order is the reverse one, and the page after `after` holds smaller ids than it.

        All were in the store at one instant during the call. Memory and time follow `limit`, never what is stored.
        """
        ...

    async def delete(self, query: Query) -> int:
        """
        Delete every record that matches, at once and as a whole, and return how many they were.

        Two callers never both count the same record: a return of 1 for a single id claims it.
        No later `fetch` returns them. A crash before the return leaves either all of them or none; after the
        return they stay deleted, after a power cut too. The id may be appended again, as a new record.
        """
        ...

    async def close(self) -> None:
        """Release the connection. What was appended stays. Closing twice is harmless, and so is opening again."""
        ...


def first_id(instant: datetime) -> UUID:
    """
    Return the smallest id whose time is not before `instant`.

    So `since` means `id >= first_id(since)` and `until` means `id < first_id(until)`.

    Raises:
        TypeError: `instant` has no time zone.
    """
    # An id counts whole milliseconds: what lies between two of them is before the next one.
    milliseconds = max(0, -((EPOCH - instant) // _MILLISECOND))
    return UUID(int=milliseconds << 80)


def matches(query: Query, record: Record) -> bool:
    """Tell whether `query` means `record`: the conditions in words of Python, for stores without an index."""
    return (
        record.kind in query.kinds
        and (query.purposes is None or record.purpose in query.purposes)
        and (query.subjects is None or record.subject in query.subjects)
        and (query.ids is None or record.id in query.ids)
        and (query.since is None or time_of(record.id) >= query.since)
        and (query.until is None or time_of(record.id) < query.until)
    )


def is_after(record_id: UUID, after: UUID | None, newest_first: bool) -> bool:
    """Tell whether `fetch` comes to an id after it came to `after`; with None it comes to every one."""
    return after is None or (record_id < after if newest_first else record_id > after)
