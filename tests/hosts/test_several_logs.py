"""Two hosts, a store, and two PostgreSQL servers for the log: each host appends to one, and all promises reach both."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import duckdb
import psycopg
import pytest
from tests.support.commands import run
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def other() -> Generator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, other: PostgresServer
) -> Generator[list[Host]]:
    place = tmp_path_factory.mktemp("logs")
    (place / "ahead").write_text("0")
    logs = [postgres.database(), other.database()]
    with fleet(place, postgres, "one", "two", logs=logs) as members:
        yield members


@pytest.fixture
def kim() -> Generator[Visitor]:
    visitor = Visitor()
    yield visitor
    visitor.close()


def command(host: Host, *words: object, ahead: timedelta = timedelta()) -> str:
    logs = [part for url in host.logs for part in ("--log-store", url)]
    done = run(*words, "--store", host.store, *logs, cwd=host.directory, ahead=ahead.total_seconds())
    assert done.returncode == 0, done.stderr
    return done.stdout


def held(visitor: Visitor, host: Host) -> int:
    return sum(part["count"] for part in visitor.held(host)["held"] if part["purpose"] == "analytics")


def rows(url: str, kind: str = "event") -> int:
    query = b"SELECT count(*) FROM consent_mw.records WHERE kind = %s AND purpose = 'analytics'"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        (count,) = connection.execute(query, [kind]).fetchone() or (0,)
    return int(count)


def search(visitor: Visitor, hosts: list[Host]) -> None:
    for host in hosts:
        visitor.get(host, "/search")
        visitor.get(host, "/search")
    until(lambda: all(held(visitor, host) == 8 for host in hosts))


def test_each_host_appends_to_its_own_and_everything_is_read_from_both(hosts: list[Host], kim: Visitor) -> None:
    kim.accept(hosts[0])
    search(kim, hosts)
    assert [rows(url) for url in (hosts[0].store, *hosts[0].logs)] == [0, 2, 2]
    for host in hosts:
        lines = command(host, "export", "--json", "--purpose", "analytics", "--reason", "a test").splitlines()
        assert sum("event.results" in json.loads(line) for line in lines) == 4
    file = hosts[0].directory / "log.parquet"
    command(hosts[0], "export", "--format", "parquet", "--output", file, "--purpose", "analytics", "--reason", "a test")
    query = f"SELECT kind, count(DISTINCT id) FROM read_parquet('{file}') GROUP BY kind ORDER BY kind"
    assert duckdb.execute(query).fetchall() == [("event", 4), ("visit", 4)]


def test_hosts_that_agreed_on_the_keys_of_tomorrow_are_well(hosts: list[Host]) -> None:
    for host in hosts:
        assert "clock: well" in command(host, "doctor", "--quick")


def test_an_erasure_reaches_both_and_waits_for_one_that_is_away(
    hosts: list[Host], kim: Visitor, other: PostgresServer
) -> None:
    before = [rows(url) for url in hosts[0].logs]
    kim.accept(hosts[0])
    search(kim, hosts)
    other.kill()
    assert kim.get(hosts[1], "/search").text == "found"
    answer = kim.post(hosts[0], "/consent/my-data", json={"action": "erase", "confirm": "yes"})
    assert answer.status_code == 200, answer.text
    address = answer.json()["address"]
    assert state(kim, hosts[0], address) == "open"
    other.start()
    until(lambda: [rows(url) for url in hosts[0].logs] == before)
    until(lambda: state(kim, hosts[1], address) == "done")
    assert [rows(url) for url in hosts[0].logs] == before


def state(visitor: Visitor, host: Host, address: str) -> str:
    current: str = visitor.get(host, address, headers={"Accept": "application/json"}).json()["done"]["state"]
    return current


def test_a_day_is_counted_over_both_and_ends_in_both(hosts: list[Host]) -> None:
    for _ in range(5):  # of fewer visitors nothing is told
        with closing(Visitor()) as visitor:
            visitor.accept(hosts[0])
            search(visitor, hosts)
    day, events = datetime.now(UTC).date(), sum(rows(url) for url in hosts[0].logs)
    assert len(command(hosts[0], "log", "-n", "99", "--kind", "event", "--json").splitlines()) == events >= 20
    for host in hosts:
        host.end()
    later = timedelta(days=2)
    purge(hosts[0], later)
    done = run("report", "--json", "--since", day, "--until", day, "--store", hosts[0].store,
               cwd=hosts[0].directory, ahead=later.total_seconds())  # fmt: skip
    assert json.loads(done.stdout)["days"][day.isoformat()]["events"] == events, done
    purge(hosts[0], timedelta(days=450))
    assert [rows(url, kind) for url in hosts[0].logs for kind in ("event", "visit")] == [0] * 4


def purge(host: Host, ahead: timedelta) -> None:
    logs = [part for url in host.logs for part in ("--log-store", url)]
    run("purge", "--policy", "policy.toml", "--store", host.store, *logs, cwd=host.directory,
        ahead=ahead.total_seconds())  # fmt: skip
