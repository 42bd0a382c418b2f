"""The schema of records in PostgreSQL: recognised, created and migrated. `postgres` uses it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from consent_mw.exceptions import SchemaError, StoreError

#: The oldest server that is tested. Older ones plan and lock partitions differently.
OLDEST_SERVER: Final = 150_000

#: The purposes that the package keeps records for itself, beside those that a policy declares. They are few, or do not
#: end, and a person is searched in all of their days: each has one table, since the planner takes time for every table.
UNDIVIDED: Final = frozenset(("aggregates", "hosts", "links", "receipts", "requests"))
#: The day of the one shelf of such a purpose.
EVERY_DAY: Final = -1

# The comment on the table that counts migrations. It tells us that a schema is ours.
_MARK: Final = "consent-mw"

# Step n leads from schema n to n + 1, is run once, in the schema, and is never changed after a release.
#
# All reads and writes go through `records`, so only it needs privileges. Two functions with the owner's privileges
# create and drop partitions: a user who may write can neither alter nor drop anything else.
_STEPS: Final = (
    """
    CREATE TABLE records (
        day integer NOT NULL,      -- whole days since 1970 in UTC, from the id
        id uuid NOT NULL,          -- version 7
        kind text COLLATE "C" NOT NULL,
        purpose text COLLATE "C" NOT NULL,
        subject bytea,             -- keyed token of the person
        ring text NOT NULL,        -- keyring that opens `sealed`
        data json NOT NULL,        -- not jsonb, which cannot hold U+0000
        sealed bytea NOT NULL,
        -- In a partition day and purpose are constant: the id first lets one index serve look-ups and order.
        PRIMARY KEY (id, day, purpose),
        -- Whoever may insert could lay a copy into another day, where it counts again and outlives its end.
        CONSTRAINT day_of_id CHECK (
            day = ('x' || left(encode(uuid_send(id), 'hex'), 12))::bit(48)::bigint / 86400000
        )
    ) PARTITION BY LIST (purpose);
    CREATE INDEX by_kind ON records (kind, id);
    CREATE INDEX by_subject ON records (subject, id) WHERE subject IS NOT NULL;

    -- Which kinds a partition holds. So a search goes only where there is something to find. A purpose that is not
    -- divided into days has day -1. It is the lock, too: who reads holds it in ACCESS SHARE, who writes in ROW
    -- EXCLUSIVE, who drops a partition alone.
    CREATE TABLE shelves (
        day integer NOT NULL,
        purpose text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL,
        PRIMARY KEY (day, purpose, kind)
    );

    CREATE VIEW readable AS
        SELECT to_timestamp((('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint) / 1000.0)
            AS time, kind, purpose, encode(subject, 'hex') AS subject, ring, data, length(sealed) AS sealed_bytes, id
        FROM records;

    CREATE FUNCTION partition_of(of_purpose text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        -- A name has at most 63 bytes; a purpose may be any text.
        SELECT CASE WHEN of_purpose ~ '^[a-z][a-z0-9_]{0,39}$' THEN of_purpose ELSE '~' || md5(of_purpose) END
    $$;

    CREATE FUNCTION day_of(of_purpose text, of_day integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT 'day_' || {schema}.partition_of(of_purpose) || '_' || to_char(date '1970-01-01' + of_day, 'YYYYMMDD')
    $$;

    CREATE FUNCTION make_day(of_purpose text, of_day integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    DECLARE
        here oid := current_schema()::regnamespace;
        branch text := 'records_' || partition_of(of_purpose);
        leaf text := day_of(of_purpose, of_day);
        divided boolean := of_purpose <> ALL ({undivided}::text[]);
    BEGIN
        PERFORM pg_advisory_xact_lock({making});  -- of several that need it, one makes it
        -- to_regclass may still say what was so before the lock was waited for; a query sees what is so now.
        -- CREATE TABLE ... PARTITION OF would stop readers and writers of the parent; ATTACH does not.
        IF NOT EXISTS (SELECT FROM pg_class WHERE relname = branch AND relnamespace = here) THEN
            EXECUTE format(
                'CREATE TABLE %I (LIKE records INCLUDING ALL) %s', branch,
                CASE WHEN divided THEN 'PARTITION BY RANGE (day)' ELSE '' END
            );
            EXECUTE format('ALTER TABLE records ATTACH PARTITION %I FOR VALUES IN (%L)', branch, of_purpose);
        END IF;
        IF divided AND NOT EXISTS (SELECT FROM pg_class WHERE relname = leaf AND relnamespace = here) THEN
            EXECUTE format('CREATE TABLE %I (LIKE records INCLUDING ALL)', leaf);
            EXECUTE format(
                'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', branch, leaf, of_day, of_day + 1
            );
        END IF;
    END
    $$;

    CREATE FUNCTION drop_day(of_purpose text, of_day integer, of_kinds text[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    -- The caller holds `shelves` alone. Return how many records went, or null if others than `of_kinds` are there.
    DECLARE
        leaf text := day_of(of_purpose, of_day);
        gone bigint := 0;
        others bigint := 0;
    BEGIN
        IF to_regclass(quote_ident(leaf)) IS NOT NULL THEN
            EXECUTE format('SELECT count(*), count(*) FILTER (WHERE kind <> ALL ($1)) FROM %I', leaf)
                INTO gone, others USING of_kinds;
            IF others > 0 THEN
                RETURN NULL;
            END IF;
            EXECUTE format('DROP TABLE %I', leaf);
        END IF;
        DELETE FROM shelves WHERE purpose = of_purpose AND day = of_day;
        RETURN gone;
    END
    $$;

    REVOKE ALL ON FUNCTION make_day, drop_day FROM PUBLIC;
    """,
)

SCHEMA: Final = len(_STEPS)

# What a role, a database or the environment sets for other programs must not end a transaction in its middle: a purge
# takes seconds, and a busy host a second between two statements. A client that is stopped is cut off after a minute.
_UNHURRIED: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = '60s';"
)
_UNENDED: Final = " SET LOCAL transaction_timeout = 0;"
_WITH_ITS_END: Final = 170_000

# A transaction marks its session, as ours all do (`SET LOCAL search_path`). What answers later must know the mark.
_MARKED: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path = {}"
# With the session, and the start of the transaction: outside of one, each statement returns its own.
_WHERE: Final = "SELECT current_setting('search_path'), pg_backend_pid(), now()::text"
_ASKED: Final = 3
# A second connection comes in between. If the pooler has one session for all, it waits until the first has ended.
_SECOND_SECONDS: Final = 0.25


def lock_key(*words: str) -> int:
    """Return the number of an advisory lock; it is valid in the whole database."""
    digest = hashlib.blake2b("\0".join(("consent-mw", *words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def unhurried(server_version: int) -> str:
    """Return what a transaction on a server of this version begins with, so that no time limit of others ends it."""
    return _UNHURRIED + (_UNENDED if server_version >= _WITH_ITS_END else "")


async def check(connection: AsyncConnection[TupleRow], schema: str, place: str) -> int | None:
    """
    Return the version of what `schema` holds, or None if it holds nothing yet. Writes nothing.

    Raises:
        SchemaError: The schema holds something else, or a newer version wrote it.
        StoreError: The server is too old, or its database is not in UTF-8.
    """
    if connection.info.server_version < OLDEST_SERVER:
        version = connection.info.server_version // 10_000
        raise StoreError(f"{place}: needs PostgreSQL {OLDEST_SERVER // 10_000} or newer, this is {version}")
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise StoreError(f"{place}: the database cannot hold every text; create it with ENCODING 'UTF8'")
    relations = await _relations(connection, schema)
    if not relations:
        return None
    if relations.get("migrations") != _MARK:
        raise SchemaError(
            f'{place}: the schema "{schema}" holds tables that are not of consent-mw; name another with schema='
        )
    missing = {"records", "shelves"} - relations.keys()
    if missing:
        raise SchemaError(f"{place}: has lost its table {min(missing)}; restore a backup, or drop the schema")
    version = await _version(connection, schema)
    if version > SCHEMA:
        raise SchemaError(
            f"{place}: was written by a newer consent-mw (schema {version}, this one knows {SCHEMA}); "
            "upgrade the package, or name another schema"
        )
    return version


async def refuse_other_sessions(connection: AsyncConnection[TupleRow], conninfo: str, place: str) -> None:
    """
    Check that a transaction has one session of one server to itself, whatever pooler is in between and whatever mode
    it claims. The connection must be in autocommit mode; `conninfo` leads to the same place.

    Raises:
        StoreError: The transaction goes to several sessions, or meets another one in its session.
    """
    mark = f"mark_{secrets.token_hex(8)}"
    await _begin_marked(connection, mark)
    second = asyncio.create_task(_begun_beside(conninfo))
    try:
        await asyncio.wait([second], timeout=_SECOND_SECONDS)
        seen = [await (await connection.execute(_WHERE)).fetchone() for _ in range(_ASKED)]
        await connection.execute("ROLLBACK")
    finally:
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)  # no connection is left, perhaps: it was enough to try
    if len(set(seen)) > 1 or seen[0] is None or seen[0][0] != mark:
        raise StoreError(
            f"{place}: what stands between gives the statements of one transaction to several sessions, or of several "
            "transactions to one, whatever mode it says it is in; set pool_mode = transaction (pgbouncer) or "
            "load_balance_mode = off (pgpool-II), or name the server itself"
        )


async def _begun_beside(conninfo: str) -> None:
    """Begin a transaction on a connection of its own, with another mark, and leave."""
    async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await _begin_marked(connection, "another")
        await connection.execute("ROLLBACK")


async def _begin_marked(connection: AsyncConnection[TupleRow], mark: str) -> None:
    """Begin a transaction that carries a mark, and that no time limit of others ends."""
    await connection.execute(f"{_MARKED.format(mark)}; {unhurried(connection.info.server_version)}".encode())


async def only_reads(connection: AsyncConnection[TupleRow]) -> bool:
    """Whether the server is a standby."""
    row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    return bool(row and row[0])


async def prepare(connection: AsyncConnection[TupleRow], schema: str, place: str) -> None:
    """
    Create or migrate what is missing, all or nothing. If several processes try, the first does it. Raises as `check`.

    The connection must be in autocommit mode.
    """
    if await check(connection, schema, place) == SCHEMA:
        return
    await connection.set_read_only(False)  # whatever default_transaction_read_only says; a standby refuses it
    async with connection.transaction():
        await connection.execute(unhurried(connection.info.server_version).encode())
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(schema, "migration")])
        # Another process may have done it while we waited. A later statement sees that.
        version = await check(connection, schema, place)
        if version is None:
            version = 0
            await _begin(connection, schema)
        await connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(sql.Identifier(schema)))
        for number, step in enumerate(_STEPS[version:], version + 1):
            await connection.execute(_composed(step, schema))
            await connection.execute("INSERT INTO migrations (version) VALUES (%s)", [number])


async def _begin(connection: AsyncConnection[TupleRow], schema: str) -> None:
    name = sql.Identifier(schema)
    exists = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema])
    if await exists.fetchone() is None:  # IF NOT EXISTS needs the right to create it even if it exists
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    table = sql.SQL("{}.migrations").format(name)
    await connection.execute(
        sql.SQL("CREATE TABLE {} (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())").format(table)
    )
    await connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(_MARK)))


def _composed(step: str, schema: str) -> bytes:
    text = step.replace("{schema}", sql.Identifier(schema).as_string(None))
    text = text.replace("{undivided}", sql.Literal(sorted(UNDIVIDED)).as_string(None))
    return text.replace("{making}", str(lock_key(schema, "make_day"))).encode()


async def _relations(connection: AsyncConnection[TupleRow], schema: str) -> dict[str, str]:
    """Return the tables and other relations of a schema, each with its comment. Needs no privilege on them."""
    cursor = await connection.execute(
        """
        SELECT relname::text, coalesce(obj_description(pg_class.oid, 'pg_class'), '')
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT relispartition
        """,
        [schema],
    )
    return dict(await cursor.fetchall())


async def _version(connection: AsyncConnection[TupleRow], schema: str) -> int:
    query = sql.SQL("SELECT coalesce(max(version), 0) FROM {}.migrations").format(sql.Identifier(schema))
    row = await (await connection.execute(query)).fetchone()
    return int(row[0]) if row else 0
