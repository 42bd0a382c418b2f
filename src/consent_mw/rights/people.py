"""All names of a person who proved one of them, or who signed in. The links that a sign-in leaves lead to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.consent.data_subject import SIGN_IN, Person, tokens, tokens_of
from consent_mw.consent.receipts import MOST
from consent_mw.crypto.sealer import Sealer, token_of
from consent_mw.exceptions import ConsentError
from consent_mw.kinds import HELD, LINK, RECEIPT
from consent_mw.policy.model import LINKS
from consent_mw.records import Query, Record, Scalar, fixed_id
from consent_mw.retention.calendar import Retention
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every, pages
from consent_mw.stores.subjects import questions, tokens_at_once
from consent_mw.system.days import DAY_NS, day_of, start_of

_BACK: Final = "link.back"
_KINDS: Final = frozenset((LINK,))
#: What a name may lead to.
_KEPT: Final = HELD | {RECEIPT}
#: A link is renewed this long before it ends.
_AHEAD: Final = timedelta(days=30)
_PURPOSES: Final = frozenset((LINKS,))


def links(sealer: Sealer, name: str | None, sign_in: str | None, now_ns: int) -> list[Record]:
    """
    Return the records that link this sign-in to the receipts of this name, and the other way round. Return none unless
    both are known. Their ids are always the same within one day.

    Raises:
        KeyDestroyed, StoreError: There is no key to seal them with.
    """
    if sign_in is None or name is None:
        return []
    return [
        _link(sealer, SIGN_IN + sign_in, name, {}, now_ns),
        _link(sealer, name, SIGN_IN + sign_in, {_BACK: True}, now_ns),
    ]


def _link(sealer: Sealer, value: str, to: str, data: dict[str, Scalar], now_ns: int) -> Record:
    day = now_ns // DAY_NS
    subject = sealer.token(day, LINKS, value.encode())
    record_id = fixed_id(day, LINK, subject.hex(), to)
    return sealer.record(record_id, LINK, LINKS, subject=subject, data=data, plain=msgspec.msgpack.encode(to))


class People:
    """Finds all names of a person who proved one of them, or who signed in."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def of(self, proof: Person, *, most: int | None = MOST) -> Person:
        """
        Return `proof` with the other names that their sign-in was seen with. If there are more than `most`, the list is
        cut; None returns all.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        if proof.sign_in is None:
            return proof
        led_to = await self._led_to([SIGN_IN + proof.sign_in], most)
        names = tuple(dict.fromkeys((*proof.names, *led_to)))
        return Person(names[:most], proof.sign_in, most is not None and len(names) > most)

    async def around(self, person: Person) -> frozenset[str]:
        """
        Return the values to make tokens from, for everybody who may be this person.

        With a sign-in, these are the names that it was seen with. With a name alone, these are the sign-ins that were
        seen with it, and their names. Raises as `of`.
        """
        sign_ins = _sign_ins(person) or await self._led_to(person.names, None, back=True)
        return frozenset((*person.values, *sign_ins, *await self._led_to(sign_ins, None)))

    async def near(self, person: Person) -> frozenset[str]:
        """
        Return the values to make tokens from, for everybody near `person`.

        `person` is as `of` returned it, and may be around any of them (see `around`). So a request of any of them may
        be about this person too. Raises as `of`.
        """
        own = _sign_ins(person)
        sign_ins = await self._led_to(person.names, None, back=True)
        unknown = [name for name in sign_ins if name not in own] + (own if person.is_cut else [])
        return frozenset((*person.values, *sign_ins, *await self._led_to(unknown, None)))

    async def renew_links(self, retention: Retention, now: datetime) -> int:
        """
        Move the links that end soon, and still lead to something, to the day of `now`. Return how many pairs of a name
        and a sign-in were moved.

        So a person who signed in once keeps the same name for as long as they allow anything. Raises as `of`, and
        KeyDestroyed.
        """
        count = 0
        for day in await self._ending(retention, now):
            query = Query(kinds=_KINDS, purposes=_PURPOSES, since=start_of(day), until=start_of(day + 1))
            moved: list[UUID] = []
            for pair, ids in (await asyncio.to_thread(self._pairs, await every(self._store, query), day)).items():
                if await self._is_led_to_something(pair[0]):
                    await self._store.append(links(self._sealer, *pair, int(now.timestamp() * 1e9)), durable=True)
                    moved += ids
                    count += 1
            if moved:  # or they would be found again tomorrow
                await self._store.delete(Query(kinds=_KINDS, ids=frozenset(moved)))
        return count

    async def _ending(self, retention: Retention, now: datetime) -> list[int]:
        """Return the days before the day of `now` whose links end soon."""
        live = await asyncio.to_thread(self._sealer.keyring.live)
        days = [day for day, label in live if label == LINKS and day < day_of(now)]
        return [day for day in days if (retention.end(day, LINKS, now) or now) - _AHEAD <= now]

    def _pairs(self, records: Sequence[Record], day: int) -> dict[tuple[str, str], list[UUID]]:
        """Return the links of a day by the name and the sign-in that they connect."""
        ends = [(record, end) for record in self._sealer.whole(records) if (end := self._end(record))]
        secrets = self._sealer.token_secrets(day, LINKS) if ends else ()
        whose = {token_of(secret, end.encode()): end for secret in secrets for _, end in ends}
        ids_by_pair: dict[tuple[str, str], list[UUID]] = {}
        for record, end in ends:
            if (value := whose.get(record.subject or b"")) is not None:  # the other link of the pair names its owner
                name, sign_in = (value, end) if end.startswith(SIGN_IN) else (end, value)
                ids_by_pair.setdefault((name, sign_in.removeprefix(SIGN_IN)), []).append(record.id)
        return ids_by_pair

    async def _is_led_to_something(self, name: str) -> bool:
        tokens_by_day = await asyncio.to_thread(tokens, self._sealer, Person((name,)))
        subjects = frozenset[bytes]().union(*tokens_by_day.values())
        return bool(tokens_by_day) and bool(await self._store.fetch(Query(kinds=_KEPT, subjects=subjects), limit=1))

    async def links_between(self, sign_in: str, names: Collection[str]) -> list[UUID]:
        """Return the links, both ways, between a sign-in and `names`. Raises as `of`."""
        ends, linking = {*names, SIGN_IN + sign_in}, list[UUID]()
        if names:
            async for records in self._links(ends):
                linking += [
                    number for number, end in (await asyncio.to_thread(self._ends, records)).items() if end in ends
                ]
        return linking

    async def _led_to(self, values: Sequence[str], most: int | None, *, back: bool = False) -> list[str]:
        """Return what the links of `values` lead to, the latest first."""
        led_to: dict[str, None] = {}
        async for records in self._links(values):
            wanted = [record for record in records if bool(record.data.get(_BACK)) is back]
            led_to |= dict.fromkeys(filter(None, (await asyncio.to_thread(self._ends, wanted)).values()))
            if most is not None and len(led_to) > most:
                break
        return list(led_to)

    async def _links(self, values: Collection[str]) -> AsyncIterator[Sequence[Record]]:
        """Yield the links of `values`, the newest first, so that a person with many need not wait for all."""
        tokens_by_day = await asyncio.to_thread(tokens_of, self._sealer, values, _PURPOSES)
        for query in reversed(questions(tokens_by_day, _KINDS, tokens_at_once(self._store))):
            async for page in pages(self._store, query, newest_first=True):
                yield page

    def _ends(self, records: Iterable[Record]) -> dict[UUID, str | None]:
        """Return what each link leads to; None if it is of another keyring, or can no longer be opened."""
        return {record.id: self._end(record) for record in records}

    def _end(self, record: Record) -> str | None:
        try:
            return msgspec.msgpack.decode(self._sealer.open(record), type=str)
        except (ConsentError, msgspec.MsgspecError):
            return None


def _sign_ins(person: Person) -> list[str]:
    return [value for value in person.values if value.startswith(SIGN_IN)]
