"""The stores among the examples pass the suite: over SQLAlchemy in two databases, and over Django's ORM."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.renamed import rename, rename_table
from tests.support.repository import ROOT

from consent_mw.exceptions import SchemaError, StoreUnavailable
from consent_mw.records import Record
from consent_mw.testing.sample_records import VISITS, make_record
from consent_mw.testing.store_suite import NewStore, StoreSuite
from examples.sqlalchemy_store import SQLAlchemyStore


@pytest.mark.parametrize("name", ["sqlalchemy_store", "django_store"])
def test_each_is_short(name: str) -> None:
    assert len((ROOT / f"examples/{name}.py").read_text().splitlines()) < 175


class TestSQLAlchemyOnSQLite(StoreSuite):
    crashes = 2  # each opens an engine
    rows = 1_500

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> NewStore:
        return partial(SQLAlchemyStore, f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")

    @pytest.fixture
    def break_it(self, tmp_path: Path) -> Callable[[], object]:
        return partial(rename_table, tmp_path / "records.db", "consent_records", "elsewhere")


class TestSQLAlchemyOnPostgres(StoreSuite):
    crashes = 2
    rows = 1_500

    @pytest.fixture
    def url(self, postgres: PostgresServer) -> str:
        return postgres.database()

    @pytest.fixture
    def new_store(self, url: str) -> NewStore:
        return partial(SQLAlchemyStore, url.replace("postgresql:", "postgresql+psycopg:"))

    @pytest.fixture
    def break_it(self, url: str) -> Callable[[], object]:
        return partial(rename, url, "TABLE", "consent_records", "elsewhere")


def test_sqlalchemy_keeps_every_text_whatever_encoding_the_database_sets_for_others(postgres: PostgresServer) -> None:
    url = postgres.database()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET client_encoding = 'LATIN1'".encode())
    record = make_record(1, data={"page": "책방"})

    async def kept() -> list[Record]:
        store = SQLAlchemyStore(url.replace("postgresql:", "postgresql+psycopg:"))
        await store.open()
        try:
            await store.append([record])
            return list(await store.fetch(VISITS))
        finally:
            await store.close()

    assert asyncio.run(kept()) == [record]


def test_sqlalchemy_refuses_a_table_that_is_not_ours(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "diary.db")) as connection:
        connection.execute("CREATE TABLE consent_records (day, note)")
    with pytest.raises(SchemaError, match="name another database"):
        asyncio.run(opening(SQLAlchemyStore(f"sqlite+aiosqlite:///{tmp_path / 'diary.db'}")))


def test_sqlalchemy_says_which_database_is_away_and_keeps_its_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(opening(SQLAlchemyStore("postgresql+psycopg://user:secret@127.0.0.1:1/log")))
    assert "127.0.0.1:1/log" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def opening(store: SQLAlchemyStore) -> None:
    try:
        await store.open()
    finally:
        await store.close()


DJANGO = """
from functools import partial

import django
import pytest
from django.conf import settings


def make_store(path):
    # In a site of yours manage.py or asgi.py does this.
    if not settings.configured:
        options = {"timeout": 30, "init_command": "PRAGMA synchronous = FULL"}
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}
        settings.configure(DATABASES={"default": database})
        django.setup()
    from django.db import connections

    connections.databases["default"]["NAME"] = path  # each test has a place of its own
    from examples.django_store import DjangoStore

    return DjangoStore("default")


from consent_mw.testing.store_suite import StoreSuite
from tests.support.renamed import rename_table


class TestDjangoStore(StoreSuite):
    crashes = 2
    rows = 1_500

    @pytest.fixture
    def new_store(self, tmp_path):
        return partial(make_store, str(tmp_path / "records.db"))

    @pytest.fixture
    def break_it(self, tmp_path):
        return partial(rename_table, tmp_path / "records.db", "consent_records", "elsewhere")


def test_a_table_that_is_not_ours_is_refused(tmp_path):
    import asyncio
    import sqlite3
    from consent_mw.exceptions import SchemaError

    connection = sqlite3.connect(tmp_path / "diary.db")
    connection.execute("CREATE TABLE consent_records (day, note)")
    connection.close()
    store = make_store(str(tmp_path / "diary.db"))

    async def refuse():
        with pytest.raises(SchemaError, match="name another database"):
            await store.open()
        await store.close()

    asyncio.run(refuse())
"""


def test_the_store_over_django_passes_the_suite(tmp_path: Path) -> None:
    (tmp_path / "test_django_store.py").write_text(DJANGO)
    program = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in", done.stdout, flags=re.MULTILINE)
