"""The proof that something was destroyed: what, how many, when, how and by which promise. It identifies nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import AGGREGATE, CERTIFICATE, TALLY
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Query, Record, Scalar, fixed_id, new_id, time_of
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.retention.aggregates import cells_of
from consent_mw.retention.deletions import Part
from consent_mw.retention.small_cells import FEWEST
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every, pages
from consent_mw.system.days import day_of_date, day_text, start_of

#: Where a key was that other hosts had and destroyed, and the one that writes the certificate had not.
ELSEWHERE: Final = "with its holders"
#: Days before the newest tally of which others may be written still, as nearly all of them are.
_LATEST_DAYS: Final = 2
#: By how much the clock of another host may be behind.
_BEHIND: Final = timedelta(hours=1)


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was destroyed of one day and purpose.

    Attributes:
        where: "live", or "archive".
        records: How many were deleted, since the last certificate of that day, purpose and keyring if there was one.
        archived: How many of them went into the archive instead.
        unreadable: How many were damaged, and could be neither opened nor archived.
        ring: Name of the keyring; empty where nothing was sealed.
        key: Where the key was, such as "slot 17", or `ELSEWHERE`; empty where there was none, or it was given up.
        revision, retention: The promise that ended it.
        ended, destroyed: When it ended, and when it was found gone (aware).
        holders: Which hosts had keys of it, where several share them; empty where there is one.
    """

    purpose: str
    day: int
    where: str
    records: int
    archived: int = 0
    unreadable: int = 0
    ring: str
    key: str
    revision: int
    retention: str
    ended: datetime
    destroyed: datetime
    holders: str = ""

    @property
    def part(self) -> Part:
        """What it is about."""
        return Part(self.where, self.day, self.purpose, self.ring)

    @property
    def method(self) -> str:
        """How, in words."""
        if self.key:
            return "key destroyed in place, then rows deleted"
        return "rows deleted; the keyring was given up as lost" if self.ring else "rows deleted; nothing was sealed"

    def record(self, sealer: Sealer) -> Record:
        """Return it as a record of the built-in purpose `receipts`."""
        data: dict[str, Scalar] = {
            "certificate.purpose": self.purpose,
            "certificate.day": day_text(self.day),
            "certificate.where": self.where,
            "certificate.records": self.records,
            "certificate.archived": self.archived,
            "certificate.unreadable": self.unreadable,
            "certificate.ring": self.ring,
            "certificate.key": self.key,
            "certificate.method": self.method,
            "certificate.revision": self.revision,
            "certificate.retention": self.retention,
            "certificate.ended": _iso(self.ended),
            "certificate.destroyed": _iso(self.destroyed),
        }
        if self.holders:
            data["certificate.holders"] = self.holders
        return sealer.record(new_id(int(self.destroyed.timestamp() * 1e9)), CERTIFICATE, RECEIPTS, data=data)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many records a day and purpose had when it was counted, by the keyring that sealed them ("" for none).

    It lacks records that are written later, so it proves nothing: deleted rows are counted as they go.
    """

    day: int
    purpose: str
    where: str
    rings: dict[str, int]

    def record(self, sealer: Sealer) -> Record:
        """Return it as a record; that of one day, purpose and place has always the same id."""
        data: dict[str, Scalar] = {
            "tally.day": self.day,
            "tally.purpose": self.purpose,
            "tally.where": self.where,
            "tally.rings": msgspec.json.encode(self.rings).decode(),
        }
        return sealer.record(self.id, TALLY, RECEIPTS, data=data)

    @property
    def id(self) -> UUID:
        """The id of its record."""
        return fixed_id(self.day, TALLY, self.purpose, self.where)

    @classmethod
    def read(cls, record: Record) -> Tally:
        """Return the tally that a record holds."""
        data = record.data
        rings = msgspec.json.decode(str(data["tally.rings"]), type=dict[str, int])
        return cls(day=int(str(data["tally.day"])), purpose=str(data["tally.purpose"]), where=str(data["tally.where"]),
                   rings=rings)  # fmt: skip


class Tallies:
    """
    The tallies of a store. There are as many as days that have not ended, so all are read at first and then once a day;
    in between the latest alone.

    That is right beside other processes and hosts: one of the latest days is read each time, one of an older day, which
    came late, is asked for by its id (`look`), and one that is gone by `still`. Where the newest is gone, the store may
    not be what it was, as after a restored backup: all are read again.

    They are found by place and purpose, and then by day: of thousands a look at what may have ended meets a few.
    """

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._read_on: int | None = None
        self._known: dict[tuple[str, str], dict[int, Tally]] = {}

    def of(self, where: str, purpose: str) -> Mapping[int, Tally]:
        """Return those of a place and purpose that are known, by day, in order."""
        return self._known.get((where, purpose), {})

    def at(self, where: str) -> Iterator[Tally]:
        """Yield those of a place that are known."""
        return (tally for (place, _), days in self._known.items() if place == where for tally in days.values())

    async def refresh(self, today: int) -> None:
        """Read what is new; `today` is the day since 1970-01-01 (UTC). Raises StoreError."""
        newest = max((max(days) for days in self._known.values() if days), default=None)
        if newest is not None and self._read_on == today:
            latest = await self._read(start_of(newest - _LATEST_DAYS))
            if any(tally.day == newest for tally in latest):
                self._take(latest)
                return
        await self.read_all()
        self._read_on = today

    async def read_all(self) -> None:
        """Read all of them. Raises StoreError."""
        tallies = await self._read(None)
        self._known = {}
        self._take(tallies)

    async def look(self, where: str, day: int, purpose: str) -> bool:
        """Whether there is a tally of that place, day and purpose, also one that came late. Raises StoreError."""
        return day in self.of(where, purpose) or await self.still(where, day, purpose)

    async def still(self, where: str, day: int, purpose: str) -> bool:
        """Whether it is in the store at this moment. Raises StoreError."""
        number = Tally(day=day, purpose=purpose, where=where, rings={}).id
        tallies = self._tallies(await self._store.fetch(_ours(TALLY, number)))
        self.drop(where, day, purpose)
        self._take(tallies)
        return bool(tallies)

    def keep(self, tally: Tally) -> None:
        """Know a tally that was just written."""
        self._take([tally])

    def drop(self, where: str, day: int, purpose: str) -> None:
        """Know a tally no more."""
        self._known.get((where, purpose), {}).pop(day, None)

    async def _read(self, since: datetime | None) -> list[Tally]:
        tallies: list[Tally] = []
        async for page in pages(self._store, replace(_ours(TALLY), since=since)):
            tallies += self._tallies(page)
        return tallies

    def _tallies(self, records: Sequence[Record]) -> list[Tally]:
        return list(map(Tally.read, self._sealer.whole(records)))

    def _take(self, tallies: Iterable[Tally]) -> None:
        for tally in tallies:
            days = self._known.setdefault((tally.where, tally.purpose), {})
            is_late = bool(days) and tally.day < next(reversed(days)) and tally.day not in days
            days[tally.day] = tally
            if is_late:
                self._known[tally.where, tally.purpose] = dict(sorted(days.items()))


class Certificates:
    """
    The certificates and tallies of a store, read once and then as far as there are new ones.

    One process of a machine writes at a time; what another wrote meanwhile is found by `refresh`.

    Attributes:
        changes: How often what is certified has changed.
    """

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self.changes: int = 0
        self._latest: UUID | None = None
        self._certified: dict[tuple[str, str], dict[str, set[int]]] = {}  # by place and purpose, and by keyring
        self._tallies = Tallies(store, sealer)
        self._read_on: int | None = None

    def tallies(self, where: str, purpose: str) -> Mapping[int, Tally]:
        """Return the tallies of a place and purpose, by day."""
        return self._tallies.of(where, purpose)

    async def refresh(self, today: int) -> None:
        """
        Read what is new; once a day, and where the latest certificate is gone, as after a restored backup, all of them.
        Raises StoreError.

        Args:
            today: The day, since 1970-01-01 (UTC).
        """
        if self._read_on != today or not await self._read_new():
            self._latest, self._certified = None, {}
            self.changes += 1
            await self._read_new()
        self._read_on = today
        await self._tallies.refresh(today)
        for (where, purpose), by_ring in self._certified.items():
            tallies = self.tallies(where, purpose)
            for days in by_ring.values():
                for day in tallies.keys() & days:
                    if self._is_said(tallies[day]):
                        await self._forget(tallies[day])

    async def _read_new(self) -> bool:
        """Read what may be newer than the latest, and return whether that is still there, if there was one."""
        latest, is_there = self._latest, self._latest is None
        since = time_of(latest) - _BEHIND if latest else None
        async for page in pages(self._store, replace(_ours(CERTIFICATE), since=since)):
            is_there = is_there or any(record.id == latest for record in page)
            self._latest = page[-1].id
            for part in [part_of(record.data) for record in self._sealer.whole(page)]:
                if part.day not in self.certified(part.where, part.purpose, part.ring):
                    self._tallies.drop(part.where, part.day, part.purpose)  # which went with its certificate
                    self._take(part)
        return is_there

    def _take(self, part: Part) -> None:
        self.changes += 1
        by_ring = self._certified.setdefault((part.where, part.purpose), {})
        by_ring.setdefault(part.ring, set()).add(part.day)

    def _is_said(self, tally: Tally) -> bool:
        """Whether its certificates were written: a run died before it forgot the tally."""
        rings = [ring for ring in tally.rings if ring]
        said = [self.has(tally.where, tally.day, tally.purpose, ring) for ring in rings]
        unsealed = (self._sealer.keyring.name, "")
        return all(said) and any([*said, *(self.has(tally.where, tally.day, tally.purpose, ring) for ring in unsealed)])

    async def _forget(self, tally: Tally) -> None:
        self._tallies.drop(tally.where, tally.day, tally.purpose)
        await self._store.delete(_ours(TALLY, tally.id))

    def has(self, where: str, day: int, purpose: str, ring: str) -> bool:
        """Whether there is a certificate for that day, purpose and keyring."""
        return day in self.certified(where, purpose, ring)

    def certified(self, where: str, purpose: str, ring: str) -> Set[int]:
        """Return the days of which there are certificates for that purpose and keyring."""
        return self._certified.get((where, purpose), {}).get(ring, frozenset())

    async def is_counted(self, where: str, day: int, purpose: str) -> bool:
        """Whether there is a tally of that day and purpose, also one that another process wrote. Raises StoreError."""
        return await self._tallies.look(where, day, purpose)

    async def is_uncertified(self, where: str, day: int, purpose: str) -> bool:
        """Whether one exists now: it is deleted with its certificate, by any process. Raises StoreError."""
        return await self._tallies.still(where, day, purpose)

    async def keep_tally(self, tally: Tally, *others: Record) -> None:
        """Keep a tally, durably and together with `others` or not at all. Raises StoreError."""
        await self._store.append([tally.record(self._sealer), *others], durable=True)
        self._tallies.keep(tally)

    async def replaceable(self, tally: Tally, aggregates: Sequence[Record]) -> list[Record]:
        """
        Return those of `aggregates` that may replace an earlier count of that day, and make room for them and for
        `tally`. A count stays as it was if a cell would grow by fewer visitors than may be published: the two versions
        together would reveal them. Until `keep_tally` that day counts as not counted. Raises StoreError.
        """
        ids = frozenset(record.id for record in aggregates)
        query = Query(kinds=frozenset((AGGREGATE,)), purposes=frozenset((AGGREGATES,)), ids=ids)
        whole = self._sealer.whole(await every(self._store, query))
        before = {record.id: cells_of(record) for record in whole}
        replaceable = [
            aggregate for aggregate in aggregates if _may_follow(before.get(aggregate.id, {}), cells_of(aggregate))
        ]
        gone = {tally.record(self._sealer).id, *(record.id for record in replaceable)}
        kinds, purposes = frozenset((AGGREGATE, TALLY)), frozenset((AGGREGATES, RECEIPTS))
        await self._store.delete(Query(kinds=kinds, purposes=purposes, ids=frozenset(gone)))
        return replaceable

    async def keep(self, certificate: Certificate, *others: Record) -> None:
        """
        Keep a certificate, durably and together with `others` or not at all; its tally is no longer needed. Raises
        StoreError.
        """
        record = certificate.record(self._sealer)
        await self._store.append([record, *others], durable=True)
        part = certificate.part
        self._take(part)
        if tally := self.tallies(part.where, part.purpose).get(part.day):
            await self._forget(tally)


def _may_follow(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    grown = (abs(now.get(label, 0) - before.get(label, 0)) for label in {*before, *now})
    return all(count == 0 or count >= FEWEST for count in grown)


def _ours(kind: str, *ids: UUID) -> Query:
    return Query(kinds=frozenset((kind,)), purposes=frozenset((RECEIPTS,)), ids=frozenset(ids) if ids else None)


def part_of(data: Mapping[str, Scalar]) -> Part:
    """Return what a certificate is about."""
    where, day, purpose, ring = (str(data[f"certificate.{name}"]) for name in ("where", "day", "purpose", "ring"))
    return Part(where, day_of_date(date.fromisoformat(day)), purpose, ring)


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
