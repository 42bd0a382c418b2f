"""What the counts of a report cost: the counting, and reading them, beside raw SQL over the same million records."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.tables import Report, show
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.records import Record, Scalar, new_id
from consent_mw.retention.aggregates import LATENCIES
from consent_mw.retention.destruction import Destruction
from consent_mw.retention.reports import report_of
from consent_mw.retention.small_cells import OTHER
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_of

DAYS = 80
START = datetime(2026, 8, 1, tzinfo=UTC)
ROUNDS = 5
BLOCKED = ("theme", "_ga*", "ad")


def _field(name: str) -> str:
    return f"""coalesce(data ->> '$."{name}"', 'none')"""


def _latency() -> str:
    seconds = """(data ->> '$."http.server.request.duration"')"""
    cases = " ".join(f"WHEN {seconds} <= {bound} THEN '{bound}'" for bound in LATENCIES)
    return f"CASE {cases} ELSE 'more' END"


#: Each count of one day in SQL: what it is called in a report, and what it groups by.
COUNTS = {
    "route": _field("http.route"),
    "method": _field("http.request.method"),
    "status": """((data ->> '$."http.response.status_code"') / 100) || 'xx'""",
    "latency": _latency(),
    "agent": """CASE WHEN data ->> '$."user_agent.synthetic.type"' IS NULL THEN 'visitor' ELSE 'bot' END""",
    "browser": _field("user_agent.name"),
    "os": _field("user_agent.os.name"),
    "device": _field("device.type"),
    "choice": _field("consent.choice"),
}
#: An exchange has none, one or several of these, so each is a sum of its own.
SPLIT = ", ".join(f"""sum(instr(' ' || {_field("consent.cookies.blocked")} || ' ', ' {name} ') > 0)"""
                  for name in BLOCKED)  # fmt: skip


class Figures(NamedTuple):
    """Seconds of processor time, which other programs of the machine do not blur."""

    raw: float
    counting: float
    reading: float
    command: float


def main() -> None:
    """Fill a store, measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--markdown", action="store_true", help="as in docs/performance.md")
    wanted = parser.parse_args()
    rows: list[list[str]] = []
    for size in wanted.sizes:
        with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
            figures = asyncio.run(_measured(size, Path(directory)))
        rows += _rows(size, figures)
    note = (
        f"Over {DAYS} days of one purpose in SQLite; {len(COUNTS) + 2} counts a day, and the cells that are told are "
        f"the same in both. Raw: one GROUP BY for each count and day. Reading: the median of {ROUNDS}."
    )
    columns = ["", "records", "processor seconds", "of the raw SQL"]
    show(Report("Counting and reporting", columns, rows, note), markdown=wanted.markdown)


async def _measured(size: int, root: Path) -> Figures:
    policy = load(Path(__file__).with_name("policy.toml"))
    places = Places(root)
    store = SQLiteStore(places.database)
    await store.open()
    sealer = Sealer.of_site(places)
    for batch in _batches(size, sealer):
        await store.append(batch)

    began = time.process_time()
    raw = _raw(places.database)
    raw_seconds = time.process_time() - began
    destruction = Destruction.of_site(policy, places, store, sealer, SiteRestrictions(store, sealer))
    began = time.process_time()
    done = await destruction.once(START + timedelta(days=DAYS + 1))
    counting = time.process_time() - began
    if done.counted != DAYS or done.troubles:
        raise RuntimeError(f"{done}")

    reading: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        report = await report_of(store, sealer, day_of(START), day_of(START) + DAYS - 1)
        reading.append(time.process_time() - began)
    await store.close()
    _compare(raw, {by: count.cells for by, count in report.counts.items()})
    commands = [_command(places) for _ in range(ROUNDS)]
    return Figures(raw_seconds, counting, median(reading), median(commands))


def _raw(database: Path) -> dict[str, Counter[str]]:
    """Return each count over all days, from one GROUP BY for each day."""
    totals: dict[str, Counter[str]] = {by: Counter() for by in ("visit hour", *COUNTS, "blocked")}
    with closing(sqlite3.connect(database)) as connection:
        # In one, since an hour is only in the view, by which no index helps.
        for hour, count in connection.execute(
            "SELECT substr(time, 1, 13), count(*) FROM readable WHERE kind = 'visit' GROUP BY 1"
        ):
            totals["visit hour"][hour[-2:]] += count
        for number in range(DAYS):
            edges = [_first_id(START + timedelta(days=day)) for day in (number, number + 1)]
            for by, group in COUNTS.items():
                for label, count in connection.execute(_sql(f"{group}, count(*)", grouped=True), edges):
                    totals[by][str(label)] += count
            sums = connection.execute(_sql(SPLIT, grouped=False), edges).fetchone()
            totals["blocked"].update(dict(zip(BLOCKED, sums, strict=True)))
    return totals


def _sql(what: str, *, grouped: bool) -> str:
    where = "WHERE kind = 'visit' AND purpose = 'necessary' AND id >= ? AND id < ?"
    return f"SELECT {what} FROM records {where} {'GROUP BY 1' if grouped else ''}"


def _first_id(moment: datetime) -> bytes:
    return int(moment.timestamp() * 1000).to_bytes(6) + bytes(10)


def _compare(raw: dict[str, Counter[str]], counts: dict[str, dict[str, int]]) -> None:
    """Refuse to print the figures of two things that say something else."""
    for by, cells in counts.items():
        for label, count in cells.items():
            if label != OTHER and by in raw and OTHER not in cells and raw[by][label] != count:
                raise RuntimeError(f"{by}: {label}: {count:,} and {raw[by][label]:,} in SQL")


def _command(places: Places) -> float:
    last = (START + timedelta(days=DAYS - 1)).date()
    span = ["--since", str(START.date()), "--until", str(last)]
    words = ["report", "--directory", str(places.directory), *span, "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "consent_mw", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _batches(size: int, sealer: Sealer) -> Iterator[list[Record]]:
    """Yield `size` visits, evenly over the days, some thousands at a time."""
    chance = random.Random(size)
    began_ns, step_ns = int(START.timestamp()) * 10**9, DAYS * 86_400 * 10**9 // size
    for first in range(0, size, 5_000):
        yield [
            sealer.record(new_id(began_ns + number * step_ns), "visit", "necessary", data=_facts(chance))
            for number in range(first, min(first + 5_000, size))
        ]


def _facts(chance: random.Random) -> dict[str, Scalar]:
    blocked = " ".join(chance.sample(BLOCKED, chance.randrange(len(BLOCKED) + 1)))
    facts: dict[str, Scalar] = {
        "http.request.method": chance.choice(("GET", "GET", "GET", "POST")),
        "http.route": f"/items/{chance.randrange(40)}",
        "http.response.status_code": chance.choice((200, 200, 200, 301, 404, 500)),
        "http.server.request.duration": round(chance.lognormvariate(-5, 1), 6),
        "consent.choice": chance.choice(("accept", "reject", "prompt", None)),
        "consent.revision": 1,
        "user_agent.name": chance.choice(("Chrome", "Firefox", "Safari", "Edge")),
        "user_agent.os.name": chance.choice(("Android", "Windows", "iOS")),
        "device.type": chance.choice(("mobile", "desktop")),
    }
    if blocked:
        facts["consent.cookies.blocked"] = blocked
    if chance.random() < 0.1:
        facts["user_agent.synthetic.type"] = "bot"
    return facts


def _rows(size: int, figures: Figures) -> list[list[str]]:
    taken = {
        "raw SQL": figures.raw,
        "the counting, once for each day": figures.counting,
        "reading the counts": figures.reading,
        "`consent-mw report`, with Python's start": figures.command,
    }
    return [[name, f"{size:,}", f"{seconds:.2f}", f"{seconds / figures.raw:.4f}"] for name, seconds in taken.items()]


if __name__ == "__main__":
    main()
