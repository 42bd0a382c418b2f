"""What a host that joins an old fleet reads and takes, and what a look at rest does: `python -m bench.joining`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from tests.support.one_host import DAY, LABELS, OneHost
from tests.support.postgres import PostgresServer

from bench.tables import Report, show, versions
from consent_mw.hosts.messages import Place
from consent_mw.stores.postgres import PostgresStore

_LOOKS = 15


class Old(NamedTuple):
    """
    A fleet that has lived so many days, in places of keys: a purpose's day each.

    Attributes:
        book_bytes: Of the file in which each host keeps what it believes of the others.
        joiner_ms, others_ms: Of the processor, until the joiner can open every key: its own, and of the others.
        look_ms: Of the processor of a host, for one of its looks, every two seconds.
    """

    hosts: int
    places: int
    book_bytes: int
    joiner_ms: float
    others_ms: float
    look_ms: float


def main() -> None:
    """Measure each fleet once, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.joining", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--days", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rows", type=Path, help="a file for the rows, which `bench.simulation` reads")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    logging.getLogger("consent_mw").setLevel(logging.ERROR)
    sized = [(hosts, days) for days in options.days for hosts in options.hosts]
    console = Console(stderr=True)
    with PostgresServer() as server:
        rows = [asyncio.run(joined(*size, server.database()))
                for size in track(sized, console=console, disable=not console.is_terminal)]  # fmt: skip
    if options.rows:
        options.rows.write_text(json.dumps([row._asdict() for row in rows], indent=1))
    show(_report(rows), markdown=options.markdown)


async def joined(hosts: int, days: int, url: str) -> Old:
    """Let a fleet live, and a host join it. The hosts are in one process, each with its own connections."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        stores = [PostgresStore(url) for _ in range(hosts + 1)]
        for store in stores:
            await store.open()
        fleet = [OneHost(Path(name) / f"{number}", store) for number, store in enumerate(stores[:hosts])]
        places = frozenset(Place(DAY - day, label) for day in range(days) for label in LABELS)
        await _settle(fleet, places)
        joiner = OneHost(Path(name) / "joiner", stores[hosts])
        began = time.process_time()
        await joiner.hosts.sync()
        between = time.process_time()
        for host in fleet:
            await host.hosts.sync()
        after = time.process_time()
        await joiner.hosts.sync()
        reading = time.process_time() - after + between - began
        assert not joiner.keyring.lacking(), "the new host lacks a key"
        return Old(hosts, len(places), fleet[0].places.host_book.stat().st_size, 1e3 * reading,
                   1e3 * (after - between), 1e3 * await _look(fleet[0]))  # fmt: skip


async def _settle(fleet: Sequence[OneHost], places: frozenset[Place]) -> None:
    for host in fleet:
        host.hosts._joining.wanted = places
    for _ in range(3):
        for host in fleet:
            await host.hosts.sync()
    assert not any(host.keyring.lacking() for host in fleet)
    for host in fleet:
        host.hosts._joining.wanted = frozenset(place for place in places if place.day == DAY)


async def _look(host: OneHost) -> float:
    """Return the least processor seconds of a look when nothing is new any more."""
    host.now_ns += 3 * 60 * 10**9
    await host.hosts.sync()
    taken = []
    for _ in range(_LOOKS):
        began = time.process_time()
        await host.hosts.sync()
        taken.append(time.process_time() - began)
    return min(taken)


def _report(rows: Sequence[Old]) -> Report:
    return Report(
        "Keys of an old fleet",
        ["", "places", "`hosts.jsonl`, kB", "a place and host, bytes", "joiner, ms", "the others, ms", "a look, ms"],
        [
            [f"{row.hosts} hosts", f"{row.places}", f"{row.book_bytes / 1e3:,.0f}",
             f"{row.book_bytes / row.places / row.hosts:,.0f}", f"{row.joiner_ms:,.0f}", f"{row.others_ms:,.0f}",
             f"{row.look_ms:.1f}"]
            for row in rows
        ],
        "Milliseconds of a processor: of a host that joins, until it can open every key; of all others for that; and "
        f"of a host for one look at rest, every two seconds. The database's own are left out. {versions('psycopg')}.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
