"""A place that fails under a store, in a process of its own: no room on the disk, and what is open is cut off."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final, NamedTuple, TypeAlias

from consent_mw.exceptions import StoreError
from consent_mw.stores.base import Store
from consent_mw.testing.sample_records import NewStore, opened

#: What is done to an open store.
StoreAct: TypeAlias = Callable[[Store], Awaitable[object]]

_OPEN: Final = "/dev/fd"


class Outcome(NamedTuple):
    """
    How a verb ended.

    Attributes:
        error: What reached the caller, in words; "" if nothing did.
        is_ours: Whether that is an error of the contract, in one line.
        result: What was returned.
    """

    error: str
    is_ours: bool
    result: object


async def outcome_of(awaitable: Awaitable[object]) -> Outcome:
    """Await a verb; raise nothing."""
    try:
        return Outcome("", True, await awaitable)
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        is_ours = isinstance(error, StoreError) and "\n" not in str(error)
        return Outcome(f"{type(error).__name__}: {error}", is_ours, None)


def attempt(new_store: NewStore, fault: str, warm: StoreAct, act: StoreAct, calls: Connection) -> None:
    """
    Open a store, use it, let its place fail, and report how `act` ends. For a process of its own.

    Between use and failure it reports, and waits for an answer: until then others change what is at the place.
    """

    async def run() -> Outcome:
        before = descriptors()
        store = new_store()
        await store.open()
        await warm(store)
        calls.send(None)
        calls.recv()
        FAULTS[fault](descriptors() - before)
        return await outcome_of(act(store))

    calls.send(asyncio.run(run()))
    calls.close()
    os._exit(0)  # closing the store is not what is asked


def fill_up(new_store: NewStore, sizes: Iterable[int], act: StoreAct, calls: Connection) -> None:
    """
    Do `act` with files that may not grow beyond the first of `sizes`, then the next, until it ends without an error.

    For a process of its own. It reports how each ended, and waits for an answer: then others look at the place.
    """

    async def run() -> None:
        store = new_store()
        await store.open()
        for size in sizes:
            _limit(resource.RLIMIT_FSIZE, size)
            outcome = await outcome_of(act(store))
            calls.send(outcome)
            calls.recv()
            if not outcome.error:
                break

    asyncio.run(run())
    calls.send(None)
    calls.close()
    os._exit(0)


def open_where_nothing_opens(new_store: NewStore, calls: Connection) -> None:
    """Report how opening a store ends where no file grows and nothing more can be opened. For a process of its own."""

    async def run() -> Outcome:
        async with opened(new_store):
            pass  # whatever is loaded at the first time is loaded
        _no_room(set())
        _limit(resource.RLIMIT_NOFILE, 0)
        return await outcome_of(new_store().open())

    calls.send(asyncio.run(run()))
    calls.close()
    os._exit(0)


def _no_room(descriptors: Set[int]) -> None:
    """Let no file of this process grow: each further byte is an error, as on a full disk."""
    _limit(resource.RLIMIT_FSIZE, 0)


def _cut_off(descriptors: Set[int]) -> None:
    """Let everything fail that a store has open, and a new file too; who uses a network may connect again."""
    modes = {fd: os.fstat(fd).st_mode for fd in descriptors}
    directory = os.open("/", os.O_RDONLY)  # instead of a file: nothing can be read from it or written
    for fd, mode in modes.items():
        if stat.S_ISREG(mode):
            os.dup2(directory, fd)
        elif stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(fd)) as connection, suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
    if not any(map(stat.S_ISSOCK, modes.values())):
        _limit(resource.RLIMIT_NOFILE, 0)


FAULTS: Final[Mapping[str, Callable[[Set[int]], None]]] = {"no room": _no_room, "cut off": _cut_off}


def _limit(what: int, number: int) -> None:
    resource.setrlimit(what, (number, resource.getrlimit(what)[1]))


def descriptors() -> set[int]:
    """Return what is open in this process, without what listing it opens itself."""
    return {int(name) for name in os.listdir(_OPEN) if _is_open(int(name))}


def _is_open(fd: int) -> bool:
    with suppress(OSError):
        os.fstat(fd)
        return True
    return False
