"""A site with records of two visitors, one of whom is erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.support.sites_with_records import SiteWithRecords

from consent_mw.consent.data_subject import Person
from consent_mw.records import Query, Record
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.erasure import Erasure, ErasureOutcome
from consent_mw.rights.erasure_certificate import ErasureCertificate, certificates
from consent_mw.rights.holdings import Holdings, Registry
from consent_mw.rights.request import Answer, Request

NAME, OTHER = "A" * 22, "B" * 22


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


NOW_NS = int(NOW.timestamp()) * 10**9


DAY = timedelta(days=1)


class Site(SiteWithRecords):
    """With persons in it."""

    def of(self, name: str, moment: datetime, purpose: str = "analytics", kind: str = "visit") -> Record:
        """Return a record of who holds the receipt `name`."""
        day = int(moment.timestamp()) // 86_400
        subject = self.sealer.token(day, purpose, name.encode())
        return self.record(moment, kind=kind, purpose=purpose, subject=subject, path=f"/{name}")

    def erasure(self, store: Any, **options: Any) -> Erasure:
        return Erasure.of_site([self.policy], self.places, store, self.sealer, **options)

    def asks(self, request: Request, *answers: Answer) -> Request:
        async def ask(store: Any) -> None:
            assert await Desk(store, self.sealer, kept_by_store(store)).register(request, answers=answers)

        self.using(ask)
        return request

    def erases(self, now: datetime = NOW, **options: Any) -> ErasureOutcome:
        async def erase(store: Any) -> ErasureOutcome:
            erasure = self.erasure(store, **options)
            try:
                return await erasure.once(now)
            finally:
                await erasure.close()

        outcome: ErasureOutcome = self.using(erase)
        return outcome

    def certificates(self) -> dict[UUID, ErasureCertificate]:
        by_id: dict[UUID, ErasureCertificate] = self.using(lambda store: certificates(store, self.sealer))
        return by_id

    def holdings(self, person: Person, now: datetime = NOW) -> Holdings:
        held: Holdings = self.using(lambda store: Registry([self.policy], store, self.sealer).of(person, now))
        return held

    def held_of(self, name: str) -> list[Record]:
        subjects = {self.sealer.token(day, purpose, name.encode()) for day, purpose in self.sealer.keyring.live()}
        query = Query(kinds=frozenset(("visit", "event", "abuse")), subjects=frozenset(subjects))
        records: list[Record] = self.using(lambda store: store.fetch(query, limit=100_000))
        return records


def erasure_of(*names: str, **more: Any) -> Request:
    return Request.new("erasure", "site", NOW_NS, person=Person(names), **more)
