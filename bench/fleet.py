"""
Hosts of one site over one PostgreSQL, and over several for the log: `python -m bench.fleet`.

Each host is a process with the whole middleware, its own data directory and its own spool. Each server writes to its
disk (fsync). All of it shares the cores of one machine, so times by the clock stop falling when these are busy: compare
the core seconds, which hardly depend on that.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import psycopg
from rich.console import Console
from rich.progress import Progress
from tests.support.postgres import PostgresServer

from bench.fleet_host import Host, Taken
from bench.tables import Report, show, versions

__all__ = ["Row", "measured", "sizes"]

#: Records that a request of `bench.fleet_host` becomes.
RECORDS: Final = 3
#: Of the visitor whose data is shown, on each host.
VISITS: Final = 5
WARM_UP: Final = 20
_SETTINGS: Final = ("fsync=on", "shared_buffers=128MB", "max_wal_size=2GB", "max_connections=200")
_LOOKS: Final = 5
_JOIN_SECONDS: Final = 120.0


class Row(NamedTuple):
    """
    What a fleet was seen to do. Times of the processor are microseconds a record, unless they are named otherwise.

    Attributes:
        looked_core_ms: Of the processor of a host and of the servers, for one view of My data.
        rest_queries, rest_rows: What a host that nobody visits asks of the servers in a minute, and gets from them.
        rest_core_ms: Of the processors of the servers, for that.
    """

    hosts: int
    servers: int
    requests: int
    spooled: float
    spool_core: float
    drained: float
    drain_core: float
    server_core: float
    wal_bytes: float
    stored_bytes: float
    receipts: float
    receipt_core: float
    looked_ms: float
    looked_core_ms: tuple[float, float]
    join_seconds: float
    rest_queries: float
    rest_rows: float
    rest_core_ms: float
    missing: int
    twice: int


def main() -> None:
    """Measure each fleet once, and print three tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 4], help="that the hosts append to, by turns")
    parser.add_argument("--requests", type=int, default=16_000, help="of a fleet, whatever its size")
    parser.add_argument("--receipts", type=int, default=400, help="the same")
    parser.add_argument("--seconds", type=float, default=20, help="for which a fleet is watched at rest")
    parser.add_argument("--rows", type=Path, help="a file for the rows, which `bench.simulation` reads")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    sized = [(hosts, servers) for servers in options.servers for hosts in options.hosts]
    rows = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(sized))
        for hosts, servers in sized:
            progress.update(task, description=f"{hosts} hosts, {servers} servers")
            rows.append(measured(hosts, servers, options.requests, options.receipts, options.seconds))
            progress.advance(task)
            if options.rows:  # after each, so that a run may be ended early
                options.rows.write_text(json.dumps([row._asdict() for row in rows], indent=1))
    for report in _reports(rows, options.receipts, options.seconds):
        show(report, markdown=options.markdown)


def measured(hosts: int, servers: int, requests: int, receipts: int, seconds: float) -> Row:
    """Let a fleet answer `requests` and give `receipts`, show a visitor their data, admit a host, and rest."""
    place = tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR"))
    with place as name, _servers(servers) as running, _Fleet(Path(name), running) as fleet:
        for number in range(hosts):
            fleet.begin(f"{number}")
        # Modules, templates, parsers, partitions: the first of everything is on nobody's bill.
        fleet.at_once("visit", [({}, WARM_UP)] * hosts)
        fleet.at_once("choose", [(1,)] * hosts)
        fleet.at_once("drain")
        return _row(fleet, requests // hosts, max(1, receipts // hosts), seconds)


def _row(fleet: _Fleet, requests: int, receipts: int, seconds: float) -> Row:
    hosts, servers = fleet.hosts, fleet.servers
    answered = requests * len(hosts)
    spooled = fleet.at_once("answer", [(number * requests, requests) for number in range(len(hosts))])
    wal, rows, core = servers.wal(), servers.rows(), servers.core_seconds()
    drained = fleet.at_once("drain")
    records = sum(taken.result for taken in drained.parts)
    wal, core = servers.wal() - wal, servers.core_seconds() - core
    assert records == servers.rows() - rows == RECORDS * answered, (records, answered)
    stored = servers.bytes() / records
    chosen = fleet.at_once("choose", [(receipts,)] * len(hosts))
    cookies = chosen.parts[0].result
    fleet.at_once("visit", [(cookies, VISITS)] * len(hosts))
    fleet.at_once("drain")
    looks, looked_core = _looks(fleet, cookies)
    rest = _rest(servers, seconds)
    missing, twice = hosts[-1].do("missing_and_twice", answered).result
    return Row(
        hosts=len(hosts),
        servers=len(servers.all),
        requests=answered,
        spooled=RECORDS * answered / spooled.seconds,
        spool_core=1e6 * spooled.core_seconds / records,
        drained=records / drained.seconds,
        drain_core=1e6 * drained.core_seconds / records,
        server_core=1e6 * core / records,
        wal_bytes=wal / records,
        stored_bytes=stored,
        receipts=receipts * len(hosts) / chosen.seconds,
        receipt_core=1e6 * chosen.core_seconds / receipts / len(hosts),
        looked_ms=1e3 * median(look.seconds for look in looks),
        looked_core_ms=(1e3 * median(look.core_seconds for look in looks), 1e3 * looked_core / len(looks)),
        rest_queries=rest[0] / len(hosts),
        rest_rows=rest[1] / len(hosts),
        rest_core_ms=1e3 * rest[2] / len(hosts),
        missing=missing,
        twice=twice,
        join_seconds=_joined(fleet, cookies),
    )


def _looks(fleet: _Fleet, cookies: dict[str, str]) -> tuple[list[Taken], float]:
    """Return views of My data on all hosts by turns, but for the first of each, and the servers' time for them."""
    fleet.at_once("my_data", [(cookies,)] * len(fleet.hosts))
    before = fleet.servers.core_seconds()
    looks = [host.do("my_data", cookies) for _ in range(_LOOKS) for host in fleet.hosts]
    expected = VISITS * len(fleet.hosts)
    assert all(look.result == expected for look in looks), ([look.result for look in looks], expected)
    return looks, fleet.servers.core_seconds() - before


def _joined(fleet: _Fleet, cookies: dict[str, str]) -> float:
    """Return how long a host takes, from the start of its process, until it shows a visitor what the others wrote."""
    expected, began = VISITS * len(fleet.hosts), time.monotonic()
    joiner = fleet.begin("new")
    while joiner.do("my_data", cookies).result < expected:
        assert time.monotonic() < began + _JOIN_SECONDS, "the new host cannot read what the others wrote"
        time.sleep(0.1)
    return time.monotonic() - began


def _rest(servers: _Servers, seconds: float) -> tuple[float, float, float]:
    """Return how many transactions the servers had in a minute, rows they gave, and core seconds they took."""
    before, core, began = servers.activity(), servers.core_seconds(), time.monotonic()
    time.sleep(seconds)
    minutes = (time.monotonic() - began) / 60
    after = servers.activity()
    return (
        (after[0] - before[0]) / minutes, (after[1] - before[1]) / minutes, (servers.core_seconds() - core) / minutes
    )  # fmt: skip


class _Done(NamedTuple):
    """What all hosts did at once: each one's part, the time of all their processors, and that of the clock."""

    parts: list[Taken]
    core_seconds: float
    seconds: float


class _Fleet:
    def __init__(self, place: Path, servers: _Servers) -> None:
        self.servers = servers
        self.hosts: list[Host] = []
        self._place = place

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        for host in self.hosts:
            host.end()

    def begin(self, name: str) -> Host:
        """Begin one more host, which appends to the server whose turn it is, and return it when it serves."""
        own = len(self.hosts) % len(self.servers.logs or [""])
        host = Host(self._place / name, self.servers.store, [*self.servers.logs[own:], *self.servers.logs[:own]])
        self.hosts.append(host)
        host.do("ready")
        return host

    def at_once(self, work: str, words: Sequence[tuple[Any, ...]] = ()) -> _Done:
        """Let all hosts do something at the same time, each with its own words."""
        began = time.perf_counter()
        for host, own in zip(self.hosts, words or [()] * len(self.hosts), strict=True):
            host.ask(work, *own)
        parts = [host.taken() for host in self.hosts]
        return _Done(parts, sum(taken.core_seconds for taken in parts), time.perf_counter() - began)


class _Servers:
    """The servers of a fleet: the first has everything, or everything but the log."""

    def __init__(self, running: Sequence[PostgresServer]) -> None:
        self.all = running
        urls = [server.database() for server in running]
        self.store, self.logs = urls[0], urls if len(urls) > 1 else []
        self._urls = urls

    def wal(self) -> int:
        """Return the bytes of the write-ahead log that all of them have written."""
        return sum(self._asked("SELECT pg_current_wal_insert_lsn() - '0/0'"))

    def rows(self) -> int:
        """Return how many visits and events are there."""
        return sum(self._asked("SELECT count(*) FROM consent_mw.records WHERE kind IN ('visit', 'event')"))

    def bytes(self) -> int:
        """Return what all records take, with their indexes."""
        return sum(self._asked(
            "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree('consent_mw.records')"
        ))  # fmt: skip

    def activity(self) -> tuple[int, int]:
        """Return how many transactions there were, and how many rows were read in them. Statistics lag by a second."""
        return tuple(
            sum(self._asked(f"SELECT {what} FROM pg_stat_database WHERE datname = current_database()"))
            for what in ("xact_commit + xact_rollback", "tup_fetched")
        )  # type: ignore[return-value]  # there are two

    def core_seconds(self) -> float:
        """Return what all processes of the servers have taken so far."""
        return sum(_core_seconds(server) for server in self.all)

    def _asked(self, question: str) -> Iterator[int]:
        for url in self._urls:
            with psycopg.connect(url, autocommit=True) as connection:
                row = connection.execute(question.encode()).fetchone()
                yield int(row[0]) if row else 0


@contextmanager
def _servers(count: int) -> Generator[_Servers]:
    with ExitStack() as stack:
        running = [stack.enter_context(PostgresServer()) for _ in range(count)]
        for server in running:  # those of the tests do without the disk; here it counts
            server.stop()
            server.start(*_SETTINGS)
        yield _Servers(running)


def _core_seconds(server: PostgresServer) -> float:
    """Return the processor time of a server, its processes that have ended among it."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    # proc(5): after the command's name the 12th and 13th field, and, of children that were waited for, the next two.
    ticks = _fields(pid, 11, 15) + sum(_fields(int(child), 11, 13) for child in children)
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(pid: int, first: int, end: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:  # it has ended meanwhile, and counts with those that were waited for
        return 0
    return sum(map(int, fields[first:end]))


def sizes(row: Row) -> str:
    """Return how a fleet is called."""
    return f"{row.hosts} host{'s' * (row.hosts > 1)}, {row.servers} server{'s' * (row.servers > 1)}"


def _reports(rows: Sequence[Row], receipts: int, seconds: float) -> Iterator[Report]:
    yield Report(
        "Writing, by the clock",
        ["", "into spools", "into stores", "receipts", "missing", "twice"],
        [
            [sizes(row), f"{row.spooled:,.0f}", f"{row.drained:,.0f}", f"{row.receipts:,.0f}", f"{row.missing}",
             f"{row.twice}"]
            for row in rows
        ],
        f"Records and receipts a second, on {os.cpu_count()} cores for everything. Each fleet answers "
        f"{rows[0].requests:,} requests, of which each becomes {RECORDS} records, and gives {receipts:,} receipts. "
        "Missing and twice: answered requests of which the stores have no record, or two.",
    )  # fmt: skip
    yield Report(
        "Writing, by the core",
        ["", "spool", "drain", "servers", "a receipt", "WAL", "stored"],
        [
            [sizes(row), f"{row.spool_core:.0f}", f"{row.drain_core:.0f}", f"{row.server_core:.0f}",
             f"{row.receipt_core:,.0f}", f"{row.wal_bytes:.0f}", f"{row.stored_bytes:.0f}"]
            for row in rows
        ],
        "Microseconds of a core for each record: of the hosts, and of the servers for the drain. WAL and what is "
        f"stored in bytes a record; {versions('psycopg')}.",
    )  # fmt: skip
    yield Report(
        "Reading and joining",
        ["", "My data, ms", "of a host's core", "of the servers'", "new host reads, s"],
        [
            [sizes(row), f"{row.looked_ms:.0f}", f"{row.looked_core_ms[0]:.0f}", f"{row.looked_core_ms[1]:.0f}",
             f"{row.join_seconds:.1f}"]
            for row in rows
        ],
        f"My data of a visitor who came {VISITS} times to each host, on all hosts by turns, medians. A new host reads "
        "when My data there shows all of it, from the start of its process.",
    )  # fmt: skip
    yield Report(
        "At rest",
        ["", "queries", "rows", "core, ms"],
        [[sizes(row), f"{row.rest_queries:,.0f}", f"{row.rest_rows:,.0f}", f"{row.rest_core_ms:,.0f}"] for row in rows],
        "What each host of a fleet that nobody visits asks of the servers in a minute (transactions, rows read), and "
        f"what that takes of their cores; watched for {seconds:.0f} seconds.",
    )


if __name__ == "__main__":
    main()
