"""What stands in the stores and cannot be opened here: nothing that is said about one person is said about that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from consent_mw.certificates import TALLY, Tally
from consent_mw.policy import RECEIPTS
from consent_mw.records import Query
from consent_mw.retention import Window, start_of
from consent_mw.stage import Stage
from consent_mw.stores.pages import every

__all__ = ["Reach", "out_of_reach"]

#: A machine that joins, or keys that go, are noticed this much later.
_REMEMBERED: Final = timedelta(minutes=5)


async def out_of_reach(stages: Iterable[Stage]) -> Counter[str]:
    """
    Return how many records keyrings sealed that are not at hand, by the keyring's name: of days that were counted as
    they were then, of later ones what their first page holds (2,000 records).

    Args:
        stages: The live one first; the tallies of all stand in its store.

    Raises:
        StoreError: A store cannot be reached.
    """
    found, every_stage = Counter[str](), list(stages)
    tallies = await _tallies(every_stage[0])
    for stage in every_stage:
        counted: dict[str, int] = {}
        for tally in tallies:
            if tally.where == stage.where:
                counted[tally.purpose] = max(tally.day, counted.get(tally.purpose, tally.day))
                found.update({ring: count for ring, count in tally.rings.items() if not stage.reaches(ring)})
        for purpose in stage.retention.purposes:
            after = counted.get(purpose)
            found += await _later(stage, purpose, None if after is None else start_of(after + 1))
    return found


async def _tallies(live: Stage) -> Sequence[Tally]:
    query = Query(kinds=frozenset((TALLY,)), purposes=frozenset((RECEIPTS,)))
    return [Tally.read(record) for record in live.sealer.whole(await every(live.store, query))]


async def _later(stage: Stage, purpose: str, since: datetime | None) -> Counter[str]:
    found = Counter[str]()
    async for day in stage.days(purpose, since):
        async for page in stage.pages(purpose, Window(start_of(day), start_of(day + 1))):
            apart = [record for record in page if not stage.reaches(record.ring)]
            # Whoever can write to the store can name any keyring.
            found.update(record.ring for record in await asyncio.to_thread(stage.sealer.whole, apart))
            break
    return found


class Reach:
    """Remembers for some minutes whose records are out of reach, so that a page may ask it each time."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """`stages`: as for `out_of_reach`."""
        self._stages = stages
        self._rings: frozenset[str] = frozenset()
        self._asked: datetime | None = None

    async def beyond(self, now: datetime) -> frozenset[str]:
        """Return the names of keyrings that are not at hand and whose records are there. Raises StoreError."""
        if self._asked is None or not timedelta() <= now - self._asked < _REMEMBERED:
            self._rings = frozenset(await out_of_reach(self._stages))
            self._asked = now
        return self._rings
