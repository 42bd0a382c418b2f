"""How fast the drain fills SQLite, beside the bare driver with the same rows: `python -m bench.draining`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TypeAlias

from bench.contestants import OURS_SPOOLING
from bench.in_process import _discard, _receive
from bench.memory import visitors
from bench.running import lifespan
from bench.site import new_scope, new_site
from bench.tables import Report, middle, show, versions
from consent_mw.crypto.sealer import Sealer
from consent_mw.log.drain import Drain
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.spool.spool import Spool
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.sqlite_file import connect, transaction

#: As many as the drain hands over at a time.
BATCH = 500
#: Distinct visitors, so that tokens fall all over their index.
VISITORS = 5_000

_Rows: TypeAlias = list[tuple[object, ...]]


def main() -> None:
    """Fill a spool, drain it, and insert the same rows by hand, in turns; print the medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.draining", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20_000, help="of one round; each becomes two records")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as directory:
            rounds.append(_round(Path(directory), options.requests))
    show(_report(rounds), markdown=options.markdown)


def _round(directory: Path, requests: int) -> tuple[float, float]:
    """Return the records a second of the drain, and those of the driver."""
    asyncio.run(_fill(directory, requests))
    places = Places(directory)
    began = time.perf_counter()
    count = asyncio.run(_drained(places))
    drained = time.perf_counter() - began
    rows = _rows(places)
    if not count == len(rows) == 2 * requests:
        raise RuntimeError(f"{requests} requests became {count} records and {len(rows)} rows")
    return count / drained, count / _inserted(directory / "raw.sqlite3", rows)


async def _fill(directory: Path, requests: int) -> None:
    """Leave the sealed bundles of so many requests in the spool. Without agents, whose parsing is another matter."""
    app = OURS_SPOOLING.wrap(new_site(), directory)
    async with lifespan(app):
        for headers in islice(visitors(VISITORS), requests):
            scope = new_scope([header for header in headers if header[0] != b"user-agent"])
            await app(scope, _receive, _discard)


async def _drained(places: Places) -> int:
    """Hand over everything, as `consent-mw drain --once` does, and return how many records."""
    policy = load(Path(__file__).with_name("policy.toml"))
    store, spool = SQLiteStore(places.database), Spool(places.spool)
    await store.open()
    try:
        return await Drain(policy, spool, store, Sealer.of_site(places)).once()
    finally:
        spool.close()
        await store.close()


def _rows(places: Places) -> _Rows:
    with closing(connect(places.database)) as connection:
        return connection.execute("SELECT * FROM records ORDER BY rowid").fetchall()


def _inserted(file: Path, rows: _Rows) -> float:
    """Return the seconds in which the driver fills a table of the same kind, each batch on the disk on return."""
    began = time.perf_counter()
    with closing(connect(file)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        for batch in _batches(rows):
            with transaction(connection, "BEGIN IMMEDIATE"):
                connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
    return time.perf_counter() - began


def _batches(rows: _Rows) -> Iterator[_Rows]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _report(rounds: list[tuple[float, float]]) -> Report:
    drained, inserted = [list(rates) for rates in zip(*rounds, strict=True)]
    ratio = median(ours / bare for ours, bare in rounds)
    return Report(
        "Draining into SQLite",
        ["", "records/s", "middle half", "of the driver"],
        [
            ["drain: read, open, split, seal again, append", f"{median(drained):,.0f}", middle(drained, ",.0f"),
             f"{ratio:.2f}"],
            ["`executemany` of the finished rows", f"{median(inserted):,.0f}", middle(inserted, ",.0f"), "1.00"],
        ],
        f"{len(rounds)} interleaved rounds into new files with the same table and indexes; batches of {BATCH}, each on "
        f"the disk before the next; {VISITORS:,} visitors, no user agents; opening and closing included; "
        f"{versions('msgspec', 'cryptography')}.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
