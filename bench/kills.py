"""
Three hosts over one PostgreSQL, and a random one of the four killed again and again while visitors come. To be run as
`python -m bench.kills [SCHEDULES [SEED]]`. Between two schedules five days pass, so keys are made, shared and destroyed
all the while. Each request has a number, which its event keeps: so the sums say exactly which answers have no record,
and which have two.

In the end every day ends. Then every byte that the hosts and PostgreSQL with its log wrote, and every byte of a copy of
its directory that was made before, is searched for every key that was ever seen; the control is that each was found
before, and one that was put into a table still is.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import psycopg
from tests.support.commands import run
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.key_search import found_in, keys_of
from tests.support.postgres import PostgresServer

_KILLS = 4
_PASSES = timedelta(days=5)
_ALL_PASSES = timedelta(days=450)


@dataclass
class Site:
    """What is killed, and what was seen of it."""

    hosts: list[Host]
    server: PostgresServer
    ahead: Path
    chance: random.Random
    numbers: Iterator[int] = field(default_factory=count)
    keys: set[bytes] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=int(self.ahead.read_text()))

    def pass_time(self, duration: timedelta) -> None:
        self.ahead.write_text(str(int(self.ahead.read_text()) + int(duration.total_seconds())))


def schedule(site: Site) -> tuple[int, int, int]:
    """Return how many answers visitors got, how many of these have no record, and how many records are there twice."""
    began, answered, visitor = site.now, set[int](), Visitor()
    visitor.accept(site.chance.choice(site.hosts))
    for _ in range(_KILLS):
        answered |= _answers(site, visitor, site.chance.randrange(5, 30))
        victim = site.chance.choice([*site.hosts, None])
        _kill(site, victim)
        answered |= _answers(site, visitor, site.chance.randrange(12))
        _start(site, victim)
    visitor.close()
    for host in site.hosts:
        host.wait()
    with suppress(AssertionError):
        until(lambda: answered <= _recorded(site, began).keys(), 60)
    time.sleep(1)  # what would be there twice comes now
    recorded = _recorded(site, began)
    _own_keys(site)
    return len(answered), len(answered - recorded.keys()), sum(times - 1 for times in recorded.values())


def _answers(site: Site, visitor: Visitor, times: int) -> set[int]:
    """Return the numbers of the requests that were answered."""
    return {
        number for number, _ in zip(site.numbers, range(times), strict=False) if _is_answered(site, visitor, number)
    }


def _is_answered(site: Site, visitor: Visitor, number: int) -> bool:
    with suppress(httpx.HTTPError):
        return visitor.get(site.chance.choice(site.hosts), f"/search?n={number}").status_code == 200
    return False


def _kill(site: Site, victim: Host | None) -> None:
    if victim is None:
        site.server.kill()
    else:
        victim.kill()


def _start(site: Site, victim: Host | None) -> None:
    if victim is not None:
        victim.begin()  # the next kill may come before it answers
        return
    for _ in range(40):
        with suppress(RuntimeError):  # a child of the one that was killed has not ended yet
            site.server.start()
            return
        time.sleep(0.5)
    raise RuntimeError("PostgreSQL does not start again")


def _recorded(site: Site, since: datetime) -> Counter[int]:
    """Return how often each number was recorded since then, as staff read it on any host."""
    host = site.chance.choice(site.hosts)
    done = run(
        "export", "--json", "--purpose", "analytics", "--reason", "kills", "--since", since.isoformat(),
        "--store", host.store, cwd=host.directory, ahead=int(site.ahead.read_text()),
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return Counter(row["event.results"] for row in rows if "event.results" in row)


def destroyed(site: Site) -> tuple[int, int, int]:
    """End every day; return how many keys were seen, how many lay in the key files before, and anywhere after."""
    alive = _own_keys(site)
    in_files = {key for host in site.hosts for keys in found_in(alive, host.data).values() for key in keys}
    alive &= _own_keys(site)  # the hosts run, and may have destroyed one before it was searched for
    assert alive <= in_files, "what is searched for has to be where it is"
    with suppress(shutil.Error):  # a file of a running server may vanish
        shutil.copytree(site.server.data, site.ahead.parent / "backup")
    site.pass_time(_ALL_PASSES)
    for host in (*site.hosts, site.hosts[0]):
        run("purge", "--policy", "policy.toml", "--store", host.store, cwd=host.directory,
            ahead=int(site.ahead.read_text()))  # fmt: skip
    time.sleep(5)  # the hosts hear of it
    left = site.keys - _own_keys(site)  # without those of days to come
    for host in site.hosts:
        host.end()
    site.server.stop()
    anywhere = {key for place in (*(host.directory for host in site.hosts), site.server.directory)
                for keys in found_in(left, place).values() for key in keys}  # fmt: skip
    anywhere |= {key for keys in found_in(left, site.ahead.parent / "backup").values() for key in keys}
    return len(left), len(alive), len(anywhere)


def _own_keys(site: Site) -> set[bytes]:
    """Return the keys of all hosts, each as its own host has it; and note what any of them can open."""
    alive = set[bytes]()
    for host in site.hosts:
        own, others = keys_of(host)
        alive |= set(own.values())
        site.keys |= {*own.values(), *others}
    return alive


def control(site: Site) -> int:
    """Return in how many files of PostgreSQL a key is found that was put into a table, and deleted from it."""
    key = next(iter(site.keys))
    site.server.start()
    with closing(psycopg.connect(site.hosts[0].store, autocommit=True)) as connection:
        connection.execute("CREATE TABLE control (key bytea)")
        connection.execute("INSERT INTO control SELECT %s FROM generate_series(1, 8)", [key])
        connection.execute("DELETE FROM control")
        connection.execute("CHECKPOINT")
    return len(found_in({key}, site.server.data))


def main(schedules: int = 10, seed: int = 1) -> None:
    """Print a line for each schedule, and the sums."""
    sums = [0, 0, 0]
    with PostgresServer() as server, tempfile.TemporaryDirectory() as place:
        (ahead := Path(place) / "ahead").write_text("0")
        with fleet(Path(place), server, "one", "two", "three") as hosts:
            site = Site(hosts, server, ahead, random.Random(seed))
            done = 0
            with suppress(KeyboardInterrupt):  # then the sums are of those that were
                for done in range(1, schedules + 1):
                    counts = schedule(site)
                    sums = [total + part for total, part in zip(sums, counts, strict=True)]
                    print(f"schedule {done}: {counts[0]} answers, {counts[1]} missing, {counts[2]} twice", flush=True)
                    site.pass_time(_PASSES)
            for host in hosts:
                host.begin_again()
            print(f"{done} schedules of {_KILLS} kills: {sums[0]} answers, {sums[1]} missing, {sums[2]} twice")
            seen, alive, anywhere = destroyed(site)
            print(f"keys: {seen} seen and ended, {anywhere} of them found anywhere; before, {alive} of {alive} alive")
            print(f"control: a key that was put into a table is found in {control(site)} files of PostgreSQL")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts in the background ignore it
    main(*map(int, sys.argv[1:]))
