"""Let a place fail under a store or a keyring in use: what it needs has another name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path


def rename_table(path: Path, before: str, after: str) -> Callable[[], object]:
    """Rename a table of a SQLite file, and return what gives it its name back."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute(f"ALTER TABLE {before} RENAME TO {after}")
    return partial(rename_table, path, after, before)


def rename(url: str, what: str, before: str, after: str) -> Callable[[], object]:
    """Rename a schema or a table of a PostgreSQL database, and return what gives it its name back."""
    import psycopg  # here: the quick tests do without it

    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"ALTER {what} {before} RENAME TO {after}".encode())
    return partial(rename, url, what, after, before)


def move_away(*paths: Path) -> None:
    """Take files away from whoever has them open."""
    for path in paths:
        path.rename(path.with_name(f"{path.name}-elsewhere"))
