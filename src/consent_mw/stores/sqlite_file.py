"""The SQLite file of records: recognised, created, migrated and connected to. `sqlite` uses it."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from consent_mw.exceptions import SchemaError, StoreError, StoreUnavailable
from consent_mw.stores.sqlite_room import check_room, has_holes, take_room
from consent_mw.system.durable import sync_directory
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import give_to_owner

# "CoMW": what `file` and PRAGMA application_id show, and how we recognise our own files.
APPLICATION_ID: Final = 0x436F4D57

# Writers of several processes wait for one lock, and SQLite has no queue for them. Of eight that wrote without a pause
# on two cores, one waited three seconds. A purge of 100,000 rows holds the lock for more than one second.
_PATIENCE_MS: Final = 30_000

# A truncating checkpoint waits for readers, and blocks all writers meanwhile. Our own readers take milliseconds; an
# open SQLite shell may take hours.
_CHECKPOINT_PATIENCE_MS: Final = 250


def _milliseconds(id_column: str) -> str:
    """Return SQL for the first 48 bits of an id. SQLite has no function from hex digits to a number."""
    digits = (f"(instr('0123456789ABCDEF', substr(hex({id_column}), {n}, 1)) - 1)" for n in range(1, 13))
    return " | ".join(f"({digit} << {shift})" for digit, shift in zip(digits, range(44, -1, -4), strict=True))


# Step n leads from schema n to n + 1, is run once in a file, and is never changed after a release.
#
# A rowid table. With ids as clustered key (WITHOUT ROWID) it took a quarter longer to fill and 6 % more room, since new
# rows split pages instead of going to the end. The index by subject takes more than half of the time of an insertion,
# because tokens are random. It is the reason why reading or erasing one person costs only what that person left.
_STEPS: Final = (
    (
        """
        CREATE TABLE records (
            id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),   -- UUID version 7
            kind TEXT NOT NULL,
            purpose TEXT NOT NULL,
            subject BLOB,              -- keyed token of the person
            ring TEXT NOT NULL,        -- keyring that opens `sealed`
            data TEXT NOT NULL,        -- JSON object
            sealed BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX by_purpose ON records (kind, purpose, id)",
        "CREATE INDEX by_subject ON records (subject, id) WHERE subject IS NOT NULL",
        f"""
        CREATE VIEW readable AS
        SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ({_milliseconds("id")}) / 1000.0, 'unixepoch') AS time,
            kind, purpose, lower(hex(subject)) AS subject, ring, data, length(sealed) AS sealed_bytes,
            lower(hex(id)) AS id
        FROM records
        """,  # noqa: S608 - built from constants
    ),
)

SCHEMA: Final = len(_STEPS)

_UNREADABLE = "restore a backup: consent-mw restore; or save what can be read: .recover of the sqlite3 shell"
_FIXES: Final[dict[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_CORRUPT: (SchemaError, _UNREADABLE),
    sqlite3.SQLITE_NOTADB: (SchemaError, _UNREADABLE),
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "another program keeps the file locked; end it or wait"),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "another program keeps the file locked; end it or wait"),
    sqlite3.SQLITE_PROTOCOL: (StoreUnavailable, "another program keeps the file locked; end it or wait"),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "make room on the disk"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "the disk refused; look for room, quotas and limits, then for a defect"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "give this user the right to write the file and its directory"),
    sqlite3.SQLITE_READONLY: (
        StoreUnavailable,
        "give this user the right to write the file and its directory, or see why the disk is read-only",
    ),
    sqlite3.SQLITE_PERM: (StoreUnavailable, "give this user the right to write the file and its directory"),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, "memory is used up"),
}


@contextmanager
def told_plainly(path: Path) -> Generator[None]:
    """Turn exceptions of the driver and the system into the contract's errors: the file, what happened, and the fix."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte of an extended code is its family. An error of the Python layer has no code.
        family = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind, fix = _FIXES.get(family, (StoreError, "look at the cause below"))
        raise kind(f"{path}: {error}; {fix}") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror or error}; {_mend_of(error, path)}") from error


def _mend_of(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"create the directory {path.parent}"
    if isinstance(error, IsADirectoryError):
        return "name a file in it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk"
    return f"give this user the right to write {path.parent}"


def connect(path: Path) -> sqlite3.Connection:
    """
    Return a connection, for this thread, to the records in `path`. Create or migrate the file if needed.

    Raises:
        SchemaError: The file is not ours, is corrupt, or a newer version wrote it. It is unchanged.
        sqlite3.Error, OSError: To be converted by `told_plainly`.
    """
    if sqlite3.sqlite_version_info < (3, 37):
        raise StoreError(
            f"{path}: needs SQLite 3.37 or newer (STRICT tables), this Python has {sqlite3.sqlite_version}"
        )
    if not _recognised(path):
        _create(path)
    with in_turn(path.parent, fcntl.LOCK_SH):  # not while a restoration replaces the file: we would keep the old one
        leaves_holes = has_holes(path)
        if leaves_holes:
            check_room(path)
        connection = _plain_connection(path)
        try:
            _check_schema(connection, path)
            _prepare(connection, path)
            if leaves_holes:
                take_room(path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    """Run the block between `begin` and COMMIT. Any exception rolls everything back."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After a full disk SQLite may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def shrink(connection: sqlite3.Connection, pages: int) -> None:
    """
    Return up to `pages` free pages to the file system, if more than a quarter of the file is free.

    Fewer free pages are soon used again, and moving pages costs as much as their content. A file from a version that
    could not shrink keeps its size.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_count").fetchone()
    if free * 4 > size:
        # The pragma frees one page a step and returns no column, so `execute` would take only one step.
        connection.executescript(f"PRAGMA incremental_vacuum({min(pages, free)})")


def truncate_wal(connection: sqlite3.Connection) -> bool:
    """
    Move the write-ahead log into the file and empty it. Return whether no reader prevented it.

    `secure_delete` overwrites deleted rows in the file only. Before this call all 10,000 of a test were still readable
    in the log. They stay readable as long as another reader keeps the log from being emptied.
    """
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_PATIENCE_MS}")
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    return not busy


def _recognised(path: Path) -> bool:
    """
    Whether `path` is a file of ours. One that is missing is not, yet. An empty one is refused: we never make one, so it
    held records, and something cut them off.

    The file is opened as immutable (https://www.sqlite.org/uri.html#uriimmutable): otherwise merely opening it may
    finish or undo another process's transaction. And SQLite must open it: if anything else in this process closes the
    file, all connections of this process to it lose their locks
    (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_). In that
    case another process believed that it was the last, and removed the log to which they wrote, with everything after.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
            raise SchemaError(f"{path}: is not a regular file; name another file")
        if not status.st_size:
            raise SchemaError(
                f"{path}: is empty (0 bytes), and a store never is: its records were cut off; restore a backup: "
                "consent-mw restore. If it never held any, remove it"
            )
    except FileNotFoundError:
        return False
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        with closing(_plain_connection(path, "mode=ro&immutable=1")) as connection:
            # While the log is moved into the file, now or before the disk filled up, the file is shorter than its
            # header says. Only this setting lets SQLite read it anyway.
            connection.execute("PRAGMA writable_schema = ON")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            schema = _schema_of(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
            raise
        raise SchemaError(
            f"{path}: is not a SQLite database; name another file, or restore a backup: consent-mw restore"
        ) from error
    if application != APPLICATION_ID:
        raise SchemaError(f"{path}: is a SQLite database, but not one of consent-mw; name another file")
    _refuse_newer(path, schema)
    return True


def _refuse_newer(path: Path, schema: int) -> None:
    if schema > SCHEMA:
        raise SchemaError(
            f"{path}: was written by a newer consent-mw (schema {schema}, this one knows {SCHEMA}); "
            "upgrade the package, or name another file"
        )


def _create(path: Path) -> None:
    """
    Create the file beside its place, and move it there complete, so that no process, and no crash, sees half of it.

    Processes that start at the same time take turns; a later one finds the work done.
    """
    with in_turn(path.parent):
        if _recognised(path):
            return
        _refuse_leftovers(path)
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as private:
            new = Path(private, path.name)
            # SQLite gives its companion files, -wal and -shm, the mode of the file.
            fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            give_to_owner(fd, path.parent)
            os.close(fd)
            with closing(_plain_connection(new)) as connection:
                # Set it before anything is written: later the whole file would have to be rewritten.
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                _migrate(connection, new)
                connection.execute("PRAGMA journal_mode = WAL")
            new.replace(path)
        sync_directory(path.parent)


def _refuse_leftovers(path: Path) -> None:
    """Refuse a log that outlived its database: SQLite would replay it into the new one."""
    for suffix in ("-wal", "-journal"):
        leftover = path.with_name(path.name + suffix)
        if leftover.exists() and leftover.stat().st_size:
            raise SchemaError(f"{leftover}: is left without its database; restore {path.name}, or move it away")


def _plain_connection(path: Path, how: str = "mode=rw") -> sqlite3.Connection:
    # mode=rw: only `_create` creates the file. A URI also keeps ":memory:" an ordinary name.
    # As bytes: a file name need not be text.
    uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?{how}"
    # One thread uses it. The garbage collector decides which thread closes a forgotten one.
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE_MS / 1000, check_same_thread=False)


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Check what the header cannot show, before anything is written."""
    _refuse_newer(path, _schema_of(connection))
    tables = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'records'").fetchall()
    if not tables:
        raise SchemaError(f"{path}: has lost its table `records`; {_UNREADABLE}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{path}: cannot keep a write-ahead log (its mode is {mode}); use a local file system")
    # SQLite's default is off; FAST left 8,055 of 10,000 deleted rows in the file.
    connection.execute("PRAGMA secure_delete = ON")
    if _schema_of(connection) < SCHEMA:
        _migrate(connection, path)
        # An older version reads the schema number in the file's header.
        truncate_wal(connection)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Run the missing steps, all or none. If several processes try, the first does it."""
    connection.execute("PRAGMA synchronous = FULL")
    with transaction(connection, "BEGIN IMMEDIATE"):
        _refuse_newer(path, _schema_of(connection))
        for step in _STEPS[_schema_of(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _schema_of(connection: sqlite3.Connection) -> int:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    return int(schema)
