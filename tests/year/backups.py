"""A backup of the store, and of nothing else that must not be in one; and how it is put back (docs/operator.md)."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol

import psycopg
from tests.support.postgres import PostgresServer

from consent_mw.records import Query
from consent_mw.stores.base import Store
from consent_mw.stores.postgres import PostgresStore

#: What is newer than the backup and must not be lost.
CARRIED = ("request", "answer", "link", "erased", "certificate", "disclosure", "receipt")
_COLUMNS = "id, kind, purpose, subject, ring, data, sealed"


class Backups(Protocol):
    """Makes a backup while the site stands still, and puts it back."""

    def make(self) -> None: ...

    def restore(self) -> None: ...


class SqliteBackups:
    """As the guide for operators does it."""

    _names = ("consent.sqlite3", "archive.sqlite3")

    def __init__(self, directory: Path) -> None:
        self._data = directory / "consent-data"
        self._copy = directory / "backup"

    def make(self) -> None:
        self._copy.mkdir(exist_ok=True)
        for name in self._names:
            if (self._data / name).exists():
                (self._copy / name).unlink(missing_ok=True)
                with (
                    closing(sqlite3.connect(self._data / name)) as store,
                    closing(sqlite3.connect(self._copy / name)) as to,
                ):
                    store.backup(to)

    def restore(self) -> None:
        aside = self._data / "before-restore"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name in self._names:
            if (self._copy / name).exists():
                for left in self._data.glob(f"{name}*"):
                    shutil.move(left, aside / left.name)
                shutil.copyfile(self._copy / name, self._data / name)
        if (aside / "consent.sqlite3").exists():
            self._carry(aside / "consent.sqlite3")
        shutil.rmtree(aside)

    def _carry(self, old: Path) -> None:
        marks = ", ".join("?" * len(CARRIED))
        with closing(sqlite3.connect(self._data / "consent.sqlite3")) as store:
            store.execute("ATTACH ? AS old", [str(old)])
            store.execute(
                f"INSERT OR IGNORE INTO records ({_COLUMNS}) "
                f"SELECT {_COLUMNS} FROM old.records WHERE kind IN ({marks})",
                CARRIED,
            )
            store.commit()


class PostgresBackups:
    """A database is copied as a whole, with the archive in it."""

    def __init__(self, server: PostgresServer, database: str) -> None:
        self._server, self._database = server, database

    def make(self) -> None:
        self._do(f"DROP DATABASE IF EXISTS {self._database}_copy WITH (FORCE)")
        self._do(f"CREATE DATABASE {self._database}_copy TEMPLATE {self._database}")

    def restore(self) -> None:
        self._do(f"ALTER DATABASE {self._database} RENAME TO {self._database}_old")
        self._do(f"CREATE DATABASE {self._database} TEMPLATE {self._database}_copy")
        asyncio.run(self._carry())
        self._do(f"DROP DATABASE {self._database}_old WITH (FORCE)")

    def _do(self, statement: str) -> None:
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(statement)

    async def _carry(self) -> None:
        old = PostgresStore(self._server.url(f"{self._database}_old"))
        new = PostgresStore(self._server.url(self._database))
        for store in (old, new):
            await store.open()
        await _carried(old, new)
        for store in (old, new):
            await store.close()


async def _carried(old: Store, new: Store) -> None:
    after = None
    while page := await old.fetch(Query(kinds=frozenset(CARRIED)), after=after):
        await new.append(page, durable=True)
        after = page[-1].id
