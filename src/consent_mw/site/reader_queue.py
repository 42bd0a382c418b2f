"""Who reads their data next: a fair queue, so that no visitor waits for another's hundred connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

__all__ = ["Busy", "Readers"]

#: Each reads every receipt and record of somebody; more at a time would only take Python's lock from the rest.
_AT_ONCE: Final = 4
#: Of them of one network.
_OF_NETWORK: Final = 2
#: Of one person who read or wait: a browser opens some tabs. One reads at a time.
_OF_PERSON: Final = 4
#: Who waits, of one network and in all.
_WAIT_OF_NETWORK: Final = 16
_WAIT: Final = 512


class Busy(Exception):
    """The queue is too long for this visitor. Nothing was read; it may be tried again in some seconds."""


class _Waiter(msgspec.Struct, eq=False):
    person: str
    network: str
    turn: asyncio.Future[None]


class Readers:
    """
    Gives turns: one at a time to one person, and a share of all to one network; of those who wait, next comes the
    network that was served the longest ago. A full queue turns away who came last of the network that waits most.

    A process counts for itself.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []
        self._of_person: Counter[str] = Counter()
        self._reading_of_person: Counter[str] = Counter()
        self._reading_of_network: Counter[str] = Counter()
        self._served: dict[str, int] = {}  # of the networks that wait or read, the number of their last turn
        self._turns = 0

    @asynccontextmanager
    async def turn(self, person: str, network: str) -> AsyncGenerator[None]:
        """
        Wait for a turn, which lasts as long as the block.

        Args:
            person: What proves who it is.
            network: "" where that is not known.

        Raises:
            Busy: Too many wait.
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
        most, _ = max(of_networks.items(), key=lambda each: each[1])
        if of_networks[most] <= of_networks[network] + 1:
            raise Busy
        last = next(waiter for waiter in reversed(self._waiting) if waiter.network == most)
        self._waiting.remove(last)
        if not last.turn.done():  # who was cancelled just now leaves by itself
            last.turn.set_exception(Busy())

    def _next(self) -> None:
        while self._reading_of_network.total() < _AT_ONCE and (able := [*filter(self._may_read, self._waiting)]):
            waiter = min(able, key=lambda each: self._served.get(each.network, 0))  # the first of those who are equal
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
        if waiter in self._waiting:  # it was cancelled while it waited
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
