"""Whose data nobody may use now: people whose correction, restriction or erasure is not done yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from consent_mw.consent.data_subject import Person, tokens_of, values_on
from consent_mw.crypto.sealer import Sealer, tokens_under
from consent_mw.exceptions import KeyDestroyed
from consent_mw.policy.model import ABUSE, REQUESTS
from consent_mw.records import Record, time_of
from consent_mw.retention.calendar import Retention
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.people import People
from consent_mw.rights.renewal import renew
from consent_mw.rights.request import Case
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of

#: How many tokens are remembered at a time; each takes some hundred bytes.
_MOST_TOKENS: Final = 50_000


class Restriction:
    """
    Decides whether the subject of a record is under restriction. Such records are left out of statistics, exports, the
    log, and disclosures by consent. They are still destroyed when they end, and receipts still serve as proof.

    The cost follows the number of records that are checked. Tokens are made for the day and purpose of a record when it
    is checked, and the latest are remembered.

    Args:
        values: The values from which the tokens of everybody under restriction are made.
    """

    def __init__(self, values: Iterable[str], sealer: Sealer) -> None:
        self._values = frozenset(values)
        self._sealer = sealer
        self._tokens_by_day: dict[tuple[int, str], frozenset[bytes]] = {}

    def restricts(self, record: Record) -> bool:
        """
        Whether nobody may use this record now.

        Raises:
            StoreError: The keyring cannot be reached; then nobody's data may be used.
        """
        if record.subject is None or not self._values:
            return False
        return record.subject in self._tokens(day_of(time_of(record.id)), record.purpose)

    def closes(self, record: Record) -> bool:
        """
        Whether staff may not read this record now. Raises as `restricts`.

        Records of abuse stay open to staff. They are kept to defend the site and its visitors, and for that restricted
        data may be used (GDPR, article 18(2); PIPA, article 37(2)). Otherwise a person who abuses a site could hide the
        abuse.
        """
        return record.purpose != ABUSE and self.restricts(record)

    def is_under(self, person: Person) -> bool:
        """Whether `person` is under restriction."""
        return not self._values.isdisjoint(person.values)

    def _tokens(self, day: int, purpose: str) -> frozenset[bytes]:
        tokens = self._tokens_by_day.get((day, purpose))
        if tokens is None:
            tokens = self._new_tokens(day, purpose)
            while self._tokens_by_day and sum(map(len, self._tokens_by_day.values())) + len(tokens) > _MOST_TOKENS:
                del self._tokens_by_day[next(iter(self._tokens_by_day))]
            self._tokens_by_day[day, purpose] = tokens
        return tokens

    def _new_tokens(self, day: int, purpose: str) -> frozenset[bytes]:
        try:
            secrets = self._sealer.token_secrets(day, purpose)
        except KeyDestroyed:
            return frozenset()  # the keys are gone: nobody can know whose records these are
        return tokens_under(secrets, [value.encode() for value in values_on(self._values, day, purpose)])


class SiteRestrictions:
    """Restrictions of one store, for daily counts and destruction: see `daily_counts.Restrictions`."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._desk = Desk(store, sealer, kept_by_store(store))
        self._people = People(store, sealer)
        self._sealer = sealer

    async def restricts(self) -> Callable[[Record], bool]:
        """Return a function that tells whether nobody may use a record now. Raises StoreError."""
        return (await restricted(self._desk, self._people, self._sealer)).restricts

    async def renew(self, retention: Retention, now: datetime) -> int:
        """As `consent_mw.rights.renewal.renew`."""
        return await renew(self._desk, retention, now)

    async def forget(self, now: datetime) -> None:
        """As `consent_mw.rights.desk.Desk.forget_marks`."""
        await self._desk.forget_marks(now)


async def restricted(desk: Desk, people: People, sealer: Sealer) -> Restriction:
    """
    Return the restriction that covers everybody whose data nobody may use.

    Raises:
        StoreError: The store cannot be reached; then nobody's data may be used.
    """
    return await restricted_by(await desk.restricting(), people, sealer)


async def restricted_by(cases: Iterable[Case], people: People, sealer: Sealer) -> Restriction:
    """
    Return the restriction that covers everybody whom one of `cases` restricts. It covers the person, not only the
    receipts that they had when they asked. So it also covers what is collected under a later choice of theirs, and in a
    browser in which they sign in afterwards.

    Raises:
        StoreError: The store or the keyring cannot be reached.
    """
    values = frozenset[str]()
    for case in cases:
        if case.restricts and case.request.person.is_known:
            values |= await people.around(case.request.person)
    return Restriction(values, sealer)


async def is_restricted(person: Person, own: Sequence[Case], desk: Desk, people: People, sealer: Sealer) -> bool:
    """
    Whether nobody may use the data of `person`. The answer is the one that `restricted` gives, without reading what
    everybody else asked.

    Args:
        own: The cases that are filed under the person's own names and sign-in.

    Raises:
        StoreError: The store or the keyring cannot be reached.
    """
    others = (await people.near(person)).difference(person.values)
    asked = await desk.filed(await asyncio.to_thread(tokens_of, sealer, others, (REQUESTS,)))
    return (await restricted_by([*own, *asked], people, sealer)).is_under(person)
