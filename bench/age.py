"""Does anything slow with age? The same site on day 10 and on day 400, measured in turns: `python -m bench.age`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from rich.console import Console
from rich.progress import Progress
from tests.support.postgres import PostgresServer

from bench.aged import MEMORY, START
from bench.lived import EXCHANGES, lived
from bench.tables import Report, show, versions
from consent_mw.kinds import AGGREGATE, CERTIFICATE, ENDING, ERASED, RESTRICTS, TALLY
from consent_mw.paths import Places
from consent_mw.records import Query
from consent_mw.stores.pages import pages
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.sqlite import SQLiteStore

#: Days by when they are measured.
_YOUNG, _OLD = 10, 400
#: How much slower, and how much larger, the old site may be.
_SLOWER: Final = 1.5
_LARGER_MB: Final = 20
#: What is told of PostgreSQL.
_ALSO_POSTGRES: Final = (
    START,
    "later look for what is to be erased",
    "look for what has ended, with each quarter",
    "the same, each minute",
    "My data of a visitor",
    "My data of a member with three browsers",
    MEMORY,
)
#: By what they are called: of one week, since a site of ten days has no month to tell.
_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "`consent-mw report` of a week": ("report", "--days", "7", "--json"),
    "`consent-mw report`": ("report", "--json"),
    "`consent-mw purge`": ("purge",),
    "`consent-mw purge --dry-run`": ("purge", "--dry-run"),
    "`consent-mw store check --quick`": ("store", "check", "--quick"),
    "`consent-mw requests`": ("requests",),
    "`consent-mw log`": ("log",),
}

#: By what was measured, the figures of the rounds.
_Figures: TypeAlias = dict[str, list[float]]


def main() -> None:
    """Let two sites live, measure them in interleaved rounds, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.age", description=__doc__)
    parser.add_argument("--days", type=int, default=_OLD, help="age of the old site")
    parser.add_argument("--exchanges", type=int, default=EXCHANGES, help="of each day")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kept", type=Path, help="a directory in which the two sites are, or are made")
    parser.add_argument("--markdown", action="store_true", help="as in docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        root: Path = options.kept or Path(name)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            sites = {age: _grown(root, age, options.exchanges, progress) for age in (_YOUNG, options.days)}
            with PostgresServer() as server:
                both = _rounds(sites, server, options.rounds, progress)
        _show(sites, *both, options.exchanges, options.rounds, markdown=options.markdown)


def _grown(root: Path, age: int, exchanges: int, progress: Progress) -> Path:
    directory = root / str(age)
    if not (directory / "known.json").exists():
        task = progress.add_task(f"a site lives for {age} days", total=age)
        asyncio.run(lived(directory, age, exchanges, lambda: progress.advance(task)))
        progress.remove_task(task)
    return directory


def _rounds(
    sites: Mapping[int, Path], server: PostgresServer, rounds: int, progress: Progress
) -> tuple[_Figures, _Figures]:
    """Measure both sites in turns; what a command leaves to the next is done once before."""
    both: tuple[_Figures, _Figures] = ({}, {})
    task = progress.add_task("measuring", total=2 * (rounds + 1))
    for age, directory in sites.items():
        _command(directory, ("purge",))
        move(directory, server.url(), _schema(age))
        progress.advance(task)
    for _ in range(rounds):
        for (age, directory), figures in zip(sites.items(), both, strict=True):
            for name, words in _COMMANDS.items():
                figures.setdefault(name, []).append(_command(directory, words))
            for name, figure in _measured(directory).items():
                figures.setdefault(name, []).append(figure)
            in_postgres = _measured(moved(directory), server.url(), _schema(age))
            for name in _ALSO_POSTGRES:
                figures.setdefault(f"{name}, PostgreSQL", []).append(in_postgres[name])
            progress.advance(task)
    return both


def _schema(age: int) -> str:
    return f"age{age}"


def moved(directory: Path) -> Path:
    """Return where the same site is with PostgreSQL in the place of its file."""
    return directory.with_name(f"{directory.name}-postgres")


def move(directory: Path, url: str, schema: str) -> None:
    """Copy a site, its records into a schema of PostgreSQL."""
    shutil.rmtree(moved(directory), ignore_errors=True)
    shutil.copytree(directory, moved(directory), ignore=shutil.ignore_patterns("consent.sqlite3*"))
    asyncio.run(_copied(Places.beside(directory / "policy.toml").database, PostgresStore(url, schema=schema)))


async def _copied(database: Path, copy: PostgresStore) -> None:
    store = SQLiteStore(database)
    await store.open()
    await copy.open()
    kinds = ENDING | {AGGREGATE, CERTIFICATE, ERASED, RESTRICTS, TALLY}
    async for page in pages(store, Query(kinds=kinds)):
        await copy.append(page)
    await store.close()
    await copy.close()


def _command(directory: Path, words: Sequence[str]) -> float:
    """Return the milliseconds of a processor that a command takes, Python's start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "consent_mw", *words], cwd=directory, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def _measured(directory: Path, *store: str) -> dict[str, float]:
    words = [sys.executable, "-m", "bench.aged", str(directory), *store]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _show(
    sites: Mapping[int, Path], young: _Figures, old: _Figures, exchanges: int, rounds: int, *, markdown: bool
) -> None:
    rows = [_row(name, min(young[name]), min(old[name])) for name in young]
    first, last = sites
    note = (
        f"Milliseconds, the least of {rounds} interleaved rounds; commands in those of a processor, Python's start "
        f"included. {exchanges} exchanges a day, {datetime.now(UTC):%Y-%m-%d}; {versions('psycopg')}."
    )
    show(Report("Age", ["", f"day {first}", f"day {last}", "", ""], rows, note), markdown=markdown)


def _row(name: str, young: float, old: float) -> list[str]:
    if name == MEMORY:
        held, ratio = old - young <= _LARGER_MB, f"{old - young:+.1f} MB"
    else:
        held, ratio = old <= _SLOWER * young, f"{old / young:.2f}"
    return [name, f"{young:.2f}", f"{old:.2f}", ratio, "" if held else "slower"]


if __name__ == "__main__":
    main()
