"""A lease of a file: one holder at a time, and one that is frozen is passed over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.frozen import freeze

from consent_mw.system.locks import leased

_HOLDER = """
import sys, time
from pathlib import Path
from consent_mw.system import locks
locks._BEAT_SECONDS = 0.1
with locks.leased(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(lock: Path) -> Generator[subprocess.Popen[str]]:
    """Another process that holds the lease until it is told to end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _HOLDER, lock], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "True\n"
        yield process
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)
    if process.poll() is None:
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(60) == 0


def age(lock: Path, seconds: int = 3_600) -> None:
    """Have an hour pass since the last sign of life of the holder."""
    os.utime(lock, (time.time() - seconds,) * 2)


def test_a_holder_that_lives_is_never_passed_over(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with holder(lock):
        for _ in range(5):
            age(lock)
            while time.time() - lock.stat().st_mtime > 1_800:
                time.sleep(0.01)
            with leased(lock) as mine:
                assert not mine
    with leased(lock) as mine:
        assert mine


@pytest.mark.parametrize("seconds", [3_600, -3_600])  # the second: the clock was set back meanwhile
def test_a_frozen_holder_is_passed_over_once_and_hinders_nobody_when_it_goes_on(seconds: int, tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with holder(lock) as frozen:
        freeze(frozen.pid)
        with leased(lock) as mine:
            assert not mine, "nobody waits for a minute yet"
        age(lock, seconds)
        with leased(lock) as mine, leased(lock) as another:
            assert (mine, another) == (True, False)
            end(frozen)
            with leased(lock) as another:
                assert not another, "what the frozen one gives back is not what we hold"
    assert os.listdir(tmp_path) == ["a.lock"]
