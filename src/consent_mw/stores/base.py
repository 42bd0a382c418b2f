"""The contract between this package and anything that keeps its records. Five verbs, no business rules."""

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

    A store is opened on the event loop that uses it, after any fork, and only that loop uses it. Several tasks of the
    loop may use it at once, and other stores, of this process or of others, may use the same place. It never looks into
    `Record.data` or `Record.sealed`. There is no update: a record that was appended stays, or is deleted.

    A store gets: an id of 16 bytes, version 7; `kind`, `purpose` and `ring`, names of at most 100 characters without
    control characters, a few dozen different ones in all; `subject`, any bytes, at most 64; `sealed`, any bytes, also
    none; `data`, which holds text (any that UTF-8 can carry, so NUL but no lone surrogate), integers of 64 bits with
    sign, finite floats, booleans and None. Everything comes back equal.

    Every method raises `StoreUnavailable` when the store cannot be reached now (the caller tries again), `SchemaError`
    when the place holds something that is not ours or that a newer version wrote, and `StoreError` for the rest, each
    `from` the driver's own error.

    A cancelled call has happened completely or not at all, and the store stays usable.
    """

    async def open(self) -> None:
        """
        Connect, create or migrate what is missing, and refuse what is not ours. Harmless when called twice.

        Raises:
            SchemaError: The place holds something else, or was written by a newer version. It is unchanged, to the
                byte.
        """
        ...

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """
        Keep all of `records`, or none. Of two records with the same id the first stays, in the store and in the batch.

        On return every later `fetch`, by any process, sees them, and they survive a SIGKILL of this process. With
        `durable` they survive a power cut too. Without it, a power cut may take the records of the last moments. After
        a crash or an error it is always safe to append again.
        """
        ...

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """
        Return at most `limit` records that match, in order of id (as 16 bytes, which is order of time). They start
        after `after`, which need not exist (any more). Fewer than `limit` means that there are no more now.

        With `newest_first` the order is reversed, and the page after `after` holds smaller ids than `after`.

        All of them were in the store at one instant during the call. Memory and time depend on `limit`, not on what is
        stored.
        """
        ...

    async def delete(self, query: Query) -> int:
        """
        Delete every record that matches, in one step, and return how many there were.

        Two callers never both count the same record: a return of 1 for a single id claims it. No later `fetch` returns
        them. A crash before the return leaves either all of them or none. After the return they stay deleted, also
        after a power cut. The id may be appended again, as a new record.
        """
        ...

    async def close(self) -> None:
        """Release the connection. Records stay. It is harmless to close twice, and to open again."""
        ...


def first_id(instant: datetime) -> UUID:
    """
    Return the smallest id whose time is not before `instant`.

    So `since` means `id >= first_id(since)` and `until` means `id < first_id(until)`.

    Raises:
        TypeError: `instant` has no time zone.
    """
    # An id counts whole milliseconds. An instant between two of them counts as the next one.
    milliseconds = max(0, -((EPOCH - instant) // _MILLISECOND))
    return UUID(int=milliseconds << 80)


def matches(query: Query, record: Record) -> bool:
    """Whether `query` means `record`: the conditions in Python, for stores without an index."""
    return (
        record.kind in query.kinds
        and (query.purposes is None or record.purpose in query.purposes)
        and (query.subjects is None or record.subject in query.subjects)
        and (query.ids is None or record.id in query.ids)
        and (query.since is None or time_of(record.id) >= query.since)
        and (query.until is None or time_of(record.id) < query.until)
    )


def is_after(record_id: UUID, after: UUID | None, newest_first: bool) -> bool:
    """Whether `fetch` reaches an id after it reached `after`. With None it reaches every id."""
    return after is None or (record_id < after if newest_first else record_id > after)
