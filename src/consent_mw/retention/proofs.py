"""What certificates and counts say to anybody who asks: dates, purposes and numbers, none of them a small one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import StoreError
from consent_mw.kinds import CERTIFICATE
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Query, Scalar
from consent_mw.retention.reports import report_of
from consent_mw.retention.small_cells import FEWEST
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of

_log = logging.getLogger("consent_mw")

#: How many certificates are read, and how many of them each purpose shows at most, the newest first.
_READ: Final = 1000
MOST: Final = 31
#: The days, ended yesterday (UTC), of which the held-back cookies are counted.
COUNTED_DAYS: Final = 28
#: A reader may be this much behind the store, so that many readers cost it no more than one.
_FRESH_FOR: Final = timedelta(minutes=5)

#: What became of the records: under a key that was destroyed, only deleted, or under a key that was given up as lost.
Method: TypeAlias = Literal["key", "deleted", "lost"]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """
    One certificate, without what only the operator needs: names of keyrings, of hosts, and where a key was.

    Attributes:
        where: "live" or "archive".
        day: The day (UTC) on which the records were made.
        records: How many there were; None for fewer than five, but some or none.
        archived: Whether some of them went into the archive.
        unreadable: Whether some of them were damaged.
        revision, retention: The promise that ended them.
        ended, destroyed: When they ended, and when they were found gone (aware).
    """

    purpose: str
    where: str
    day: date
    records: int | None
    archived: bool
    unreadable: bool
    method: Method
    revision: int
    retention: str
    ended: datetime
    destroyed: datetime


class Evidence(NamedTuple):
    """
    Attributes:
        read: When it was read from the store (aware).
        proofs: By purpose and place, the newest first, at most `MOST` of each.
        blocked: How often declared cookies were held back in the last `COUNTED_DAYS` days, by name. Names behind which
            fewer than five visitors stand are together in "(other)".
    """

    read: datetime
    proofs: Mapping[tuple[str, str], list[Proof]]
    blocked: Mapping[str, int]


class Proofs:
    """
    Reads the evidence from the store, which all hosts of a site share, at most once in five minutes, however many ask:
    anybody may.

    Args:
        clock: Returns nanoseconds since 1970.
    """

    def __init__(self, store: Store, sealer: Sealer, clock: Callable[[], int]) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._known: Evidence | None = None
        self._reading: asyncio.Task[Evidence | StoreError] | None = None
        self._is_away = False

    async def evidence(self) -> Evidence:
        """Return what the store says; StoreError if it cannot be reached."""
        now = datetime.fromtimestamp(self._clock() / 1e9, UTC)
        if self._known is not None and timedelta() <= now - self._known.read < _FRESH_FOR:
            return self._known
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(now))
        read = await asyncio.shield(self._reading)  # one who leaves does not end it for the others
        if isinstance(read, StoreError):
            raise read
        return read

    async def _read(self, now: datetime) -> Evidence | StoreError:
        try:
            self._known = Evidence(now, await self._proofs(), await self._blocked(now))
        except StoreError as error:
            if not self._is_away:
                _log.warning("the page of proofs cannot read the store: %s", error)
            self._is_away = True
            return error
        self._is_away = False
        return self._known

    async def _proofs(self) -> dict[tuple[str, str], list[Proof]]:
        query = Query(kinds=frozenset((CERTIFICATE,)), purposes=frozenset((RECEIPTS,)))
        records = await self._store.fetch(query, limit=_READ, newest_first=True)
        proofs: dict[tuple[str, str], list[Proof]] = {}
        # One that is not as the site wrote it proves nothing.
        for record in await asyncio.to_thread(self._sealer.whole, records):
            proof = _proof(record.data)
            of = proofs.setdefault((proof.purpose, proof.where), [])
            if len(of) < MOST:
                of.append(proof)
        return proofs

    async def _blocked(self, now: datetime) -> Mapping[str, int]:
        today = day_of(now)
        report = await report_of(self._store, self._sealer, today - COUNTED_DAYS, today - 1)
        return report.counts["blocked"].cells if "blocked" in report.counts else {}


def _proof(data: Mapping[str, Scalar]) -> Proof:
    fields = {name.removeprefix("certificate."): value for name, value in data.items()}
    records = int(str(fields["records"]))
    return Proof(
        purpose=str(fields["purpose"]),
        where=str(fields["where"]),
        day=date.fromisoformat(str(fields["day"])),
        records=records if records >= FEWEST else None,
        archived=fields["archived"] != 0,
        unreadable=fields["unreadable"] != 0,
        method="key" if fields["key"] else "lost" if fields["ring"] else "deleted",
        revision=int(str(fields["revision"])),
        retention=str(fields["retention"]),
        ended=datetime.fromisoformat(str(fields["ended"])),
        destroyed=datetime.fromisoformat(str(fields["destroyed"])),
    )
