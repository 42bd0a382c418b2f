"""The process that drains for a busy site: what servers and systems do to it, with real servers and real signals."""

from __future__ import annotations

import http.client
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.policies import POLICY
from tests.support.ports import free_port
from tests.support.spooled import ids_in, make_site, spool_records

from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.log.drain_process import DrainProcess
from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.runtime.options import Options
from consent_mw.stores.memory import MemoryStore

SECRET = "a secret of the tests that is long enough"
APP = f"""
import os, sys
from consent_mw import ConsentMiddleware

async def page(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"text/plain"), (b"x-worker", b"%d" % os.getpid())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": b"a page"}})

sys.executable = os.environ.get("ANOTHER_PYTHON", sys.executable)
app = ConsentMiddleware(page, policy="policy.toml", secret_keys=["{SECRET}"])
"""


class Site:
    """A site that a real server serves, and how many requests it has answered."""

    def __init__(self, directory: Path, *words: str, **environment: str) -> None:
        self.directory = directory
        (directory / "policy.toml").write_text(POLICY)
        (directory / "app.py").write_text(APP)
        self.answered = 0
        self.workers: set[int] = set()
        self._words = words
        self._environment = {**os.environ, **environment}
        self.begin()

    def begin(self) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), "--no-access-log"]
        with (self.directory / "said.txt").open("ab") as said:
            self.process = subprocess.Popen(
                [*command, *self._words], cwd=self.directory, stdout=said, stderr=said, env=self._environment,
                start_new_session=True,
            )  # fmt: skip
        self.until(self.answers)

    @property
    def said(self) -> str:
        return (self.directory / "said.txt").read_text()

    def answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.visit(1) == 1
        return False

    def visit(self, count: int) -> int:
        """Send so many requests, each over a connection of its own: a worker's kept ones wait 40 ms for each answer."""
        for _ in range(count):
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
                connection.request("GET", "/", headers={"connection": "close"})
                answer = connection.getresponse()
                answer.read()
                self.workers.add(int(answer.headers["x-worker"]))
                self.answered += 1
        return count

    def until(self, true: Callable[[], object], seconds: float = 90) -> None:
        begun = time.monotonic()
        while not true():
            assert time.monotonic() - begun < seconds, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.05)

    def is_busy_until(self, true: Callable[[], object]) -> None:
        """With pauses: a process that gives way does not come to begin where nobody ever waits."""

        def visited() -> object:
            self.visit(300)
            time.sleep(0.5)
            return true()

        self.until(visited)

    @property
    def drains(self) -> list[int]:
        """The processes that have the lock of this site's drain open, and are no server."""
        return [pid for pid in processes() if has_open(pid, self.directory / "consent-data/drain.lock")]

    @property
    def records(self) -> int:
        with closing(sqlite3.connect(f"file:{self.directory}/consent-data/consent.sqlite3?mode=ro", uri=True)) as tool:
            return int(tool.execute("SELECT count(*) FROM records WHERE purpose = 'necessary'").fetchone()[0])

    def ends(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) in (0, -signal.SIGTERM), self.said


def processes() -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"consent_mw.cli.drain_beside" in place.read_bytes():
                yield int(place.parent.name)


def has_open(pid: int, file: Path) -> bool:
    with suppress(OSError):
        return any(os.readlink(descriptor) == str(file) for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    return False


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def serving(directory: Path, *words: str, **environment: str) -> Generator[Site]:
    site = Site(directory, *words, **environment)
    try:
        yield site
    finally:
        if site.process.poll() is None:
            os.killpg(site.process.pid, signal.SIGKILL)  # with its workers
            site.process.wait()


def test_a_busy_site_has_one_that_gives_way_to_it_and_ends_with_it(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        assert site.drains == []
        site.is_busy_until(lambda: site.drains)
        (drain,) = site.drains
        site.until(lambda: os.sched_getscheduler(drain) == os.SCHED_IDLE)
        site.visit(300)
        site.until(lambda: site.records == site.answered)
        site.visit(300)
        site.ends()
        assert not is_alive(drain)
        if "the store took too long" not in site.said:  # as it may where others have the processors
            assert site.records == site.answered


def test_a_quiet_site_has_none(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        for _ in range(4):
            site.visit(3)
            time.sleep(0.5)
        site.until(lambda: site.records == site.answered)
        assert site.drains == []


def test_it_does_not_outlive_a_server_that_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        site.is_busy_until(lambda: site.drains)
        (drain,) = site.drains
        site.process.kill()
        site.process.wait()
        until = time.monotonic() + 60
        while is_alive(drain):
            assert time.monotonic() < until
            time.sleep(0.05)
        site.begin()
        site.until(lambda: site.records == site.answered)


def test_one_that_is_killed_is_followed_by_another(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        site.is_busy_until(lambda: site.drains)
        (first,) = site.drains
        os.kill(first, signal.SIGKILL)
        site.is_busy_until(lambda: [pid for pid in site.drains if pid != first and is_alive(pid)])
        site.until(lambda: site.records == site.answered)


def test_of_several_workers_one_has_it_and_another_does_when_that_one_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as site:
        site.is_busy_until(lambda: len(site.drains) == 1)
        (first,) = site.drains
        site.until(lambda: site.records == site.answered)
        owner = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
        assert owner in site.workers
        os.kill(owner, signal.SIGKILL)
        with suppress(OSError, http.client.HTTPException):
            site.visit(1)  # that worker may have taken the connection
        site.until(lambda: not is_alive(first))
        site.is_busy_until(lambda: [pid for pid in site.drains if pid != first])
        assert len(site.drains) == 1
        site.until(lambda: site.records >= site.answered)


def test_a_server_that_loads_its_code_again_has_one_again(tmp_path: Path) -> None:
    with serving(tmp_path, "--reload") as site:
        site.is_busy_until(lambda: site.drains)
        (first,) = site.drains
        (worker,) = site.workers
        os.utime(tmp_path / "app.py", (time.time() + 10, time.time() + 10))
        site.until(lambda: not is_alive(first))
        site.until(lambda: (site.answers(), site.workers != {worker})[1])
        site.is_busy_until(lambda: site.drains)
        assert first not in site.drains
        site.until(lambda: site.records == site.answered)


@pytest.mark.parametrize("kind", ["missing", "refuses", "is another program", "may not be started"])
def test_where_the_system_forbids_it_the_worker_drains_by_itself(tmp_path: Path, kind: str) -> None:
    other = tmp_path / ("uwsgi" if kind == "is another program" else "python")
    if kind != "missing":
        other.write_text("#!/bin/sh\nexit 1\n")
        other.chmod(stat.S_IRUSR if kind == "may not be started" else stat.S_IRWXU)
    with serving(tmp_path, ANOTHER_PYTHON=str(other)) as site:
        site.is_busy_until(lambda: "this worker drains by itself" in site.said)
        site.until(lambda: site.records == site.answered)
        site.visit(500)
        site.until(lambda: site.records == site.answered)
        assert site.said.count("this worker drains by itself") == 1


def test_one_that_falls_behind_is_begun_anew_and_gives_way_no_more(tmp_path: Path) -> None:
    places = Places(make_site(tmp_path) / "consent-data")
    named = {"policy": str(tmp_path / "policy.toml"), "directory": str(places.directory), "store": None}
    process = DrainProcess(places.drain_lock, {**named, "log_store": [], "keyring": None})

    def pid_when(*, late: bool) -> int:
        until = time.monotonic() + 60
        while not process.is_at_work(busy=True, late=late):
            assert time.monotonic() < until
            time.sleep(0.05)
        return next(pid for pid in processes() if has_open(pid, places.drain_lock))

    written = spool_records(tmp_path, 100)
    try:
        first = pid_when(late=False)
        while os.sched_getscheduler(first) != os.SCHED_IDLE:
            assert is_alive(first)
            time.sleep(0.05)
        process.is_at_work(busy=True, late=True)
        assert not is_alive(first)
        written |= spool_records(tmp_path, 100)
        second = pid_when(late=True)
        assert os.sched_getscheduler(second) == os.SCHED_OTHER
        assert pid_when(late=True) == second
        while ids_in(tmp_path) != written:
            assert is_alive(second)
            time.sleep(0.05)
    finally:
        process.end()
    assert not is_alive(second)


def test_it_is_told_addresses_and_paths_and_no_objects(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    given: dict[str, Any] = {"policy": file, "secret_keys": [SECRET]}
    assert Options(**given, store="postgresql://me:word@db/site").named_for_a_process() == {
        "policy": str(file),
        "directory": str(tmp_path / "consent-data"),
        "store": "postgresql://me:word@db/site",
        "log_store": [],
        "keyring": None,
    }
    others: list[dict[str, Any]] = [
        {"store": MemoryStore()},
        {"log_store": MemoryStore()},
        {"keyring": MemoryKeyring()},
        {"clock": lambda: 0},
        {"drain": False},
        {"debug": True},
        {"policy": loads(POLICY)},
    ]
    for more in others:
        assert Options(**given | more).named_for_a_process() is None
