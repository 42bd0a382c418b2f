"""The receipts of one visitor, read back by the name that only their consent cookie holds."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.consent import LIFETIME, Choice
from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.policy import RECEIPTS
from consent_mw.records import Query, Record, time_of
from consent_mw.sealer import Sealer, token_of
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages

__all__ = ["MOST", "Chains", "Receipt", "Receipts", "Start", "Step", "day_number", "given", "receipt_of", "used_by"]

_KINDS: Final = frozenset(("receipt",))
_PURPOSES: Final = frozenset((RECEIPTS,))
_1970: Final = date(1970, 1, 1)
#: A receipt names the one before it. Of somebody who changed their mind more often the latest are read.
MOST: Final = 100
#: Days by which a clock, or midnight between a cookie and its receipt, may move a day.
_MIDNIGHT: Final = 2
#: Days from the one on which a consent was given to the last on which anything is recorded under its name.
_LONGEST: Final = LIFETIME.days + _MIDNIGHT


class _Sealed(msgspec.Struct, frozen=True):
    purposes: dict[str, bool]
    cookies: dict[str, bool]
    signals: list[str]
    receipt: str | None
    supersedes: str | None


_decode = msgspec.msgpack.Decoder(_Sealed).decode


class Receipt(NamedTuple):
    """
    The proof of one choice: what was asked, in which words, and what was answered.

    Attributes:
        id: Its record.
        name: Random name that the visitor's cookie holds; None for a refusal, which belongs to nobody.
        revision, policy: Of the declaration that was answered: its number and the SHA-256 of its text.
        surface, language, text: Where it was asked, in which language, and the SHA-256 of the words.
        purposes, cookies: The answers inside `Choice.PROMPT`.
        signals: What the browser sent besides.
        supersedes: Name of the receipt before it.
    """

    id: UUID
    name: str | None
    choice: Choice
    revision: int
    policy: str
    surface: str
    language: str
    text: str
    purposes: Mapping[str, bool]
    cookies: Mapping[str, bool]
    signals: Sequence[str]
    supersedes: str | None

    @property
    def given_at(self) -> datetime:
        """When the choice was made (aware, UTC)."""
        return time_of(self.id)

    def answer(self, purpose: str) -> bool | None:
        """Return what was answered about an asked purpose; None where the visitor wanted to be asked each time."""
        if self.choice is Choice.PROMPT:
            return self.purposes.get(purpose)
        return self.choice is Choice.ACCEPT


def receipt_of(record: Record, sealer: Sealer) -> Receipt:
    """
    Return the receipt that a record of kind "receipt" holds.

    Raises:
        KeyDestroyed: It was kept for as long as was promised, and is gone.
        StoreError: It was changed since it was sealed, or is no receipt; or the keyring cannot be reached.
        ConfigurationError: Another keyring sealed it.
    """
    sealed, clear = _decode(sealer.open(record)), record.data
    return Receipt(
        id=record.id,
        name=sealed.receipt,
        choice=Choice(str(clear["consent.choice"])),
        revision=int(clear["consent.revision"] or 0),
        policy=str(clear["consent.policy"]),
        surface=str(clear["consent.surface"]),
        language=str(clear["consent.language"]),
        text=str(clear["consent.text"]),
        purposes=sealed.purposes,
        cookies=sealed.cookies,
        signals=sealed.signals,
        supersedes=sealed.supersedes,
    )


class Start(NamedTuple):
    """A receipt to begin with: its name, and the first and the last day (since 1970, UTC) on which it can be given."""

    name: str
    first: int
    last: int


class Step(NamedTuple):
    """
    One receipt of a chain.

    Attributes:
        first, last: The days (since 1970, UTC) on which records can be made under its name.
        receipt: None where it is not in the store (yet, or any more).
    """

    first: int
    last: int
    receipt: Receipt | None


class Chains(NamedTuple):
    """
    Receipts and those that they superseded.

    Attributes:
        steps: By name: those that were begun with, then those before them, and so on.
        cut: Whether there are more, which were not followed.
    """

    steps: Mapping[str, Step]
    cut: bool


class Receipts:
    """Finds receipts in a store. What has not left the spool yet is not found."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def of(self, name: str, given_on: date, *, most: int = MOST) -> list[Receipt]:
        """
        Return the receipt called `name`, which was given on that day (UTC), and those that it superseded, newest first.

        Empty where the store has none, or none that can still be opened.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        found = await self.chains([given(name, given_on)], most=most)
        return [step.receipt for step in found.steps.values() if step.receipt is not None]

    async def chains(self, starts: Iterable[Start], *, most: int | None) -> Chains:
        """
        Follow `starts` to the receipts before them, all of them one step back at a time: each step is one question to
        the store.

        A superseded receipt may be destroyed already, while records that were made under its name live on: the name is
        returned all the same.

        Args:
            most: Names that are followed at most; None for all.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        secrets = await asyncio.to_thread(self._secrets)
        wanted: dict[str, Start] = {start.name: start for start in starts}
        steps: dict[str, Step] = {}
        while wanted and (most is None or len(steps) < most):
            names = list(wanted)[: None if most is None else most - len(steps)]
            now = {name: wanted.pop(name) for name in names}
            found = await self._found(now, secrets)
            steps |= {name: _step(start, found.get(name)) for name, start in now.items()}
            for start in (_before(receipt) for receipt in found.values() if receipt.supersedes):
                if start.name not in steps:
                    wanted.setdefault(start.name, start)
        return Chains(steps, cut=bool(wanted))

    async def records(self, name: str, latest: date) -> Sequence[Record]:
        """
        Return what is filed under `name`, as it is stored, from its whole lifetime before `latest` (UTC).

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        last = (latest - _1970).days
        secrets = await asyncio.to_thread(self._secrets)
        return await self._store.fetch(_query(_subjects([Start(name, last - _LONGEST, last)], secrets)), limit=MOST)

    async def _found(self, wanted: Mapping[str, Start], secrets: Mapping[int, bytes]) -> dict[str, Receipt]:
        """Return the receipts that are called so. Refusals are filed under the name that they superseded."""
        subjects = await asyncio.to_thread(_subjects, wanted.values(), secrets)
        found: dict[str, Receipt] = {}
        if not subjects:
            return found
        async for page in pages(self._store, _query(subjects)):
            found |= await asyncio.to_thread(self._named, page, wanted)
            if len(found) == len(wanted):
                break
        return found

    def _named(self, records: Iterable[Record], wanted: Collection[str]) -> dict[str, Receipt]:
        found: dict[str, Receipt] = {}
        for record in records:
            if record.data.get("consent.choice") == Choice.REJECT:
                continue  # it has no name
            try:
                receipt = receipt_of(record, self._sealer)
            except (ConsentError, msgspec.MsgspecError):
                continue  # its key is gone, or it is not whole: nobody can read it any more
            if receipt.name is not None and receipt.name in wanted:
                found.setdefault(receipt.name, receipt)
        return found

    def _secrets(self) -> dict[int, bytes]:
        """What receipts' tokens are made with, by day: made once for all names. To look something up makes no key."""
        found: dict[int, bytes] = {}
        for day, purpose in self._sealer.keyring.live():
            if purpose == RECEIPTS:
                with suppress(KeyDestroyed):  # meanwhile
                    found[day] = self._sealer.token_secret(day, RECEIPTS, create=False)
        return found


def given(name: str, on: date) -> Start:
    """Return the start of a receipt whose cookie says the day (UTC); midnight may pass between it and its receipt."""
    day = day_number(on)
    return Start(name, day - 1, day + _MIDNIGHT)


def day_number(day: date) -> int:
    """Return the days from 1970 to `day`."""
    return (day - _1970).days


def used_by(name: str, first: int, last: int) -> Start:
    """Return the start of a receipt that was in use on these days (since 1970, UTC): given up to `LIFETIME` before."""
    return Start(name, last - _LONGEST, first + _MIDNIGHT)


def _before(receipt: Receipt) -> Start:
    day = day_number(receipt.given_at.date())
    return used_by(receipt.supersedes or "", day, day)


def _step(start: Start, receipt: Receipt | None) -> Step:
    """A consent is never older than its lifetime, so nothing is recorded under its name after that."""
    if receipt is None:
        return Step(start.first - _MIDNIGHT, start.last + _LONGEST, None)
    day = day_number(receipt.given_at.date())
    return Step(day - _MIDNIGHT, day + _LONGEST, receipt)


def _subjects(wanted: Iterable[Start], secrets: Mapping[int, bytes]) -> frozenset[bytes]:
    days = sorted(secrets)
    return frozenset(
        token_of(secrets[day], name)
        for name, first, last in ((start.name.encode(), start.first, start.last) for start in wanted)
        for day in days[bisect_left(days, first) : bisect_right(days, last)]
    )


def _query(subjects: frozenset[bytes]) -> Query:
    return Query(kinds=_KINDS, purposes=_PURPOSES, subjects=subjects)
