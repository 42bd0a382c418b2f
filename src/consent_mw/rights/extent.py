"""How far an erasure reaches: whose records, of which purposes, in which stores, and up to when."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, NamedTuple

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.consent.receipts import Receipts
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import HELD
from consent_mw.policy.model import ABUSE, LINKS, RECEIPTS, REQUESTS
from consent_mw.records import Query
from consent_mw.retention.archive import Archive
from consent_mw.retention.calendar import Retention
from consent_mw.rights.request import Request
from consent_mw.stores.base import Store
from consent_mw.stores.subjects import Subjects
from consent_mw.system.days import start_of

_PARTITIONS: Final = 400
#: Purposes whose records carry tokens without a question to the visitor: no choice allows them or takes them back.
_UNASKED: Final = (RECEIPTS, REQUESTS, LINKS, ABUSE)


class Place(NamedTuple):
    """
    A store, when its records end, and the tokens to look for in it.

    Attributes:
        again: When the person allowed it again: newer records stay. None if they did not.
    """

    store: Store
    retention: Retention
    tokens: Subjects
    again: datetime | None = None

    @property
    def query(self) -> Query:
        """The query that finds the tokens in the store."""
        subjects = frozenset[bytes]().union(*self.tokens.values())
        purposes = frozenset(purpose for _, purpose in self.tokens)
        since = start_of(min((day for day, _ in self.tokens), default=0))
        return Query(kinds=HELD, purposes=purposes, subjects=subjects, since=since, until=self.again)

    @property
    def parts(self) -> list[Place]:
        """
        This place in parts; each part is erased at once. A deletion in PostgreSQL locks every partition that it touches
        (a day of a purpose) until it is done, and a server with default settings has room for some 1,600 locks.
        """
        keys = sorted(self.tokens)
        some = [keys[first : first + _PARTITIONS] for first in range(0, len(keys), _PARTITIONS)]
        return [self._replace(tokens={key: self.tokens[key] for key in keys}) for keys in some] or [self]


class _Part(NamedTuple):
    """
    Some of a person's names and some purposes.

    Attributes:
        purposes: The purposes; None for all but the `others`.
        again: From when the person allowed them again after the request; None for never.
    """

    person: Person
    purposes: frozenset[str] | None = None
    others: frozenset[str] = frozenset()
    again: datetime | None = None

    def means(self, purpose: str) -> bool:
        return purpose in self.purposes if self.purposes is not None else purpose not in self.others


class Extent:
    """
    Finds what a withdrawal or an erasure covers.

    If something was allowed again after the request, it is kept from that moment on; the receipts prove it. Without
    such a receipt everything is erased, also records that a fast clock dated later.
    """

    def __init__(self, store: Store, sealer: Sealer, receipts: Receipts) -> None:
        self._store = store
        self._sealer = sealer
        self._receipts = receipts

    async def places(
        self, request: Request, person: Person, retention: Retention, archive: Archive | None
    ) -> list[Place]:
        """
        Return where to look for what `request` covers.

        Args:
            person: Its sender, with all their names.

        Raises:
            StoreError: The store, the archive or the keyring cannot be reached.
        """
        places: list[Place] = []
        for part in await self._parts(request, person):
            live = await asyncio.to_thread(tokens, self._sealer, part.person)
            places.append(Place(self._store, retention, _meant(live, request, part), part.again))
            if archive:
                held = _meant(await archive.tokens(part.person), request, part)
                places.append(Place(archive.store, retention.of_archive(), held, part.again))
        return places

    async def _parts(self, request: Request, person: Person) -> list[_Part]:
        """Return what to erase of a person: all. What they allowed again is erased only up to that moment."""
        again: dict[str, dict[str, datetime]] = {}
        live = await asyncio.to_thread(self._sealer.keyring.live)
        purposes = {of_label(label)[0] for _, label in live} - {*_UNASKED}
        for receipt in await self._receipts.since(person.names, request.registered):  # the newest first
            if receipt.name is not None:
                allowed = {purpose: receipt.given_at for purpose in purposes if receipt.answer(purpose)}
                again[receipt.name] = again.get(receipt.name, {}) | allowed
        parts = [_Part(person._replace(names=tuple(name for name in person.names if name not in again)))]
        for name, allowed in again.items():
            parts.append(_Part(Person((name,)), others=frozenset(allowed)))
            for instant in sorted(set(allowed.values())):
                only = frozenset(purpose for purpose, at in allowed.items() if at == instant)
                parts.append(_Part(Person((name,)), only, again=instant))
        return parts


def _meant(subjects: Subjects, request: Request, part: _Part) -> dict[tuple[int, str], frozenset[bytes]]:
    named = request.purposes
    return {
        (day, purpose): tokens
        for (day, purpose), tokens in subjects.items()
        if (purpose in named if named else purpose not in _UNASKED) and part.means(purpose)
    }
