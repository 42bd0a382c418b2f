"""How many records a deletion took: told beside them before each step, so that no crash makes it more or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import DELETION, ENDING
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Query, Record, Scalar, new_id
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.days import start_of

_ID_CHARACTERS: Final = 32


class Part(NamedTuple):
    """What is deleted and certified together: records of one place, day and purpose that one keyring sealed."""

    where: str
    day: int
    purpose: str
    ring: str


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was deleted of a part and is not yet in a certificate, and what is about to be.

    Attributes:
        number: Of several about one part the highest counts.
        records: How many are gone for certain.
        archived: How many of them went into the archive instead.
        unreadable: How many of them were damaged, and could be neither opened nor archived.
        step: Ids of those that are about to go.
        step_archived, step_unreadable: How many of these were archived, and could not be.
    """

    part: Part
    number: int = 0
    records: int = 0
    archived: int = 0
    unreadable: int = 0
    step: tuple[UUID, ...] = ()
    step_archived: int = 0
    step_unreadable: int = 0

    def settled(self, gone: int) -> Deletion:
        """Return it with its step done, of which `gone` records were really there."""
        gone = min(gone, len(self.step))  # of a joined store each may have had the same one
        unreadable = min(self.step_unreadable, gone)
        return msgspec.structs.replace(
            self,
            number=self.number + 1,
            records=self.records + gone,
            archived=self.archived + min(self.step_archived, gone - unreadable),
            unreadable=self.unreadable + unreadable,
            step=(),
            step_archived=0,
            step_unreadable=0,
        )

    def record(self, now: datetime, sealer: Sealer) -> Record:
        """Return it as a record of the built-in purpose `receipts`, made at `now`."""
        where, day, purpose, ring = self.part
        data: dict[str, Scalar] = {
            "deletion.where": where,
            "deletion.day": day,
            "deletion.purpose": purpose,
            "deletion.ring": ring,
            "deletion.number": self.number,
            "deletion.records": self.records,
            "deletion.archived": self.archived,
            "deletion.unreadable": self.unreadable,
            "deletion.step": "".join(record_id.hex for record_id in self.step),
            "deletion.step_archived": self.step_archived,
            "deletion.step_unreadable": self.step_unreadable,
        }
        return sealer.record(new_id(int(now.timestamp() * 1e9)), DELETION, RECEIPTS, data=data)

    @classmethod
    def read(cls, record: Record) -> Deletion:
        """Return the deletion that a record holds."""
        data = {name.removeprefix("deletion."): value for name, value in record.data.items()}
        counts = ("number", "records", "archived", "unreadable", "step_archived", "step_unreadable")
        ids = str(data["step"])
        return cls(
            part=Part(str(data["where"]), _int(data["day"]), str(data["purpose"]), str(data["ring"])),
            step=tuple(UUID(ids[at : at + _ID_CHARACTERS]) for at in range(0, len(ids), _ID_CHARACTERS)),
            **{name: _int(data[name]) for name in counts},
        )


class Deletions:
    """
    What a store says of the deletions in it, kept by one process at a time.

    Before a step its ids are kept, with the count so far; then they are deleted. The next run finds the step, also
    after a crash, checks which of its records still exist (a store deletes all of them or none), and keeps the count
    without them.
    """

    def __init__(self, store: Store, sealer: Sealer) -> None:
        """`store` is where the counts are kept; records may be elsewhere, as those of the archive are."""
        self._store = store
        self._sealer = sealer
        self._known: dict[Part, Deletion] = {}
        self._kept: dict[Part, frozenset[UUID]] = {}  # the records that say so

    async def refresh(self, places: dict[str, Store], now: datetime) -> None:
        """
        Read what was kept, and settle its last steps, once; what a certificate has said, or of which nothing went, is
        forgotten. Raises StoreError.

        Args:
            places: The store of each place whose records are deleted here.
        """
        self._known, self._kept = {}, {}
        for record in self._sealer.whole(await every(self._store, _ours())):
            deletion = Deletion.read(record)
            known = self._known.get(deletion.part)
            self._known[deletion.part] = deletion if known is None or deletion.number > known.number else known
            self._kept[deletion.part] = self._kept.get(deletion.part, frozenset()) | {record.id}
        settled: dict[Part, Deletion] = {}
        for where, place in places.items():
            steps = {part: deletion for part, deletion in self._known.items() if deletion.step and part.where == where}
            ids = frozenset(record_id for deletion in steps.values() for record_id in deletion.step)
            purposes = frozenset(part.purpose for part in steps)
            rows = await every(place, Query(kinds=ENDING, purposes=purposes, ids=ids)) if ids else []
            left = {(record.purpose, record.id) for record in rows}
            for part, deletion in steps.items():
                gone = sum((part.purpose, record_id) not in left for record_id in deletion.step)
                settled[part] = self._known[part] = deletion.settled(gone)
        await self.close([part for part, known in self._known.items() if not (known.records or known.step)])
        await self._keep([deletion for part, deletion in settled.items() if part in self._known], now)

    def of(self, part: Part) -> Deletion:
        """Return what was deleted of a part, and is not certified yet."""
        return self._known.get(part) or Deletion(part=part)

    @property
    def owed(self) -> list[Part]:
        """The parts of which something was deleted that no certificate says."""
        return [part for part, known in self._known.items() if known.records or known.step]

    def has(self, where: str, day: int, purpose: str) -> bool:
        """Whether anything of that day is known to have been deleted since the last certificate."""
        return any(part[:3] == (where, day, purpose) for part in self._known)

    async def delete(
        self, place: Store, part: Part, gone: Sequence[Record], now: datetime, *, archived: int = 0, unreadable: int = 0
    ) -> int:
        """
        Delete `gone`, which are records of `part`, from `place`, and return how many of them were still there. On
        return they stay deleted, and are counted. Raises StoreError.

        Args:
            archived, unreadable: How many of them went into the archive before, and how many could not.
        """
        before = self.of(part)
        step = tuple(record.id for record in gone)
        after = msgspec.structs.replace(
            before, number=before.number + 1, step=step, step_archived=archived, step_unreadable=unreadable
        )
        await self._keep([after], now)
        # By the end of its day a store knows that the day is over, and may give back the day's place.
        over = start_of(part.day + 1)
        query = Query(
            kinds=ENDING,
            purposes=frozenset((part.purpose,)),
            ids=frozenset(step),
            until=over if over <= now else None,
        )
        count = await place.delete(query)
        self._known[part] = after.settled(count)
        return self._known[part].records - before.records

    async def _keep(self, deletions: Sequence[Deletion], now: datetime) -> None:
        if not deletions:
            return
        records = [deletion.record(now, self._sealer) for deletion in deletions]
        await self._store.append(records, durable=True)
        older = frozenset[UUID]()
        for deletion, record in zip(deletions, records, strict=True):
            older |= self._kept.get(deletion.part, frozenset())
            self._known[deletion.part], self._kept[deletion.part] = deletion, frozenset((record.id,))
        if older:
            await self._store.delete(_ours(older))

    def closing(self, parts: Sequence[Part], now: datetime) -> list[Record]:
        """Return records that say that nothing of `parts` is owed: for one append with the certificate that says it."""
        records: list[Record] = []
        for part in parts:
            if part in self._known:
                nothing = Deletion(part=part, number=self._known[part].number + 1)
                record = nothing.record(now, self._sealer)
                self._known[part] = nothing
                self._kept[part] = self._kept.get(part, frozenset()) | {record.id}
                records.append(record)
        return records

    async def close(self, parts: Sequence[Part]) -> None:
        """Forget `parts`, which a certificate has said. Raises StoreError."""
        ids = frozenset[UUID]().union(*(self._kept.pop(part, frozenset()) for part in parts))
        for part in parts:
            self._known.pop(part, None)
        if ids:
            await self._store.delete(_ours(ids))


def _ours(ids: frozenset[UUID] | None = None) -> Query:
    return Query(kinds=frozenset((DELETION,)), purposes=frozenset((RECEIPTS,)), ids=ids)


def _int(value: Scalar) -> int:
    return int(value or 0)
