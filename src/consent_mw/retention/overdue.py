"""What has ended and is still there: the list that an operator reads before and after a destruction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from typing import Final

import msgspec

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import SeveralKeys
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import ENDING, NAMING
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.calendar import LATE
from consent_mw.retention.tier import PAGE, Stage
from consent_mw.stores.base import Store
from consent_mw.system.days import day_text

#: A key dies when the last hour of its part of a day has ended: its first record ended up to 24 hours before.
_KEY_LATE: Final = timedelta(hours=1)
#: A keyring that sealed something since then belongs to a machine that runs. The search goes back in these steps.
_LATELY: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24), timedelta(hours=72))


class Due(msgspec.Struct, kw_only=True):
    """
    What is left of one day and purpose.

    Attributes:
        where: "live" or "archive".
        day: Such as "2026-11-23", in UTC.
        key: Whether one of its keys still exists that should not.
        records: Rows that can be destroyed here.
        unreached: Rows sealed by keyrings that are not at hand, by the keyring's name.
        at_work: When those of them sealed something that did so in the last three days.
        late: Whether all of it should be gone by now.
        problem: What keeps it from being destroyed, and the fix; empty if nothing is known.
    """

    where: str
    day: str
    purpose: str
    key: bool = False
    records: int = 0
    unreached: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    at_work: dict[str, datetime] = msgspec.field(default_factory=dict[str, datetime])
    late: bool = False
    problem: str = ""

    @property
    def is_of_others(self) -> bool:
        """Whether other machines, which run, are about to destroy all of it themselves."""
        return not (self.key or self.records or self.late or self.problem)


async def due(stages: Iterable[Stage], now: datetime) -> list[Due]:
    """
    Return what has ended by `now` (aware) and is still there, oldest first. Changes nothing.

    Raises:
        StoreError: A store or its keys cannot be reached.
    """
    stages = list(stages)
    entries = [entry for stage in stages for entry in (await _Reading(stage, now).all()).values()]
    rings = frozenset(ring for entry in entries for ring in entry.unreached)
    running = await at_work(stages[0].store, stages[0].sealer, rings, now) if rings else {}
    for entry in entries:
        entry.at_work = {ring: running[ring] for ring in entry.unreached if ring in running}
        entry.problem = "; ".join(filter(None, [entry.problem, *_of_other_keyrings(entry)]))
    return sorted(entries, key=lambda entry: (entry.day, entry.purpose, entry.where))


def _of_other_keyrings(entry: Due) -> Iterator[str]:
    for ring in entry.unreached:
        sealed = entry.at_work.get(ring)
        if sealed is None:
            yield f"keyring {ring} is not here; run this where it is, or give it up: --lost {ring}"
        elif entry.late:
            yield f"keyring {ring} sealed something at {sealed:%Y-%m-%dT%H:%MZ}; see why its machine destroys nothing"


async def at_work(store: Store, sealer: Sealer, rings: Set[str], now: datetime) -> dict[str, datetime]:
    """
    Return those of `rings` that sealed something in the three days before `now` (aware), with a time when they did.

    Ends as soon as all were found; one that sealed nothing costs reading what was kept in these days.

    Raises:
        StoreError: The store cannot be reached.
    """
    beginnings: dict[str, datetime] = {}
    until: datetime | None = None  # a machine's clock may be ahead
    for step in _LATELY:
        query, after = Query(kinds=ENDING, since=now - step, until=until), None
        while page := await store.fetch(query, after=after, limit=PAGE):
            after = page[-1].id
            beginnings |= {record.ring: time_of(record.id) for record in sealer.whole(page) if record.ring in rings}
        if len(beginnings) == len(rings):
            break
        until = now - step
    return beginnings


class _Reading:
    def __init__(self, stage: Stage, now: datetime) -> None:
        self._stage = stage
        self._now = now
        self._entries: dict[tuple[int, str], Due] = {}

    async def all(self) -> dict[tuple[int, str], Due]:
        await asyncio.to_thread(self._keys)
        await asyncio.to_thread(self._other_hosts)
        for purpose in self._stage.retention.purposes:
            async for day, window in self._stage.ended(purpose, self._now):
                async for page in self._stage.pages(purpose, window):
                    self._rows(day, purpose, page)
        return self._entries

    def _keys(self) -> None:
        retention, labels = self._stage.retention, dict[str, list[int]]()
        for day, label in self._stage.sealer.keyring.live():
            labels.setdefault(label, []).append(day)
        for label, days in labels.items():
            purpose, _ = of_label(label)
            for day in days if purpose not in retention.purposes else ():
                entry = self._entry(day, purpose)
                entry.key = entry.late = True
                entry.problem = "no revision declares the purpose; restore its file in revisions, or declare it again"
        for day, label in retention.ended_among(labels, self._now):
            purpose, span = of_label(label)
            entry = self._entry(day, purpose)
            entry.key = True
            entry.late = entry.late or retention.has_ended(day, purpose, self._now - _KEY_LATE, span)

    def _other_hosts(self) -> None:
        """
        Find what is overwritten here, and not yet by each host that shared it. A day that has ended in part is asked
        for when all of it has: until then each host, this one too, rightly holds the keys of the rest.
        """
        keyring = self._stage.sealer.keyring
        if not isinstance(keyring, SeveralKeys):
            return
        until = self._now - _KEY_LATE
        for day, purpose in sorted({(day, of_label(label)[0]) for day, label in keyring.destroyed()}):
            hosts = keyring.waits_for(day, purpose)
            if hosts and self._stage.retention.has_ended(day, purpose, until):
                entry = self._entry(day, purpose)
                entry.key = entry.late = True
                entry.problem = (
                    f"not destroyed yet by {', '.join(hosts)}; start them, or if one is gone for good: "
                    "consent-mw hosts retire"
                )

    def _rows(self, day: int, purpose: str, page: Sequence[Record]) -> None:
        if not self._stage.retention.has_ended(day, purpose, self._now):  # what tells whose they are goes with the last
            page = [record for record in page if record.kind != NAMING]
            if not page:
                return
        entry = self._entry(day, purpose)
        for ring, count in Counter(map(self._stage.ring_of, page)).items():
            if self._stage.reaches(ring):
                entry.records += count
            else:
                entry.unreached[ring] = entry.unreached.get(ring, 0) + count
        late = self._stage.retention.ended(day, purpose, self._now - LATE)
        # The first of them need not be the first to end.
        times = [time_of(record.id) for record in page] if late else []
        entry.late = entry.late or any(window.since <= time < window.until for time in times for window in late)

    def _entry(self, day: int, purpose: str) -> Due:
        return self._entries.setdefault(
            (day, purpose), Due(where=self._stage.where, day=day_text(day), purpose=purpose)
        )
