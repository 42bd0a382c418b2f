"""The clock of the commands: the one place below `cli` from which a command takes the present."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from consent_mw.system.days import EPOCH

# No option and no environment variable sets it: otherwise anybody could have certificates written for another day.
_clock: ContextVar[Callable[[], int]] = ContextVar("clock of the commands", default=time.time_ns)


def clock_of_commands() -> Callable[[], int]:
    """Return what tells the present: the machine's clock, unless a test gave another."""
    return _clock.get()


def now_ns() -> int:
    """Return the present in nanoseconds since 1970."""
    return _clock.get()()


def utc_now() -> datetime:
    """Return the present: aware, UTC, to the microsecond."""
    return EPOCH + timedelta(microseconds=now_ns() // 1_000)


@contextmanager
def by_clock(clock: Callable[[], int]) -> Generator[None]:
    """Let the commands that run within the block take the present from `clock`, which is for tests."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)
