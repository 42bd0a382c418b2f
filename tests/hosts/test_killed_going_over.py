"""Hosts go over from keys on their disks to a key service, one by one, while any of them is killed at any moment."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest
from tests.support.commands import run
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.key_search import files_with, keys_of
from tests.support.openbao import OpenBaoCluster
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(500)
_LATER, _END = timedelta(days=3), timedelta(days=450)


@pytest.fixture(scope="module")
def cluster() -> Generator[OpenBaoCluster]:
    with OpenBaoCluster(members=1) as servers:
        yield servers


class Numbered:
    """Visits with a number each, and what staff read of them."""

    def __init__(self, visitor: Visitor, chance: random.Random) -> None:
        self._visitor = visitor
        self._chance = chance
        self._numbers = count()
        self.answered: set[int] = set()

    def visit(self, hosts: list[Host], times: int) -> None:
        for number, _ in zip(self._numbers, range(times), strict=False):
            with suppress(httpx.HTTPError):
                if self._visitor.get(self._chance.choice(hosts), f"/search?n={number}").status_code == 200:
                    self.answered.add(number)


def recorded(host: Host) -> Counter[int]:
    words = ("export", "--json", "--purpose", "analytics", "--reason", "kills", "--store", host.store)
    rows = [
        json.loads(line)
        for line in run(*words, *_ring(host), cwd=host.directory, ahead=ahead(host)).stdout.splitlines()
    ]
    return Counter(row["event.results"] for row in rows if "event.results" in row)


def _ring(host: Host) -> tuple[str, ...]:
    return ("--keyring", host.keyring) if host.keyring else ()


def pass_time(place: Path, duration: timedelta) -> None:
    (place / "ahead").write_text(str(int(duration.total_seconds())))


def ahead(host: Host) -> int:
    return int((host.directory.parent / "ahead").read_text())


def go_over(host: Host, cluster: OpenBaoCluster, site: str) -> None:
    host.keyring, host.token = cluster.url_of(site), cluster.token


@pytest.mark.parametrize("seed", range(1))
def test_nothing_is_lost_or_there_twice_and_no_key_is_left_whoever_is_killed_on_the_way(
    tmp_path: Path, postgres: PostgresServer, cluster: OpenBaoCluster, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("BAO_TOKEN", cluster.token)
    chance, site = random.Random(seed), f"shop{seed}"
    (tmp_path / "ahead").write_text("0")
    began = time.time()
    with fleet(tmp_path, postgres, "one", "two", "three") as hosts, closing(Visitor()) as kim:
        kim.accept(hosts[0])
        visits = Numbered(kim, chance)
        visits.visit(hosts, 10)
        on_disk = {key for host in hosts for key in keys_of(host)[0].values()}
        assert files_with(on_disk, tmp_path) == {"keys"}, "the control"
        for host in chance.sample(hosts, len(hosts)):
            if chance.random() < 0.5:
                host.kill()
            else:
                host.end()
            go_over(host, cluster, site)
            host.begin()
            time.sleep(chance.random() * 3)
            victim = chance.choice(hosts)  # while it starts, or just after
            victim.kill()
            visits.visit(hosts, 5)
            victim.begin()
            for one in hosts:
                one.begin_again()
            visits.visit(hosts, 10)
            on_disk |= {key for one in hosts for key in keys_of(one)[0].values()}
        pass_time(tmp_path, _LATER)  # to days whose keys are made in the service
        until(lambda: bool(keys_of_service(cluster, site)), 90)
        hosts[0].kill()
        visits.visit(hosts, 20)
        hosts[0].begin_again()
        for host in hosts:
            until(_has(host, visits.answered), 90)
        time.sleep(1)  # what would be there twice comes now
        for host in hosts:
            twice = {number: times for number, times in recorded(host).items() if times != 1}
            assert twice == {}
        until(lambda: kim.held(hosts[0])["complete"], 60)
        in_service = keys_of_service(cluster, site)
        assert in_service
        pass_time(tmp_path, _END)

        def is_over() -> bool:
            for host in hosts:
                run("purge", "--policy", "policy.toml", "--store", host.store, *_ring(host), cwd=host.directory,
                    ahead=ahead(host))  # fmt: skip
            return not in_service & keys_of_service(cluster, site)

        until(is_over, 90)
        left = on_disk - {key for host in hosts for key in keys_of(host)[0].values()}
        assert left
    for place in (*(host.directory for host in hosts), postgres.data):
        assert files_with(left, place, since=began) == set()


def _has(host: Host, numbers: set[int]) -> Callable[[], bool]:
    return lambda: numbers <= recorded(host).keys()


def keys_of_service(cluster: OpenBaoCluster, site: str) -> set[str]:
    names: list[str] = cluster.admin("GET", "transit/keys?list=true")["data"]["keys"]
    return {name for name in names if name.startswith(f"{site}.2")}  # those of days
