"""Whom a request is about: the receipts of their cookie and their sign-in, and the tokens that their records carry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple

import msgspec

from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.policy import REQUESTS
from consent_mw.receipts import MOST, Receipts, Start, day_number, given, used_by
from consent_mw.records import Query, Record, fixed_id, time_of
from consent_mw.retention import day_of
from consent_mw.sealer import Sealer, token_of
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages

__all__ = ["LINK", "NOBODY", "People", "Person", "link", "tokens"]

#: A record that says under which receipt somebody was seen who had signed in.
LINK: Final = "link"
#: What a sign-in is told from a receipt by: no receipt's name can hold a NUL.
_SIGN_IN: Final = "sign-in\0"
#: Days whose links are asked for at a time, the newest first; each time four times as many.
_FIRST_DAYS: Final = 8
_LINKS: Final = frozenset((LINK,))
_REQUESTS: Final = frozenset((REQUESTS,))
#: More than the days that there are.
_ALWAYS: Final = (0, 1 << 30)


class Person(NamedTuple):
    """
    Somebody who proved who they are.

    Attributes:
        names: Names of their receipts, newest first.
        sign_in: What the application knows them by; None where they did not sign in.
        days: For each name the first and the last day (since 1970, UTC) on which records can be made under it; empty
            where that is not known, so that any day counts.
        is_cut: Whether they have more receipts, which were not looked for.
    """

    names: tuple[str, ...] = ()
    sign_in: str | None = None
    days: tuple[tuple[int, int], ...] = ()
    is_cut: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Everything that tokens of theirs are made from."""
        return self.names if self.sign_in is None else (*self.names, _SIGN_IN + self.sign_in)

    @property
    def is_known(self) -> bool:
        """Whether they proved anything."""
        return bool(self.values)

    def values_on(self, day: int, purpose: str) -> list[str]:
        """
        Return what tokens of theirs can be made from on a day (since 1970, UTC) for a purpose.

        A sign-in marks what somebody asked, and nothing that was collected about them. What staff register for the
        holder of a receipt may come long after its last day.
        """
        if purpose != REQUESTS:
            return [name for name, (first, last) in self._named if first <= day <= last]
        asked = [name for name, (first, _) in self._named if first <= day]
        return asked if self.sign_in is None else [*asked, _SIGN_IN + self.sign_in]

    @property
    def _named(self) -> Iterable[tuple[str, tuple[int, int]]]:
        return zip(self.names, self.days or (_ALWAYS,) * len(self.names), strict=True)


NOBODY: Final = Person()


def tokens(
    sealer: Sealer, person: Person, purposes: Collection[str] | None = None
) -> dict[tuple[int, str], frozenset[bytes]]:
    """
    Return the tokens of `person` under every key that lives, by day and purpose. Makes no key, and reads each once,
    however many receipts there are. May take a while: call it in a thread.

    Args:
        purposes: Only these; None for all.

    Raises:
        StoreError: The keyring cannot be reached.
    """
    found: dict[tuple[int, str], frozenset[bytes]] = {}
    for day, purpose in sealer.keyring.live() if person.is_known else ():
        if purposes is not None and purpose not in purposes:
            continue
        if values := person.values_on(day, purpose):
            try:
                secret = sealer.token_secret(day, purpose, create=False)
            except KeyDestroyed:  # meanwhile
                continue
            found[day, purpose] = frozenset(token_of(secret, value.encode()) for value in values)
    return found


def link(sealer: Sealer, person: Person, now_ns: int) -> Record | None:
    """
    Return the record that says that this sign-in uses this receipt; None unless both are known. Of one day it has
    always the same id.

    Raises:
        KeyDestroyed, StoreError: There is no key to seal it with.
    """
    if person.sign_in is None or not person.names:
        return None
    day = now_ns // 86_400_000_000_000
    subject = sealer.token(day, REQUESTS, (_SIGN_IN + person.sign_in).encode())
    record_id = fixed_id(day, LINK, subject.hex(), person.names[0])
    plain = msgspec.msgpack.encode(person.names[0])
    return sealer.record(record_id, LINK, REQUESTS, subject=subject, plain=plain)


class People:
    """Finds all receipts of who proved one of them, or signed in."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._receipts = Receipts(store, sealer)

    async def of(
        self, name: str | None, given_on: date | None, sign_in: str | None = None, *, most: int = MOST
    ) -> Person:
        """
        Return who holds the receipt called `name`, given on that day (UTC), and is signed in as `sign_in`. Of somebody
        with more receipts than `most` it is cut.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        starts = [given(name, given_on)] if name and given_on else []
        linked, cut = await self._linked(sign_in, most) if sign_in is not None else ([], False)
        starts += [start for start in linked if start.name != name]
        person = await self._person(starts, sign_in, most)
        return person._replace(is_cut=person.is_cut or cut)

    async def whole(self, person: Person, latest: date) -> Person:
        """
        Return `person` with the receipts that went before theirs, and those of their sign-in, however many. Raises as
        `of`.

        Args:
            latest: The day (UTC) on which the newest of their receipts was given, or a later one.
        """
        linked, _ = await self._linked(person.sign_in, None) if person.sign_in is not None else ([], False)
        # By a letter somebody may name a receipt of any age.
        starts = [Start(name, _ALWAYS[0], day_number(latest)) for name in person.names]
        starts += [start for start in linked if start.name not in person.names]
        return await self._person(starts, person.sign_in, None)

    async def _person(self, starts: Sequence[Start], sign_in: str | None, most: int | None) -> Person:
        if not starts:
            return Person((), sign_in)
        chains = await self._receipts.chains(starts, most=most)
        days = tuple((step.first, step.last) for step in chains.steps.values())
        return Person(tuple(chains.steps), sign_in, days, chains.cut)

    async def _linked(self, sign_in: str, most: int | None) -> tuple[list[Start], bool]:
        """Return the receipts that a sign-in was seen with, the latest first; and whether there may be more."""
        made = await asyncio.to_thread(tokens, self._sealer, Person((), sign_in), (REQUESTS,))
        days: dict[str, tuple[int, int]] = {}
        async for records in self._links([made[each] for each in sorted(made, reverse=True)]):
            for name, day in (await asyncio.to_thread(self._opened, records))[::-1]:
                first, last = days.get(name, (day, day))
                days[name] = min(first, day), max(last, day)
            if most is not None and len(days) > most:
                break
        found = [used_by(name, *seen) for name, seen in days.items()]
        return found[:most], most is not None and len(found) > most

    async def _links(self, subjects: Sequence[frozenset[bytes]]) -> AsyncIterator[Sequence[Record]]:
        """Yield the links of the newest days first, some days at a time, so that who has many need not wait for all."""
        begin, count = 0, _FIRST_DAYS
        while some := subjects[begin : begin + count]:
            query = Query(kinds=_LINKS, purposes=_REQUESTS, subjects=frozenset[bytes]().union(*some))
            async for page in pages(self._store, query):
                yield page
            begin, count = begin + count, count * 4

    def _opened(self, records: Iterable[Record]) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for record in records:
            try:
                name = msgspec.msgpack.decode(self._sealer.open(record), type=str)
            except (ConsentError, msgspec.MsgspecError):
                continue  # of another keyring, or no longer to be opened
            found.append((name, day_of(time_of(record.id))))
        return found
