"""Which withdrawals and erasures are open, found as fast in a store of a year of requests as in one of ten days."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import ANSWER, REQUEST, RESTRICTS
from consent_mw.policy.model import ABUSE, REQUESTS
from consent_mw.records import Query, Record, time_of
from consent_mw.rights.desk import Desk
from consent_mw.rights.request import RESTRICTING, Case, marked_by
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.days import day_of, start_of

#: Every look reads the requests and answers of this many last days, and one older piece of as many days.
_DAYS: Final = 7
_RECENT: Final = timedelta(days=_DAYS)
_ASKED: Final = frozenset((REQUEST,))
_BOTH: Final = frozenset((REQUEST, ANSWER))
_MARKS: Final = frozenset((RESTRICTS,))
_PURPOSES: Final = frozenset((REQUESTS,))
_LOW: Final = (1 << 64) - 1


class OpenCases:
    """
    The withdrawals and erasures of one store that wait to be carried out.

    The first look reads all requests. A later one reads those of the last week, and one older week, each in turn. So it
    also finds, some looks later, what arrives late from a spool or from another host. It starts again with all requests
    if the store has changed: a recent request or answer is gone, as after a restored backup, or an old one is new. So
    it stays correct beside other processes that carry out, answer and erase too.

    It opens only the requests that are to be carried out. It also knows the open requests that restrict, so that it
    notices when somebody deletes the mark of one.
    """

    def __init__(self, store: Store, sealer: Sealer, desk: Desk) -> None:
        self._store = store
        self._sealer = sealer
        self._desk = desk
        self._open: dict[UUID, bool] = {}  # whether it needs no decision first
        self._restricting: set[UUID] = set()
        self._seen: dict[int, array[int]] = {}  # by week: the requests that were there, eight bytes of each name
        self._lately: frozenset[UUID] | None = None
        self._turn = 0  # the week that was read last

    async def at(self, now: datetime) -> list[Case]:
        """Return the cases to carry out at `now` (aware), opened, oldest first. Raises StoreError."""
        since = now - _RECENT
        lately = await every(self._store, Query(kinds=_BOTH, purposes=_PURPOSES, since=since))
        if self._lately is None or self._is_gone(lately, since) or await self._is_late(since):
            await self._read_all()
        else:
            self._take(lately)
        self._lately = frozenset(record.id for record in lately)
        numbers = frozenset(number for number, decided in self._open.items() if decided)
        cases = await self._desk.numbered(numbers) if numbers else []
        for number in numbers.difference(case.request.id for case in cases if case.ended is None):
            del self._open[number]  # another process has answered or erased it
        return [case for case in cases if is_ours(case)]

    async def unmarked(self) -> list[Case]:
        """
        Return the open requests that restrict and have no mark in the store, opened, oldest first. What `at` has not
        seen yet is not among them. Raises StoreError.
        """
        marks = await every(self._store, Query(kinds=_MARKS))
        unmarked = frozenset(self._restricting.difference(map(marked_by, marks)))
        cases = await self._desk.numbered(unmarked) if unmarked else []
        left = [case for case in cases if case.restricts]
        self._restricting -= unmarked.difference(case.request.id for case in left)  # answered or erased elsewhere
        return left

    async def _read_all(self) -> None:
        records = await every(self._store, Query(kinds=_BOTH, purposes=_PURPOSES))  # before anything is forgotten
        self._open, self._restricting, self._seen = {}, set(), {}
        self._take(records)

    def _take(self, records: Sequence[Record]) -> None:
        """Add requests, and answers to any request."""
        whole = self._sealer.whole(records)
        self._take_requests(record for record in whole if record.kind == REQUEST)
        for record in whole:
            if record.kind == ANSWER:
                self._take_answer(UUID(str(record.data["answer.request"])), record.data["answer.outcome"] == "granted")

    def _take_answer(self, number: UUID, granted: bool) -> None:
        if not granted:
            self._open.pop(number, None)
            self._restricting.discard(number)
        elif number in self._open:
            self._open[number] = True

    def _take_requests(self, requests: Iterable[Record]) -> None:
        known: dict[int, set[int]] = {}
        for record in requests:
            week, name = _week(record.id), record.id.int & _LOW
            if week not in known:
                known[week] = set(self._seen.setdefault(week, array("Q")))
            if name in known[week]:
                continue
            known[week].add(name)
            self._seen[week].append(name)
            if record.data["request.kind"] in RESTRICTING:
                self._restricting.add(record.id)
            # A request without a subject is from a person who did not prove who they are: staff carry it out.
            if record.data["request.kind"] in ("withdrawal", "erasure") and record.subject is not None:
                self._open[record.id] = ABUSE not in str(record.data["request.purposes"]).split()

    def _is_gone(self, lately: Iterable[Record], since: datetime) -> bool:
        """Whether something is gone that was there at the last look, and is not too old to be read again."""
        here = {record.id for record in lately}
        return any(time_of(number) >= since for number in (self._lately or frozenset()) - here)

    async def _is_late(self, since: datetime) -> bool:
        """Look into the next older week, and return whether it holds a request that was not there before."""
        newest = day_of(since) // _DAYS
        oldest = min(self._seen, default=newest)
        self._turn = self._turn - 1 if oldest <= self._turn <= newest else newest
        begin = start_of(self._turn * _DAYS) if self._turn >= oldest else None  # before the oldest: all that there is
        until = min(start_of((self._turn + 1) * _DAYS), since)
        records = await every(self._store, Query(kinds=_ASKED, purposes=_PURPOSES, since=begin, until=until))
        seen = set(self._seen.get(self._turn, ()))
        return any(record.id.int & _LOW not in seen for record in self._sealer.whole(records))


def is_ours(case: Case) -> bool:
    """Whether a request is to be carried out here. One about abuse is only after the operator has granted it."""
    request = case.request
    if case.ended or request.kind not in ("withdrawal", "erasure") or not request.person.is_known:
        return False
    return ABUSE not in request.purposes or case.granted is not None


def _week(record_id: UUID) -> int:
    return day_of(time_of(record_id)) // _DAYS
