"""The promises of a site hold on each of its hosts: real processes, a directory each, one PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from tests.support.fleet import Host, Visitor, another, fleet, until
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer

from consent_mw.policy.loader import loads

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Generator[list[Host]]:
    with fleet(tmp_path_factory.mktemp("fleet"), postgres, "one", "two", "three") as found:
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


def test_a_cookie_that_waits_on_one_host_is_allowed_on_another(hosts: list[Host], kim: Visitor) -> None:
    kim.get(hosts[0], "/")
    kim.post(hosts[0], "/consent/choice", data={"choice": "prompt"})
    # The first time on a busy machine, a store may take too long: then the cookie is blocked, and set again.
    until(lambda: kim.get(hosts[0], "/").is_success and bool(waiting(kim, hosts[0])), 60)
    until(lambda: all(waiting(kim, host) for host in hosts), 60)
    (waits_for_kim,) = waiting(kim, hosts[1])
    allowed = kim.post(hosts[2], "/consent/choice", data={"answer": "allow", "waiting": [waits_for_kim]})
    assert any(line.startswith("theme=dark") for line in allowed.headers.get_list("set-cookie"))


def waiting(kim: Visitor, host: Host) -> list[str]:
    return [each["id"] for each in kim.get(host, "/consent/state").json()["waiting"]]


def test_what_staff_answer_on_one_host_is_read_on_each(hosts: list[Host], kim: Visitor) -> None:
    kim.accept(hosts[0])
    said = {"action": "dispute", "message": "this is wrong", "email": "kim@example.com"}
    number = kim.post(hosts[0], "/consent/my-data", json=said).json()["done"]["number"]
    until(lambda: all("this is wrong" in staff(host, "show", number, "--reason", "due") for host in hosts))
    staff(hosts[1], "refuse", number, "--reason", "it was right")
    for host in hosts:
        (request,) = kim.held(host)["requests"]
        assert [answer["reason"] for answer in request["answers"]] == ["it was right"]


def staff(host: Host, *words: str) -> str:
    """What `consent-mw requests` says on a host."""
    done = command(host, "requests", *words, "--store", host.store)
    return done.stdout + done.stderr


def command(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "consent_mw", *words]
    return subprocess.run(program, cwd=host.directory, capture_output=True, text=True, check=False)


def test_what_is_published_on_one_host_is_announced_by_each_and_taken_early_by_none(
    hosts: list[Host], kim: Visitor, postgres: PostgresServer
) -> None:
    kim.accept(hosts[0])
    today = datetime.now(loads(POLICY).time_zone).date()
    effective = today + timedelta(days=60)
    later = POLICY.replace("revision = 1", "revision = 2").replace('"13 months"', '"14 months"', 1)
    later = later.replace("= 2026-11-23", f"= {today}", 1).replace("= 2026-11-23", f"= {effective}", 1)
    with another(hosts[0], "fresh", later) as fresh:
        fresh.begin()
        until(lambda: not fresh.is_running)
        assert "revision 2 was never published" in fresh.said
        (hosts[0].directory / "policy.toml").write_text(later, "utf-8")
        done = command(hosts[0], "publish", "policy.toml")
        assert done.returncode == 0, done.stderr
        until(lambda: all(kim.get(host, "/consent/policy/2").status_code == 200 for host in hosts))
        fresh.begin()
        fresh.wait()
        for host in (*hosts, fresh):
            state = kim.get(host, "/consent/state").json()
            assert (state["revision"], state["choice"]) == (1, "accept")
        fresh.end()
    assert command(hosts[0], "hosts", "retire", fresh.id, "--reason", "gone", "--although-at-work",
                   "--store", hosts[0].store).returncode == 0  # fmt: skip


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
