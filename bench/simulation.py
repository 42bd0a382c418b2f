"""
A model of hosts, servers and keys, checked against what was measured, then run to a thousand hosts and a million
requests a second: `python -m bench.simulation`.

The drain is simulated event by event: hosts make batches, servers take them with their cores, and their disks write the
log, each in the order in which the work comes. What grows slowly (keys, connections, the looks of hosts at rest) is
counted. All costs come from the rows of `bench.fleet` and `bench.joining`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from importlib import import_module
from math import ceil
from pathlib import Path
from statistics import mean, quantiles
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import track

from bench.fleet import RECORDS, Row, sizes
from bench.joining import Old
from bench.tables import Report, show

BATCH: Final = 500
_AHEAD: Final = 2
_TICK_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 2.0
_FITTED: Final = (1, 8)
_SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000)
_BUSY: Final = 0.7  # beyond this, queues grow


class Costs(NamedTuple):
    """
    What was measured, in seconds of a core and bytes. `_place` is of one host in one place of keys, `_host` what each
    host took besides while all drained: its own work and the servers', whatever it had to drain.
    """

    spool: float
    drain: float
    drain_host: float
    server: float
    server_host: float
    wal: float
    look_server: float
    rest: float
    rest_queries: float
    joiner: float
    joiner_place: float
    turn: float
    turn_place: float
    register_place: float


class Fleet(NamedTuple):
    """
    What an operator has, and what comes to it.

    Attributes:
        requests: A second, of each host.
        speed: Of a core, beside one of the machine on which all was measured.
        shared: Whether hosts and servers are on the cores of one machine.
        places: Days that are kept, times purposes.
        views: Of a request: how many ask for My data.
    """

    hosts: int
    servers: int = 1
    requests: float = 1_000
    speed: float = 1.0
    shared: bool = False
    server_cores: int = 16
    disk_bytes: float = 400e6
    commit_seconds: float = 0.001
    network_seconds: float = 0.0005
    places: int = 2_000
    processes: int = 5
    connections: int = 500
    views: float = 1e-5
    has_pooler: bool = False
    has_key_service: bool = False


class Outcome(NamedTuple):
    """
    What became of the records, and how busy everything was.

    Attributes:
        lags: How long the oldest record of each batch had waited when the batch was stored, in seconds.
        seconds: Until the last batch was stored.
    """

    arrived: int
    stored: int
    waiting: int
    on_the_way: int
    hosts_busy: float
    servers_busy: float
    disks_busy: float
    lags: list[float]
    seconds: float


class _Cores:
    """So many cores, which take work in the order in which it comes."""

    def __init__(self, count: int) -> None:
        self._free = [0.0] * count
        self.worked = 0.0

    def end(self, now: float, seconds: float) -> float:
        """Return when work that comes now is done."""
        end = max(now, heappop(self._free)) + seconds
        heappush(self._free, end)
        self.worked += seconds
        return end

    def busy(self, until: float) -> float:
        """Return the part of the time that they worked, of work that has begun or waits."""
        return self.worked / until / len(self._free)


class _Host:
    def __init__(self, rate: float, phase: float, backlog: int) -> None:
        self.rate, self.phase, self.backlog = rate, phase, backlog
        self.taken = self.stored = 0
        self.due = 0  # what had come at its last look: until the next one it drains that
        self.ready: deque[int] = deque()
        self.makes = self.sends = False

    def arrived(self, now: float) -> int:
        return self.backlog + int(self.rate * now + self.phase)

    def since(self, number: int) -> float:
        """Return when its record of that number came."""
        return max(0.0, (number - self.backlog - self.phase) / self.rate) if self.rate else 0.0


def simulated(fleet: Fleet, costs: Costs, seconds: float = 0, backlog: int = 0) -> Outcome:
    """Let a fleet serve for some seconds, or, if 0, only drain the backlog of each host to the end."""
    return _Run(fleet, costs, seconds, backlog).outcome()


class _Run:
    def __init__(self, fleet: Fleet, costs: Costs, seconds: float, backlog: int) -> None:
        self._fleet, self._costs, self._seconds = fleet, costs, seconds
        rate = fleet.requests * RECORDS if seconds else 0
        self._hosts = [_Host(rate, number / fleet.hosts, backlog) for number in range(fleet.hosts)]
        one = _Cores(fleet.server_cores)
        self._servers = [one if fleet.shared else _Cores(fleet.server_cores) for _ in range(fleet.servers)]
        self._own = [one if fleet.shared else _Cores(1) for _ in self._hosts]  # a drain is one process
        self._disks = [_Cores(1) for _ in range(fleet.servers)]
        steps = [(_TICK_SECONDS * number / fleet.hosts, number, "look", 0) for number in range(fleet.hosts)]
        self._steps: list[tuple[float, int, str, int]] = steps
        heapify(self._steps)
        self._lags: list[float] = []
        self._now = 0.0
        for number in range(0 if seconds else fleet.hosts):
            self._own[number].end(0.0, costs.drain_host / fleet.speed)
            self._servers[number % fleet.servers].end(0.0, costs.server_host / fleet.speed)

    def outcome(self) -> Outcome:
        while self._steps and (not self._seconds or self._steps[0][0] <= self._seconds):
            self._now, number, step, count = heappop(self._steps)
            getattr(self, f"_{step}")(number, count)
        until = self._seconds or self._now
        arrived = sum(host.arrived(until) for host in self._hosts)
        taken, stored = sum(host.taken for host in self._hosts), sum(host.stored for host in self._hosts)
        return Outcome(
            arrived=arrived,
            stored=stored,
            waiting=arrived - taken,
            on_the_way=taken - stored,
            hosts_busy=mean(own.busy(until) for own in self._own),
            servers_busy=mean(server.busy(until) for server in self._servers),
            disks_busy=mean(disk.busy(until) for disk in self._disks),
            lags=self._lags,
            seconds=self._now,
        )

    def _then(self, at: float, number: int, step: str, count: int = 0) -> None:
        heappush(self._steps, (at, number, step, count))

    def _look(self, number: int, _: int) -> None:
        self._hosts[number].due = self._hosts[number].arrived(self._now)
        self._make(number)
        if self._seconds:
            self._then(self._now + _TICK_SECONDS, number, "look")

    def _make(self, number: int) -> None:
        """Make the next batch, if there is one, while the server still has the one before."""
        host = self._hosts[number]
        count = min(BATCH, host.due - host.taken)
        if host.makes or not count or len(host.ready) >= _AHEAD:
            return
        host.makes = True
        host.taken += count
        self._then(
            self._own[number].end(self._now, count * self._costs.drain / self._fleet.speed), number, "produced", count
        )

    def _produced(self, number: int, count: int) -> None:
        host = self._hosts[number]
        host.makes = False
        host.ready.append(count)
        self._send(number)
        self._make(number)

    def _send(self, number: int) -> None:
        host = self._hosts[number]
        if host.ready and not host.sends:
            host.sends = True
            self._then(self._now + self._fleet.network_seconds, number, "served", host.ready.popleft())

    def _served(self, number: int, count: int) -> None:
        server = self._servers[number % len(self._servers)]
        self._then(server.end(self._now, count * self._costs.server / self._fleet.speed), number, "written", count)

    def _written(self, number: int, count: int) -> None:
        # One sync of the disk covers all that waits for it, so it delays, and takes no turn.
        disk = self._disks[number % len(self._disks)]
        written = disk.end(self._now, count * self._costs.wal / self._fleet.disk_bytes)
        self._then(written + self._fleet.commit_seconds, number, "kept", count)

    def _kept(self, number: int, count: int) -> None:
        host = self._hosts[number]
        self._lags.append(self._now - host.since(host.stored))
        host.stored += count
        host.sends = False
        self._send(number)
        self._make(number)


def costs_of(rows: Sequence[Row], old: Sequence[Old]) -> Costs:
    """Return the costs behind what was measured, by the fleets of one server that have as many hosts as `_FITTED`."""
    fitted = [row for row in rows if row.hosts in _FITTED and row.servers == 1] or list(rows)
    ends = [pick(fitted, key=lambda row: row.hosts) for pick in (min, max)]
    drain, server = _line(ends, [row.drain_core for row in ends]), _line(ends, [row.server_core for row in ends])
    # Joining, a look: linear in places times hosts. The smallest and the largest fleet give both numbers.
    small, large = (pick(old, key=lambda row: row.hosts * row.places) for pick in (min, max))
    more = large.hosts * large.places - small.hosts * small.places

    def rise(ends: tuple[float, float]) -> tuple[float, float]:
        by_place = (ends[1] - ends[0]) / more
        return (ends[0] - by_place * small.hosts * small.places) / 1e3, by_place / 1e3

    joiner, turn = rise((small.joiner_ms, large.joiner_ms)), rise((small.look_ms, large.look_ms))
    return Costs(
        spool=mean(row.spool_core for row in fitted) / 1e6,
        drain=drain[0],
        drain_host=drain[1],
        server=server[0],
        server_host=server[1],
        wal=mean(row.wal_bytes for row in fitted),
        look_server=mean(row.looked_core_ms[1] for row in fitted) / 1e3,
        rest=mean(row.rest_core_ms for row in fitted) / 1e3 / 60,
        rest_queries=mean(row.rest_queries for row in fitted) / 60,
        joiner=joiner[0],
        joiner_place=joiner[1],
        turn=turn[0],
        turn_place=turn[1],
        register_place=large.book_bytes / large.places / (large.hosts + 1),
    )


def _line(ends: Sequence[Row], microseconds: Sequence[float]) -> tuple[float, float]:
    """Return the seconds for each record, and those for each host, of which the work of two fleets consists."""
    few, many = (core * row.requests * RECORDS / 1e6 for core, row in zip(microseconds, ends, strict=True))
    more = ends[1].hosts - ends[0].hosts
    of_host = (many - few) / more if more else 0.0
    return (few - of_host * ends[0].hosts) / ends[0].requests / RECORDS, of_host


def core_of(row: Row, costs: Costs) -> float:
    """Return the microseconds of a core for each record that the model says of a fleet."""
    of_hosts = row.hosts * (costs.drain_host + costs.server_host) / (row.requests * RECORDS)
    return 1e6 * (costs.drain + costs.server + of_hosts)


def speed_of(rows: Sequence[Row], cores: int) -> float:
    """Return what a core did in a second while other programs had it too: of the largest fleet that is fitted."""
    row = max((row for row in rows if row.servers == 1 and row.hosts in _FITTED), key=lambda row: row.hosts)
    return row.drained * (row.drain_core + row.server_core) / 1e6 / cores


def predicted(row: Row, costs: Costs, speed: float, cores: int) -> float:
    """Return the records a second that a fleet moves into its stores, on the machine where all was measured."""
    fleet = Fleet(row.hosts, row.servers, speed=speed, shared=True, server_cores=cores)
    backlog = row.requests // row.hosts * RECORDS
    return row.hosts * backlog / simulated(fleet, costs, backlog=backlog).seconds


#: What bends: how it is called, the part of its limit that a fleet takes, and what an operator adds then.
_Bend = tuple[str, Callable[[Fleet, Costs], float], str, Callable[[Fleet, float], Fleet]]


def _more_servers(fleet: Fleet, load: float) -> Fleet:
    return fleet._replace(servers=max(fleet.servers + 1, ceil(fleet.servers * load)))


def _keys(fleet: Fleet) -> float:
    return 0 if fleet.has_key_service else fleet.hosts * fleet.places


BENDS: Final[Sequence[_Bend]] = (
    (
        "connections of a server",
        lambda fleet, _: fleet.hosts * fleet.processes / fleet.connections / (50 if fleet.has_pooler else 1),
        "a pooler before each server",
        lambda fleet, _: fleet._replace(has_pooler=True),
    ),
    (
        "processors of a log server",
        lambda fleet, costs: _records(fleet) * costs.server / fleet.servers / fleet.server_cores / _BUSY,
        "log servers: `log_store=[…]`",
        _more_servers,
    ),
    (
        "write-ahead log of a server, 400 MB/s",
        lambda fleet, costs: _records(fleet) * costs.wal / fleet.servers / fleet.disk_bytes / _BUSY,
        "log servers: `log_store=[…]`",
        _more_servers,
    ),
    (
        "`hosts.jsonl` of each host, 1 GB",
        lambda fleet, costs: _keys(fleet) * costs.register_place / 1e9,
        "a key service: `keyring=`",
        lambda fleet, _: fleet._replace(has_key_service=True),
    ),
    (
        "a joiner reads old records, 60 s",
        lambda fleet, costs: (costs.joiner + costs.joiner_place * _keys(fleet)) / 60,
        "a key service: `keyring=`",
        lambda fleet, _: fleet._replace(has_key_service=True),
    ),
    (
        "a host's look each 2 s, a core",
        lambda fleet, costs: (costs.turn + costs.turn_place * _keys(fleet)) / _LOOK_SECONDS / _BUSY,
        "a key service: `keyring=`",
        lambda fleet, _: fleet._replace(has_key_service=True),
    ),
    (
        "all hosts' looks at the main store",
        lambda fleet, costs: fleet.hosts * costs.rest / fleet.server_cores / _BUSY,
        "a main store of its own",
        lambda fleet, _: fleet._replace(server_cores=2 * fleet.server_cores),
    ),
    (
        "My data, asked of every server",
        lambda fleet, costs: _views(fleet) * costs.look_server / fleet.server_cores / _BUSY,
        "larger servers rather than more of them",
        lambda fleet, _: fleet._replace(server_cores=2 * fleet.server_cores),
    ),
)


def _records(fleet: Fleet) -> float:
    return fleet.hosts * fleet.requests * RECORDS


def _views(fleet: Fleet) -> float:
    return fleet.hosts * fleet.requests * fleet.views


def grown(costs: Costs, largest: int) -> tuple[list[tuple[int, str, str]], Fleet]:
    """Let a fleet grow host by host; return where it bends and what is added each first time, and what stands then."""
    fleet, bent = Fleet(1), dict[str, tuple[int, str, str]]()
    for hosts in range(1, largest + 1):
        fleet = fleet._replace(hosts=hosts)
        for name, load, added, remedy in BENDS:
            while (now := load(fleet, costs)) > 1:
                bent.setdefault(name, (hosts, name, added))
                fleet = remedy(fleet, now)
    return list(bent.values()), fleet


def main() -> None:
    """Fit, predict, grow; print three tables, and draw the loads with --plot."""
    here = Path(__file__)
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--fleet", type=Path, default=here.with_name("fleet.json"), help="rows of `bench.fleet`")
    parser.add_argument("--joining", type=Path, default=here.with_name("joining.json"), help="rows of `bench.joining`")
    parser.add_argument("--hosts", type=int, default=1_000, help="of the largest fleet")
    parser.add_argument("--seconds", type=float, default=5, help="that are simulated of each size")
    parser.add_argument("--cores", type=int, default=2, help="of the machine on which the rows were measured")
    parser.add_argument("--plot", type=Path, help="an SVG file for the loads by size; needs the group 'bench'")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    rows = [Row(**row) for row in json.loads(options.fleet.read_text())]
    costs = costs_of(rows, [Old(**row) for row in json.loads(options.joining.read_text())])
    bends, last = grown(costs, options.hosts)
    hosts = [size for size in _SIZES if size <= options.hosts]
    console = Console(stderr=True)
    runs = [
        (fleet, simulated(fleet, costs, options.seconds))
        for size in track(hosts, console=console, disable=not console.is_terminal)
        for fleet in [grown(costs, size)[1]]
    ]
    for report in (_checked(rows, costs, options.cores), _bent(bends, last), _run_to(runs, costs)):
        show(report, markdown=options.markdown)
    if options.plot:
        _draw(costs, options.hosts, options.plot)


def _checked(rows: Sequence[Row], costs: Costs, cores: int) -> Report:
    speed = speed_of(rows, cores)
    predictions = [(row, predicted(row, costs, speed, cores)) for row in rows]
    return Report(
        "The model and what was measured",
        ["", "records a second", "the model's", "off by", "core, µs a record", "the model's", "off by"],
        [
            [f"{sizes(row)}{', fitted' * (row.hosts in _FITTED and row.servers == 1)}", f"{row.drained:,.0f}",
             f"{rate:,.0f}", f"{rate / row.drained - 1:+.0%}", f"{row.drain_core + row.server_core:.0f}",
             f"{core_of(row, costs):.0f}", f"{core_of(row, costs) / (row.drain_core + row.server_core) - 1:+.0%}"]
            for row, rate in predictions
        ],
        "Into the stores. The fitted rows give what a record costs, and what a host costs besides. The machine did "
        f"other work too: its cores gave {speed:.0%} of their time while the largest fitted fleet drained, and other "
        "shares while others did, so the rates are off by that.",
    )  # fmt: skip


def _bent(bends: Sequence[tuple[int, str, str]], last: Fleet) -> Report:
    return Report(
        "Where it bends",
        ["", "first over its limit", "from so many hosts", "add"],
        [[f"{number}.", name, f"{hosts:,}", added] for number, (hosts, name, added) in enumerate(bends, 1)],
        f"Each host has {last.requests:,.0f} requests a second and {last.processes} processes; records of "
        f"{last.places:,} days and purposes are kept; {last.views:.3%} of the requests ask for My data. A server has "
        f"16 cores, {last.connections} connections, and a disk of {last.disk_bytes / 1e6:.0f} MB/s; processors and "
        f"disks count as full at {_BUSY:.0%}. What an earlier line adds is there in the later ones. At {last.hosts:,} "
        f"hosts the log has {last.servers} servers.",
    )


def _run_to(runs: Sequence[tuple[Fleet, Outcome]], costs: Costs) -> Report:
    return Report(
        "Run with what was added",
        ["", "requests/s", "log servers", "their cores", "WAL, MB/s", "stored after, s", "p99, s", "a host's cores"],
        [
            [f"{fleet.hosts:,} host{'s' * (fleet.hosts > 1)}", f"{fleet.hosts * fleet.requests:,.0f}",
             f"{fleet.servers}", f"{done.servers_busy:.0%}", f"{_records(fleet) * costs.wal / 1e6:,.0f}",
             *(f"{value:.2f}" for value in _middle_and_p99(done.lags)),
             f"{fleet.requests * RECORDS * (costs.spool + costs.drain):.2f}"]
            for fleet, done in runs
        ],
        "Simulated event by event. Stored after: from the record's request until the server's disk has it, the median "
        "of the oldest record of each batch. The last column is what a host's processes take for the log.",
    )  # fmt: skip


def _middle_and_p99(lags: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(lags, n=100) if len(lags) > 1 else [*lags, 0.0][:1] * 99
    return cuts[49], cuts[98]


def _draw(costs: Costs, largest: int, file: Path) -> None:
    vl_convert = import_module("vl_convert")  # of the group `bench`
    hosts = sorted({round(10 ** (step / 20)) for step in range(61) if 10 ** (step / 20) <= largest} | {largest})
    names = [name for name, *_ in BENDS]
    values = [
        {"hosts": count, "what": name.replace("`", ""), "load": max(1e-4, load(Fleet(count), costs))}
        for count in hosts for name, load, *_ in BENDS
    ]  # fmt: skip
    x = {"field": "hosts", "type": "quantitative", "scale": {"type": "log"},
         "axis": {"title": "hosts, each with 1,000 requests a second", "values": [1, 3, 10, 30, 100, 300, 1_000],
                  "format": ","}}  # fmt: skip
    y = {"field": "load", "type": "quantitative", "scale": {"type": "log", "domain": [0.001, 100], "clamp": True},
         "axis": {"title": "of the limit", "values": [0.001, 0.01, 0.1, 1, 10, 100], "format": "~%"}}  # fmt: skip
    colour = {"field": "what", "type": "nominal", "sort": [name.replace("`", "") for name in names],
              "legend": {"title": None, "orient": "bottom", "columns": 2, "labelLimit": 320}}  # fmt: skip
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "One server and nothing added: a line that crosses 100% is where the fleet bends",
        "width": 640,
        "height": 360,
        "background": "white",
        "padding": 10,
        "data": {"values": values},
        "layer": [
            {"mark": {"type": "line", "clip": True}, "encoding": {"x": x, "y": y, "color": colour}},
            {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"y": {"datum": 1}}},
        ],
        "config": {
            "font": "sans-serif",
            "range": {
                "category": ["#005f73", "#9b2226", "#ca6702", "#0a9396", "#6a4c93", "#3a5a40", "#8d99ae", "#d62828"]
            },
        },
    }
    file.write_text(vl_convert.vegalite_to_svg(chart))
    sys.stderr.write(f"{file} drawn\n")


if __name__ == "__main__":
    main()
