"""Whatever happens to a site, in whatever order: its certificates add up to the rows that were destroyed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.support.sites_with_records import DAY, HOUR, UTC_POLICY, SiteWithRecords

from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.exceptions import KeyDestroyed
from consent_mw.kinds import ENDING
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_of, day_text

PURPOSES = ("necessary", "functional", "analytics", "abuse")
SHORT = (
    UTC_POLICY.replace('retention = "90 days"', 'retention = "3 days"')
    .replace('retention = "180 days"', 'retention = "2 days"')
    .replace('retention = "13 months"', 'retention = "5 days"')
    .replace(
        'basis = "legitimate_interest"\nretention = "1 year"', 'basis = "legitimate_interest"\nretention = "4 days"'
    )
    + '[purposes.abuse.archive]\nretention = "12 days"\nlaw = "a law"\n'
)
#: Where, on which day and under which purpose.
Place = tuple[str, str, str]


class Dies(BaseException):
    """A process ends here."""


class Counted:
    """A store that counts the rows that go, and may die at any of its verbs, before or after it did something."""

    def __init__(self, store: Store, where: str, gone: Counter[Place], came: set[UUID]) -> None:
        self._store, self._where, self._gone, self._came = store, where, gone, came
        self.dies_after = -1
        self.late: list[Record] = []  # what comes while something is deleted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self._step()
        await self._store.append(records, durable=durable)
        self._came |= {record.id for record in records if record.kind in ENDING - {"naming"}}
        self._step()

    async def fetch(self, *of: Any, **also: Any) -> Sequence[Record]:
        self._step()
        return await self._store.fetch(*of, **also)

    async def delete(self, query: Query) -> int:
        self._step()
        late, self.late = self.late, []
        await self._store.append(late)
        records = await self._store.fetch(query, limit=100_000)
        count = await self._store.delete(query)
        rows = [record for record in records if record.kind in ENDING - {"naming"}]
        self._gone.update((self._where, day_text(day_of(time_of(row.id))), row.purpose) for row in rows)
        self._step()
        return count

    def _step(self) -> None:
        self.dies_after -= 1
        if self.dies_after == 0:
            raise Dies


class Life:
    """A site, another host of it, and a third that is lost; what they do comes by chance."""

    def __init__(self, directory: Path, zone: str, seed: int) -> None:
        text = SHORT.replace('"UTC"', f'"{zone}"')
        self.one = SiteWithRecords(directory, text)
        self.other, self.lost = (SiteWithRecords(directory, text, keyring=MemoryKeyring()) for _ in range(2))
        self.given_up = frozenset((self.lost.sealer.keyring.name,))
        self.chance = random.Random(seed)
        self.now = datetime(2028, 2, 28, tzinfo=UTC) + self.chance.random() * DAY
        self.gone: Counter[Place] = Counter()
        self.archived: set[UUID] = set()
        self.store: Counted
        self.running: Destruction | None = None

    def destruction(self, site: SiteWithRecords, lost: frozenset[str] = frozenset()) -> Destruction:
        destruction = Destruction.of_site(
            site.policy, site.places, self.store, site.sealer, SiteRestrictions(self.store, site.sealer), lost=lost
        )
        archive = destruction._archive
        assert archive is not None
        archive.store = Counted(archive.store, "archive", self.gone, self.archived)
        destruction.stages[1] = replace(destruction.stages[1], store=archive.store)
        return destruction

    def records(self, since: datetime) -> list[Record]:
        """Some of a purpose and keyring, of which a few seal nothing."""
        chance, records = self.chance, list[Record]()
        site, purpose = chance.choice([self.one] * 6 + [self.other, self.lost]), chance.choice(PURPOSES)
        for _ in range(chance.randint(1, 8)):
            sealed: dict[str, Any] = {"secret": "x"} if chance.random() < 0.8 else {}
            try:
                at = since + chance.random() * chance.choice([0, 1, 9]) * HOUR
                subject = chance.choice([None, b"a" * 16])
                records.append(site.record(at, purpose=purpose, subject=subject, data={}, sealer=None, **sealed))
            except KeyDestroyed:  # a gap, and no row
                continue
        return records

    async def destroys(self) -> None:
        chance = self.chance
        self.running = self.running or self.destruction(self.one)
        makes = (self.destruction(self.one), self.destruction(self.other), self.destruction(self.one, self.given_up))
        work = self.running if chance.random() < 0.4 else chance.choice(makes)
        self.store.dies_after = chance.choice([-1, -1, chance.randint(1, 60)])
        self.store.late = self.records(self.now - chance.choice([2, 4, 8]) * DAY) if chance.random() < 0.3 else []
        try:
            assert (await work.once(self.now)).troubles == []
        except Dies:
            self.running = None
        self.store.dies_after, self.store.late = -1, []

    async def goes_on(self, store: SQLiteStore) -> None:
        chance = self.chance
        self.store = Counted(store, "live", self.gone, set())
        for _ in range(chance.randint(15, 45)):
            way = chance.choices(["comes", "back", "on", "erased", "destroys"], [30, 8, 17, 3, 42])[0]
            if way == "comes":
                await store.append(
                    self.records(self.now - chance.choice([0, 0, 0, 1, 3, 6, 15]) * chance.random() * DAY)
                )
            elif way == "back":
                self.now -= chance.choice([HOUR / 2, 2 * HOUR, DAY, 3 * DAY])
            elif way == "on":
                self.now += chance.choice([HOUR / 4, HOUR, 5 * HOUR, DAY, DAY, 2 * DAY, 6 * DAY, 20 * DAY])
            elif way == "erased":
                if self.running is None:  # what a dead run was about to delete would count for both
                    continue
                rows = await store.fetch(Query(kinds=ENDING))
                await store.delete(Query(kinds=ENDING, ids=frozenset(row.id for row in rows[::3])))
            else:
                await self.destroys()
        self.now += timedelta(days=60)
        for lost, site in ((self.given_up, self.one), (frozenset[str](), self.other)):
            assert (await self.destruction(site, lost).once(self.now)).troubles == []


@pytest.mark.parametrize("seed", range(9))
def test_the_numbers_of_all_certificates_are_the_rows_that_went(tmp_path: Path, seed: int) -> None:
    life = Life(tmp_path, ("UTC", "Asia/Seoul", "Europe/London")[seed % 3], seed)
    life.one.using(life.goes_on)
    assert life.one.records(*ENDING, "deletion", "tally") == []
    assert life.one.records(*ENDING, archive=True) == []
    certified: Counter[Place] = Counter()
    archived = 0
    for record in life.one.records("certificate"):
        data = record.data
        place = (str(data["certificate.where"]), str(data["certificate.day"]), str(data["certificate.purpose"]))
        certified[place] += int(str(data["certificate.records"]))
        archived += int(str(data["certificate.archived"]))
    assert +certified == life.gone
    assert sum(certified.values()) > 10
    assert archived == len(life.archived)
