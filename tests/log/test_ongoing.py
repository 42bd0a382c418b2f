"""A connection that stays open leaves a trace when it begins, which its own end or somebody else's makes one visit."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.commands import run
from tests.support.open_connections import opened, site
from tests.support.repository import ROOT

from consent_mw.records import Query
from consent_mw.spool.ongoing import SUFFIX, Ongoing, left_by_the_dead
from consent_mw.stores.sqlite import SQLiteStore


def killed(directory: Path, kind: str, ended: int) -> None:
    """A process that dies with one connection open, after `ended` others."""
    words = [sys.executable, "-m", "tests.support.open_connections", str(directory), kind, str(ended)]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -signal.SIGKILL


def outcomes(directory: Path) -> list[str]:
    """How each visit ended, as the store has it after everything was handed over."""
    assert run("drain", "--once", cwd=directory).returncode == 0

    async def fetch() -> list[str]:
        store = SQLiteStore(directory / "consent-data/consent.sqlite3")
        await store.open()
        try:
            records = await store.fetch(Query(kinds=frozenset(("visit",))))
            return sorted(str(record.data.get("error.type", "")) for record in records if record.purpose == "necessary")
        finally:
            await store.close()

    return asyncio.run(fetch())


@pytest.mark.parametrize("kind", ["websocket", "http", "head"])
def test_a_connection_that_a_crash_ends_is_one_visit(kind: str, tmp_path: Path) -> None:
    killed(tmp_path, kind, ended=2)
    ended = "" if kind == "websocket" else "disconnected"
    for _ in range(2):
        assert outcomes(tmp_path) == sorted(["broken_off", ended, ended])
    assert not list(tmp_path.glob(f"consent-data/spool/*{SUFFIX}"))


def test_a_connection_that_ends_is_recorded_as_it_ended_alone(tmp_path: Path) -> None:
    def files() -> list[Path]:
        return list(tmp_path.glob(f"consent-data/spool/*{SUFFIX}"))

    async def live() -> None:
        app = site(tmp_path)
        connection = await opened(app, "websocket")
        assert files()
        await app.runtime.drain.once()  # of a process that lives nothing is taken
        await connection.__aexit__(None, None, None)
        await app.runtime.drain.stop()

    asyncio.run(live())
    assert outcomes(tmp_path) == [""]
    assert not files()


def test_the_file_of_what_goes_on_does_not_grow_with_what_has_ended(tmp_path: Path) -> None:
    ongoing = Ongoing(tmp_path)
    ongoing.begin(b"s" * 16, b"stays", 1)
    for number in range(2_000):
        ongoing.begin(number.to_bytes(16), b"x" * 500, 2 + number)
        ongoing.end(number.to_bytes(16), 2 + number)
    [path] = tmp_path.iterdir()
    assert path.stat().st_size < 600_000
    assert list(left_by_the_dead(path)) == []  # its process lives
    ongoing.forget()
    assert list(left_by_the_dead(path)) == [b"stays"]
    assert not path.exists()


def test_a_beginning_that_was_torn_by_the_crash_takes_nothing_else_with_it(tmp_path: Path) -> None:
    ongoing = Ongoing(tmp_path)
    ongoing.begin(b"a" * 16, b"first", 1)
    ongoing.begin(b"b" * 16, b"second", 2)
    ongoing.forget()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert list(left_by_the_dead(path)) == [b"first"]
