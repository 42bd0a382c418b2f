"""Withdrawals and erasures reach every record of their sender, survive a crash at any step, and end with a certificate."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.sites_with_records import HELD, UTC_POLICY, SiteWithRecords

from consent_mw.policy import ABUSE
from consent_mw.records import Query, Record
from consent_mw.rights.certificate import ErasureCertificate, certificates
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.erasure import Erasure, ErasureOutcome
from consent_mw.rights.holdings import Holdings, Registry
from consent_mw.rights.person import Person
from consent_mw.rights.request import Answer, Request
from consent_mw.rights.restriction import restricted

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
        return self.record(moment, kind=kind, purpose=purpose, subject=subject, **{"url.path": f"/{name}"})

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

        found: ErasureOutcome = self.using(erase)
        return found

    def certificates(self) -> dict[UUID, ErasureCertificate]:
        found: dict[UUID, ErasureCertificate] = self.using(certificates)
        return found

    def holdings(self, person: Person, now: datetime = NOW) -> Holdings:
        found: Holdings = self.using(lambda store: Registry([self.policy], store, self.sealer).of(person, now))
        return found

    def held_of(self, name: str) -> list[Record]:
        subjects = {self.sealer.token(day, purpose, name.encode()) for day, purpose in self.sealer.keyring.live()}
        query = Query(kinds=frozenset(("visit", "event", "abuse")), subjects=frozenset(subjects))
        found: list[Record] = self.using(lambda store: store.fetch(query, limit=100_000))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, UTC_POLICY)


def erasure_of(*names: str, **more: Any) -> Request:
    return Request.new("erasure", "site", NOW_NS, person=Person(names), **more)


def test_an_erasure_leaves_nothing_of_its_sender_and_everything_of_others(site: Site) -> None:
    days = [NOW - n * DAY for n in range(1, 300, 7)]
    site.keeps(*(site.of(name, day, purpose) for day in days for name in (NAME, OTHER)
                 for purpose in ("analytics", "functional")))  # fmt: skip
    request = site.asks(erasure_of(NAME))
    outcome = site.erases()
    assert (outcome.troubles, outcome.waiting, [each.request for each in outcome.done]) == ([], [], [request.id])
    assert site.held_of(NAME) == []
    assert len(site.held_of(OTHER)) == 2 * len(days)
    certificate = site.certificates()[request.id]
    assert (certificate.records, certificate.kind, certificate.received) == (2 * len(days), "erasure", NOW)


def test_an_erasure_of_more_than_a_page_of_rows_leaves_none(site: Site) -> None:
    site.keeps(*(site.of(NAME, NOW - n * timedelta(seconds=20)) for n in range(2_500)))
    site.asks(erasure_of(NAME))
    assert site.erases().done[0].records == 2_500
    assert site.held_of(NAME) == []
