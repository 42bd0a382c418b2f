"""Kill a process at a chosen point of a call: a race with a crash that is made, and not waited for."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from types import FrameType
from typing import Any, Generic, TypeVar

from consent_mw.stores.base import Store
from consent_mw.testing.sample_records import NewStore

__all__ = ["Act", "WithEnvironment", "calls_of", "killed_at", "process_of", "processes"]

_T = TypeVar("_T")

#: What is done to an open store: append, or delete.
Act = Callable[[Store], Awaitable[object]]
#: Told of every call and return, of Python and of C, in every thread.
_EVENTS = frozenset(("call", "c_call", "c_return"))


def processes() -> ForkServerContext:
    """
    Return what gives the suites processes of their own, which have no thread of this one.

    Each is forked from one that has loaded the suites: a new interpreter takes 0.7 seconds of processor time to do so.
    """
    context = multiprocessing.get_context("forkserver")
    suites = ("store_suite", "keyring_suite")
    context.set_forkserver_preload([*(f"consent_mw.testing.{suite}" for suite in suites), "consent_mw.stores.postgres"])
    return context


@contextmanager
def process_of(target: Callable[..., None], *arguments: Any) -> Generator[Connection]:
    """Give the connection to a process, which gets its other end last; it is killed in the end, whatever it does."""
    ours, theirs = processes().Pipe()
    process = processes().Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.kill()
        process.join()


class WithEnvironment(Generic[_T]):
    """
    A factory for another process, which has then the variables of the environment that are set now: the process from
    which it is forked may be older than they are.
    """

    def __init__(self, factory: Callable[[], _T]) -> None:
        self._factory, self._variables = factory, dict(os.environ)

    def __call__(self) -> _T:
        """Return what the factory makes here."""
        os.environ.update(self._variables)
        return self._factory()


def calls_of(new_store: NewStore, act: Act, report: Connection) -> None:
    """Report how many calls `act` makes, of Python and of C. To be run in a process of its own."""
    counted = count()
    asyncio.run(_watched(new_store, act, lambda: next(counted)))
    report.send(next(counted))
    report.close()


def killed_at(new_store: NewStore, act: Act, points: list[int], report: Connection) -> None:
    """
    Do `act` once for each of `points`, each in a fork that dies by SIGKILL as it makes that call, and report each.

    To be run in a process of its own, which has one thread: only such a one may be forked. It waits for an answer
    before it goes on, so that the store can be looked at.
    """
    for point in points:
        child = os.fork()
        if child == 0:
            _die_at(new_store, act, point)
        _, status = os.waitpid(child, 0)
        report.send(status)
        report.recv()
    report.close()


def _die_at(new_store: NewStore, act: Act, point: int) -> None:
    counted = count()

    def die() -> None:
        if next(counted) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        asyncio.run(_watched(new_store, act, die))
    finally:
        os._exit(0)


async def _watched(new_store: NewStore, act: Act, seen: Callable[[], object]) -> None:
    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event in _EVENTS and watching:
            seen()

    watching: list[bool] = []
    threading.setprofile(profile)  # of the threads that the store begins
    store = new_store()
    await store.open()
    sys.setprofile(profile)
    watching.append(True)
    try:
        await act(store)
    finally:
        watching.clear()
        sys.setprofile(None)
        threading.setprofile(None)
    await store.close()
