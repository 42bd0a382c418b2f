"""
Three hosts over one PostgreSQL, and a random one of the four killed again and again while visitors come: which records
are missing afterwards, and which are there twice. To be run as `python -m bench.kills SCHEDULES [SEED]`. A request that
broke off may have a record as well, and hide one that is missing: there is about one in twenty.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import psycopg
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.postgres import PostgresServer

_KILLS = 4


def schedule(number: int, seed: int, server: PostgresServer, directory: Path) -> tuple[int, int, int]:
    """Return how many answers visitors got, how many of these have no record, and how many records are there twice."""
    chance = random.Random(f"{seed} {number}")
    with fleet(directory, server, "one", "two", "three") as hosts:
        visitor = Visitor()
        visitor.accept(hosts[0])
        answered = 0
        for _ in range(_KILLS):
            answered += sum(_is_answered(visitor, chance.choice(hosts)) for _ in range(chance.randrange(5, 30)))
            victim = chance.choice([*hosts, None])
            if victim is None:
                server.kill()
            else:
                victim.kill()
            answered += sum(_is_answered(visitor, host) for host in hosts if host is not victim)
            if victim is None:
                _start(server)
            else:
                victim.begin()
                victim.wait()
        visitor.close()
        with suppress(AssertionError):
            until(lambda: _count(hosts[0])[0] >= answered, 60)
        time.sleep(3)  # what would be there twice comes now
        rows, names = _count(hosts[0])
        return answered, max(0, answered - rows), rows - names


def _start(server: PostgresServer) -> None:
    for _ in range(20):
        with suppress(RuntimeError):  # a child of the one that was killed has not ended yet
            server.start()
            return
        time.sleep(0.5)
    raise RuntimeError("PostgreSQL does not start again")


def _is_answered(visitor: Visitor, host: Host) -> bool:
    try:
        return visitor.get(host, "/search").status_code == 200
    except httpx.HTTPError:
        return False


def _count(host: Host) -> tuple[int, int]:
    query = b"SELECT count(*), count(DISTINCT id) FROM consent_mw.records WHERE kind = 'event'"
    with closing(psycopg.connect(host.store, autocommit=True)) as connection:
        rows, names = connection.execute(query).fetchone() or (0, 0)
    return rows, names


def main(schedules: int, seed: int = 1) -> None:
    """Print a line for each schedule, and the sums."""
    sums = [0, 0, 0]
    with PostgresServer() as server, tempfile.TemporaryDirectory() as place:
        for number in range(schedules):
            (directory := Path(place) / str(number)).mkdir()
            found = schedule(number, seed, server, directory)
            sums = [total + each for total, each in zip(sums, found, strict=True)]
            print(f"schedule {number}: {found[0]} answers, {found[1]} missing, {found[2]} twice", flush=True)
    print(f"{schedules} schedules of {_KILLS} kills: {sums[0]} answers, {sums[1]} missing, {sums[2]} twice")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
