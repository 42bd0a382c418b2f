"""The receipts of one visitor, read back by the name that only their consent cookie holds."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.consent.choice import Choice
from consent_mw.consent.receipt_name import born_on
from consent_mw.crypto.sealer import Sealer, tokens_under
from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Query, Record, time_of
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.stores.subjects import questions
from consent_mw.system.days import day_of

_KINDS: Final = frozenset(("receipt",))
#: Of somebody who changed their mind more often the latest are read.
MOST: Final = 100
#: Days by which a clock may have run ahead when a name was made.
CLOCK_DAYS: Final = 7


class _Sealed(msgspec.Struct, frozen=True):
    purposes: dict[str, bool]
    cookies: dict[str, bool]
    signals: list[str]
    receipt: str | None
    under: str | None
    changes: int


_decode = msgspec.msgpack.Decoder(_Sealed).decode


class Receipt(NamedTuple):
    """
    The proof of one choice: what was asked, in which words, and what was answered.

    Attributes:
        id: Its record.
        name: Random name that the visitor's cookie holds, the same for all their receipts until they refuse everything;
            None for a refusal, which belongs to nobody.
        revision, policy: Of the declaration that was answered: its number and the SHA-256 of its text.
        surface, language, text: Where it was asked, in which language, and the SHA-256 of the words.
        purposes, cookies: The answers inside `Choice.PROMPT`.
        signals: What the browser sent besides.
        under: Name that it is kept under: of a refusal the one that ended with it, if there was one.
        changes: How often was chosen under that name before.
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
    under: str | None = None
    changes: int = 0

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
        KeyDestroyed: Its retention ended, and its key is destroyed.
        StoreError: It was changed since it was sealed, or is not a receipt; or the keyring cannot be reached.
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
        under=sealed.under,
        changes=sealed.changes,
    )


def visitor_of(record: Record, sealer: Sealer) -> bytes | None:
    """
    Return what tells apart whom records are of: of a receipt the name that it is kept under, which is the same on every
    day; else, and where it cannot be opened here, its token. For counting alone: nothing of it is kept.
    """
    if record.kind == "receipt" and record.subject is not None:
        with suppress(ConsentError, msgspec.MsgspecError, KeyError, ValueError):
            return (receipt_of(record, sealer).under or "").encode() or record.subject
    return record.subject


class Receipts:
    """Finds receipts in a store. What has not left the spool yet is not found."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def of(self, name: str, *, most: int = MOST) -> list[Receipt]:
        """
        Return the receipts that are kept under `name`, newest first, but no more than `most`.

        Empty where the store has none, or none that can still be opened.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        receipts: list[Receipt] = []
        for query in await asyncio.to_thread(self._questions, [name]):
            records = await every(self._store, query)
            receipts += await asyncio.to_thread(self._opened, records[::-1])
            if len(receipts) >= most:
                break
        return receipts[:most]

    async def since(self, names: Collection[str], instant: datetime) -> list[Receipt]:
        """
        Return the receipts under any of `names` that were given after `instant` (aware), newest first. Raises as `of`.
        """
        receipts: list[Receipt] = []
        for query in await asyncio.to_thread(self._questions, names, day_of(instant)):
            records = await every(self._store, query)
            receipts += await asyncio.to_thread(self._opened, records[::-1])
        return [receipt for receipt in receipts if receipt.given_at > instant]

    async def records(self, name: str) -> Sequence[Record]:
        """
        Return what is filed under `name`, as it is stored, newest first.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        queries = await asyncio.to_thread(self._questions, [name])
        return [record for query in queries for record in (await every(self._store, query))[::-1]]

    def _opened(self, records: Iterable[Record]) -> list[Receipt]:
        receipts: list[Receipt] = []
        for record in records:
            # Its key may be gone, or it is not whole: nobody can read it any more.
            with suppress(ConsentError, msgspec.MsgspecError):
                receipts.append(receipt_of(record, self._sealer))
        return receipts

    def _questions(self, names: Collection[str], since: int = 0) -> list[Query]:
        """Return what finds what is filed under `names` since a day (1970, UTC), the newest days first."""
        days, tokens = self._sealer.days().get(RECEIPTS, ()), dict[tuple[int, str], frozenset[bytes]]()
        first = max(since, min((born_on(name) - CLOCK_DAYS for name in names), default=0))
        for day in days[bisect_left(days, first) :]:
            with suppress(KeyDestroyed):  # meanwhile
                secrets = self._sealer.token_secrets(day, RECEIPTS)
                tokens[day, RECEIPTS] = tokens_under(secrets, [name.encode() for name in names])
        return questions(tokens, _KINDS)[::-1] if names else []
