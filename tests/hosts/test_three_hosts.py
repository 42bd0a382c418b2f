"""The promises of a site hold on each of its hosts: real processes, a directory each, one PostgreSQL."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def hosts(tmp_path: Path, postgres: PostgresServer) -> Generator[list[Host]]:
    with fleet(tmp_path, postgres, "one", "two", "three") as found:
        yield found


@pytest.fixture
def kim() -> Generator[Visitor]:
    visitor = Visitor()
    yield visitor
    visitor.close()


def visits(document: dict[str, Any]) -> int:
    return sum(part["count"] for part in document["held"] if part["purpose"] == "analytics")


def rows(host: Host, query: str) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(host.store, autocommit=True)) as connection:
        return connection.execute(query.encode()).fetchall()


def waits(kim: Visitor, host: Host, address: str) -> tuple[str, bool]:
    """How an erasure stands, and whether it waits for another host."""
    found = kim.get(host, address, headers={"Accept": "application/json"}).json()["done"]
    return found["state"], found["waits_for_hosts"]


def test_my_data_and_erasure_reach_what_each_host_recorded(hosts: list[Host], kim: Visitor) -> None:
    kim.accept(hosts[1])
    for _ in range(3):
        for host in hosts:
            kim.get(host, "/search")
    mine = "SELECT count(DISTINCT subject), count(*) FROM consent_mw.records WHERE kind = 'event'"
    until(lambda: rows(hosts[0], mine) == [(1, 9)])  # one visitor is one, on every host
    until(lambda: all(visits(kim.held(host)) == 18 for host in hosts))
    for host in hosts:
        document = kim.held(host)
        assert document["complete"]
        assert len(document["receipts"]) == 1
    hosts[2].kill()
    answer = kim.post(hosts[0], "/consent/my-data", json={"action": "erase", "confirm": "yes"})
    assert answer.status_code == 200, answer.text
    left = "SELECT count(*) FROM consent_mw.records WHERE kind IN ('event', 'visit') AND purpose = 'analytics'"
    until(lambda: rows(hosts[0], left) == [(0,)])
    # What the third has not handed over nobody knows: it is waited for, by name, on every host.
    until(lambda: all(waits(kim, host, answer.json()["address"]) == ("open", True) for host in hosts[:2]))
    certified = "SELECT count(*) FROM consent_mw.records WHERE kind = 'erased'"
    assert rows(hosts[0], certified) == [(0,)]
    hosts[2].begin()
    hosts[2].wait()
    until(lambda: all(waits(kim, host, answer.json()["address"]) == ("done", False) for host in hosts))
    assert rows(hosts[0], left) == [(0,)]
