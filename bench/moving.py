"""A move of a million records while the site answers, and what its pages take meanwhile: `python -m bench.moving`."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import uvicorn
from tests.support.postgres import PostgresServer

from bench.destruction import DATA, SEALED
from bench.site import HEADERS, PATH, SECRET, new_site
from bench.tables import Report, show, versions
from consent_mw import ConsentMiddleware
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.records import new_id
from consent_mw.stores import store_from
from consent_mw.stores.used import UsedStores

#: The records are of so many days, up to now, and so many visitors.
DAYS: Final = 80
VISITORS: Final = 50_000
#: The move works for so long, is broken off, rests, and is begun again: pages are asked with and without at one load.
WORK_SECONDS: Final = 40.0
REST_SECONDS: Final = 10.0
#: Pages a second, at random moments.
RATE: Final = 25.0
_POLICY: Final = Path(__file__).with_name("policy.toml")
_BATCH: Final = 5_000
_LINES: Final = (f"{name}: {value}" for name, value in {**HEADERS, "Connection": "close"}.items())
_REQUEST: Final = "\r\n".join((f"GET {PATH} HTTP/1.1", *_LINES, "", "")).encode()


def main() -> None:
    """Fill a store, move it with the site at work, and print what the pages took with and without."""
    parser = argparse.ArgumentParser(prog="python -m bench.moving", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--from", dest="source", choices=("SQLite", "PostgreSQL"), default="SQLite")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    # A shell that runs this in the background has it ignore Ctrl-C, and the moves with it, which end by that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _stores(options.source) as (directory, source, target):
        asyncio.run(_fill(directory, source, options.records))
        used = UsedStores.beside(Places(directory).database)
        used.use(source)
        with _site(directory, target) as port:
            moving, resting, seconds = asyncio.run(_measured(port, directory, source, target))
    show(_report(options, moving, resting, seconds), markdown=options.markdown)


@contextmanager
def _stores(source: str) -> Generator[tuple[Path, str, str]]:
    """Give a site's directory and the URLs of its old store and its new one."""
    place = os.environ.get("BENCH_DIR")
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=place) as name, PostgresServer() as server:
        server.stop()
        server.start("fsync=on", "shared_buffers=256MB", "max_wal_size=4GB")
        file, database = f"sqlite:///{Places(Path(name)).database}", server.url()
        yield (Path(name), file, database) if source == "SQLite" else (Path(name), database, file)


async def _fill(directory: Path, url: str, count: int) -> None:
    places = Places(directory)
    places.prepare()
    sealer, store = Sealer.of_site(places), store_from(url)
    await store.open()
    step_ns = DAYS * 86_400 * 10**9 // count
    began_ns = time.time_ns() - count * step_ns
    who = [os.urandom(16) for _ in range(VISITORS)]
    for first in range(0, count, _BATCH):
        await store.append([
            sealer.record(
                new_id(began_ns + number * step_ns), "visit", "necessary",
                subject=random.choice(who), data=DATA, plain=SEALED,
            )
            for number in range(first, min(first + _BATCH, count))
        ])  # fmt: skip
    await store.close()


@contextmanager
def _site(directory: Path, store: str) -> Iterator[int]:
    """Serve the bench's page, its log in `store`, in a process of its own, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [sys.executable, "-m", "bench.moving", "--serve", str(listener.fileno()), str(directory), store]
        server = subprocess.Popen(words, pass_fds=[listener.fileno()])
        try:
            yield listener.getsockname()[1]
        finally:
            server.terminate()
            server.wait(60)


def _serve(fd: int, directory: Path, store: str) -> None:
    app = ConsentMiddleware(new_site(), policy=_POLICY, secret_keys=[SECRET], directory=directory, store=store)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[socket.socket(fileno=fd)])


async def _measured(port: int, directory: Path, source: str, target: str) -> tuple[list[float], list[float], float]:
    """Move in turns with resting; return what pages took in both, in seconds, and how long the move was at work."""
    moving: list[float] = []
    resting: list[float] = []
    await _asked(port, asyncio.sleep(REST_SECONDS))  # the first warms the site
    seconds, ended = 0.0, False
    while not ended:
        resting += await _asked(port, asyncio.sleep(REST_SECONDS))
        words = ["store", "move", source, target, "--policy", str(_POLICY), "--directory", str(directory)]
        began = time.perf_counter()
        move = await asyncio.create_subprocess_exec(sys.executable, "-m", "consent_mw", *words)
        moving += await _asked(port, _ended(move))
        seconds += time.perf_counter() - began
        ended = move.returncode == 0
        if not ended and move.returncode != 130:
            raise RuntimeError(f"the move ended with {move.returncode}")
    return moving, resting, seconds


async def _ended(move: asyncio.subprocess.Process) -> None:
    """Wait for the end of the move, and break it off after its turn."""
    try:
        await asyncio.wait_for(move.wait(), WORK_SECONDS)
    except TimeoutError:
        move.send_signal(signal.SIGINT)
        await move.wait()


async def _asked(port: int, until: Coroutine[Any, Any, None]) -> list[float]:
    """Ask for pages at random moments, none waiting for another, and return what each took, from its moment on."""
    times: list[float] = []
    working = asyncio.create_task(until)
    async with asyncio.TaskGroup() as pages:
        while not working.done():
            await asyncio.sleep(random.expovariate(RATE))
            pages.create_task(_ask(port, times))
    await working
    return times


async def _ask(port: int, times: list[float]) -> None:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_REQUEST)
    answer = await reader.read()
    times.append(time.perf_counter() - began)
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {answer[:80]!r}")


def _report(options: argparse.Namespace, moving: list[float], resting: list[float], seconds: float) -> Report:
    rows = []
    for name, times in (("while the move works", moving), ("while it rests", resting)):
        cuts = [1_000 * cut for cut in quantiles(times, n=100)]
        rows.append([name, f"{len(times):,}", f"{cuts[49]:.1f}", f"{cuts[89]:.1f}", f"{cuts[98]:.1f}"])
    return Report(
        f"Pages during a move out of {options.source}: {options.records:,} records in {seconds / 60:.1f} minutes",
        ["", "pages", "median, ms", "p90", "p99"],
        rows,
        f"The move works {WORK_SECONDS:.0f} s, is broken off, rests {REST_SECONDS:.0f}, and is begun again; "
        f"{RATE:.0f} pages a second at random moments, each with its connection; records of {DAYS} days and "
        f"{VISITORS:,} visitors. Site, move, PostgreSQL (fsync on) and client share {os.cpu_count()} cores; "
        f"{versions('uvicorn', 'psycopg')}.",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
