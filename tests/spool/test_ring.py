"""Memory that a worker shares with the process that drains: real processes, and real signals to either of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.frozen import freeze, thaw

from consent_mw.exceptions import ConsentError
from consent_mw.spool.keeper import Keeper
from consent_mw.spool.ring import Ring
from consent_mw.spool.spool import Spool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is a call of Linux")

PROGRAM = """
import os, sys, time
from pathlib import Path
from consent_mw.spool.keeper import Keeper
from consent_mw.spool.spool import Spool
from tests.support.frozen import freeze, thaw

def seal(payload, noise):
    return noise + payload, []

directory = Path(sys.argv[2])
if sys.argv[1] == "keeper":
    Keeper(directory, "ring", seal).start()
    print("ready", flush=True)
    time.sleep(600)
spool = Spool(directory)
while not spool.lent:
    spool.lend("ring", seal)
for number in range(int(sys.argv[3])):
    frame = b"%d" % number
    if not spool.hand(frame, 100):
        assert spool.append(os.urandom(16) + frame)
    if number % 100 == 50:
        spool.rotate()
print("ready", flush=True)
time.sleep(600)
"""


def seal(payload: bytes, noise: bytes) -> tuple[bytes, Sequence[ConsentError]]:
    return noise + payload, []


@contextmanager
def running(*words: str | Path) -> Generator[subprocess.Popen[bytes]]:
    """Run one of the two sides in a process of its own, from when it is ready."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, words)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def keeping(directory: Path, keyring: str = "ring") -> Generator[Keeper]:
    Spool(directory).close()
    keeper = Keeper(directory, keyring, seal)
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.close()


def until(true: Callable[[], object]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < 60
        time.sleep(0.01)


def read(directory: Path) -> list[bytes]:
    """Return what the spool holds for a drain, each frame once, in the order written."""
    spool = Spool(directory)
    frames = dict.fromkeys(frame for segment in spool.closed() for frame in segment.frames())
    spool.close()
    return [frame[16:] for frame in frames]


def lend(spool: Spool, keyring: str = "ring") -> None:
    until(lambda: spool.lend(keyring, seal))


def numbers(count: int) -> list[bytes]:
    return sorted(b"%d" % number for number in range(count))


@given(st.lists(st.binary(max_size=70_000), max_size=80), st.integers(1, 7))
def test_what_is_appended_is_taken_once_and_in_order_however_often_the_ring_is_full(
    payloads: list[bytes], every: int
) -> None:
    ring = Ring.create()
    taken: list[bytes] = []

    def take() -> None:
        waiting, position = ring.waiting()
        taken.extend(payload for payload, _ in waiting)
        ring.take(position, keeper=bool(len(taken) % 2))

    for number, payload in enumerate(payloads):
        if not ring.append(payload):
            take()
            assert ring.append(payload)
        if number % every == 0:
            take()
    take()
    ring.close()
    assert taken == payloads


def test_a_frame_has_the_same_noise_whenever_it_is_read_and_no_other_frame_has_it() -> None:
    ring = Ring.create()
    assert all(ring.append(b"the same") for _ in range(100))
    first, second = ring.waiting()[0], ring.waiting()[0]
    ring.close()
    assert first == second
    assert len({noise for _, noise in first}) == 100


def test_what_a_worker_handed_over_survives_its_sigkill(tmp_path: Path) -> None:
    with keeping(tmp_path):
        for _ in range(5):
            with running("worker", tmp_path, "777") as worker:
                worker.kill()
        until(lambda: len(read(tmp_path)) == 5 * 777)
    assert sorted(set(read(tmp_path))) == numbers(777)


def test_what_a_worker_handed_over_survives_the_sigkill_of_the_keeper(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with running("keeper", tmp_path) as keeper:
        lend(spool)
        assert spool.append(bytes(16) + b"0")
        assert spool.hand(b"1", 100)
        keeper.kill()
        until(lambda: spool.lent is None)
        assert not spool.hand(b"2", 100)
        assert spool.append(bytes(16) + b"2")
    spool.close()
    assert sorted(read(tmp_path)) == numbers(3)


def test_a_keeper_that_is_stopped_holds_nothing_up_for_longer_than_to_the_next_sync(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with running("keeper", tmp_path) as keeper:
        lend(spool)
        assert spool.append(bytes(16) + b"0")
        freeze(keeper.pid)
        assert spool.hand(b"1", 100)
        assert spool.sync()
        assert b"1" in next(tmp_path.glob("*.spool1")).read_bytes()
        assert spool.hand(b"2", 100)
        spool.rotate()  # what was acknowledged before is in what is released
        assert sorted(read(tmp_path)) == numbers(3)
        thaw(keeper.pid)
    spool.close()


def test_a_ring_that_is_full_leaves_the_rest_to_the_worker(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with running("keeper", tmp_path) as keeper:
        lend(spool)
        assert spool.append(bytes(16) + b"begun")
        freeze(keeper.pid)
        handed = 0
        while spool.hand(b"%d" % handed + bytes(10_000), 100):
            handed += 1
        assert 100 < handed < 300
        thaw(keeper.pid)
        until(lambda: spool.hand(b"again", 100))
    spool.close()
    assert len(read(tmp_path)) == handed + 2


def test_a_keeper_that_ends_gives_the_ring_back_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    kept = 1
    with keeping(tmp_path) as keeper:
        lend(spool)
        assert spool.append(bytes(16) + b"0")
        ending = threading.Thread(target=keeper.close)
        ending.start()
        while spool.hand(b"%d" % kept, 100):
            kept += 1
        ending.join()
    spool.close()
    assert sorted(read(tmp_path)) == numbers(kept)


def test_a_keeper_of_another_keyring_gets_no_ring(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with keeping(tmp_path, "another"):
        lend(spool, "another")
        spool.close()
        spool.lend("ring", seal)
        assert spool.lent is None
        spool.close()


def test_a_forked_child_writes_by_itself_and_leaves_the_ring_to_its_parent(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with keeping(tmp_path):
        lend(spool)
        assert spool.append(bytes(16) + b"0")
        child = os.fork()
        if child == 0:
            fine = not spool.hand(b"1", 100) and spool.append(bytes(16) + b"1")
            spool.close()
            os._exit(not fine)
        assert os.waitpid(child, 0)[1] == 0
        assert spool.hand(b"2", 100)
        spool.close()
    assert sorted(read(tmp_path)) == numbers(3)


def test_a_segment_that_somebody_removed_counts_what_was_handed_over_as_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with keeping(tmp_path):
        lend(spool)
        assert spool.append(bytes(16) + b"0")
        assert all(spool.hand(b"1", 100) for _ in range(9))
        next(tmp_path.glob("*.spool1")).unlink()
        assert spool.waiting_bytes == 0
        gap = spool.take_gap()
        assert gap is not None
        assert (gap.frames, gap.reason) == (10, "removed")
        spool.close()
