"""The model of `bench.simulation`: nothing is lost or made in it, no work is free, and it runs."""

from __future__ import annotations

import subprocess
import sys

from bench.simulation import BATCH, Costs, Fleet, grown, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.repository import ROOT

COSTS = Costs(
    spool=8e-5, drain=1e-4, drain_host=0.0, server=3e-5, server_host=0.0, wal=900.0, look_server=0.01, rest=0.004,
    rest_queries=4, joiner=0.1, joiner_place=4e-4, turn=0.005, turn_place=2e-6, register_place=3_400,
)  # fmt: skip


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    hosts, servers, cores = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    requests, shared = draw(st.integers(1, 3_000)), draw(st.booleans())
    return Fleet(hosts, servers, float(requests), shared=shared, server_cores=cores)


@settings(max_examples=40)
@given(fleet=fleets(), seconds=st.floats(0.1, 2))
def test_every_record_that_came_waits_is_on_the_way_or_is_stored(fleet: Fleet, seconds: float) -> None:
    done = simulated(fleet, COSTS, seconds)
    assert done.arrived == done.stored + done.waiting + done.on_the_way
    assert min(done.stored, done.waiting, done.on_the_way) >= 0
    assert all(lag > 0 for lag in done.lags)


@settings(max_examples=40)
@given(fleet=fleets(), backlog=st.integers(1, 3_000))
def test_a_backlog_is_stored_whole_and_not_before_the_work_for_it_is_done(fleet: Fleet, backlog: int) -> None:
    done = simulated(fleet, COSTS, backlog=backlog)
    assert done.stored == done.arrived == fleet.hosts * backlog
    of_one_server = -(-fleet.hosts // fleet.servers) * backlog
    work = [backlog * COSTS.drain, of_one_server * COSTS.server / fleet.server_cores]
    if fleet.shared:
        work = [done.stored * (COSTS.drain + COSTS.server) / fleet.server_cores]
    assert done.seconds >= max(work) * 0.999
    assert done.servers_busy <= 1.001
    assert len(done.lags) == fleet.hosts * -(-backlog // BATCH)


def test_a_fleet_bends_in_order_and_with_what_is_added_it_keeps_up() -> None:
    bends, fleet = grown(COSTS, 300)
    assert (numbers := [hosts for hosts, *_ in bends]) == sorted(numbers)
    assert numbers
    done = simulated(fleet, COSTS, 1)
    assert done.servers_busy < 1
    assert done.waiting < fleet.hosts * fleet.requests * 3


def test_the_command_prints_what_it_found() -> None:
    words = [sys.executable, "-m", "bench.simulation", "--hosts", "3", "--seconds", "0.5", "--markdown"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "### Where it bends" in said
    assert "| 3 hosts | 3,000 | 1 |" in said
