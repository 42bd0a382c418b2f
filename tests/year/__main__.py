"""`make year`: the whole year, with SQLite and then with PostgreSQL; and what came of it."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tests.support.postgres import PostgresServer
from tests.year.backups import Backups, PostgresBackups, SqliteBackups
from tests.year.judge import Judge
from tests.year.run import ZONES, judged, story

_PAGE = Path(__file__).parents[2] / "docs" / "year.md"
_BEGIN, _END = "<!-- what the last run found -->\n", "<!-- until here -->\n"
#: Which zone a site begins in decides which of its records lie at which local midnight.
_ZONES = {"sqlite": (ZONES[2], ZONES[1], ZONES[0]), "postgresql": ZONES}


class Outcome(NamedTuple):
    """What one year came to."""

    store: str
    judge: Judge
    persons: int
    minutes: float


@contextmanager
def _stored(store: str, directory: Path) -> Iterator[tuple[str | None, Backups]]:
    """Provide where the records go, and who makes backups of it."""
    if store == "sqlite":
        yield None, SqliteBackups(directory)
        return
    with PostgresServer() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE year")
        yield server.url("year"), PostgresBackups(server, "year")


def _lived(store: str, seed: int, persons: int, directory: Path, console: Console) -> Outcome:
    plot, began = story(seed, _ZONES[store], short=False, persons=persons), time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar, _stored(store, directory) as (url, backups):
        task = bar.add_task(f"a year with {store}", total=1.0)
        judge = judged(
            plot, directory, store=url, backups=backups, progress=lambda over: bar.update(task, completed=over)
        )
        bar.update(task, completed=1.0)
    return Outcome(store, judge, plot.persons, (time.monotonic() - began) / 60)


def table(outcomes: list[Outcome], seed: int) -> str:
    """Return what came of the years, as the page shows it."""
    rows = [
        ("Persons", [f"{year.persons:,}" for year in outcomes]),
        ("Pages, and choices and requests about data", [f"{_seen(year):,}" for year in outcomes]),
        ("SIGKILLs, starts", [f"{_of(year, 'killed')}, {_of(year, 'started')}" for year in outcomes]),
        ("Restored backups, clock steps", [f"{_of(year, 'restored')}, {_of(year, 'clock')}" for year in outcomes]),
        ("Inspections, and days whose counts were judged",
         [f"{_of(year, 'inspection')}, {_of(year, 'daily')}" for year in outcomes]),
        ("Times that a rule was asked", [f"{sum(year.judge.findings.judged.values()):,}" for year in outcomes]),
        ("Findings", [f"{len(year.judge.findings.all)}" for year in outcomes]),
    ]  # fmt: skip
    head = f"| {datetime.now(UTC):%d %B %Y}, seed {seed} | {' | '.join(year.store for year in outcomes)} |"
    lines = [head, "|---" * (len(outcomes) + 1) + "|", *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)]
    return "\n".join(lines) + "\n"


def _of(outcome: Outcome, what: str) -> int:
    return outcome.judge.happened.get(what, 0)


def _seen(outcome: Outcome) -> int:
    of_the_site = (
        "started",
        "stopped",
        "killed",
        "passed",
        "daily",
        "inspection",
        "copies",
        "command",
        "read",
        "clock",
    )
    return sum(count for what, count in outcome.judge.happened.items() if what not in of_the_site)


def main() -> int:
    """Live through the year; 1 where something was found."""
    options = argparse.ArgumentParser(prog="make year", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--persons", type=int, default=420)
    options.add_argument("--store", choices=list(_ZONES), action="append", help="one of the two only")
    options.add_argument("--keep", type=Path, help="leave the sites and their journals in this directory")
    options.add_argument("--write", action="store_true", help="write the outcome into docs/year.md")
    given = options.parse_args()
    console, root = Console(), given.keep or Path(tempfile.mkdtemp(prefix="consent-mw-year-"))
    outcomes = [_lived(store, given.seed, given.persons, root / store, console) for store in given.store or _ZONES]
    for outcome in outcomes:
        for finding in outcome.judge.findings.all:
            console.print(f"{outcome.store}: {finding}", markup=False, soft_wrap=True)
    text = table(outcomes, given.seed)
    console.print(text, markup=False)
    if given.write:
        pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
        _PAGE.write_text(pattern.sub(lambda _: f"{_BEGIN}{text}{_END}", _PAGE.read_text()))
    if given.keep is None:
        shutil.rmtree(root)
    return int(any(outcome.judge.findings.all for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
