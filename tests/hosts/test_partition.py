"""Somebody takes back a yes, or is erased, while the network between one host and the store passes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing

import psycopg
import pytest
from tests.support.fleet import Host, Visitor, another, fleet, until
from tests.support.key_search import keys_of
from tests.support.postgres import PostgresServer
from tests.support.wire import Wire, wire

pytestmark = pytest.mark.timeout(400)

#: How the network fails, and how it is mended.
_WAYS: dict[str, tuple[Callable[[Wire], None], Callable[[Wire], None]]] = {
    "stopped": (Wire.stop, Wire.go_on),
    "half open": (Wire.hold_answers, Wire.cut),
    "slow": (Wire.slow_down, Wire.cut),
}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Generator[Host]:
    with fleet(tmp_path_factory.mktemp("partition"), postgres, "near") as (host,):
        yield host


@pytest.fixture(scope="module")
def cable(postgres: PostgresServer) -> Generator[Wire]:
    with wire(postgres.port) as link:
        yield link


@pytest.fixture(scope="module")
def far(near: Host, cable: Wire, postgres: PostgresServer) -> Generator[Host]:
    with another(near, "far") as host:
        url = postgres.tcp_url(database=near.store.rpartition("/")[2].partition("?")[0])
        host.store = url.replace(f":{postgres.port}/", f":{cable.port}/")
        host.begin()
        host.wait()
        until(lambda: bool(keys_of(host)[1]))
        yield host


def held(visitor: Visitor, host: Host) -> int:
    return sum(part["count"] for part in visitor.held(host)["held"] if part["purpose"] == "analytics")


def state(visitor: Visitor, host: Host, address: str) -> str:
    """How a request stands."""
    answer = visitor.get(host, address, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["done"]["state"])


def left(host: Host) -> int:
    with closing(psycopg.connect(host.store, autocommit=True)) as connection:
        query = "SELECT count(*) FROM consent_mw.records WHERE purpose = 'analytics' AND kind IN ('event', 'visit')"
        (count,) = connection.execute(query).fetchone() or (0,)
    return int(count)


# Each waits until a dead connection is given up, so each way comes once.
@pytest.mark.parametrize(("way", "asked"), [("stopped", "withdraw"), ("half open", "erase"), ("slow", "withdraw")])
def test_what_is_taken_back_meanwhile_is_gone_on_all_hosts_and_is_not_said_to_be_before(
    near: Host, far: Host, cable: Wire, way: str, asked: str
) -> None:
    fail, mend = _WAYS[way]
    with closing(Visitor()) as kim:
        kim.accept(near)
        assert kim.get(far, "/search").text == "found"
        until(lambda: held(kim, near) == 2)
        fail(cable)
        try:
            for _ in range(3):
                assert kim.get(far, "/search").text == "found"
            said = {"action": "erase", "confirm": "yes"} if asked == "erase" else {
                "action": "withdraw", "purpose": ["analytics"],
            }  # fmt: skip
            answer = kim.post(near, "/consent/my-data", json=said)
            assert answer.status_code == 200, answer.text
            address = answer.json()["address"]
            if way != "slow":
                time.sleep(12)  # longer than a host that is at work takes to report
                assert state(kim, near, address) != "done"
        finally:
            mend(cable)
        until(lambda: state(kim, near, address) == "done")
        until(lambda: left(near) == 0)
        time.sleep(3)  # nothing comes later
        assert left(near) == 0
        if asked == "withdraw":
            assert held(kim, near) == held(kim, far) == 0
