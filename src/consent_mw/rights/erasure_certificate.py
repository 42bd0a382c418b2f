"""The proof that a person's records were erased: how many, when, and from when on none of them can be read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import ERASED
from consent_mw.policy.model import REQUESTS
from consent_mw.records import Query, Record, Scalar, new_id
from consent_mw.rights.request import RequestKind
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every

#: By how much a clock may have stepped back between a request and its certificate.
_CLOCK: Final = timedelta(days=7)


class ErasureCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one request erased.

    Attributes:
        request: The number of the request.
        received, done: When the request arrived, and when nothing was left to find (aware, UTC).
        records: How many records were erased, from store and archive.
        purposes: The purposes of these records; empty for all.
        unreadable: When the last of their keys is destroyed, as their purpose promises (aware, UTC). Until then the
            disk may still hold ciphertext. None if nothing was erased.
        ring: The name of the keyring whose records were searched.
        hosts: Where the site has several hosts: those whose spools had reached the store by then, and those that were
            retired.
    """

    request: UUID
    kind: RequestKind
    received: datetime
    done: datetime
    records: int
    purposes: tuple[str, ...] = ()
    unreadable: datetime | None = None
    ring: str = ""
    hosts: str = ""

    def record(self, sealer: Sealer) -> Record:
        """Return it as a record of the built-in purpose `requests`."""
        data: dict[str, Scalar] = {
            "erased.request": str(self.request),
            "erased.kind": self.kind,
            "erased.received": self.received.isoformat(),
            "erased.done": self.done.isoformat(),
            "erased.records": self.records,
            "erased.purposes": " ".join(self.purposes),
            "erased.unreadable": self.unreadable.isoformat() if self.unreadable else None,
            "erased.ring": self.ring,
            "erased.hosts": self.hosts,
        }
        return sealer.record(new_id(int(self.done.timestamp() * 1e9)), ERASED, REQUESTS, data=data)

    @classmethod
    def read(cls, record: Record) -> ErasureCertificate:
        """Return the certificate that a record holds."""
        data = record.data
        unreadable = data["erased.unreadable"]
        return cls(
            request=UUID(str(data["erased.request"])),
            kind=cast("RequestKind", data["erased.kind"]),
            received=datetime.fromisoformat(str(data["erased.received"])),
            done=datetime.fromisoformat(str(data["erased.done"])),
            records=int(data["erased.records"] or 0),
            purposes=tuple(str(data["erased.purposes"]).split()),
            unreadable=None if unreadable is None else datetime.fromisoformat(str(unreadable)),
            ring=str(data["erased.ring"]),
            hosts=str(data["erased.hosts"]),
        )


async def certificates(store: Store, sealer: Sealer, since: datetime | None = None) -> dict[UUID, ErasureCertificate]:
    """
    Return every intact certificate of an erasure, by the number of its request. Raises StoreError.

    Args:
        since: When the oldest of the requests was registered (aware). Certificates written before it are not read.
    """
    by_request: dict[UUID, ErasureCertificate] = {}
    begin = None if since is None else since - _CLOCK
    records = await every(store, Query(kinds=frozenset((ERASED,)), purposes=frozenset((REQUESTS,)), since=begin))
    for record in sealer.whole(records):
        certificate = ErasureCertificate.read(record)
        by_request.setdefault(certificate.request, certificate)
    return by_request
