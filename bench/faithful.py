"""My data of somebody who came each day of a year and chose sixty times: `python -m bench.faithful`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from tests.support.postgres import PostgresServer

from bench.age import move, moved
from bench.lived import DAY, Browser, begin, handed_over, served
from bench.running import lifespan
from bench.tables import Report, show, versions
from consent_mw.stores.postgres import PostgresStore
from consent_mw.testing.clock import Clock

YEAR: Final = 366
RECEIPTS: Final = 60
VISITS: Final = 5
OTHERS: Final = 5
_WHO: Final = "visitor.json"
_SOME: Final = {"choice": "save", "purpose.functional": "yes", "purpose.analytics": "yes", "purpose.marketing": "no"}
_CHOICES: Final = ({"choice": "accept"}, _SOME)


def main() -> None:
    """Let two sites live, a month and a year, and print what the page of their most faithful visitor takes."""
    parser = argparse.ArgumentParser(prog="python -m bench.faithful", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kept", type=Path, help="a directory in which the sites are, or are made")
    parser.add_argument("--markdown", action="store_true", help="as in docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        root: Path = options.kept or Path(name)
        with Progress(console=Console(stderr=True), transient=True) as progress, PostgresServer() as server:
            sites = [_grown(root, days, progress) for days in (YEAR // 12, YEAR)]
            for site in sites:
                move(site, server.url(), f"faithful_{site.name}")
            rows = [
                row
                for site in sites
                for row in (
                    asyncio.run(_row(site, "SQLite", options.rounds)),
                    asyncio.run(_row(moved(site), "PostgreSQL", options.rounds, server.url(), f"faithful_{site.name}")),
                )
            ]
        note = (
            f"Milliseconds: of the first look after the start, and the least of {options.rounds} later ones; the last "
            f"column in those of a processor, the database's own left out. {versions('psycopg')}."
        )
        columns = ["", "store", "records", "receipts", "first", "later", "of a processor"]
        show(Report("My data of a faithful visitor", columns, rows, note), markdown=options.markdown)


def _grown(root: Path, days: int, progress: Progress) -> Path:
    directory = root / f"{days}"
    if not (directory / _WHO).exists():
        task = progress.add_task(f"a visitor comes for {days} days", total=days)
        asyncio.run(_came(directory, days, lambda: progress.advance(task)))
        progress.remove_task(task)
    return directory


async def _came(directory: Path, days: int, advance: Callable[[], None]) -> None:
    begin(directory)
    clock = Clock(datetime.now(UTC) - days * DAY - timedelta(hours=1))
    app = served(directory, clock)
    visitor, others = Browser(app), [Browser(app) for _ in range(OTHERS)]
    for browser in others:
        await browser.post("/consent/choice", choice="accept")
    chosen = -1
    for day in range(days):
        clock.advance(DAY - timedelta(minutes=VISITS))
        while chosen < RECEIPTS * day // YEAR:
            chosen += 1
            await visitor.post("/consent/choice", **_CHOICES[chosen % 2])
        for number in range(VISITS):
            clock.advance(timedelta(minutes=1))
            await visitor.get(f"/items/{number}")
            for browser in others:
                await browser.get(f"/items/{number}")
        await handed_over(app)
        advance()
    await app.runtime.destruction.once(clock.now)  # counts the days, which a site that runs does every night
    await app.runtime.drain.stop()
    (directory / _WHO).write_text(json.dumps(visitor.cookies))


async def _row(directory: Path, name: str, rounds: int, url: str = "", schema: str = "") -> list[str]:
    app = served(directory, store=PostgresStore(url, schema=schema) if url else None)
    visitor = Browser(app, cookies=json.loads((directory / _WHO).read_text()))
    taken: list[float] = []
    worked: list[float] = []
    page = b""
    async with lifespan(app):
        for _ in range(rounds + 1):
            began, before = time.perf_counter(), time.process_time()
            page = await visitor.get("/consent/my-data", as_json=True)
            taken.append((time.perf_counter() - began) * 1e3)
            worked.append((time.process_time() - before) * 1e3)
    data = json.loads(page)
    records = sum(len(holding["records"]) for holding in data["held"])
    return [
        f"{directory.name.partition('-')[0]} days", name, f"{records:,}", f"{len(data['receipts'])}",
        f"{taken[0]:.0f}", f"{min(taken[1:]):.0f}", f"{min(worked[1:]):.0f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
