"""What has ended and is still there: the list that an operator reads before and after a destruction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from consent_mw.records import Record, time_of
from consent_mw.retention import LATE, day_text
from consent_mw.stage import Stage

__all__ = ["Due", "due"]

#: A key dies when the last hour of its day has ended: the day's first record ended up to 24 hours before.
_KEY_LATE: Final = timedelta(hours=1)


class Due(msgspec.Struct, kw_only=True):
    """
    What is left of one day and purpose.

    Attributes:
        where: "live" or "archive".
        day: Such as "2026-11-23", in UTC.
        key: Whether its key still exists.
        records: Rows that can be destroyed here.
        unreached: Rows sealed by keyrings that are not at hand, by the keyring's name.
        late: Whether all of it should be gone by now.
        problem: What keeps it from being destroyed, and the mend; empty if nothing is known to.
    """

    where: str
    day: str
    purpose: str
    key: bool = False
    records: int = 0
    unreached: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    late: bool = False
    problem: str = ""


async def due(stages: Iterable[Stage], now: datetime) -> list[Due]:
    """
    Return what has ended by `now` (aware) and is still there, oldest first. Changes nothing.

    Raises:
        StoreError: A store or its keys cannot be reached.
    """
    found = [entry for stage in stages for entry in (await _Reading(stage, now).all()).values()]
    return sorted(found, key=lambda entry: (entry.day, entry.purpose, entry.where))


class _Reading:
    def __init__(self, stage: Stage, now: datetime) -> None:
        self._stage = stage
        self._now = now
        self._found: dict[tuple[int, str], Due] = {}

    async def all(self) -> dict[tuple[int, str], Due]:
        for day, purpose in await asyncio.to_thread(self._stage.sealer.keyring.live):
            self._key(day, purpose)
        for purpose in self._stage.retention.purposes:
            async for day, window in self._stage.ended(purpose, self._now):
                async for page in self._stage.pages(purpose, window):
                    self._rows(day, purpose, page)
        return self._found

    def _key(self, day: int, purpose: str) -> None:
        retention = self._stage.retention
        if retention.rule(day, purpose, self._now) is None:
            entry = self._entry(day, purpose)
            entry.key = entry.late = True
            entry.problem = "no revision declares the purpose; restore its file in revisions, or declare it again"
        elif retention.has_ended(day, purpose, self._now):
            entry = self._entry(day, purpose)
            entry.key = True
            entry.late = entry.late or retention.has_ended(day, purpose, self._now - _KEY_LATE)

    def _rows(self, day: int, purpose: str, page: Sequence[Record]) -> None:
        entry = self._entry(day, purpose)
        for ring, count in Counter(record.ring for record in page).items():
            if self._stage.reaches(ring):
                entry.records += count
            else:
                entry.unreached[ring] = entry.unreached.get(ring, 0) + count
                entry.problem = f"keyring {ring} is not here; run this where it is, or give it up: --lost {ring}"
        late = self._stage.retention.ended(day, purpose, self._now - LATE)
        first = time_of(page[0].id)
        entry.late = entry.late or any(window.since <= first < window.until for window in late)

    def _entry(self, day: int, purpose: str) -> Due:
        return self._found.setdefault((day, purpose), Due(where=self._stage.where, day=day_text(day), purpose=purpose))
