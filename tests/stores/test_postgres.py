"""The PostgreSQL store against a real server: the store suite, then what it alone promises."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from starlette.applications import Starlette
from tests.support.asgi import drive, scope
from tests.support.postgres import PostgresServer
from tests.support.renamed import rename
from tests.support.repository import ROOT
from tests.support.spooled import clear_records, keep_spooling, make_site

from consent_mw.exceptions import ConfigurationError, SchemaError, StoreError, StoreUnavailable
from consent_mw.middleware import ConsentMiddleware
from consent_mw.records import Query, Record, encode_record
from consent_mw.spool.spool import Spool
from consent_mw.stores import opened_store, postgres_schema, postgres_search, store_from
from consent_mw.stores import postgres as postgres_store
from consent_mw.stores.lease import lease
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.postgres_address import conninfo_of
from consent_mw.testing.sample_records import NOON, VISITS, everything, make_record
from consent_mw.testing.store_model import compare
from consent_mw.testing.store_suite import NewStore, StoreSuite

DAY = timedelta(days=1)
MIDNIGHT = NOON - timedelta(hours=12)


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    def new_store(self, postgres: PostgresServer, schema: str) -> NewStore:
        return partial(PostgresStore, postgres.url(), schema=schema)

    @pytest.fixture
    def break_it(self, postgres: PostgresServer, schema: str) -> Callable[[], object]:
        return partial(rename, postgres.url(), "SCHEMA", schema, f"{schema}_elsewhere")


@pytest.fixture
def schema() -> str:
    return f"test_{uuid4().hex[:12]}"


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> PostgresStore:
    return PostgresStore(postgres.url(), schema=schema)


@pytest.fixture
def admin(postgres: PostgresServer, schema: str) -> Generator[psycopg.Connection]:
    with closing(psycopg.connect(postgres.url(), autocommit=True)) as connection:
        yield connection


def with_store(store: PostgresStore, scenario: Callable[[PostgresStore], Awaitable[object]]) -> None:
    """Run `scenario` with the store open, in a loop of its own."""

    async def run() -> None:
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def fill(store: PostgresStore, count: int = 3) -> None:
    with_store(store, lambda store: store.append([make_record(n) for n in range(count)]))


def refusal(store: PostgresStore, error: type[StoreError]) -> str:
    """Return the one line with which the store refuses to open."""
    with pytest.raises(error) as caught:
        asyncio.run(store.open())
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("postgresql://")
    return str(caught.value)


def run(connection: psycopg.Connection, statement: str, *names: str) -> list[tuple[Any, ...]]:
    quoted = [sql.Identifier(name).as_string(connection) for name in names]
    cursor = connection.execute(statement.format(*quoted).encode())
    return cursor.fetchall() if cursor.description else []


def partitions(admin: psycopg.Connection, schema: str) -> list[str]:
    rows = admin.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = %s AND relkind = 'r' AND relispartition ORDER BY 1",
        [schema],
    )
    return [row[0] for row in rows]


# What is refused


def test_a_server_that_is_not_there_is_told() -> None:
    message = refusal(PostgresStore("postgresql://somebody:secret@127.0.0.1:1/site"), StoreUnavailable)
    assert "Connection refused" in message
    assert "see that the server runs" in message
    assert "secret" not in message


def test_a_wrong_password_is_told(postgres: PostgresServer) -> None:
    message = refusal(PostgresStore(postgres.tcp_url(password="guessed")), StoreUnavailable)
    assert "password authentication failed" in message
    assert "~/.pgpass" in message
    assert "guessed" not in message


def test_a_missing_password_is_told(postgres: PostgresServer) -> None:
    url = f"postgresql://consent@127.0.0.1:{postgres.port}/postgres"
    assert "no password supplied; give a password" in refusal(PostgresStore(url), StoreUnavailable)


def test_a_missing_database_is_told(postgres: PostgresServer) -> None:
    message = refusal(PostgresStore(postgres.url("nowhere")), StoreUnavailable)
    assert 'database "nowhere" does not exist; create it' in message


def test_a_server_without_tls_is_told(postgres: PostgresServer) -> None:
    message = refusal(PostgresStore(postgres.tcp_url() + "?sslmode=require"), StoreUnavailable)
    assert "does not support SSL" in message
    assert "switch TLS on" in message


def test_a_schema_of_another_program_is_refused_and_not_touched(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    run(admin, "CREATE SCHEMA {}; CREATE TABLE {}.records (note text)", schema, schema)
    assert "not of consent-mw; name another with schema=" in refusal(store, SchemaError)
    assert run(admin, "SELECT * FROM {}.records", schema) == []
    assert admin.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", [schema]).fetchone() == (1,)


def test_a_schema_that_was_prepared_and_is_empty_is_used(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    run(admin, "CREATE SCHEMA {}", schema)
    fill(store)


def test_a_newer_schema_is_refused(store: PostgresStore, admin: psycopg.Connection, schema: str) -> None:
    fill(store)
    run(admin, "INSERT INTO {}.migrations (version) VALUES (99)", schema)
    message = refusal(store, SchemaError)
    assert f"newer consent-mw (schema 99, this one knows {postgres_schema.SCHEMA})" in message
    assert "upgrade the package" in message


def test_an_older_schema_is_migrated_once_and_keeps_its_records(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(PostgresStore(postgres.url(), schema=schema))
    steps = (*postgres_schema._STEPS, "ALTER TABLE records ADD COLUMN note text")
    monkeypatch.setattr(postgres_schema, "_STEPS", steps)
    monkeypatch.setattr(postgres_schema, "SCHEMA", len(steps))

    async def scenario() -> None:
        stores = [PostgresStore(postgres.url(), schema=schema) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        assert len(await stores[0].fetch(VISITS)) == 3
        await stores[1].append([make_record(7)])
        for store in stores:
            await store.close()

    asyncio.run(scenario())
    assert run(admin, "SELECT version FROM {}.migrations ORDER BY 1", schema) == [(1,), (2,)]


def test_a_lost_table_is_told(store: PostgresStore, admin: psycopg.Connection, schema: str) -> None:
    fill(store)

    async def scenario(store: PostgresStore) -> None:
        run(admin, "DROP TABLE {}.records CASCADE", schema)
        with pytest.raises(SchemaError, match="does not exist; restore what was dropped"):
            await store.fetch(VISITS)

    with_store(store, scenario)
    assert "has lost its table records" in refusal(store, SchemaError)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer, admin: psycopg.Connection) -> None:
    admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "create it with ENCODING 'UTF8'" in refusal(PostgresStore(postgres.url("latin")), StoreError)


#: What a role may have set for other programs: time limits, another encoding, another way to write values.
SETTINGS = {
    "statement_timeout": "'20ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'20ms'",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "'serializable'",
    "client_encoding": "'LATIN1'",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "DateStyle": "'German'",
    "search_path": "'nowhere'",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_a_role_has_set_for_other_programs_changes_nothing(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, name: str
) -> None:
    admin.execute(f"CREATE ROLE {schema} LOGIN; GRANT CREATE ON DATABASE postgres TO {schema}".encode())
    admin.execute(f"ALTER ROLE {schema} SET {name} = {SETTINGS[name]}".encode())
    hostile = make_record(9, kind="hostile", subject=b"\\x00", data={"text": "비밀 \0 🍪 \\"})
    query = Query(kinds=frozenset({"hostile"}), subjects=frozenset({b"\\x00"}))

    async def scenario(store: PostgresStore) -> None:
        await compare(store, 1, calls=30)
        await store.append([hostile])
        assert await store.fetch(query) == [hostile]
        assert abs(await store.now() - datetime.now(UTC)) < timedelta(minutes=1)
        async with store.lease("destruction") as mine, store._connection() as connection:
            await connection.execute("SELECT")
            await asyncio.sleep(0.05)
            assert mine
        async with store._transaction(postgres_store._WRITE) as connection:
            await connection.execute("SELECT pg_sleep(0.05)")  # a statement takes its time,
            await asyncio.sleep(0.05)  # and so does a busy host between two of them
            await connection.execute("SELECT")
        assert await store.delete(query) == 1

    with_store(PostgresStore(postgres.url(user=schema), schema=schema), scenario)


def test_an_encoding_of_the_environment_or_the_url_changes_nothing(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    url = f"{postgres.url()}&client_encoding=SQL_ASCII"
    record = make_record(1, data={"text": "비밀"})

    async def scenario(store: PostgresStore) -> None:
        await store.append([record])
        assert await store.fetch(VISITS) == [record]

    for address in (url, postgres.url()):
        with_store(PostgresStore(address, schema=schema), scenario)


def test_a_standby_is_named_when_it_is_opened_and_only_reads(
    postgres: PostgresServer, store: PostgresStore, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: PostgresStore) -> None:
        assert len(await store.fetch(VISITS)) == 3
        for verb in (lambda: store.append([make_record(7)]), lambda: store.delete(VISITS)):
            with pytest.raises(StoreUnavailable, match="name the primary, if this server is a standby"):
                await verb()

    fill(store)
    with PostgresServer() as standby:
        standby.follow(postgres)
        with_store(PostgresStore(standby.url(), schema=schema), scenario)
        assert "is a standby, so nothing is kept or erased here; name the primary" in caplog.text
        assert "name the primary" in refusal(PostgresStore(standby.url(), schema=f"{schema}_new"), StoreUnavailable)


def test_a_store_that_is_not_open_says_so(store: PostgresStore) -> None:
    with pytest.raises(StoreError, match=r"not open; await its open\(\) first"):
        asyncio.run(store.fetch(VISITS))


# Rights


@contextmanager
def roles(admin: psycopg.Connection, schema: str, blocks: list[str]) -> Generator[Callable[[str], str]]:
    """Make the roles of the documentation under names of this test's own, and give the translation of a name."""

    def ours(text: str) -> str:
        return re.sub(r"\bconsent_(owner|writer|reader)\b", rf"{schema}_\1", text).replace("consent_mw", schema)

    admin.execute(ours(blocks[0]).encode())
    yield ours


def test_the_roles_of_the_documentation_suffice_and_no_more(postgres: PostgresServer, admin, schema: str) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs/postgres.md").read_text(), re.DOTALL | re.MULTILINE)
    with roles(admin, schema, blocks) as ours:
        owner, writer, reader = (
            PostgresStore(postgres.url(user=ours(f"consent_{role}")), schema=schema)
            for role in ("owner", "writer", "reader")
        )
        assert "permission denied" in refusal(writer, StoreError)
        asyncio.run(_opened(owner))
        with closing(psycopg.connect(postgres.url(user=ours("consent_owner")), autocommit=True)) as connection:
            connection.execute(ours(blocks[1]).encode())

        async def write(store: PostgresStore) -> None:
            await store.append([make_record(n, at=NOON + n * DAY) for n in range(3)], durable=True)
            assert await store.delete(Query(kinds=VISITS.kinds, ids=frozenset({make_record(0).id}))) == 1
            assert await store.delete(Query(kinds=VISITS.kinds, until=MIDNIGHT + 2 * DAY)) == 1
            assert len(await store.fetch(VISITS)) == 1
            async with lease(store, "purge") as mine:
                assert mine

        async def read(store: PostgresStore) -> None:
            assert len(await store.fetch(VISITS)) == 1
            with pytest.raises(StoreError, match=r"permission denied .*; grant it as docs/postgres\.md shows"):
                await store.append([make_record(9)])
            with pytest.raises(StoreError, match="permission denied"):
                await store.delete(VISITS)

        with_store(writer, write)
        with_store(reader, read)
        with closing(psycopg.connect(postgres.url(user=ours("consent_writer")), autocommit=True)) as connection:
            for statement in (
                "DROP TABLE {}.records",
                "ALTER TABLE {}.records ADD COLUMN x int",
                "TRUNCATE {}.shelves",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    run(connection, statement, schema)
        run(admin, blocks[2].replace("consent_mw", schema))


async def _opened(store: PostgresStore) -> None:
    await store.open()
    await store.close()


# Partitions


def test_a_day_is_made_ahead_and_dropped_when_it_ends(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.append([make_record(1)])
        assert partitions(admin, schema) == ["day_analytics_20261123", "day_analytics_20261124"]
        await store.append([make_record(n, at=NOON + DAY, kind="event") for n in range(5)])
        assert await store.delete(Query(kinds=VISITS.kinds, until=MIDNIGHT + DAY)) == 1
        assert partitions(admin, schema) == ["day_analytics_20261124", "day_analytics_20261125"]
        await store.append([make_record(2)])
        assert await store.fetch(VISITS) == [make_record(2)]

    with_store(store, scenario)


def test_a_day_that_is_deleted_hour_by_hour_is_dropped_with_the_last(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    hour = timedelta(hours=1)

    async def scenario(store: PostgresStore) -> None:
        await store.append([make_record(n, at=MIDNIGHT + n * hour, kind=("visit", "event")[n % 2]) for n in range(24)])
        for n in range(24):
            query = Query(
                kinds=frozenset({"visit", "event"}),
                purposes=frozenset({"analytics"}),
                since=MIDNIGHT + n * hour,
                until=MIDNIGHT + (n + 1) * hour,
            )
            assert "day_analytics_20261123" in partitions(admin, schema)
            assert await store.delete(query) == 1
        assert partitions(admin, schema) == ["day_analytics_20261124"]

    with_store(store, scenario)


def test_what_somebody_reads_is_deleted_without_being_dropped(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.append([make_record(n) for n in range(10)])
        with admin.transaction():
            run(admin, "SELECT count(*) FROM {}.records", schema)
            assert await store.delete(VISITS) == 10
            assert await store.fetch(VISITS) == []
        assert "day_analytics_20261123" in partitions(admin, schema)

    with_store(store, scenario)


def test_a_partition_that_another_host_dropped_is_made_again(postgres: PostgresServer, schema: str) -> None:
    async def scenario() -> None:
        here, there = (PostgresStore(postgres.url(), schema=schema) for _ in range(2))
        await here.open()
        await there.open()
        for number in range(5):
            await here.append([make_record(number), make_record(100 + number, kind="event")])
            assert await there.delete(Query(kinds=frozenset({"visit", "event"}))) == 2
            await here.append([make_record(200 + number, kind="event")])
            await there.append([make_record(300 + number)])
            records = await here.fetch(Query(kinds=frozenset({"visit", "event"})))
            assert len(records) == 2
            assert await there.delete(Query(kinds=frozenset({"visit", "event"}))) == 2
        await here.close()
        await there.close()

    asyncio.run(scenario())


def test_a_partition_that_is_dropped_again_and_again_is_made_again(
    store: PostgresStore, admin: psycopg.Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ahead, drops = store._make_ahead, [1, 2, 3]

    async def made_and_dropped(days: Iterable[tuple[str, int]]) -> None:
        some = list(days)
        await make_ahead(some)
        if some and drops:
            drops.pop()
            for purpose, day in some:
                run(admin, f"SELECT {{}}.drop_day('{purpose}', {day}, '{{{{}}}}')", schema)

    monkeypatch.setattr(store, "_make_ahead", made_and_dropped)
    fill(store)
    assert not drops


def test_an_id_is_kept_once_under_whatever_purpose(store: PostgresStore) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.append([make_record(1, purpose="analytics")])
        await store.append([make_record(1, purpose="necessary"), make_record(2, purpose="necessary")])
        assert await store.fetch(VISITS) == [make_record(1), make_record(2, purpose="necessary")]

    with_store(store, scenario)


def test_a_record_cannot_be_laid_into_another_day(store: PostgresStore, admin: psycopg.Connection, schema: str) -> None:
    fill(store)
    run(admin, "SELECT {}.make_day('analytics', day + 7) FROM {}.records", schema, schema)
    with pytest.raises(psycopg.errors.CheckViolation, match="day_of_id"):
        run(
            admin,
            "INSERT INTO {}.records SELECT day + 7, id, kind, purpose, subject, ring, data, sealed FROM {}.records",
            schema,
            schema,
        )


def test_many_days_are_searched_a_stretch_at_a_time(
    store: PostgresStore, admin, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_search, "_PARTITIONS", 24)  # of 96: a quarter of a year then has as many stretches
    purposes = ("analytics", "necessary")
    batch = [
        make_record(n, at=NOON + (n // 2) * DAY, purpose=purposes[n % 2], subject=b"somebody" if n % 24 == 0 else None)
        for n in range(200)
    ]

    async def scenario(store: PostgresStore) -> None:
        for start in range(0, 200, 25):
            await store.append(batch[start : start + 25])
        assert await everything(store, page=38) == batch
        assert await everything(store, page=38, newest_first=True) == batch[::-1]
        somebody = Query(kinds=VISITS.kinds, subjects=frozenset({b"somebody"}))
        theirs = [record for record in batch if record.subject]
        assert await store.fetch(somebody) == theirs
        assert await store.fetch(somebody, limit=3, newest_first=True) == theirs[:-4:-1]
        assert await store.delete(somebody) == len(theirs)
        assert await store.fetch(somebody) == []
        until = Query(kinds=VISITS.kinds, until=MIDNIGHT + 90 * DAY)
        assert await store.delete(until) == 180 - sum(
            record.id < make_record(0, at=MIDNIGHT + 90 * DAY).id for record in theirs
        )
        assert len(partitions(admin, schema)) == 22

    with_store(store, scenario)


def test_every_statement_is_a_search_in_an_index(store: PostgresStore, admin: psycopg.Connection, schema: str) -> None:
    from consent_mw.stores.postgres_search import Search, Stretch, day_of

    day = day_of(make_record(1).id)
    stretch = Stretch(day, day, ["analytics"], ["event", "visit"])
    both = frozenset({"visit", "event"})
    queries = [
        Query(kinds=both),
        Query(kinds=both, until=NOON + DAY),
        Query(kinds=both, subjects=frozenset(n.to_bytes(16, "big") for n in range(1000))),
        Query(kinds=both, ids=frozenset(make_record(n).id for n in range(100))),
    ]

    async def scenario(store: PostgresStore) -> None:
        await store.append([make_record(n, subject=b"%d" % n) for n in range(5000)])
        bookmark = make_record(50).id
        for search in (
            Search(query, after=bookmark, newest_first=newest_first)
            for query in queries
            for newest_first in (False, True)
        ):
            for statement, values in (
                search.page(stretch, 1000),
                search.deletion(day, "analytics"),
                search.hits(stretch),
            ):
                async with store._transaction(postgres_store._READ) as connection:
                    explained = await connection.execute(sql.SQL("EXPLAIN ") + statement, values)
                    plan = "\n".join(row[0] for row in await explained.fetchall())
                assert "Index" in plan
                assert "Seq Scan" not in plan, plan
                if "UNION" in statement.as_string(None):
                    assert "Sort  (" not in plan, plan

    with_store(store, scenario)


def test_a_visitors_records_are_found_by_their_token_before_anything_was_analysed(
    store: PostgresStore, admin: psycopg.Connection, schema: str
) -> None:
    from consent_mw.stores.postgres_search import Search, Stretch, day_of

    day = day_of(make_record(1).id)
    both = frozenset({"visit", "event"})
    one = Query(kinds=both, subjects=frozenset({b"7"}))
    spans = (one, msgspec.structs.replace(one, since=MIDNIGHT), msgspec.structs.replace(one, until=MIDNIGHT + 40 * DAY))

    async def scenario(store: PostgresStore) -> None:
        # Autovacuum may look at a partition while it has next to nothing, and not again for a minute.
        await store.append([make_record(1)])
        for table in partitions(admin, schema):
            admin.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
        for start in range(2, 10_000, 500):
            await store.append([make_record(n, subject=b"%d" % n) for n in range(start, start + 500)])
        for search in map(Search, spans):
            statement, values = search.page(Stretch(day, day, ["analytics"], ["event", "visit"]), 1000)
            async with store._transaction(postgres_store._READ) as connection:
                explained = await connection.execute(sql.SQL("EXPLAIN ") + statement, values)
                plan = "\n".join(row[0] for row in await explained.fetchall())
            assert "subject_id_idx" in plan, plan
            assert "Join Filter" not in plan, plan

    with_store(store, scenario)


# Many hosts


def test_a_lease_is_held_once_and_ends_with_its_connection(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str
) -> None:
    async def scenario() -> None:
        here, there = (PostgresStore(postgres.url(), schema=schema) for _ in range(2))
        await here.open()
        await there.open()
        async with lease(here, "purge") as mine, lease(there, "purge") as theirs, lease(there, "another") as other:
            assert (mine, theirs, other) == (True, False, True)
        async with lease(there, "purge") as theirs:
            assert theirs
        async with lease(here, "purge") as mine:
            assert mine
            cut = "SELECT pg_terminate_backend(pid, 10_000) FROM pg_locks WHERE locktype = 'advisory'"
            assert admin.execute(cut).fetchall() == [(True,)]
            async with lease(there, "purge") as theirs:
                assert theirs
        assert await here.fetch(VISITS) == []
        await here.close()
        await there.close()

    asyncio.run(scenario())


def test_hosts_whose_log_is_in_the_database_of_their_store_hold_their_lease_by_turns(
    postgres: PostgresServer, schema: str
) -> None:
    async def scenario() -> None:
        other = postgres.database()
        logs = [PostgresStore(postgres.url(), schema=schema), PostgresStore(other)]
        turned = [PostgresStore(other), PostgresStore(postgres.url(), schema=schema)]
        hosts = [opened_store(PostgresStore(postgres.url(), schema=schema), mine) for mine in (logs, turned)]
        for holder, asks in (hosts, hosts[::-1]):
            async with lease(holder, "purge") as mine, lease(asks, "purge") as theirs:
                assert (mine, theirs) == (True, False)
        for host in hosts:
            await host.close()

    asyncio.run(scenario())


def test_a_lease_goes_on_while_its_holder_lives_and_ends_when_it_is_frozen(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhurried = postgres_schema.unhurried
    monkeypatch.setattr(postgres_store, "unhurried", lambda version: unhurried(version).replace("60s", "3s"))
    one, other = PostgresStore(postgres.url(), schema=schema), PostgresStore(postgres.url(), schema=schema)

    async def is_free() -> bool:
        async with lease(other, "destruction") as theirs:
            return theirs

    async def scenario() -> None:
        await one.open()
        await other.open()
        monkeypatch.setattr(postgres_store, "_BEAT_SECONDS", 0.1)
        async with lease(one, "destruction") as mine:
            await asyncio.sleep(3.5)
            assert (mine, await is_free()) == (True, False)
        monkeypatch.setattr(postgres_store, "_BEAT_SECONDS", 3600.0)
        async with lease(one, "destruction") as mine:
            assert mine
            while not await is_free():  # noqa: ASYNC110 - it is the server that ends the session
                await asyncio.sleep(0.05)
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_connections_that_are_cut_are_replaced(store: PostgresStore, admin: psycopg.Connection) -> None:
    async def write(store: PostgresStore, writer: int) -> None:
        for number in range(60):
            while True:
                try:
                    await store.append([make_record(1000 * writer + number)])
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.01)

    async def scenario(store: PostgresStore) -> None:
        writing = asyncio.ensure_future(asyncio.gather(*(write(store, writer) for writer in range(4))))
        for _ in range(5):
            await asyncio.sleep(0.1)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'consent-mw' AND pid <> pg_backend_pid()"
            )
        await writing
        assert len(await everything(store)) == 240

    with_store(store, scenario)


def count_in(postgres: PostgresServer, what: str = "count(*)") -> int:
    with closing(psycopg.connect(postgres.url("hosts"), autocommit=True)) as connection:
        try:
            return int(run(connection, f"SELECT {what} FROM consent_mw.records")[0][0])
        except psycopg.errors.UndefinedTable:
            return 0


def has_records(postgres: PostgresServer, count: int) -> bool:
    return count_in(postgres) >= count


def wait_for(condition: Callable[[], bool], drains: list[subprocess.Popen[bytes]], seconds: float = 60) -> None:
    """Wait until it holds. What a drain said is told where one has ended, or where it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if any(drain.poll() is not None for drain in drains) or time.monotonic() > deadline:
            for drain in drains:
                drain.send_signal(signal.SIGABRT)
            pytest.fail("\n".join(repr((drain.communicate(timeout=60), drain.returncode)) for drain in drains))
        time.sleep(0.1)


def test_two_hosts_lose_and_double_nothing_while_the_server_is_killed(postgres: PostgresServer, tmp_path: Path) -> None:
    sites = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sites.append(make_site(tmp_path / name))
    with closing(psycopg.connect(postgres.url(), autocommit=True)) as connection:
        connection.execute("CREATE DATABASE hosts")
    for site in sites:  # a drain that finds no server at its start says so and ends: see first that both have begun
        spool = Spool(site / "consent-data/spool")
        assert spool.write([encode_record(record) for record in clear_records(1)])
        spool.close()
    command = [sys.executable, "-X", "faulthandler", "-m", "consent_mw", "drain", "--store", postgres.url("hosts")]
    drains = [
        subprocess.Popen([*command, "--policy", site / "policy.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for site in sites
    ]
    try:
        wait_for(lambda: count_in(postgres) == len(sites), drains)
        with keep_spooling(sites[0]) as first, keep_spooling(sites[1]) as second, keep_spooling(sites[1]) as third:
            for _ in range(3):
                wait_for(partial(has_records, postgres, count_in(postgres) + 1_000), drains)
                postgres.kill()
                time.sleep(0.3)
                postgres.start()
        written = {*first, *second, *third}
        wait_for(lambda: count_in(postgres, "count(DISTINCT id)") >= len(sites) + len(written), drains)
        assert count_in(postgres) == len(sites) + len(written)
    finally:
        for drain in drains:
            drain.terminate()
            drain.communicate(timeout=60)


def test_a_server_that_dies_between_two_batches_takes_neither(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> None:
    class Dying(PostgresStore):
        deaths = 0

        async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
            await super().append(records, durable=durable)
            if not self.deaths:
                self.deaths += 1
                postgres.kill()
                postgres.start("wal_writer_delay=10s")  # what waits for nobody's commit stays in memory

    site, store = make_site(tmp_path), Dying(postgres.url(), schema=schema)
    records = clear_records(1_000)
    spool = Spool(site / "consent-data/spool")
    assert spool.write([encode_record(record) for record in records])
    spool.close()

    async def handed_over() -> set[UUID]:
        await app.runtime.drain.once()
        held = await everything(store)
        await app.runtime.drain.stop()
        return {record.id for record in held}

    postgres.stop()
    postgres.start("wal_writer_delay=10s")  # what waits for nobody's commit stays in memory
    try:
        app = ConsentMiddleware(Starlette(), policy=site / "policy.toml", secret_keys=["k" * 32], store=store)
        assert asyncio.run(handed_over()) >= {record.id for record in records}
        assert store.deaths == 1
    finally:
        postgres.stop()
        postgres.start()


def test_pages_are_served_and_the_spool_holds_while_the_server_is_away(
    postgres: PostgresServer, store: PostgresStore, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    postgres.kill()
    try:
        app = ConsentMiddleware(Starlette(), policy=site / "policy.toml", secret_keys=["k" * 32], store=store)

        async def away() -> None:
            await app.runtime.drain.begin()
            sent = await drive(app, scope())
            assert sent[0]["status"] == 404
            with pytest.raises(StoreUnavailable):
                await app.runtime.drain.once()
            await app.runtime.drain.stop()

        asyncio.run(away())
        assert app.runtime.spool.backlog[0] > 0
    finally:
        postgres.start()

    async def back() -> None:
        assert await app.runtime.drain.once() >= 1
        await app.runtime.drain.stop()

    asyncio.run(back())
    assert app.runtime.spool.backlog[0] == 0


# What a URL names


def test_a_url_names_a_database() -> None:
    store = store_from("postgresql://somebody:secret@db.example:6432/site?sslmode=require")
    assert isinstance(store, PostgresStore)
    assert repr(store) == "PostgresStore('postgresql://somebody@db.example:6432/site', schema='consent_mw')"
    assert isinstance(store_from("postgres:///site"), PostgresStore)


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://db.example/site", "verify-full"),
        ("postgresql://10.0.0.5/site", "verify-full"),
        ("postgresql://localhost,db.example/site", "verify-full"),
        ("postgresql://db.example/site?sslmode=prefer", "prefer"),
        ("postgresql://localhost/site", None),
        ("postgresql://127.0.0.1/site", None),
        ("postgresql://[::1]/site", None),
        ("postgresql:///site", None),
        ("postgresql:///site?host=/run/postgresql", None),
    ],
)
def test_a_remote_server_has_to_prove_its_name(url: str, mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    assert conninfo_to_dict(conninfo_of(url)).get("sslmode") == mode


def test_a_url_that_cannot_be_read_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="special characters of the password as %XX") as caught:
        store_from("postgresql://somebody:sec%ret@db.example/site")
    assert "ret@" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="no server is named"):
        store_from("postgresql:site")


def test_a_missing_extra_is_told_with_the_command_that_brings_it() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from consent_mw.cli import main\n"
        "sys.exit(main(['store', 'check', '--store', 'postgresql://u:secret@db.example/site']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'consent-mw[postgres]'" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("name", ["psycopg", "psycopg.pool"])
def test_what_the_driver_logs_is_not_printed_where_nobody_set_up_logging(name: str) -> None:
    code = f"import logging, consent_mw.stores.postgres; logging.getLogger({name!r}).warning('closing connection')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
