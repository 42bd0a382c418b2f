"""Where requests are registered, found again and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import ANSWER, REQUEST, RESTRICTS
from consent_mw.policy.model import REQUESTS
from consent_mw.records import Query, Record, encode_record, time_of
from consent_mw.rights.people import links
from consent_mw.rights.request import RESTRICTING, Answer, Case, Request, cases, is_right, marked_by
from consent_mw.spool.backlog import waiting_records
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.stores.subjects import Subjects, carried_by, questions, tokens_at_once


class Keep(Protocol):
    """Writes records to the disk, durably, and returns whether they are there."""

    def __call__(self, records: Sequence[Record], /, *, right: bool = False) -> Awaitable[bool]:
        """Keep `records`. With `right`, keep them also where there is no room for anything else."""
        ...


#: By how much a clock may have stepped back between a request and its answer, or how late a request may come.
_CLOCK: Final = timedelta(days=7)
_ASKED: Final = frozenset((REQUEST,))
_ANSWERS: Final = frozenset((ANSWER,))
_KINDS: Final = _ASKED | _ANSWERS
_MARKS: Final = frozenset((RESTRICTS,))
_PURPOSES: Final = frozenset((REQUESTS,))


def kept_by_spool(spool: Spool) -> Keep:
    """Return how a running site keeps records: in the spool, in the part of it that is reserved for them."""

    async def keep(records: Sequence[Record], *, right: bool = False) -> bool:
        frames = [encode_record(record) for record in records]
        return await asyncio.to_thread(spool.write, frames, durable=True, reserved=True, right=right)

    return keep


def kept_by_store(store: Store) -> Keep:
    """Return how a command keeps records: in the store itself, at once. The returned function raises StoreError."""

    async def keep(records: Sequence[Record], *, right: bool = False) -> bool:
        await store.append(records, durable=True)
        return True

    return keep


class Desk:
    """Registers requests, finds them and answers them. It does not find what has not left the spool yet."""

    def __init__(self, store: Store, sealer: Sealer, keep: Keep) -> None:
        self._store = store
        self._sealer = sealer
        self._keep = keep

    async def register(self, *requests: Request, answers: Sequence[Answer] = ()) -> bool:
        """
        Keep `requests` and `answers`, all of them or none. Return whether they now survive a power cut.

        Raises:
            KeyDestroyed, StoreError: There is no key to seal them with, so nothing was kept.
        """
        right = any(is_right(request) for request in requests)
        return await self._keep(await asyncio.to_thread(self._records, requests, answers), right=right)

    def _records(self, requests: Sequence[Request], answers: Sequence[Answer]) -> list[Record]:
        return [
            *(request.record(self._sealer) for request in requests),
            *(answer.record(self._sealer) for answer in answers),
            # After the requests: where one of these marks is, its request is, or is no more.
            *self._marks(requests),
            # A request is filed under a sign-in alone. These links lead to it from the sender's name.
            *(link for request in requests for link in self._links(request)),
        ]

    def _marks(self, requests: Sequence[Request]) -> list[Record]:
        return [mark for request in requests if (mark := request.mark(self._sealer))]

    async def mark(self, requests: Sequence[Request]) -> None:
        """Write the marks of requests into the store, durably. One that is there stays. Raises StoreError."""
        if requests:
            await self._store.append(await asyncio.to_thread(self._marks, requests), durable=True)

    def _links(self, request: Request) -> list[Record]:
        person, registered_ns = request.person, int(request.registered.timestamp() * 1e9)
        return [link for name in person.names[:1] for link in links(self._sealer, name, person.sign_in, registered_ns)]

    async def all(self, *, opened: bool = True) -> list[Case]:
        """
        Return every request that is kept and intact, oldest first.

        Args:
            opened: Whether to open their sealed parts: person, contact, message, reasons.

        Raises:
            StoreError: The store cannot be reached.
        """
        records = await every(self._store, Query(kinds=_KINDS, purposes=_PURPOSES))
        return await asyncio.to_thread(self._cases, records, opened=opened)

    async def restricting(self, spool: Path | None = None) -> list[Case]:
        """
        Return every request that is kept and intact and restricts its sender's data now, oldest first. No other request
        is opened, and of those that were answered long ago none is read, unless somebody altered a mark.

        Args:
            spool: Where requests and answers may wait that have not reached the store yet.

        Raises:
            StoreError, SpoolError: The store or the spool cannot be read.
        """
        waiting = await asyncio.to_thread(waiting_records, spool, _KINDS | _MARKS) if spool else []
        marks = await every(self._store, Query(kinds=_MARKS))
        if len(await asyncio.to_thread(self._sealer.whole, marks)) == len(marks):
            stored = await self._marked([*waiting, *marks])
        else:
            stored = await every(self._store, Query(kinds=_ASKED, purposes=_PURPOSES))
        by_id = {record.id: record for record in (*waiting, *stored)}
        by_id |= {record.id: record for record in await self._answers(by_id.values())}
        return await asyncio.to_thread(self._restricting, [by_id[record_id] for record_id in sorted(by_id)])

    async def forget_marks(self, now: datetime) -> None:
        """
        Delete the marks of requests that were answered, or that were not there for a week at `now` (aware). One that
        somebody altered stays, so that the restriction does. Raises StoreError.
        """
        marks = self._sealer.whole(await every(self._store, Query(kinds=_MARKS, purposes=_PURPOSES)))
        asked = await self._marked(marks)
        answers = self._sealer.whole(await self._answers(asked))
        ended = {answer.data["answer.request"] for answer in answers if answer.data["answer.outcome"] != "granted"}
        here, late = {record.id: str(record.id) in ended for record in asked}, now - _CLOCK
        over = frozenset(mark.id for mark in marks if here.get(marked_by(mark), time_of(mark.id) < late))
        await self._store.delete(Query(kinds=_MARKS, purposes=_PURPOSES, ids=over))

    async def _marked(self, records: Sequence[Record]) -> list[Record]:
        """Return the stored requests whose marks are among `records`."""
        numbers = frozenset(marked_by(record) for record in records if record.kind == RESTRICTS)
        return await every(self._store, Query(kinds=_ASKED, purposes=_PURPOSES, ids=numbers)) if numbers else []

    def _restricting(self, records: Sequence[Record]) -> list[Case]:
        asked = [
            record for record in records if record.kind == REQUEST and record.data.get("request.kind") in RESTRICTING
        ]
        numbers = {str(record.id) for record in asked}
        answers = self._sealer.whole(record for record in records if record.data.get("answer.request") in numbers)
        ended = {answer.data["answer.request"] for answer in answers if answer.data["answer.outcome"] != "granted"}
        left = self._sealer.whole(record for record in asked if str(record.id) not in ended)
        own = [answer for answer in answers if answer.data["answer.request"] not in ended]
        return cases([*left, *own], self._sealer)

    async def one(self, number: UUID) -> Case | None:
        """
        Return the request of this number with its answers, or the request that renewed it, or None. Raises StoreError.
        """
        case = next(iter(await self.numbered(frozenset((number,)))), None)
        return await self.one(case.renewed) if case and case.renewed else case

    async def numbered(self, numbers: frozenset[UUID]) -> list[Case]:
        """Return the requests that have one of these numbers and exist, oldest first. Raises StoreError."""
        query = Query(kinds=_ASKED, purposes=_PURPOSES, ids=numbers)
        return await self._answered(await every(self._store, query))

    async def of(self, person: Person) -> list[Case]:
        """Return the requests that `person` sent under their own proven identity, oldest first. Raises StoreError."""
        return await self.filed(await asyncio.to_thread(tokens, self._sealer, person, (REQUESTS,)))

    async def filed(self, by_day: Subjects) -> list[Case]:
        """As `of`, for a caller that has already computed the tokens of the person."""
        of_requests = {key: subjects for key, subjects in by_day.items() if key[1] == REQUESTS}
        requests = [
            record
            for query in questions(of_requests, _ASKED, tokens_at_once(self._store))
            for record in await every(self._store, query)
        ]
        return await self._answered([record for record in requests if carried_by(record, by_day)])

    async def _answered(self, requests: Sequence[Record]) -> list[Case]:
        """Return `requests` as cases. Nothing else that was asked or answered is read."""
        return await asyncio.to_thread(self._cases, [*requests, *await self._answers(requests)], opened=True)

    async def _answers(self, asked: Iterable[Record]) -> list[Record]:
        """Return the stored answers to the requests among `asked`."""
        numbers = frozenset(record.id for record in asked if record.kind == REQUEST)
        if not numbers:
            return []
        subjects, since = frozenset(number.bytes for number in numbers), time_of(min(numbers)) - _CLOCK
        return await every(self._store, Query(kinds=_ANSWERS, purposes=_PURPOSES, subjects=subjects, since=since))

    def _cases(self, records: Sequence[Record], *, opened: bool) -> list[Case]:
        return cases(self._sealer.whole(records), self._sealer if opened else None)
