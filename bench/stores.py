"""What each store costs beside its raw driver, and how that grows: `python -m bench.stores`."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol
from uuid import UUID

import msgspec
import psycopg
from rich.console import Console
from rich.progress import Progress
from tests.support.postgres import PostgresServer

from bench.tables import Report, show
from consent_mw.records import Query, Record, Scalar
from consent_mw.stores.base import Store
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.sample_records import NOON, VISITS

BATCH = 500
#: A visitor has so many records, spread over the whole table.
OWN = 20
#: What one purge takes.
PURGED = 10_000
PURPOSES = ("necessary", "analytics")
WRITERS = 4

_SPAN = timedelta(days=100)
#: Records in the span where only those of one day are written.
_BUSY = 10_000_000
_SEALED = os.urandom(96)
_json = msgspec.json.Encoder()

# What a correct table needs: the first of an id is kept, a visitor's records and those of a purpose are found.
_TABLE = "CREATE TABLE raw (id {0} PRIMARY KEY, kind text, purpose text, subject {1}, ring text, data text, sealed {1})"
_INDEXES = (
    "CREATE INDEX raw_subject ON raw (subject, id) WHERE subject IS NOT NULL",
    "CREATE INDEX raw_purpose ON raw (kind, purpose, id)",
)
_COLUMNS = "id, kind, purpose, subject, ring, data, sealed"


class Raw(Protocol):
    """A driver by itself."""

    def append(self, records: Sequence[Record]) -> None:
        """Keep them in one transaction, on the disk on return."""


class RawSQLite:
    """The standard library's module: one statement for many rows."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        for statement in (_TABLE.format("blob", "blob") + " WITHOUT ROWID", *_INDEXES):
            self._connection.execute(statement)

    def append(self, records: Sequence[Record]) -> None:
        """As `Raw`."""
        self._connection.execute("BEGIN IMMEDIATE")
        rows = [(record.id.bytes, *_values(record)) for record in records]
        self._connection.executemany("INSERT INTO raw VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)
        self._connection.execute("COMMIT")


class RawPostgres:
    """psycopg: COPY into a temporary table, from there what is new."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("DROP TABLE IF EXISTS raw")
        for statement in (_TABLE.format("uuid", "bytea"), *_INDEXES):
            self._connection.execute(statement.encode())
        self._connection.execute("CREATE TEMPORARY TABLE batch (LIKE raw) ON COMMIT DELETE ROWS")

    def append(self, records: Sequence[Record]) -> None:
        """As `Raw`."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(f"COPY batch ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(["uuid", "text", "text", "bytea", "text", "text", "bytea"])
                for record in records:
                    copy.write_row((record.id, *_values(record)))
            cursor.execute("INSERT INTO raw SELECT * FROM batch ON CONFLICT DO NOTHING")


def _values(record: Record) -> tuple[str, str, bytes | None, str, str, bytes]:
    data = _json.encode(record.data).decode()
    return record.kind, record.purpose, record.subject, record.ring, data, record.sealed


class Contestant(NamedTuple):
    """A store, its driver, and the bytes that it takes on the disk."""

    name: str
    store: Callable[[], Store]
    raw: Callable[[], Raw]
    size: Callable[[], int]
    clear: Callable[[], None]


def main() -> None:
    """Fill each store to each size once, and print three tables; with --plot, draw the second."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000], help="records in the store")
    parser.add_argument("--rounds", type=int, default=60, help=f"appends of {BATCH} records, in turns with the driver")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--plot", type=Path, help="an SVG file for the times by size; needs the extra 'report'")
    options = parser.parse_args()
    appends, growth = [], []
    with _contestants() as contestants:
        for contestant in contestants:
            appends.append(
                [contestant.name, *asyncio.run(_appended(contestant, options.rounds)), *_together(contestant)]
            )
            contestant.clear()
            growth += [(contestant.name, *asyncio.run(_grown(contestant, size))) for size in options.sizes]
    show(
        Report(
            "Appending",
            ["", f"ms for {BATCH}", "raw driver, ms", "raw of ours", f"{WRITERS} writers of one"],
            appends,
            f"Medians of {options.rounds} interleaved appends, each on the disk on return. The raw driver has a table "
            "with the same columns and two indexes, and keeps the first of an id. "
            f"Last column: records a second that {WRITERS} processes append, over those of one.",
        ),
        markdown=options.markdown,
    )
    show(
        Report(
            "By size",
            ["", "records", "access report, ms", f"purge of {PURGED:,}, ms", "bytes a record"],
            [
                [name, f"{size:,}", f"{fetched:.2f}", f"{purged:.0f}", f"{disk:.0f}"]
                for name, size, fetched, purged, disk in growth
            ],
            f"The access report reads the {OWN} records of one visitor, spread over {_SPAN.days} days: median of 30 "
            "visitors. The purge deletes the oldest in one transaction.",
        ),
        markdown=options.markdown,
    )
    if options.plot:
        _draw(growth, options.plot)


@contextmanager
def _contestants() -> Generator[list[Contestant]]:
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, PostgresServer() as server:
        # The tests' server does without the disk; here it counts.
        server.stop()
        server.start("fsync=on", "shared_buffers=256MB", "max_wal_size=4GB")
        file, url = Path(name) / "store.sqlite3", server.url()
        yield [
            Contestant(
                "SQLite", partial(SQLiteStore, file), partial(RawSQLite, Path(name) / "raw.sqlite3"),
                lambda: sum(part.stat().st_size for part in Path(name).glob("store.sqlite3*")),
                partial(_remove, Path(name)),
            ),
            Contestant(
                "PostgreSQL", partial(PostgresStore, url), partial(RawPostgres, url),
                partial(_postgres_size, url), partial(_drop, url),
            ),
        ]  # fmt: skip


def _remove(directory: Path) -> None:
    for file in directory.glob("store.sqlite3*"):
        file.unlink()


def _postgres_size(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relnamespace = 'consent_mw'::regnamespace AND relkind = 'r'"
        ).fetchone()
    return int(row[0]) if row else 0


def _drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS consent_mw CASCADE")


def records(count: int, start: int = 0, of: int | None = None) -> Iterator[Record]:
    """Give visits, evenly spread over the span, as if `of` (or `count`) filled it."""
    step = _SPAN / (of or count)
    visitors = max(1, (of or count) // OWN)
    for number in range(start, start + count):
        at_ms = int((NOON + number * step).timestamp() * 1000)
        bits = UUID(int=at_ms << 80 | 0x7 << 76 | 1 << 63 | number)
        data: dict[str, Scalar] = {
            "http.route": f"/articles/{number % 50}",
            "http.response.status_code": 200,
            "duration": 0.0123,
        }
        yield Record(bits, "visit", PURPOSES[number % 2], _subject(number % visitors), "main", data, _SEALED)


def _subject(visitor: int) -> bytes:
    return visitor.to_bytes(16)


def _batches(stream: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(stream, BATCH)):
        yield batch


async def _appended(contestant: Contestant, rounds: int) -> list[str]:
    store, raw = contestant.store(), contestant.raw()
    await store.open()
    ours, theirs = [], []
    for batch in _batches(records(BATCH * rounds, of=_BUSY)):
        began = time.perf_counter()
        await store.append(batch, durable=True)
        between = time.perf_counter()
        raw.append(batch)
        ours.append(between - began)
        theirs.append(time.perf_counter() - between)
    await store.close()
    ratio = median(their / our for our, their in zip(ours, theirs, strict=True))
    return [f"{1e3 * median(ours):.1f}", f"{1e3 * median(theirs):.1f}", f"{ratio:.2f}"]


def _together(contestant: Contestant, count: int = 20_000) -> list[str]:
    rates = []
    for writers in (1, WRITERS):
        contestant.clear()
        asyncio.run(_create(contestant.store()))
        began = time.perf_counter()
        # Forked: a store is made in each, and nothing of it is there yet.
        processes = [_fork.Process(target=_write, args=(contestant, count, writer)) for writer in range(writers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            if process.exitcode:
                raise RuntimeError(f"a writer into {contestant.name} failed")
        rates.append(writers * count / (time.perf_counter() - began))
    return [f"{rates[1] / rates[0]:.2f}"]


_fork = multiprocessing.get_context("fork")


async def _create(store: Store) -> None:
    await store.open()
    await store.close()


def _write(contestant: Contestant, count: int, writer: int) -> None:
    async def work() -> None:
        store = contestant.store()
        await store.open()
        for batch in _batches(records(count, writer * count, _BUSY)):
            await store.append(batch, durable=True)
        await store.close()

    asyncio.run(work())


async def _grown(contestant: Contestant, size: int) -> tuple[int, float, float, float]:
    contestant.clear()
    store = contestant.store()
    await store.open()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{contestant.name}, {size:,}", total=size)
        for batch in _batches(records(size)):
            await store.append(batch)
            progress.advance(task, len(batch))
    disk = contestant.size() / size
    milliseconds = []
    for visitor in range(0, size // OWN, max(1, size // OWN // 30)):
        began = time.perf_counter()
        rows = await store.fetch(Query(kinds=VISITS.kinds, subjects=frozenset({_subject(visitor)})))
        milliseconds.append(1e3 * (time.perf_counter() - began))
        if len(rows) != OWN:
            raise RuntimeError(f"{contestant.name} found {len(rows)} records of a visitor who has {OWN}")
    began = time.perf_counter()
    count = await store.delete(Query(kinds=VISITS.kinds, until=NOON + _SPAN / size * min(PURGED, size)))
    purged = 1e3 * (time.perf_counter() - began)
    if abs(count - min(PURGED, size)) > size / PURGED:  # an id counts whole milliseconds
        raise RuntimeError(f"{contestant.name} deleted {count:,} records")
    await store.close()
    contestant.clear()
    return size, median(milliseconds), purged, disk


def _draw(growth: list[tuple[str, int, float, float, float]], file: Path) -> None:
    vl_convert = import_module("vl_convert")  # of the group `bench`
    lines = ((f"{name}: {what}", size, milliseconds) for name, size, report, purged, _ in growth
             for what, milliseconds in (("access report", report), (f"purge of {PURGED:,}", purged)))  # fmt: skip
    sizes = sorted({size for _, size, *_ in growth})
    encoding = {
        "x": {"field": "size", "type": "quantitative", "scale": {"type": "log"},
              "axis": {"title": "records in the store", "values": sizes, "format": ","}},
        "y": {"field": "ms", "type": "quantitative", "scale": {"type": "log", "domain": [0.1, 1000]},
              "axis": {"title": "milliseconds", "values": [0.1, 1, 10, 100, 1000], "format": "~g"}},
        "color": {"field": "line", "type": "nominal", "sort": None,
                  "legend": {"title": None, "orient": "bottom", "columns": 2, "labelLimit": 300}},
    }  # fmt: skip
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "An access report and a purge, by what the store holds",
        "width": 640,
        "height": 320,
        "background": "white",
        "padding": 10,
        "data": {"values": [{"line": line, "size": size, "ms": ms} for line, size, ms in lines]},
        "mark": {"type": "line", "point": True},
        "encoding": encoding,
        "config": {"font": "sans-serif", "range": {"category": ["#005f73", "#0a9396", "#9b2226", "#ca6702"]}},
    }
    file.write_text(vl_convert.vegalite_to_svg(chart))
    sys.stderr.write(f"{file} drawn\n")


if __name__ == "__main__":
    main()
