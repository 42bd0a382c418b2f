"""For how long an event loop stands still while something is awaited."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

#: A loop that stands still for longer than this keeps every other visitor of the process waiting.
LONGEST_SECONDS: Final = 0.03
#: A call that blocks does so each time. What else the machine does may stop a loop once, and now and then twice.
_ATTEMPTS: Final = 12
#: Linux counts here for how long a thread could have run and had no processor (proc_pid_schedstat(5)).
_SCHEDULED: Final = "/proc/thread-self/schedstat"


class Watched(NamedTuple):
    """How often the loop turned during a call, and for how many seconds it stood still at most."""

    turns: int
    longest: float


async def watched(call: Callable[[], Awaitable[object]]) -> Watched:
    """Await a call while the loop turns as fast as it can."""
    with _own_clock() as clock:
        turns, longest, last = 0, 0.0, clock()
        task = asyncio.ensure_future(call())
        while not task.done():
            await asyncio.sleep(0)
            now = clock()
            turns, longest, last = turns + 1, max(longest, now - last), now
        await task
    return Watched(turns, longest)


async def least_standstill(
    call: Callable[[], Awaitable[object]], before: Callable[[], Awaitable[object]] | None = None
) -> float:
    """Return the shortest of the standstills of several calls, each with what goes `before` it."""
    longest = float("inf")
    for _ in range(_ATTEMPTS):
        if before is not None:
            await before()
        longest = min(longest, (await watched(call)).longest)
        if longest < LONGEST_SECONDS:
            break
    return longest


@contextmanager
def _own_clock() -> Generator[Callable[[], float]]:
    """Give a clock of this thread, in seconds, that stands still while other programs have its processor."""
    try:
        fd = os.open(_SCHEDULED, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield time.perf_counter
        return
    try:
        yield lambda: time.perf_counter() - int(os.pread(fd, 100, 0).split()[1]) / 1e9
    finally:
        os.close(fd)
