"""What the stores hold and this machine cannot open. No statement about one person covers these records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from consent_mw.crypto.keyring import SeveralKeys
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.retention.certificates import Tallies
from consent_mw.retention.tier import Stage
from consent_mw.system.days import day_of, start_of

#: The result is kept this long, so a machine that joins, or keys that go, are noticed this much later.
_REMEMBERED: Final = timedelta(minutes=5)
#: A day of the archive fills hour by hour while it ends. All but the newest days, this many, stay as they are.
_CHANGING_DAYS: Final = 3


async def out_of_reach(stages: Iterable[Stage]) -> Counter[str]:
    """
    Return how many records were sealed by keyrings that are not available here, by the keyring's name. Days that were
    counted before keep that count. Of later days only the first page (2,000 records) is counted.

    Args:
        stages: The live one first; its store holds the tallies of all.

    Raises:
        StoreError: A store cannot be reached.
    """
    every_stage = list(stages)
    tallies = Tallies(every_stage[0].store, every_stage[0].sealer)
    await tallies.read_all()
    unreached = Counter[str]()
    for stage in every_stage:
        unreached += _counted(stage, tallies)
        for purpose in stage.retention.purposes:
            async for _, rings in _later(stage, purpose, max(tallies.of(stage.where, purpose), default=-1)):
                unreached += rings
    return unreached


def _counted(stage: Stage, tallies: Tallies) -> Counter[str]:
    counted = Counter[str]()
    for tally in tallies.at(stage.where):
        counted.update({ring: count for ring, count in tally.rings.items() if not stage.reaches(ring)})
    return counted


async def _later(stage: Stage, purpose: str, day: int) -> AsyncIterator[tuple[int, Counter[str]]]:
    """Yield each day after `day` with the unavailable keyrings, and how many records of that day they sealed."""
    async for first_id, page in stage.beginnings(purpose, start_of(day + 1) if day >= 0 else None):
        apart = [record for record in page if not stage.reaches(record.ring)]
        # Anyone who can write to the store can name any keyring.
        whole = await asyncio.to_thread(stage.sealer.whole, apart) if apart else []
        yield first_id, Counter(record.ring for record in whole)


class Reach:
    """
    Remembers for some minutes whose records are out of reach, so that a page may ask each time. While other hosts seal
    under the keys of a service that this one does not have, it remembers nothing.

    Days with nothing out of reach are read once a day. In between only the days that may have changed are read: the
    latest of each purpose. As soon as anything is out of reach, all days are read each time. So records that come
    within reach, or are gone, are noticed in these minutes too.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        """`stages`: as for `out_of_reach`."""
        self._stages = stages
        self._rings: frozenset[str] = frozenset()
        self._asked: datetime | None = None
        self._tallies = Tallies(stages[0].store, stages[0].sealer)
        self._within: dict[tuple[str, str], int] = {}  # by place and purpose: up to which day nothing was out of reach

    async def beyond(self, now: datetime) -> frozenset[str]:
        """
        Return the names of keyrings that have records here and are not available, and of hosts whose keys have not
        arrived here. Raises StoreError.
        """
        is_old = self._asked is None or not timedelta() <= now - self._asked < _REMEMBERED
        if is_old or (not self._rings and await asyncio.to_thread(self._may_grow)):
            if self._rings or self._asked is None or day_of(now) != day_of(self._asked):
                await self._tallies.read_all()
                self._within = {}
            else:
                await self._tallies.refresh(day_of(now))
            self._rings = await self._unreached()
            self._asked = now
        return self._rings | await asyncio.to_thread(self._lacking)

    def _may_grow(self) -> bool:
        keyring = self._stages[0].sealer.keyring
        return isinstance(keyring, SharedKeyring) and bool(keyring.rings_elsewhere)

    def _lacking(self) -> frozenset[str]:
        keyring = self._stages[0].sealer.keyring
        return keyring.lacking() if isinstance(keyring, SeveralKeys) else frozenset()

    async def _unreached(self) -> frozenset[str]:
        unreached = Counter[str]()
        for stage in self._stages:
            unreached += _counted(stage, self._tallies)
            for purpose in stage.retention.purposes:
                counted = max(self._tallies.of(stage.where, purpose), default=-1)
                begin = max(counted, self._within.get((stage.where, purpose), -1))
                async for day, rings in _later(stage, purpose, begin):
                    unreached += rings
                    if not unreached:
                        self._within[stage.where, purpose] = day - _CHANGING_DAYS
        return frozenset(unreached)
