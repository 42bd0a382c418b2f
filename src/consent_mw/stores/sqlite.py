"""Records in one SQLite file: the embedded default, for any number of processes on one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from heapq import merge
from itertools import chain, groupby, islice, product
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from uuid import UUID
from weakref import finalize

import msgspec

from consent_mw.exceptions import StoreError, StoreUnavailable
from consent_mw.records import Query, Record, Scalar, id_of, stored_record
from consent_mw.stores.base import first_id
from consent_mw.stores.sqlite_file import connect, shrink, told_plainly, transaction, truncate_wal

__all__ = ["SQLiteStore"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Row = tuple[bytes, str, str, bytes | None, str, str, bytes]  # the columns, in the order of the table
_Key = tuple[bytes] | tuple[str, str]  # subject, or kind and purpose
_Span = tuple[bytes, bytes]  # first id, and the one after the last

# Python's module releases the GIL for each step of a statement and then waits for it, up to 5 ms for each row beside a
# busy thread. With hundreds of rows in one statement this happens a hundred times less often. How many variables a
# statement may have depends on how SQLite was built: 999, or 32,766 since version 3.32.
_ROWS: Final = 500
_COLUMNS: Final = 7
_ROW: Final = f"({', '.join('?' * _COLUMNS)})"
_INSERT: Final = f"INSERT INTO records VALUES {_ROW} ON CONFLICT (id) DO NOTHING"  # noqa: S608 - constants alone

# Each statement is one search in one index, with a fixed number of variables. Python iterates over sets, so that none
# can exceed SQLite's limit for variables and every statement stays compiled.
_BY_ID: Final = "SELECT * FROM records WHERE id = ?"
_BY_SUBJECT: Final = "SELECT * FROM records WHERE subject = ? AND id >= ? AND id < ? "
_BY_PURPOSE: Final = "SELECT * FROM records WHERE kind = ? AND purpose = ? AND id >= ? AND id < ? "
_OLDEST_FIRST: Final = "ORDER BY id LIMIT ?"
_NEWEST_FIRST: Final = "ORDER BY id DESC LIMIT ?"
_COUNTED: Final = "SELECT CAST(kind AS BLOB), CAST(purpose AS BLOB), count(*) FROM records GROUP BY kind, purpose"
_DELETE_BY_ID: Final = "DELETE FROM records WHERE id = ?"
#: The kinds are one value, each between two line breaks, which no name has: a list of them is built anew for each row.
_DELETE_BY_ID_OF: Final = "DELETE FROM records WHERE id = ? AND instr(?, char(10) || kind || char(10))"
_DELETE_BY_PURPOSE: Final = "DELETE FROM records WHERE kind = ? AND purpose = ? AND id >= ? AND id < ?"

# Which of many subjects of the same length have a record. They are passed as one value, one after the other.
_IN_USE: Final = """
    WITH RECURSIVE place (at) AS (
        SELECT 1 UNION ALL SELECT at + :length FROM place WHERE at + :length < length(:subjects)
    )
    SELECT substr(:subjects, at, :length) AS one FROM place
    WHERE EXISTS (SELECT 1 FROM records WHERE subject = one AND id >= :first AND id < :behind)
"""

# The purposes of one kind. It skips from one to the next in the index; DISTINCT would read all of it.
_PURPOSES: Final = """
    WITH RECURSIVE found (purpose) AS (
        SELECT min(purpose) FROM records WHERE kind = :kind
        UNION ALL
        SELECT (SELECT min(purpose) FROM records WHERE kind = :kind AND purpose > found.purpose)
        FROM found WHERE found.purpose IS NOT NULL
    )
    SELECT purpose FROM found WHERE purpose IS NOT NULL
"""

#: A deletion of at least this many rows returns their space to the file system. A few rows leave no page empty.
_MANY: Final = 500

_BEHIND_ALL: Final = b"\xff" * 17  # bytes compare as in C: this is longer than any id

#: How Python's module reports that a text is not UTF-8.
_NO_TEXT: Final = "Could not decode to UTF-8"

_to_json = msgspec.json.Encoder()


class _Reading(NamedTuple):
    """What a `fetch` reads, and in which direction."""

    query: Query
    after: UUID | None = None
    newest_first: bool = False

    @property
    def span(self) -> _Span:
        first, behind = _span(self.query)
        if self.after is None:
            return first, behind
        if self.newest_first:
            return first, min(behind, self.after.bytes)
        return max(first, _successor(self.after.bytes)), behind


class _Session:
    """A connection and the one thread that uses it, from an `open` to its `close`."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="consent-mw-sqlite")
        self.connection: sqlite3.Connection | None = None


class SQLiteStore:
    """
    The store contract over one file, through a connection in its own thread.

    Readers never wait for writers, nor writers for readers (WAL). Of all processes one writes at a time, and the others
    wait for it, up to half a minute. Ordinary appends are not synced to the disk: they survive the end of every
    process, and a power cut takes at most what came after the last checkpoint or durable append. Any SQLite tool can
    read the file (mode 0600) in place; the view `readable` shows times.

    Args:
        path: The file; `open` creates it. Its directory must exist and be local, because a WAL needs shared memory.
    """

    #: As `Searching.tokens_at_once`: enough for six purposes and the tokens of ten years.
    tokens_at_once: int = 20_000

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self._session: _Session | None = None
        self._wal_holds_deleted = False

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    async def open(self) -> None:
        """
        Connect, create or migrate the file, and refuse what is not ours. Harmless when called twice.

        Raises:
            SchemaError: The file is something else, is corrupt, or was written by a newer version.
            StoreUnavailable: The file cannot be created or read: the directory, a permission, or space on the disk is
                missing.
        """
        # While an earlier session still finishes its work, the new one is beside it and does not replace it.
        self._session = self._session or _Session()
        try:
            await self._in(self._session, self._connect, self._session)
        except BaseException:
            await self.close()
            raise

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records` or none, in one transaction; the first of an id stays."""
        await self._run(self._append, records, durable)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """Return at most `limit` records that match, in order of id or its reverse, from the one after `after`."""
        return await self._run(self._fetch, _Reading(query, after, newest_first), limit)

    async def delete(self, query: Query) -> int:
        """
        Delete every record that matches in one transaction, and return how many they were.

        What was deleted is overwritten in the file, and the write-ahead log, which still held it, is emptied. If
        another program reads at that moment, the log cannot be emptied; then the next delete does it, or closing.
        """
        return await self._run(self._delete, query)

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`."""
        return await self._run(self._count_others, kinds)

    async def close(self) -> None:
        """Release file and thread. Closing twice is harmless."""
        session, self._session = self._session, None
        if session is not None:
            try:
                await self._in(session, self._disconnect, session)
            finally:
                session.thread.shutdown(wait=False)

    async def _run(self, work: Callable[..., _T], *args: object) -> _T:
        session = self._session
        if session is None:
            raise self._not_open()
        return await self._in(session, self._connected, session, work, *args)

    async def _in(self, session: _Session, work: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(session.thread, self._with_store_errors, work, *args)

    def _not_open(self) -> StoreError:
        # Nothing is wrong with the records: a caller that closed the store after an error opens it again.
        return StoreUnavailable(f"{self.path}: the store is not open; await its open() first")

    # Everything below runs in the thread of a session, one call after the other.

    def _with_store_errors(self, work: Callable[..., _T], *args: object) -> _T:
        with told_plainly(self.path):
            return work(*args)

    def _connect(self, session: _Session) -> None:
        if session.connection is None:
            session.connection = connect(self.path)
            # A site that runs without its lifespan is never closed, and Python 3.13 warns if an open connection is
            # garbage-collected. Not in the session's thread: collection may happen at any point, and must not take a
            # lock.
            finalize(session, session.connection.close).atexit = False

    def _disconnect(self, session: _Session) -> None:
        connection, session.connection = session.connection, None
        if connection is not None:
            if self._wal_holds_deleted:
                self._empty_wal(connection)
            connection.close()

    def _connected(self, session: _Session, work: Callable[..., _T], *args: object) -> _T:
        if session.connection is None:
            raise self._not_open()
        return work(session.connection, *args)

    def _append(self, connection: sqlite3.Connection, records: Sequence[Record], durable: bool) -> None:
        rows = list(_rows_of(records))
        _synchronise(connection, durable)
        with transaction(connection, "BEGIN IMMEDIATE"):
            _insert(connection, rows)

    def _fetch(self, connection: sqlite3.Connection, reading: _Reading, limit: int) -> list[Record]:
        try:
            return _fetched(connection, reading, limit)
        except sqlite3.OperationalError as error:
            if _NO_TEXT not in str(error):
                raise
        # Somebody wrote bytes that are not text into a row: refuse that row where it is read, not those beside it.
        connection.text_factory = _replaced
        try:
            return _fetched(connection, reading, limit)
        finally:
            connection.text_factory = str

    def _count_others(self, connection: sqlite3.Connection, kinds: Set[str]) -> int:
        # As bytes: no query finds a name that is not text either.
        names = {kind.encode() for kind in kinds}
        rows = connection.execute(_COUNTED).fetchall()
        return sum(count for kind, purpose, count in rows if kind not in names or not _is_text(purpose))

    def _delete(self, connection: sqlite3.Connection, query: Query) -> int:
        _synchronise(connection, durable=True)
        with transaction(connection, "BEGIN IMMEDIATE"):
            count = _delete_rows(connection, query)
        if count >= _MANY:
            # If this fails, the next large deletion tries again. The rows are gone, and the caller learns that.
            with suppress(sqlite3.Error):
                shrink(connection, count)
        if count or self._wal_holds_deleted:
            self._empty_wal(connection)
        return count

    def _empty_wal(self, connection: sqlite3.Connection) -> None:
        """Empty the log. Never raises: the records are deleted, and a caller that got an error would not know that."""
        try:
            self._wal_holds_deleted = not truncate_wal(connection)
        except sqlite3.Error as error:
            self._wal_holds_deleted = True
            _log.warning("%s-wal: deleted records are still in it (%s); the next delete tries again", self.path, error)
        else:
            if self._wal_holds_deleted:
                _log.warning(
                    "%s-wal: deleted records are still in it, as another program reads; the next delete tries again",
                    self.path,
                )


def _fetched(connection: sqlite3.Connection, reading: _Reading, limit: int) -> list[Record]:
    # One read transaction, so that all streams see the same instant.
    with transaction(connection, "BEGIN"):
        return [_record_of(row) for row in islice(_once(_rows(connection, reading, limit)), limit)]


def _once(rows: Iterator[_Row]) -> Iterator[_Row]:
    """Yield one row of each id. Anyone who can write to the file can remove the rule that ids are unique."""
    return (next(same) for _, same in groupby(rows, key=itemgetter(0)))


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _replaced(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _insert(connection: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    at_once = min(_ROWS, connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _COLUMNS)
    whole = len(rows) - len(rows) % at_once
    for start in range(0, whole, at_once):
        values = list(chain.from_iterable(rows[start : start + at_once]))
        connection.execute(_inserting(at_once), values)
    connection.executemany(_INSERT, rows[whole:])


@cache
def _inserting(rows: int) -> str:
    """Return the same text each time, so that it stays compiled."""
    return _INSERT.replace(_ROW, ", ".join([_ROW] * rows))


def _synchronise(connection: sqlite3.Connection, durable: bool) -> None:
    """
    Decide whether the next commit waits for the disk.

    In WAL mode NORMAL writes the log into the system's cache and leaves it there. FULL calls fdatasync on it, which
    also syncs earlier commits, even of other processes (seen with strace). The pragma takes effect with the next
    transaction and costs a microsecond.
    """
    connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")


def _rows(connection: sqlite3.Connection, reading: _Reading, limit: int) -> Iterator[_Row]:
    """
    Yield the rows that match in the order of `reading`, from the narrowest index that the query allows.

    An index returns the rows of one subject, or of one kind and purpose, in order; several are merged. Each is read a
    few rows at a time, so that together they hold about `limit`, however many they are.
    """
    query, newest_first = reading.query, reading.newest_first
    first, behind = reading.span
    if query.ids is not None:
        wanted = sorted((one.bytes for one in query.ids), reverse=newest_first)
        rows = (row for one in wanted if first <= one < behind for row in connection.execute(_BY_ID, (one,)))
        return (row for row in rows if _meant(query, row))
    keys: Sequence[_Key]
    if query.subjects is not None:
        select, keys = _BY_SUBJECT, list(_in_use(connection, sorted(query.subjects), (first, behind)))
    else:
        select, keys = _BY_PURPOSE, _shelves(connection, query)
    step = max(1, limit // max(1, len(keys))) + 1
    stream = _backward if newest_first else _forward
    streams = (stream(connection, select, key, (first, behind), step) for key in keys)
    return (row for row in merge(*streams, key=itemgetter(0), reverse=newest_first) if _meant(query, row))


def _in_use(connection: sqlite3.Connection, subjects: Sequence[bytes], span: _Span) -> Iterator[tuple[bytes]]:
    """
    Yield those of `subjects` that have any record. One person has a token for each day and purpose. One statement is
    enough for any number of days.
    """
    first, behind = span
    for length, some in groupby(sorted(subjects, key=len), key=len):
        values = {"subjects": b"".join(some), "length": length, "first": first, "behind": behind}
        yield from connection.execute(_IN_USE, values) if length else [(b"",)]


def _forward(connection: sqlite3.Connection, select: str, key: _Key, span: _Span, step: int) -> Iterator[_Row]:
    first, behind = span
    while rows := connection.execute(select + _OLDEST_FIRST, (*key, first, behind, step)).fetchall():
        yield from rows
        if len(rows) < step:
            return
        first = _successor(rows[-1][0])


def _backward(connection: sqlite3.Connection, select: str, key: _Key, span: _Span, step: int) -> Iterator[_Row]:
    first, behind = span
    while rows := connection.execute(select + _NEWEST_FIRST, (*key, first, behind, step)).fetchall():
        yield from rows
        if len(rows) < step:
            return
        behind = rows[-1][0]


def _delete_rows(connection: sqlite3.Connection, query: Query) -> int:
    if query.ids is None and query.subjects is None:
        span = _span(query)
        shelves = _shelves(connection, query)
        return sum(connection.execute(_DELETE_BY_PURPOSE, (*shelf, *span)).rowcount for shelf in shelves)
    if query.ids is not None and query.subjects is None and query.purposes is None:
        # Without reading the rows first, which takes a third of the whole.
        first, behind = _span(query)
        kinds = "\n" + "".join(f"{kind}\n" for kind in query.kinds)
        wanted = sorted(one.bytes for one in query.ids if first <= one.bytes < behind)
        return max(0, connection.executemany(_DELETE_BY_ID_OF, [(one, kinds) for one in wanted]).rowcount)
    ids = [(row[0],) for row in _rows(connection, _Reading(query), 1000)]
    connection.executemany(_DELETE_BY_ID, ids)
    return len(ids)


def _shelves(connection: sqlite3.Connection, query: Query) -> list[tuple[str, str]]:
    """Return each kind and purpose that the query may mean."""
    if query.purposes is not None:
        return list(product(query.kinds, query.purposes))
    return [(kind, purpose) for kind in query.kinds for (purpose,) in connection.execute(_PURPOSES, {"kind": kind})]


def _span(query: Query) -> _Span:
    first = first_id(query.since).bytes if query.since is not None else b""
    behind = first_id(query.until).bytes if query.until is not None else _BEHIND_ALL
    return first, behind


def _successor(row_id: bytes) -> bytes:
    """Return the smallest bytes that sort after `row_id`."""
    return row_id + b"\0"


def _meant(query: Query, row: _Row) -> bool:
    """Check the conditions that the index did not."""
    _, kind, purpose, subject, *_ = row
    return (
        kind in query.kinds
        and (query.purposes is None or purpose in query.purposes)
        and (query.subjects is None or subject in query.subjects)
    )


def _rows_of(records: Sequence[Record]) -> Iterator[_Row]:
    known: Mapping[str, Scalar] | None = None
    data = ""
    for record in records:
        facts = record.data
        if facts is not known:  # the records of one exchange, one for each purpose, share their facts
            known, data = facts, _to_json.encode(facts if type(facts) is dict else dict(facts)).decode()
        yield record.id.bytes, record.kind, record.purpose, record.subject, record.ring, data, record.sealed


def _record_of(row: _Row) -> Record:
    row_id, kind, purpose, subject, ring, data, sealed = row
    return stored_record(id_of(row_id), kind, purpose, subject, ring, data, sealed)
