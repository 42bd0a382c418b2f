"""Records in PostgreSQL: for several machines, and for more records than one file should hold."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence, Set
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, OperationalError, errors, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from consent_mw.exceptions import StoreError, StoreUnavailable
from consent_mw.records import Query, Record, stored_record
from consent_mw.stores.postgres_address import conninfo_of, place_of
from consent_mw.stores.postgres_errors import told_plainly
from consent_mw.stores.postgres_schema import UNDIVIDED, lock_key, only_reads, prepare, refuse_other_sessions, unhurried
from consent_mw.stores.postgres_search import Search, Shelf, Stretch, day_of, shelf_day, stretches

__all__ = ["PostgresStore"]

_log = logging.getLogger("consent_mw")
# The pool logs each attempt, and a connection that Ctrl-C ended its query; we report once, as an error. Without this,
# Python prints it if logging is not configured.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

_T = TypeVar("_T")
_Row: TypeAlias = tuple[int, UUID, str, str, bytes | None, str, str, bytes]

_EVERY_DAY: Final = "SELECT DISTINCT day FROM shelves ORDER BY day"
_BEFORE: Final = """
    SELECT DISTINCT day, purpose FROM shelves WHERE purpose = ANY(%s) AND day BETWEEN 0 AND %s ORDER BY day LIMIT %s
"""
_OF_OTHER_KINDS: Final = """
    SELECT count(*) FROM records
    WHERE day = ANY(%(days)s) AND NOT purpose = ANY(%(undivided)s) AND NOT kind = ANY(%(kinds)s)
"""
_OF_OTHER_KINDS_UNDIVIDED: Final = """
    SELECT count(*) FROM records WHERE purpose = ANY(%(undivided)s) AND NOT kind = ANY(%(kinds)s)
"""

# The primary key keeps the first of an id within a purpose. A look-up checks that it is new in all others of its day.
# With OFFSET this stays one look-up for each: as a join, before ANALYZE, the planner read the whole day for each.
# The rows are arrays, not a temporary table: that belongs to a session, and a pooler shares sessions.
_INSERT: Final = """
    INSERT INTO records (day, id, kind, purpose, subject, ring, data, sealed)
    SELECT %(day)s, id, kind, purpose, subject, ring, data::json, sealed FROM unnest(
        %(id)b::uuid[], %(kind)b::text[], %(purpose)b::text[], %(subject)b::bytea[], %(ring)b::text[],
        %(data)b::text[], %(sealed)b::bytea[]
    ) AS batch (id, kind, purpose, subject, ring, data, sealed)
    WHERE NOT EXISTS (SELECT FROM records WHERE records.day = %(day)s AND records.id = batch.id OFFSET 0)
    ON CONFLICT DO NOTHING
"""

_SHELVE: Final = """
    INSERT INTO shelves (day, purpose, kind)
    SELECT * FROM unnest(%s::integer[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
"""

# Every statement is a search in an index, and returns rows in its order. Over partitions without ANALYZE the planner
# guesses: it read and sorted 30,000 rows for a page of 1,000, 35 ms instead of 4.
#
# For one transaction, not for the session: a pooler passes sessions on, with their settings. Where a role has set the
# first two otherwise, a token in a statement, or none, is another one.
_SETTINGS: Final = """;
    SET LOCAL standard_conforming_strings = on;
    SET LOCAL array_nulls = on;
    SET LOCAL search_path = {}, pg_temp;
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL jit = off;
"""

# `shelves` is also the lock, and comes first in every transaction: see `postgres_schema`.
# What a read locks after its savepoint is released when it goes back there; see `_stretches`.
_READ: Final = ("REPEATABLE READ, READ ONLY", "LOCK TABLE shelves IN ACCESS SHARE MODE; SAVEPOINT stretch")
_PLAIN: Final = ("READ COMMITTED, READ WRITE", "")
_WRITE: Final = (_PLAIN[0], "SET LOCAL synchronous_commit = off; LOCK TABLE shelves IN ROW EXCLUSIVE MODE")
_WRITE_DURABLY: Final = (_PLAIN[0], "SET LOCAL synchronous_commit = on; LOCK TABLE shelves IN ROW EXCLUSIVE MODE")
_DELETE: Final = (
    "REPEATABLE READ, READ WRITE",
    "SET LOCAL synchronous_commit = on; LOCK TABLE shelves IN ROW EXCLUSIVE MODE",
)
# A statement that waits for a lock blocks all later ones: better to delete row by row than to wait for a backup.
_DROP: Final = (
    "REPEATABLE READ, READ WRITE",
    "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '500ms'; LOCK TABLE shelves IN ACCESS EXCLUSIVE MODE",
)
# The server ends a session that is idle for a minute: see `unhurried`.
_BEAT_SECONDS: Final = 15.0
#: A frozen server (a suspended machine, a stuck disk) takes a connection's bytes and never answers.
_ANSWER_SECONDS: Final = 5.0
_COLLIDED: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.CheckViolation)
_ENDED: Final = (OperationalError, errors.IdleInTransactionSessionTimeout)

_COLUMNS: Final = ("day", "id", "kind", "purpose", "subject", "ring", "data", "sealed")
_ATTEMPTS: Final = 20
_DAYS: Final = 64  # days whose shelves are read at once
_YEARS: Final = 1_000  # the same, where the places of all subjects are known
_FEW: Final = 16  # partitions to delete from without looking for matches first
# Each drop takes ten locks until the transaction ends. A server with default settings has 6,400.
_DROPS: Final = 100

_to_json = msgspec.json.Encoder()


_Begin: TypeAlias = tuple[str, str]  # how a transaction reads and writes, and what comes first in it
_Connection: TypeAlias = AsyncConnection[TupleRow]


class PostgresStore:
    """
    The store contract over one schema of a PostgreSQL database (version 15 or later), through a pool of connections.

    An ordinary append does not wait for the server's disk. It survives the end of this process; a crash of the server
    takes at most the last 0.6 seconds of such appends. Durable appends and deletions survive that too. Records are
    partitioned by purpose and day. A deletion of everything in a day drops the day's partition.

    Two appends of one id under two purposes at the same moment may both be kept. One after the other, only the first
    is.

    Args:
        url: As libpq reads it: `postgresql://user@host:5432/database?sslmode=…`. A remote server must prove its name by
            a certificate unless the URL says otherwise.
        schema: The schema in that database. `open` creates it if it is missing and the user may create it.
        connections: The most connections at once, for this process.
    """

    #: As `Searching.tokens_at_once`: a search follows `Query.places`.
    tokens_at_once: int = 20_000

    def __init__(self, url: str, *, schema: str = "consent_mw", connections: int = 4) -> None:
        self._url = url
        self._conninfo = conninfo_of(url)
        self._place = place_of(url)
        self.schema = schema
        self._connections = connections
        self._pool: AsyncConnectionPool[_Connection] | None = None
        self._unhurried = ""
        self._opening = asyncio.Lock()
        self._known: set[tuple[str, int]] = set()  # purposes and days whose partitions exist, as do the next day's

    def __repr__(self) -> str:
        return f"PostgresStore({self._place!r}, schema={self.schema!r})"

    def archive(self) -> PostgresStore:
        """As `Archiving.archive`: another schema of the same database, named after this one."""
        return PostgresStore(self._url, schema=f"{self.schema}_archive", connections=min(2, self._connections))

    async def open(self) -> None:
        """
        Connect, create or migrate the schema, and refuse what is not ours. Harmless when called twice.

        Raises:
            SchemaError: The schema holds something else, or was written by a newer version.
            StoreUnavailable: There is no server or no such database, or the password is wrong.
            StoreError: A privilege is missing, or the server is too old.
        """
        async with self._opening:
            if self._pool is None:
                self._pool, self._known = await self._opened_pool(), set()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        """Keep all of `records` or none, in one transaction; the first of an id stays."""
        first = {record.id: record for record in reversed(records)}
        rows = [_row_of(first[record_id]) for record_id in sorted(first)]
        if rows:
            await self._again(lambda: self._append(rows, durable))

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        """Return at most `limit` records that match, in order of id or its reverse, from the one after `after`."""
        search = Search(query, after, newest_first=newest_first)
        if search.is_empty or limit < 1:
            return []
        records: list[Record] = []
        async with self._transaction(_READ) as connection:
            async for stretch in self._stretches(connection, search):
                statement, values = search.page(stretch, limit - len(records))
                cursor = await connection.execute(statement, values, binary=True)
                records += [_record_of(row) for row in await cursor.fetchall()]
                if len(records) >= limit:
                    break
        return records

    async def count_others(self, kinds: Set[str]) -> int:
        """As `Counting.count_others`."""
        count = 0
        values = {"kinds": list(kinds), "undivided": sorted(UNDIVIDED)}
        async with self._transaction(_READ) as connection:
            days = [day for (day,) in await (await connection.execute(_EVERY_DAY)).fetchall()]
            cursor = await connection.execute(_OF_OTHER_KINDS_UNDIVIDED, values)
            count += sum([int(row[0]) for row in await cursor.fetchall()])
            for first in range(0, len(days), _DAYS):  # so that it locks no more partitions than a search
                some = {"days": days[first : first + _DAYS]}
                cursor = await connection.execute(_OF_OTHER_KINDS, values | some)
                count += sum([int(row[0]) for row in await cursor.fetchall()])
                await connection.execute("ROLLBACK TO SAVEPOINT stretch")
        return count

    async def delete(self, query: Query) -> int:
        """
        Delete every record that matches in one transaction, and return how many they were.

        If nothing would remain of a day, the day is dropped, which frees its space at once. If a backup or another
        reader holds the day for more than half a second, its rows are deleted instead, and autovacuum frees the space;
        the empty day is dropped with a later one.
        """
        search = Search(query)
        if search.is_empty:
            return 0
        whole, parts = await self._again(lambda: self._search_parts(search))
        if 0 < len(whole) <= _DROPS:
            try:
                return await self._again(lambda: self._delete(_DROP, search, whole, parts))
            except StoreError as error:
                if not isinstance(error.__cause__, errors.LockNotAvailable):
                    raise
        parts = [*parts, *((shelf.day, shelf.purpose) for shelf in whole)]
        count = await self._again(lambda: self._delete(_DELETE, search, [], parts)) if parts else 0
        await self._drop_empty([part for part in parts if search.may_empty(part[0])])
        return count

    async def now(self) -> datetime:
        """As `Timed.now`: the server's clock, not the time at which a transaction began."""
        async with self._connection() as connection:
            # As a number: a role's DateStyle says how an instant is written.
            cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            ((seconds,),) = await cursor.fetchall()
        return datetime.fromtimestamp(seconds, UTC)

    async def close(self) -> None:
        """Release the connections. Closing twice is harmless."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[bool]:
        """
        Give True to one holder of `name` among all hosts on this schema, and False at once to every other.

        It holds one of the connections, in a transaction, and ends with it. If the server goes away, or the holder is
        frozen for a minute, another may begin.
        """
        key = [lock_key(self.schema, "lease", name)]
        async with self._connection() as connection:
            await connection.execute(self._begin(_PLAIN))
            row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", key)).fetchone()
            done = asyncio.Event()
            beating = asyncio.create_task(_beat(connection, done))
            try:
                yield bool(row and row[0])
            finally:
                done.set()
                await beating
                with suppress(*_ENDED):  # the lock is gone with the connection
                    await connection.execute("COMMIT")

    # -- connections -------------------------------------------------------------------------------------------------

    async def _opened_pool(self) -> AsyncConnectionPool[_Connection]:
        with told_plainly(self._place):
            # Connect once without the pool: this error gives the cause. A pool retries, and then reports a time-out.
            async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                await refuse_other_sessions(connection, self._conninfo, self._place)
                await prepare(connection, self.schema, self._place)
                self._unhurried = unhurried(connection.info.server_version)
                if await only_reads(connection):
                    # No error: commands may read here, and a standby may become the primary.
                    _log.warning(
                        "%s: is a standby, so nothing is kept or erased here; name the primary, or both with "
                        "target_session_attrs=read-write", self._place
                    )  # fmt: skip
            pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
                self._conninfo,
                kwargs={"autocommit": True, "prepare_threshold": None},
                min_size=1,
                max_size=self._connections,
                timeout=10,
                check=_answers,
                open=False,
            )
            try:
                await pool.open(wait=True, timeout=10)
            except BaseException:
                await pool.close()
                raise
        return pool

    def _begin(self, begin: _Begin) -> bytes:
        isolation, first = begin
        settings = _SETTINGS.format(sql.Identifier(self.schema).as_string(None))
        return f"BEGIN ISOLATION LEVEL {isolation}{settings}{self._unhurried}{first}".encode()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[_Connection]:
        if self._pool is None:
            raise StoreUnavailable(f"{self._place}: the store is not open; await its open() first")
        with told_plainly(self._place):
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def _transaction(self, begin: _Begin) -> AsyncGenerator[_Connection]:
        """Run the block between `begin` and COMMIT. On any exception the pool rolls everything back."""
        async with self._connection() as connection:
            await connection.execute(self._begin(begin))
            yield connection
            await connection.execute("COMMIT")

    async def _again(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do `work`, and repeat it if it collided with another transaction: the server has then undone it."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await work()
            except StoreError as error:
                if attempt == _ATTEMPTS or not isinstance(error.__cause__, _COLLIDED):
                    raise
                await asyncio.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 6)))  # noqa: S311 - no secret
        raise AssertionError  # the last attempt returned or raised

    # -- append --------------------------------------------------------------------------------------------------

    async def _append(self, rows: list[_Row], durable: bool) -> None:
        shelves = sorted({(shelf_day(purpose, day), purpose, kind) for day, _, kind, purpose, *_ in rows})
        days = {(purpose, day) for day, purpose, _ in shelves}
        await self._make_ahead(days - self._known)
        try:
            await self._insert(rows, shelves, durable)
        except StoreError as error:
            if isinstance(error.__cause__, errors.CheckViolation):
                # Somebody has dropped a partition that we believed to exist, or made a moment ago: make it again.
                self._known -= days
            raise

    async def _insert(self, rows: list[_Row], shelves: list[tuple[int, str, str]], durable: bool) -> None:
        async with self._transaction(_WRITE_DURABLY if durable else _WRITE) as connection:
            await connection.execute(_SHELVE, [list(column) for column in zip(*shelves, strict=True)])
            for day, some in groupby(rows, key=itemgetter(0)):  # in order of id, so in order of day
                columns = zip(_COLUMNS, zip(*some, strict=True), strict=True)
                await connection.execute(_INSERT, {name: list(column) for name, column in columns} | {"day": day})

    async def _make_ahead(self, days: Iterable[tuple[str, int]]) -> None:
        """
        Create the partitions of `days` and of the day after each, so that a day's first record finds its partition.
        """
        for purpose, day in sorted(days):
            async with self._transaction(_PLAIN) as connection:
                for day_ahead in (day,) if purpose in UNDIVIDED else (day, day + 1):
                    await connection.execute("SELECT make_day(%s, %s)", [purpose, day_ahead])
            self._known.add((purpose, day))

    # -- fetch and delete ----------------------------------------------------------------------------------------

    async def _shelves(self, connection: _Connection, search: Search) -> AsyncIterator[tuple[list[Shelf], bool]]:
        """
        Yield the shelves of days in which something may match, some days at a time, and whether these are the last.
        """
        beyond, most = search.before_all, _DAYS if search.query.places is None else _YEARS
        while search.is_divided:
            cursor = await connection.execute(*search.shelves(beyond, most=most))
            shelves = [Shelf(*row) for row in await cursor.fetchall()]
            is_last = len({shelf.day for shelf in shelves}) < most
            if shelves:
                yield shelves, is_last
            if is_last:
                return
            beyond = shelves[-1].day

    async def _stretches(self, connection: _Connection, search: Search) -> AsyncIterator[Stretch]:
        """Yield one stretch of days after the other. The locks of one are released before the next is read."""
        days = 1 if search.query.subjects is None else _DAYS  # one person's records rarely fill a page
        undivided, searched = await self._undivided(connection, search), None
        async for shelves, is_last in self._shelves(connection, search):
            some = list(stretches(search.among(shelves), search.query.kinds, days))
            are_several = len(some) > 1 or not is_last
            for stretch in some:
                yield search.beside(undivided, stretch, searched) or stretch
                searched = stretch
                if are_several:
                    await connection.execute("ROLLBACK TO SAVEPOINT stretch")
            days = _DAYS
        if rest := search.beside(undivided, None, searched):
            yield rest

    async def _undivided(self, connection: _Connection, search: Search) -> list[Shelf]:
        """Return the shelves of purposes that are not divided into days in which something may match."""
        if not search.is_undivided:
            return []
        return [Shelf(*row) for row in await (await connection.execute(*search.undivided())).fetchall()]

    async def _search_parts(self, search: Search) -> tuple[list[Shelf], list[tuple[int, str]]]:
        """Return the partitions of which nothing would remain, and the others in which something matches."""
        async with self._transaction(_READ) as connection:
            shelves = [shelf async for some, _ in self._shelves(connection, search) for shelf in some]
            whole = [shelf for shelf in shelves if search.covers(shelf)]
            rest = [shelf for shelf in shelves if not search.covers(shelf)]
            parts = [(shelf.day, shelf.purpose) for shelf in rest]
            if len(rest) > _FEW:
                parts = await self._hits(connection, search, rest)
            undivided = await self._undivided(connection, search)
            return whole, [*parts, *((shelf.day, shelf.purpose) for shelf in undivided)]

    async def _hits(self, connection: _Connection, search: Search, rest: list[Shelf]) -> list[tuple[int, str]]:
        hits: list[tuple[int, str]] = []
        for stretch in stretches(rest, search.query.kinds, _DAYS):
            hits += await (await connection.execute(*search.hits(stretch))).fetchall()
            await connection.execute("ROLLBACK TO SAVEPOINT stretch")
        among = {(shelf.day, shelf.purpose) for shelf in rest}
        return sorted(among.intersection(hits))

    async def _drop_empty(self, parts: list[tuple[int, str]]) -> None:
        """
        Drop the days that were deleted in parts and are now empty, and those before them that were emptied otherwise.
        Never raises.
        """
        try:
            async with self._transaction(_READ) as connection:
                empty = [part for part in parts if not await self._holds_any(connection, *part)]
                if empty:
                    purposes = list({purpose for _, purpose in empty})
                    cursor = await connection.execute(_BEFORE, [purposes, max(empty)[0], _DROPS])
                    before = [(day, purpose) for day, purpose in await cursor.fetchall()]
                    others = [part for part in before if part not in parts]
                    empty += [part for part in others if not await self._holds_any(connection, *part)]
            nothing = Search(Query(kinds=frozenset()))
            for start in range(0, len(empty), _DROPS):
                some = [Shelf(*part, []) for part in empty[start : start + _DROPS]]
                await self._delete(_DROP, nothing, some, [])
        except StoreError as error:
            _log.info("%s: emptied days are dropped later: %s", self._place, error)

    async def _holds_any(self, connection: _Connection, day: int, purpose: str) -> bool:
        statement = "SELECT EXISTS (SELECT FROM records WHERE day = %s AND purpose = %s)"
        row = await (await connection.execute(statement, [day, purpose])).fetchone()
        return row is None or bool(row[0])

    async def _delete(self, begin: _Begin, search: Search, whole: list[Shelf], parts: list[tuple[int, str]]) -> int:
        async with self._transaction(begin) as connection:
            kinds = list(search.query.kinds)
            count = 0
            for shelf in whole:
                cursor = await connection.execute("SELECT drop_day(%s, %s, %s)", [shelf.purpose, shelf.day, kinds])
                dropped = await cursor.fetchone()
                if dropped is None or dropped[0] is None:  # records of other kinds arrived in it
                    parts = [*parts, (shelf.day, shelf.purpose)]
                else:
                    count += dropped[0]
            for day, purpose in parts:
                count += (await connection.execute(*search.deletion(day, purpose))).rowcount
        self._known.difference_update((shelf.purpose, shelf.day) for shelf in whole)
        return count


async def _answers(connection: _Connection) -> None:
    """Return if the server answers; raise if it does not, or not in time."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        await AsyncConnectionPool.check_connection(connection)


async def _beat(connection: _Connection, done: asyncio.Event) -> None:
    """Tell the server now and then that this process lives, until `done` is set or the connection is gone."""
    with suppress(*_ENDED):
        while not done.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), _BEAT_SECONDS)
                return
            await connection.execute("SELECT")


def _row_of(record: Record) -> _Row:
    data = _to_json.encode(dict(record.data)).decode()
    return (
        day_of(record.id), record.id, record.kind, record.purpose, record.subject, record.ring, data, record.sealed
    )  # fmt: skip


def _record_of(row: TupleRow) -> Record:
    return stored_record(*row)
