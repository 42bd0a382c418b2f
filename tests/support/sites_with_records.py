"""A site with records of chosen days, and what became of them: shared by the tests of their end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.support.policies import POLICY

from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.records import Query, Record, Scalar, new_id
from consent_mw.retention.destruction import Destruction, Outcome
from consent_mw.retention.overdue import Due, due
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore

#: 23 November 2024, early in the morning of a day that ended long ago.
THEN = datetime(2024, 11, 23, tzinfo=UTC)
#: `necessary` has ended for it by then, to the hour.
END = datetime(2025, 2, 21, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
UTC_POLICY = POLICY.replace('"Asia/Seoul"', '"UTC"').replace("2026-11-23", "2020-01-01")
HELD = '[purposes.abuse.archive]\nretention = "5 years"\nlaw = "a law"\n'
EVERYTHING = ("visit", "event", "abuse", "receipt", "gap", "pending", "certificate", "aggregate", "tally")


class SiteWithRecords:
    """A data directory below `root`, with a policy beside it."""

    def __init__(self, root: Path, policy: str = UTC_POLICY, keyring: Keyring | None = None) -> None:
        self.file = root / "policy.toml"
        self.file.write_text(policy)
        self.policy: Policy = loads(policy)
        self.places = Places.beside(self.file)
        self.places.prepare()
        self.sealer = Sealer.of_site(self.places, keyring, self.policy)

    def store(self) -> SQLiteStore:
        return SQLiteStore(self.places.database)

    def record(self, moment: datetime, *, kind: str = "visit", purpose: str = "necessary", subject: bytes | None = None,
               data: Mapping[str, Scalar] | None = None, sealer: Sealer | None = None,
               **sealed: object) -> Record:  # fmt: skip
        sealer = sealer or self.sealer
        record_id = new_id(int(moment.timestamp() * 1000) * 1_000_000)
        plain = msgspec.msgpack.encode(sealed) if sealed else None
        return sealer.record(record_id, kind, purpose, subject=subject, data=data, plain=plain)

    def keeps(self, *records: Record) -> None:
        async def keep(store: SQLiteStore) -> None:
            await store.append(records, durable=True)

        self.using(keep)

    def using(self, work: Any, store: Store | None = None) -> Any:
        async def run() -> Any:
            opened = store or self.store()
            await opened.open()
            try:
                return await work(opened)
            finally:
                await opened.close()

        return asyncio.run(run())

    def destroys(self, now: datetime, **options: Any) -> Outcome:
        """Run one destruction, as a process of its own would."""
        outcome: Outcome = self.using(lambda store: self._destroyed(store, now, **options))
        return outcome

    async def _destroyed(self, store: SQLiteStore, now: datetime, **options: Any) -> Outcome:
        destruction = Destruction.of_site(
            self.policy, self.places, store, self.sealer, SiteRestrictions(store, self.sealer), **options
        )
        try:
            return await destruction.once(now)
        finally:
            await destruction.close()

    def left(self, now: datetime, **options: Any) -> list[Due]:
        async def read(store: SQLiteStore) -> list[Due]:
            destruction = Destruction.of_site(
                self.policy, self.places, store, self.sealer, SiteRestrictions(store, self.sealer), **options
            )
            try:
                return await due(destruction.stages, now)
            finally:
                await destruction.close()

        dues: list[Due] = self.using(read)
        return dues

    def records(self, *kinds: str, archive: bool = False) -> list[Record]:
        """Return what the store holds of these kinds, or of all."""
        store = SQLiteStore(self.places.archive) if archive else None
        records: list[Record] = self.using(
            lambda opened: opened.fetch(Query(kinds=frozenset(kinds or EVERYTHING)), limit=100_000), store
        )
        return records
