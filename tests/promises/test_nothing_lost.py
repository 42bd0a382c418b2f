"""Several real workers under load, one killed now and then: what a client has read whole is in the log, and once."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.support.policies import POLICY
from tests.support.ports import free_port

from consent_mw.cli import main
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.records import Query
from consent_mw.staff.opened_record import opened
from consent_mw.stores.sqlite import SQLiteStore

SITE = """
from consent_mw import ConsentMiddleware


async def answer(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    # No length is told: the client knows that it has all only by the last chunk.
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


app = ConsentMiddleware(answer, policy="policy.toml", secret_keys=["a key of at least 16 bytes"], shared_memory=SHARED)
"""
CLIENTS = 4
KILLS = 5


@pytest.mark.parametrize("shared", [False, True])
def test_sigkill_of_workers_under_load_loses_and_doubles_no_acknowledged_request(tmp_path: Path, shared: bool) -> None:
    (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
    (tmp_path / "lost_site.py").write_text(SITE.replace("SHARED", str(shared)))
    acknowledged: list[str] = []
    killed: set[int] = set()
    with workers(tmp_path, 3) as (port, supervisor), asking(port, acknowledged):
        for _ in range(KILLS):
            before = len(acknowledged)
            while len(acknowledged) < before + 200:
                assert supervisor.poll() is None
                time.sleep(0.005)
            victim = random.choice(sorted(set(children(supervisor.pid)) - killed))
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    assert main(["drain", "--once", "--policy", str(tmp_path / "policy.toml")]) == 0
    counts = Counter(recorded(Places(tmp_path / "consent-data")))
    assert set(acknowledged) - set(counts) == set()
    assert [path for path, times in counts.items() if times > 1] == []
    assert len(acknowledged) >= 200 * KILLS


@contextmanager
def workers(folder: Path, number: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Give the port and the process that keeps `number` workers alive; at the end all are asked to end in peace."""
    port = free_port()
    program = [sys.executable, "-m", "uvicorn", "lost_site:app", "--port", str(port), "--workers", str(number)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(program, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        while len(children(process.pid)) < number:
            assert process.poll() is None, (folder / "said.txt").read_text()
            time.sleep(0.02)
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=60)


def children(pid: int) -> list[int]:
    """The workers of uvicorn's supervisor; it has another child, which tracks resources."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in pids if is_worker(int(child))]


def is_worker(pid: int) -> bool:
    try:
        return b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return False


@contextmanager
def asking(port: int, acknowledged: list[str]) -> Iterator[None]:
    """Ask for one page after another from several clients, and note those whose answer arrived whole."""
    ended = threading.Event()

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in count():
            if ended.is_set():
                break
            path = f"/page/{client}/{number}"
            try:
                connection.request("GET", path)
                if connection.getresponse().read() == b"one, two":
                    acknowledged.append(path)
            except (OSError, http.client.HTTPException):  # its worker was killed, or the first is not up yet
                connection.close()
                time.sleep(0.01)
        connection.close()

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def recorded(places: Places) -> list[str]:
    """The paths in the log of visits, one for each record."""

    async def read() -> list[str]:
        sealer, store = Sealer.of_site(places), SQLiteStore(places.database)
        query = Query(kinds=frozenset(("visit",)), purposes=frozenset(("necessary",)))
        await store.open()
        paths: list[str] = []
        page = await store.fetch(query)
        while page:
            paths += [str(opened(record, sealer)["url.path"]) for record in page]
            page = await store.fetch(query, after=page[-1].id)
        await store.close()
        return paths

    return asyncio.run(read())
