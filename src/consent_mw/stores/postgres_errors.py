"""Errors of PostgreSQL and its driver, as the contract's errors: one line with the place and the fix."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
import psycopg_pool
from psycopg import errors

from consent_mw.exceptions import SchemaError, StoreError, StoreUnavailable

_RIGHTS = "grant it as docs/postgres.md shows, or let the owner open the store once"

_POOLER = "if a pooler stands between: pool_mode = transaction or session, and no older than pgbouncer 1.18"

# The first match decides. Classes of https://www.postgresql.org/docs/current/errcodes-appendix.html
_FIXES: Final[tuple[tuple[type[psycopg.Error], type[StoreError], str], ...]] = (
    (errors.InvalidPassword, StoreUnavailable, "correct the password in the URL, in PGPASSWORD or in ~/.pgpass"),
    (errors.InvalidAuthorizationSpecification, StoreUnavailable, "correct the user, or pg_hba.conf on the server"),
    (errors.InvalidCatalogName, StoreUnavailable, "create the database, or name another"),
    (errors.InsufficientPrivilege, StoreError, _RIGHTS),
    (errors.ReadOnlySqlTransaction, StoreUnavailable, "name the primary: this server only reads"),
    (errors.FeatureNotSupported, StoreUnavailable, "name the primary, if this server is a standby: it only reads"),
    (errors.UndefinedTable, SchemaError, "restore what was dropped from a backup, or drop the whole schema"),
    (errors.UndefinedFunction, SchemaError, "restore what was dropped from a backup, or drop the whole schema"),
    (errors.InvalidSchemaName, SchemaError, "restore what was dropped from a backup"),
    (errors.TooManyConnections, StoreUnavailable, "raise max_connections, or open fewer"),
    (errors.DiskFull, StoreUnavailable, "make room on the server's disk"),
    (errors.OutOfMemory, StoreError, "raise max_locks_per_transaction or memory on the server, or delete less at once"),
    (errors.LockNotAvailable, StoreUnavailable, "end the transaction that holds the lock: see pg_stat_activity"),
    (errors.QueryCanceled, StoreUnavailable, "raise statement_timeout for this user"),
    (errors.ProtocolViolation, StoreError, _POOLER),
    (errors.SerializationFailure, StoreUnavailable, "others write the same records; try again"),
    (errors.DeadlockDetected, StoreUnavailable, "others write the same records; try again"),
    (errors.IdleInTransactionSessionTimeout, StoreUnavailable, "raise idle_in_transaction_session_timeout"),
    (psycopg.OperationalError, StoreUnavailable, "see that the server runs and can be reached from here"),
    (psycopg.InterfaceError, StoreUnavailable, "see that the server runs and can be reached from here"),
)

# libpq's own messages have no code.
_SAID: Final = (
    ("password authentication failed", "correct the password in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("no password supplied", "give a password in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("certificate", "give the server's authority with sslrootcert=FILE, or sslmode=require to trust the network"),
    ("does not support SSL", "switch TLS on at the server, or say sslmode=prefer if the network is yours alone"),
    ("does not exist", "create it, or name another"),
    ("pg_hba.conf", "allow this host and user in pg_hba.conf on the server"),
    ("too many clients", "raise max_connections, or open fewer"),
    ("starting up", "it answers soon"),
)


@contextmanager
def told_plainly(place: str) -> Generator[None]:
    """Turn the driver's exceptions into the contract's errors: the place, what happened, and the fix."""
    try:
        yield
    except psycopg_pool.PoolTimeout as error:
        raise StoreUnavailable(
            f"{place}: no connection became free in time; see that the server runs, or allow more connections"
        ) from error
    except psycopg_pool.PoolClosed as error:
        raise StoreUnavailable(f"{place}: the store is not open; await its open() first") from error
    except psycopg.Error as error:
        said = _one_line(error)
        for kind, ours, fix in _FIXES:
            if isinstance(error, kind):
                raise ours(f"{place}: {said}; {fix if error.sqlstate else _nearer(said, fix)}") from error
        raise StoreError(f"{place}: {said}; look at the cause below, and at the server's log") from error


def _nearer(said: str, fix: str) -> str:
    return next((better for words, better in _SAID if words in said), fix)


def _one_line(error: psycopg.Error) -> str:
    """Return the server's own sentence, or libpq's last one, which is about the last host that it tried."""
    if error.diag.message_primary:
        return error.diag.message_primary
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Multiple connection attempts", "- "))] or lines or [""]
    line = next((line for line in said if "FATAL:" in line or "failed:" in line), said[0])
    return line.removeprefix("connection failed: ")
