"""What is held about a person, read back for that person alone, as the access report shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.consent.receipts import Receipt, receipt_of
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError, StoreError
from consent_mw.kinds import HELD, RECEIPT
from consent_mw.policy.model import LINKS, RECEIPTS, REQUESTS, Policy
from consent_mw.records import Record, time_of
from consent_mw.retention.archive import Archive
from consent_mw.retention.calendar import Retention
from consent_mw.retention.tier import ARCHIVE, LIVE, Stage
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.disclosures import Disclosure, Disclosures
from consent_mw.rights.people import People
from consent_mw.rights.personal_data import PersonalData, PersonalItems
from consent_mw.rights.reach import Reach
from consent_mw.rights.request import Case
from consent_mw.rights.restriction import is_restricted
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.stores.subjects import Subjects, carried_by, questions, tokens_at_once
from consent_mw.system.days import day_of, start_of

_RECEIPT: Final = frozenset((RECEIPT,))
#: An older record may end later than a newer one by at most this: months differ in length, and clocks change.
_NEAR: Final = timedelta(days=7)
_decode = msgspec.msgpack.Decoder(dict[str, object]).decode


class Held(NamedTuple):
    """
    What is held for one purpose.

    Attributes:
        where: "live", or "archive".
        items: Names of all fields that hold something.
        first, last: When the oldest and the newest record were made (aware, UTC).
        until: When the last of them is destroyed (aware, UTC); None if no revision declares it.
        rows: Each record, oldest first: "time" (aware), "kind", "id" and its fields.
    """

    purpose: str
    where: str
    records: int
    items: tuple[str, ...]
    first: datetime
    last: datetime
    until: datetime | None
    rows: tuple[Mapping[str, object], ...]


class Holdings(NamedTuple):
    """
    Everything that is held about one person and can be opened here.

    Attributes:
        receipts: Newest first.
        cases: Their own requests, oldest first.
        disclosures: The disclosures that included records of theirs.
        application: What the application itself holds; None without a hook, or if nobody signed in.
        beyond: Keyrings that sealed records but are not available here. What their records say about this person is
            missing from the report.
        is_restricted: Whether nobody may use any of it now.
        changed: How many records carry a mark of this person but are not as the site wrote them. They are left out.
    """

    person: Person
    held: tuple[Held, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    cases: tuple[Case, ...] = ()
    disclosures: tuple[Disclosure, ...] = ()
    application: PersonalItems | None = None
    beyond: frozenset[str] = frozenset()
    changed: int = 0
    is_restricted: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the report lacks nothing that the followed receipts lead to."""
        return not self.beyond and not self.changed


class Registry:
    """
    Looks up persons. It does not find what has not left the spool yet.

    Args:
        policies: Every declaration that was in force.
        archive: None if no revision ever kept anything in an archive.
    """

    def __init__(
        self,
        policies: Iterable[Policy],
        store: Store,
        sealer: Sealer,
        *,
        archive: Archive | None = None,
        personal_data: PersonalData | None = None,
    ) -> None:
        retention = Retention(policies)
        self._live = Stage(LIVE, store, sealer, retention)
        self._archived = Stage(ARCHIVE, archive.store, archive.sealer, retention.of_archive()) if archive else None
        self._archive = archive
        self.reach: Reach = Reach([self._live, self._archived] if self._archived else [self._live])
        self._desk = Desk(store, sealer, kept_by_store(store))
        self._people = People(store, sealer)
        self._disclosures = Disclosures(store, sealer)
        self._personal_data = personal_data

    async def of(self, person: Person, now: datetime) -> Holdings:
        """
        Return what is held about `person` at `now` (aware).

        Raises:
            StoreError: A store, the archive, a keyring or the application's own data cannot be reached.
        """
        if not person.is_known:
            return Holdings(person)
        subjects = await asyncio.to_thread(self._tokens, person)
        held, changed = await self._held(self._live, _but(subjects, RECEIPTS, REQUESTS), now)
        if self._archived and self._archive:
            more, also_changed = await self._held(self._archived, await self._archive.tokens(person), now)
            held, changed = held + more, changed + also_changed
        cases = await self._desk.filed(subjects)
        return Holdings(
            person=person,
            held=tuple(held),
            receipts=tuple(await self._receipts(subjects)),
            cases=tuple(case for case in cases if not case.renewed),
            disclosures=tuple(_concerning(await self._disclosed(person), person, held)),
            application=await self._application(person),
            beyond=await self.reach.beyond(now),
            changed=changed,
            is_restricted=await is_restricted(person, cases, self._desk, self._people, self._live.sealer),
        )

    def _tokens(self, person: Person) -> Subjects:
        """
        Return the tokens under which the store may hold something about a person, links excluded: they only point to
        it.
        """
        sealer = self._live.sealer
        return tokens(sealer, person, sealer.days().keys() - {LINKS})

    async def _held(self, stage: Stage, subjects: Subjects, now: datetime) -> tuple[list[Held], int]:
        """Return what is held in one place, and how many of its records are not as the site wrote them."""
        asked = questions(subjects, HELD, tokens_at_once(stage.store))
        records = [record for query in asked for record in await every(stage.store, query)]
        whole = await asyncio.to_thread(stage.sealer.whole, records)
        by_purpose: dict[str, list[Record]] = {}
        for record in whole:
            if carried_by(record, subjects):
                by_purpose.setdefault(record.purpose, []).append(record)
        held = await asyncio.to_thread(
            lambda: [_holding(stage, purpose, by_purpose[purpose], now) for purpose in sorted(by_purpose)]
        )
        return held, len(records) - len(whole)

    async def _receipts(self, by_day: Subjects) -> list[Receipt]:
        filed = {key: subjects for key, subjects in by_day.items() if key[1] == RECEIPTS}
        asked = questions(filed, _RECEIPT, tokens_at_once(self._live.store))
        records = [record for query in asked for record in await every(self._live.store, query)]
        return await asyncio.to_thread(
            lambda: [
                receipt for record in records[::-1] if carried_by(record, by_day) and (receipt := self._receipt(record))
            ]
        )

    def _receipt(self, record: Record) -> Receipt | None:
        try:
            return receipt_of(record, self._live.sealer)
        except (ConsentError, msgspec.MsgspecError):
            return None  # its key is gone since, or it was changed: it proves nothing any more

    async def _disclosed(self, person: Person) -> list[Disclosure]:
        """Return what was disclosed since the person's first record: nothing before could include them."""
        return await self._disclosures.all(None if person.first_day is None else start_of(person.first_day))

    async def _application(self, person: Person) -> PersonalItems | None:
        if self._personal_data is None or person.sign_in is None:
            return None
        try:
            return await self._personal_data.read(person.sign_in)
        except Exception as error:
            raise StoreError(f"the application's personal_data.read() failed ({error!r})") from error


def _but(by_day: Subjects, *purposes: str) -> Subjects:
    return {key: subjects for key, subjects in by_day.items() if key[1] not in purposes}


def _holding(stage: Stage, purpose: str, records: Sequence[Record], now: datetime) -> Held:
    rows = tuple(_row(record, stage.sealer) for record in records)
    items = dict.fromkeys(name for row in rows for name in row if name not in ("time", "kind", "id"))
    first, last = time_of(records[0].id), time_of(records[-1].id)
    # A rule that binds a newer record binds an older one too. But the later record may end some days earlier: 29, 30
    # and 31 January plus a month all end on 28 February.
    latest = (record for record in records if last - time_of(record.id) <= _NEAR)
    parts = {(day_of(time_of(record.id)), stage.sealer.span_of(record)) for record in latest}
    ends = (stage.retention.end(day, purpose, now, span) for day, span in parts)
    until = max((end for end in ends if end is not None), default=None)
    return Held(purpose, stage.where, len(rows), tuple(items), first, last, until, rows)


def _row(record: Record, sealer: Sealer) -> dict[str, object]:
    row: dict[str, object] = {"time": time_of(record.id), "kind": record.kind, "id": str(record.id)}
    row |= {name: value for name, value in record.data.items() if value is not None}
    if record.ring:
        try:
            row |= _decode(sealer.open(record))
        except (ConsentError, msgspec.MsgspecError):
            row["unreadable"] = True  # sealed elsewhere, or damaged: the report says so
    return row


def _concerning(disclosures: Iterable[Disclosure], person: Person, held: Sequence[Held]) -> list[Disclosure]:
    return [
        disclosure
        for disclosure in disclosures
        if any(disclosure.concerns(person.names, holding.purpose, holding.first, holding.last) for holding in held)
        or any(name in disclosure.receipts for name in person.names)
    ]
