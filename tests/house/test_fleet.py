"""The bench of several hosts: it runs, and every answer that it counts is there once."""

from __future__ import annotations

import pytest
from bench.fleet import measured

pytestmark = pytest.mark.timeout(300)


def test_a_small_fleet_is_measured_and_loses_nothing() -> None:
    row = measured(hosts=2, servers=2, requests=40, receipts=2, seconds=0.1)
    assert (row.missing, row.twice, row.requests) == (0, 0, 40)
    assert min(row.spooled, row.drained, row.receipts, row.wal_bytes, row.stored_bytes, row.join_seconds) > 0
