"""The ledger of what was disclosed to others: to whom, on which basis, what and when. Append-only."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError
from consent_mw.kinds import DISCLOSURE
from consent_mw.policy.model import REQUESTS
from consent_mw.records import Query, Record, Scalar, new_id, time_of
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every

#: Founding policy, section 3: with prior consent, or on a demand under the law by the proper procedure.
Basis: TypeAlias = Literal["consent", "lawful_demand"]
BASES: Final[tuple[Basis, ...]] = get_args(Basis)


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """
    One entry.

    Attributes:
        to: The recipient.
        basis, reference: The legal basis, and the document that shows it: a warrant's number, a contract.
        purposes: The purposes whose records were disclosed.
        items: Which fields.
        since, until: The period that the records are from (aware, UTC); None for no bound.
        receipts: Names of the receipts if only their holders were meant; empty if it was everybody in that period.
        by: The person who disclosed it.
    """

    id: UUID
    to: str
    basis: Basis
    reference: str = ""
    purposes: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    receipts: tuple[str, ...] = ()
    by: str = ""

    @classmethod
    def new(cls, now_ns: int, *, to: str, basis: Basis, **more: object) -> Disclosure:
        """Return an entry about a disclosure that happens now (nanoseconds since 1970)."""
        return msgspec.convert({"id": new_id(now_ns), "to": to, "basis": basis, **more}, cls)

    @property
    def at(self) -> datetime:
        """When it was given (aware, UTC)."""
        return time_of(self.id)

    def concerns(self, names: Collection[str], purpose: str, first: datetime, last: datetime) -> bool:
        """
        Return whether it disclosed records, made from `first` to `last` (aware), of the holder of one of these
        receipts.
        """
        return (
            (not self.purposes or purpose in self.purposes)
            and first <= self.at  # records made afterwards were not among them
            and (self.since is None or last >= self.since)
            and (self.until is None or first < self.until)
            and (not self.receipts or any(name in self.receipts for name in names))
        )

    def record(self, sealer: Sealer) -> Record:
        """
        Return it as a record of the built-in purpose `requests`. Its receipts are sealed.

        Raises:
            KeyDestroyed, StoreError: There is no key to seal it with.
        """
        data: dict[str, Scalar] = {
            "disclosure.to": self.to,
            "disclosure.basis": self.basis,
            "disclosure.reference": self.reference,
            "disclosure.purposes": " ".join(self.purposes),
            "disclosure.items": " ".join(self.items),
            "disclosure.since": self.since.isoformat() if self.since else None,
            "disclosure.until": self.until.isoformat() if self.until else None,
            "disclosure.by": self.by,
        }
        plain = msgspec.msgpack.encode(self.receipts) if self.receipts else None
        return sealer.record(self.id, DISCLOSURE, REQUESTS, data=data, plain=plain)

    @classmethod
    def read(cls, record: Record, sealer: Sealer) -> Disclosure:
        """Return the entry that an intact record holds. If its receipts cannot be opened, they are replaced by ""."""
        data = record.data
        receipts: tuple[str, ...] = ()
        if record.ring:
            try:
                receipts = msgspec.msgpack.decode(sealer.open(record), type=tuple[str, ...])
            except (ConsentError, msgspec.MsgspecError):
                receipts = ("",)  # of one unknown person, not of everybody
        return cls(
            id=record.id,
            to=str(data["disclosure.to"]),
            basis=msgspec.convert(data["disclosure.basis"], Basis),
            reference=str(data["disclosure.reference"]),
            purposes=tuple(str(data["disclosure.purposes"]).split()),
            items=tuple(str(data["disclosure.items"]).split()),
            since=_instant(data["disclosure.since"]),
            until=_instant(data["disclosure.until"]),
            receipts=receipts,
            by=str(data["disclosure.by"]),
        )


class Disclosures:
    """The ledger in a store."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def append(self, disclosure: Disclosure) -> None:
        """Write an entry. On return it survives a power cut. Raises StoreError, KeyDestroyed."""
        await self._store.append([disclosure.record(self._sealer)], durable=True)

    async def all(self, since: datetime | None = None) -> list[Disclosure]:
        """Return every entry since then (aware) that is kept and intact, oldest first. Raises StoreError."""
        query = Query(kinds=frozenset((DISCLOSURE,)), purposes=frozenset((REQUESTS,)), since=since)
        records = self._sealer.whole(await every(self._store, query))
        return [Disclosure.read(record, self._sealer) for record in records]


def _instant(value: Scalar) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))
