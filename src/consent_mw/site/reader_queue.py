"""A fair queue of visitors who read their own data, so that nobody waits for a hundred connections of another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

#: The most readers at a time. Each reads every receipt and record of a person; more of them would only take Python's
#: lock from the other requests.
_AT_ONCE: Final = 4
#: The most readers at a time from one network.
_OF_NETWORK: Final = 2
#: The most requests of one person that read or wait: a browser opens some tabs. Only one of them reads at a time.
_OF_PERSON: Final = 4
#: The most requests that wait: from one network, and in all.
_WAIT_OF_NETWORK: Final = 16
_WAIT: Final = 512


class Busy(Exception):
    """The queue is too long for this visitor. Nothing was read; the visitor may try again in some seconds."""


class _Waiter(msgspec.Struct, eq=False):
    person: str
    network: str
    turn: asyncio.Future[None]


class Readers:
    """
    Gives turns to readers: one at a time to a person, and a share of all turns to a network.

    The next turn goes to the waiting network whose last turn was the longest ago. A full queue refuses the newest
    waiter of the network with the most waiters. Each process counts on its own.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []
        self._of_person: Counter[str] = Counter()
        self._reading_of_person: Counter[str] = Counter()
        self._reading_of_network: Counter[str] = Counter()
        self._served: dict[str, int] = {}  # the number of the last turn of each network that waits or reads
        self._turns = 0

    @asynccontextmanager
    async def turn(self, person: str, network: str) -> AsyncGenerator[None]:
        """
        Wait for a turn, which lasts as long as the block.

        Args:
            person: What identifies the person.
            network: The person's network; "" if it is not known.

        Raises:
            Busy: Too many requests wait.
        """
        self._check(person, network)
        waiter = _Waiter(person, network, asyncio.get_running_loop().create_future())
        self._of_person[person] += 1
        self._waiting.append(waiter)
        try:
            self._next()
            await waiter.turn
            yield
        finally:
            self._leave(waiter)
            self._next()

    def _check(self, person: str, network: str) -> None:
        if self._of_person[person] >= _OF_PERSON:
            raise Busy
        of_networks = Counter(waiter.network for waiter in self._waiting)
        if of_networks[network] >= _WAIT_OF_NETWORK:
            raise Busy
        if len(self._waiting) < _WAIT:
            return
        most, _ = max(of_networks.items(), key=lambda item: item[1])
        if of_networks[most] <= of_networks[network] + 1:
            raise Busy
        last = next(waiter for waiter in reversed(self._waiting) if waiter.network == most)
        self._waiting.remove(last)
        if not last.turn.done():  # a waiter that was cancelled just now leaves by itself
            last.turn.set_exception(Busy())

    def _next(self) -> None:
        while self._reading_of_network.total() < _AT_ONCE and (able := [*filter(self._may_read, self._waiting)]):
            waiter = min(able, key=lambda other: self._served.get(other.network, 0))  # the first of equal ones
            self._waiting.remove(waiter)
            self._reading_of_person[waiter.person] += 1
            self._reading_of_network[waiter.network] += 1
            self._turns += 1
            self._served[waiter.network] = self._turns
            waiter.turn.set_result(None)

    def _may_read(self, waiter: _Waiter) -> bool:
        return (
            not self._reading_of_person[waiter.person]
            and self._reading_of_network[waiter.network] < _OF_NETWORK
            and not waiter.turn.done()
        )

    def _leave(self, waiter: _Waiter) -> None:
        _less(self._of_person, waiter.person)
        if waiter in self._waiting:  # cancelled while it waited
            self._waiting.remove(waiter)
        elif waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            _less(self._reading_of_person, waiter.person)
            _less(self._reading_of_network, waiter.network)
        if not (self._reading_of_network[waiter.network] or any(w.network == waiter.network for w in self._waiting)):
            self._served.pop(waiter.network, None)
            del self._reading_of_network[waiter.network]


def _less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]
