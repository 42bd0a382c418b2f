"""The receipts of one visitor, read back by the name that only their consent cookie holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.consent import LIFETIME, Choice
from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.policy import RECEIPTS
from consent_mw.records import Query, Record, time_of
from consent_mw.sealer import Sealer
from consent_mw.stores.base import Store

__all__ = ["Receipt", "Receipts", "receipt_of"]

_KINDS: Final = frozenset(("receipt",))
_PURPOSES: Final = frozenset((RECEIPTS,))
_1970: Final = date(1970, 1, 1)
#: A receipt names the one before it. Someone who changed their mind more often reads the latest of them.
_MOST: Final = 50


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


class Receipts:
    """Finds receipts in a store. What has not left the spool yet is not found."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def of(self, name: str, given_on: date) -> list[Receipt]:
        """
        Return the receipt called `name`, which was given on that day (UTC), and those that it superseded, newest first.

        Empty where the store has none, or none that can still be opened.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        found: list[Receipt] = []
        latest, wanted = given_on + timedelta(days=1), name  # midnight may pass between the cookie and its receipt
        while wanted and len(found) < _MOST:
            receipt = await self._one(wanted, latest)
            if receipt is None:
                break
            found.append(receipt)
            latest, wanted = receipt.given_at.date(), receipt.supersedes or ""
        return found

    async def records(self, name: str, latest: date) -> Sequence[Record]:
        """
        Return what is filed under `name`, as it is stored, from its whole lifetime before `latest` (UTC).

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        tokens = await asyncio.to_thread(self._tokens, name, latest)
        query = Query(kinds=_KINDS, purposes=_PURPOSES, subjects=tokens)
        return await self._store.fetch(query, limit=_MOST) if tokens else ()

    async def _one(self, name: str, latest: date) -> Receipt | None:
        for record in await self.records(name, latest):
            try:
                receipt = receipt_of(record, self._sealer)
            except (ConsentError, msgspec.MsgspecError):
                continue  # its key is gone, or it is not whole: nobody can read it any more
            if receipt.name == name:
                return receipt
        return None

    def _tokens(self, name: str, latest: date) -> frozenset[bytes]:
        """The name's token under every day on which it can have been given: a consent is never older than that."""
        last = (latest - _1970).days
        tokens: set[bytes] = set()
        for day in range(last - LIFETIME.days - 1, last + 1):
            try:
                self._sealer.keyring.key(day, RECEIPTS, create=False)  # to look something up must not make a key
                tokens.add(self._sealer.token(day, RECEIPTS, name.encode()))
            except KeyDestroyed:
                continue
        return frozenset(tokens)
