"""Whom a request is about: the receipts of their cookie and their sign-in, and the tokens that their records carry."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import date
from typing import Final, NamedTuple

import msgspec

from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.policy import REQUESTS
from consent_mw.receipts import Receipts
from consent_mw.records import Query, Record, fixed_id, time_of
from consent_mw.retention import day_of, start_of
from consent_mw.sealer import Sealer
from consent_mw.stores.base import Store

__all__ = ["LINK", "NOBODY", "People", "Person", "link", "tokens"]

#: A record that says under which receipt somebody was seen who had signed in.
LINK: Final = "link"
#: What a sign-in is told from a receipt by: no receipt's name can hold a NUL.
_SIGN_IN: Final = "sign-in\0"


class Person(NamedTuple):
    """
    Somebody who proved who they are.

    Attributes:
        names: Names of their receipts, newest first.
        sign_in: What the application knows them by; None where they did not sign in.
    """

    names: tuple[str, ...] = ()
    sign_in: str | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """Everything that tokens of theirs are made from."""
        return self.names if self.sign_in is None else (*self.names, _SIGN_IN + self.sign_in)

    @property
    def is_known(self) -> bool:
        """Whether they proved anything."""
        return bool(self.values)


NOBODY: Final = Person()


def tokens(
    sealer: Sealer, values: Iterable[str], purposes: Collection[str] | None = None
) -> dict[tuple[int, str], frozenset[bytes]]:
    """
    Return the tokens of `values` under every key that lives, by day and purpose. Makes no key. May take a while: call
    it in a thread.

    Args:
        purposes: Only these; None for all.

    Raises:
        StoreError: The keyring cannot be reached.
    """
    encoded = [value.encode() for value in values]
    found: dict[tuple[int, str], frozenset[bytes]] = {}
    for day, purpose in sealer.keyring.live() if encoded else ():
        if purposes is None or purpose in purposes:
            try:
                found[day, purpose] = frozenset(sealer.token(day, purpose, value) for value in encoded)
            except KeyDestroyed:  # meanwhile
                continue
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

    async def of(self, name: str | None, given_on: date | None, sign_in: str | None = None) -> Person:
        """
        Return who holds the receipt called `name`, given on that day (UTC), and is signed in as `sign_in`.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        starts = [(name, given_on)] if name and given_on else []
        if sign_in is not None:
            starts += [link for link in await self._linked(sign_in) if link[0] != name]
        return Person(tuple(await self._chains(starts)), sign_in)

    async def whole(self, person: Person, latest: date) -> Person:
        """
        Return `person` with the receipts that went before theirs, and those of their sign-in. Raises as `of`.

        Args:
            latest: The day (UTC) on which the newest of their receipts was given, or a later one.
        """
        linked = await self._linked(person.sign_in) if person.sign_in is not None else []
        starts = [(name, latest) for name in person.names]
        starts += [link for link in linked if link[0] not in person.names]
        return Person(tuple(await self._chains(starts)), person.sign_in)

    async def _chains(self, starts: Iterable[tuple[str, date]]) -> list[str]:
        names: dict[str, None] = {}
        for start, latest in starts:
            names[start] = None
            for receipt in await self._receipts.of(start, latest):
                # The one before may be destroyed already, while records that were made under it live on.
                names.update(dict.fromkeys(each for each in (receipt.name, receipt.supersedes) if each))
        return list(names)

    async def _linked(self, sign_in: str) -> list[tuple[str, date]]:
        made = await asyncio.to_thread(tokens, self._sealer, [_SIGN_IN + sign_in], (REQUESTS,))
        subjects = frozenset[bytes]().union(*made.values())
        if not subjects:
            return []
        query = Query(kinds=frozenset((LINK,)), purposes=frozenset((REQUESTS,)), subjects=subjects)
        found: dict[str, date] = {}
        for record in await self._store.fetch(query):
            try:
                name = msgspec.msgpack.decode(self._sealer.open(record), type=str)
            except (ConsentError, msgspec.MsgspecError):
                continue  # of another keyring, or no longer to be opened
            found[name] = start_of(day_of(time_of(record.id))).date()
        return list(found.items())[::-1]
