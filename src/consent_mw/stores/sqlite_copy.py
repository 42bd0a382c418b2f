"""Copy a SQLite file of records while it is in use, replace another with it, and check it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import UUID

from consent_mw.exceptions import SchemaError, StoreError
from consent_mw.stores.sqlite_file import connect, told_plainly, transaction

_COLUMNS: Final = "id, kind, purpose, subject, ring, data, sealed"
_PATIENCE_SECONDS: Final = 1.0


def copy(path: Path, to: Path) -> None:
    """
    Copy the records in `path`, as they are at one moment, into the empty file `to`. Writers continue meanwhile.

    Raises:
        SchemaError: `path` is not ours, or cannot be read.
        StoreUnavailable: One of the two files cannot be used.
    """
    with told_plainly(path), closing(connect(path)) as source, closing(sqlite3.connect(to)) as target:
        # In one step: a copy in several steps starts again at each commit of another process.
        source.backup(target)
        # A copy may be moved elsewhere, and a log beside it would be left behind.
        target.execute("PRAGMA journal_mode = DELETE")


def faults(path: Path) -> list[str]:
    """
    Return what is wrong with the structure of a file of ours. Pages may be missing, as in half a copy, or belong to
    another version of the file, as after the replay of an old log. Reads all of it.

    Raises:
        SchemaError, StoreUnavailable: The file cannot be opened.
    """
    with told_plainly(path), closing(connect(path)) as store:
        try:
            rows = store.execute("PRAGMA quick_check(3)").fetchall()
        except sqlite3.DatabaseError as error:
            rows = [(str(error),)]
    said = [line for (text,) in rows for line in str(text).splitlines() if line != "ok" and not line.startswith("***")]
    return [f"{path}: is damaged ({'; '.join(said)}); restore a backup: consent-mw restore"] if said else []


def settle(path: Path) -> None:
    """
    Move the log of a file into the file, and leave no log beside it.

    Raises:
        StoreUnavailable: Another process uses the file.
        SchemaError: The file is not ours, or is damaged.
    """
    with told_plainly(path), closing(connect(path)) as store:
        store.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_SECONDS * 1000)}")
        (mode,) = store.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode != "delete":
        raise StoreError(f"{path}: its log cannot be brought into it (mode {mode}); end what uses the file")


def carry_over(path: Path, older: Path, kinds: Collection[str]) -> list[tuple[UUID, str]]:
    """
    Add the records of these kinds to `path` that `older`, a settled file, has and `path` lacks. Return id and kind of
    each.

    Raises:
        SchemaError, StoreUnavailable: `older` cannot be read completely; nothing was added.
    """
    marks = ", ".join("?" * len(kinds))
    wanted = f"FROM before.records WHERE kind IN ({marks}) AND id NOT IN (SELECT id FROM records)"  # noqa: S608
    if not older.stat().st_size:
        raise SchemaError(f"{older}: is empty (0 bytes)")
    with told_plainly(older), closing(connect(path)) as store:
        store.execute("ATTACH ? AS before", [f"file:{quote(os.fsencode(older.absolute()))}?mode=ro"])
        store.execute("PRAGMA synchronous = FULL")
        with transaction(store, "BEGIN IMMEDIATE"):
            rows = store.execute(f"SELECT id, kind {wanted} ORDER BY id", [*kinds]).fetchall()
            store.execute(f"INSERT INTO records ({_COLUMNS}) SELECT {_COLUMNS} {wanted}", [*kinds])
    return [(UUID(bytes=bytes(record_id)), kind) for record_id, kind in rows]
