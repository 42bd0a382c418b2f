"""SIGKILL of a host, and of PostgreSQL, at each step of making, sharing and destroying a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.postgres import PostgresServer
from tests.support.repository import ROOT


@pytest.mark.timeout(550)
@pytest.mark.parametrize(("steps", "fewest"), [("store", 5), ("disk", 10)])
def test_whatever_step_a_host_dies_at_all_is_read_and_all_is_destroyed(
    tmp_path: Path, postgres: PostgresServer, steps: str, fewest: int
) -> None:
    program = [sys.executable, "-m", "tests.support.killed_host", str(tmp_path), postgres.database(), steps]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) >= fewest, "too few steps to have been at each"


@pytest.mark.timeout(550)
@pytest.mark.parametrize("when", ["before", "amid"])
def test_whatever_step_the_server_dies_at_all_is_read_and_all_is_destroyed(tmp_path: Path, when: str) -> None:
    program = [sys.executable, "-m", "tests.support.killed_server", str(tmp_path), when]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) > 10, "too few steps to have been at each"
