"""Have a process die at one of its steps, over and over, each time one step later. Its children are forks."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from itertools import count
from typing import Any


def die_before(point: int, steps: Iterable[tuple[Any, str]]) -> None:
    """
    Have this process die before the `point`th of its steps: the calls of these attributes (an owner and a name).

    After one step is as before the next: nothing in between outlives the process.
    """
    counted = count()

    def step() -> None:
        if next(counted) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in steps:
        setattr(owner, name, _watched(getattr(owner, name), step))


@contextmanager
def meddled(steps: Iterable[tuple[Any, str]], step: Callable[[], None]) -> Generator[None]:
    """Call `step` before each of these steps."""
    before = [(owner, name, getattr(owner, name)) for owner, name in steps]
    for owner, name, call in before:
        setattr(owner, name, _watched(call, step))
    try:
        yield
    finally:
        for owner, name, call in before:
            setattr(owner, name, call)


def _watched(call: Any, step: Callable[[], None]) -> Any:
    @functools.wraps(call)
    def watched(*args: Any, **options: Any) -> Any:
        step()
        return call(*args, **options)

    @functools.wraps(call)
    async def awaited(*args: Any, **options: Any) -> Any:
        step()
        return await call(*args, **options)

    return awaited if asyncio.iscoroutinefunction(call) else watched


def in_a_fork(work: Callable[[], Coroutine[Any, Any, None]], prepare: Callable[[], None] = lambda: None) -> int:
    """Run something in a child, and return how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare()
            asyncio.run(work())
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_each_step(
    live: Callable[[int], Coroutine[Any, Any, None]],
    check: Callable[[int], Coroutine[Any, Any, None]],
    steps: Iterable[tuple[Any, str]],
) -> int:
    """
    Kill `live` before each of its steps, and run `check` after each death; both are given the number of the step.
    Return how many steps there are.
    """
    steps = list(steps)
    for point in count():
        ended = in_a_fork(functools.partial(live, point), functools.partial(die_before, point, steps))
        assert ended in (0, -signal.SIGKILL), f"step {point}: {ended}"
        assert in_a_fork(functools.partial(check, point)) == 0, f"after step {point}"
        if ended == 0:
            return point
    raise AssertionError
