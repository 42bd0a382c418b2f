"""How long until a day's records are unreadable, and until their room is free again: 10,000, 100,000 and a million."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.records import Record, Scalar, new_id
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.sqlite import SQLiteStore

DAY = datetime(2024, 11, 23, tzinfo=UTC)
DATA: dict[str, Scalar] = {"http.request.method": "GET", "http.route": "/items/{number}",
         "http.response.status_code": 200,
         "http.response.body.size": 1024, "http.server.request.duration": 0.0042, "consent.choice": "accept",
         "consent.revision": 1, "user_agent.name": "Chrome", "device.type": "desktop"}  # fmt: skip
SEALED = b'{"client.address": "198.51.100.0", "url.path": "/items/42"}' * 2


class Figures(NamedTuple):
    """Of one size: seconds and bytes."""

    records: int
    filling: float
    unreadable: float
    counting: float
    deleting: float
    longest_pause: float
    bytes_before: int
    bytes_after: int


def main() -> None:
    """Measure each size once in one run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.destruction", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    figures: list[Figures] = []
    for size in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
            figures.append(asyncio.run(_measured(size, Path(directory))))
    sys.stdout.writelines(_table(figures))


async def _measured(size: int, root: Path) -> Figures:
    policy = load(Path(__file__).with_name("policy.toml"))
    places = Places(root)
    sealer = Sealer.of_site(places)
    store = SQLiteStore(places.database)
    await store.open()
    began = time.perf_counter()
    for batch in _batches(sealer, size):
        await store.append(batch)
    filling = time.perf_counter() - began

    destruction = Destruction.of_site(policy, places, store, sealer, SiteRestrictions(store, sealer))
    # A day is counted in the night after it, months before its end.
    counting = await _seconds(lambda: destruction.once(DAY + timedelta(days=2)))
    before = _bytes(places)
    began = time.perf_counter()
    sealer.keyring.destroy((DAY - datetime(1970, 1, 1, tzinfo=UTC)).days, "necessary")
    unreadable = time.perf_counter() - began
    steps: list[float] = [began := time.perf_counter()]

    def on_step(gone: int, known: int) -> None:
        steps.append(time.perf_counter())

    done = await destruction.once(DAY + timedelta(days=4_000), on_step)
    deleting = time.perf_counter() - began
    if done.records != size or done.troubles:
        raise RuntimeError(f"{done}")
    pauses = [later - earlier for earlier, later in pairwise(steps)]
    await store.close()
    return Figures(size, filling, unreadable, counting, deleting, max(pauses, default=0.0), before, _bytes(places))


def _batches(sealer: Sealer, size: int) -> Iterator[list[Record]]:
    """Yield `size` records of one day, some thousands at a time, evenly over its hours."""
    began_ns, step_ns = int(DAY.timestamp()) * 10**9, 86_000 * 10**9 // size
    batch: list[Record] = []
    for number in range(size):
        record_id = new_id(began_ns + number * step_ns)
        batch.append(sealer.record(record_id, "visit", "necessary", data=DATA, plain=SEALED))
        if len(batch) == 5_000:
            yield batch
            batch = []
    yield batch


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _bytes(places: Places) -> int:
    return sum(path.stat().st_size for path in places.directory.glob(f"{places.database.name}*"))


def _table(figures: list[Figures]) -> Iterator[str]:
    yield "| records of one day | filling, s | unreadable after, ms | counted, s | rows gone, s | of filling | "
    yield "µs a row | longest piece, ms | MB before | MB after |\n|"
    yield " ---: |" * 10 + "\n"
    for row in figures:
        cells = (
            f"{row.records:,}",
            f"{row.filling:.2f}",
            f"{row.unreadable * 1e3:.1f}",
            f"{row.counting:.2f}",
            f"{row.deleting:.2f}",
            f"{row.deleting / row.filling:.2f}",
            f"{row.deleting / row.records * 1e6:.1f}",
            f"{row.longest_pause * 1e3:.0f}",
            f"{row.bytes_before / 1e6:.1f}",
            f"{row.bytes_after / 1e6:.1f}",
        )
        yield f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
