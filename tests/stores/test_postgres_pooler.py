"""PostgreSQL behind a pooler: sessions are shared with strangers, and nothing of ours stays in one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from uuid import uuid4

import psycopg
import pytest
from tests.support.multiplexer import multiplexer
from tests.support.pooler import PROGRAM, Pooler
from tests.support.postgres import PostgresServer
from tests.support.renamed import rename

from consent_mw.exceptions import StoreError
from consent_mw.records import Query
from consent_mw.stores.lease import lease
from consent_mw.stores.postgres import PostgresStore
from consent_mw.testing.sample_records import VISITS, make_record
from consent_mw.testing.store_suite import NewStore, StoreSuite

needs_pgbouncer = pytest.mark.skipif(
    not PROGRAM.exists() and not os.environ.get("CI"), reason="apt-get install pgbouncer"
)
pytestmark = [needs_pgbouncer, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Generator[Pooler]:
    with Pooler(postgres, "transaction", size=3) as pool:
        yield pool


class TestBehindAPooler(StoreSuite):
    crashes = 3
    rows = 1_000

    # Transactions are what a store may meet in any session; where sessions are its own, all is as without a pooler.
    @pytest.fixture
    def schema(self) -> str:
        return f"test_{uuid4().hex[:12]}"

    @pytest.fixture
    def new_store(self, pooler: Pooler, schema: str) -> NewStore:
        return partial(PostgresStore, pooler.url(), schema=schema)

    @pytest.fixture
    def break_it(self, postgres: PostgresServer, schema: str) -> Callable[[], object]:
        return partial(rename, postgres.url(), "SCHEMA", schema, f"{schema}_elsewhere")


@pytest.fixture(scope="module", params=["transaction", "session"])
def shared(request: pytest.FixtureRequest, postgres: PostgresServer) -> Generator[Pooler]:
    # In session mode each of our connections is one, and several stores are open at once.
    with Pooler(postgres, request.param, size=2 if request.param == "transaction" else 40) as pool:
        yield pool


def test_another_application_of_the_pool_never_meets_a_setting_of_ours(shared: Pooler) -> None:
    schema, name = f"test_{uuid4().hex[:12]}", f"orders_{uuid4().hex[:12]}"
    stop, troubles, read = threading.Event(), list[str](), list[object]()
    said = "SELECT current_setting('search_path'), current_setting('enable_seqscan')"

    def other() -> None:
        with closing(psycopg.connect(shared.url(), autocommit=True, prepare_threshold=None)) as connection:
            while not stop.is_set():
                try:
                    # It leaves its own behind, too, which must not be in our way.
                    connection.execute("SET search_path = public; SET default_transaction_read_only = off")
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} (id int)".encode())
                    read.extend(connection.execute(f"SELECT count(*) FROM public.{name}".encode()).fetchall())
                    ((path, scans),) = connection.execute(said).fetchall()
                    if path not in ('"$user", public', "public") or scans != "on":
                        troubles.append(f"{path} {scans}")
                except psycopg.Error as error:
                    troubles.append(str(error))

    async def ours() -> int:
        store = PostgresStore(shared.url(), schema=schema)
        await store.open()
        for turn in range(40):
            await asyncio.gather(*(store.append([make_record(turn * 4 + n)]) for n in range(4)))
            await store.fetch(VISITS, limit=5)
        kept = len(await store.fetch(VISITS, limit=1000))
        await store.close()
        return kept

    # Of two that create a table at once, PostgreSQL refuses one, IF NOT EXISTS or not.
    with closing(psycopg.connect(shared.url(), autocommit=True, prepare_threshold=None)) as connection:
        connection.execute(f"CREATE TABLE public.{name} (id int)".encode())
    threads = [threading.Thread(target=other) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        kept = asyncio.run(ours())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (kept, troubles) == (160, [])
    assert read


def test_a_lease_is_held_once_through_a_pool_and_is_free_afterwards(shared: Pooler) -> None:
    async def scenario() -> list[bool]:
        schema = f"test_{uuid4().hex[:12]}"
        first, second = PostgresStore(shared.url(), schema=schema), PostgresStore(shared.url(), schema=schema)
        held = list[bool]()
        await first.open()
        async with lease(first, "destruction") as mine:
            await second.open()
            async with lease(second, "destruction") as theirs:
                held += [mine, theirs]
        for _ in range(6):  # whichever session of the pool it is
            async with lease(second, "destruction") as again:
                held.append(again)
        await first.close()
        await second.close()
        return held

    assert asyncio.run(scenario()) == [True, False, *[True] * 6]


def test_a_pool_of_statements_is_refused_with_the_reason(postgres: PostgresServer) -> None:
    # What it says of itself (SHOW CONFIG) is `session`, and of this database another mode holds.
    with Pooler(postgres, "session", of_database="statement") as pooler, pytest.raises(StoreError, match="pool_mode"):
        asyncio.run(PostgresStore(pooler.url()).open())


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_proxy_that_mixes_transactions_is_refused_with_the_reason(postgres: PostgresServer, sessions: int) -> None:
    # With one session a single connection sees nothing amiss: another one's statements come into its transaction.
    schema = f"test_{uuid4().hex[:12]}"
    with multiplexer(postgres, sessions) as url, pytest.raises(StoreError, match="load_balance_mode = off"):
        asyncio.run(PostgresStore(url, schema=schema).open())
    with closing(psycopg.connect(postgres.url())) as connection:
        assert not connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchall()


def test_nothing_is_left_in_the_session(postgres: PostgresServer) -> None:
    """With one session for everybody, what a stranger then finds in it is what the server gives to all."""
    asked = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"

    async def work(url: str) -> None:
        store = PostgresStore(url, schema=f"test_{uuid4().hex[:12]}", connections=1)
        await store.open()
        await store.append([make_record(1)], durable=True)
        await store.delete(Query(kinds=frozenset({"visit"})))
        async with store.lease("destruction"):
            pass
        await store.close()

    with Pooler(postgres, "transaction", size=1) as pooler:
        with closing(psycopg.connect(pooler.url(), autocommit=True, prepare_threshold=None)) as before:
            expected = before.execute(asked).fetchall()
        asyncio.run(work(pooler.url()))
        with closing(psycopg.connect(pooler.url(), autocommit=True, prepare_threshold=None)) as after:
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            assert after.execute(held).fetchone() == (0,)
            assert after.execute(asked).fetchall() == expected
            tables = after.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'").fetchall()
            assert tables == []
