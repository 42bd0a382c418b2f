"""When a day is counted: once it is over and on its way no more, and again before something that came late goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from consent_mw.consent.receipts import visitor_of
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import NAMING
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Record
from consent_mw.retention.aggregates import DayCounts
from consent_mw.retention.calendar import Retention, Window
from consent_mw.retention.certificates import Certificates, Tally
from consent_mw.retention.deletions import Deletions
from consent_mw.retention.periods import PeriodCounts, closing
from consent_mw.retention.tier import LIVE, Stage
from consent_mw.spool.spool import Spool
from consent_mw.system.days import day_of, start_of

#: A day is counted this long after it is over: what began before midnight has ended and was drained by then.
_SETTLED: Final = timedelta(minutes=30)
#: A spool that is stuck keeps a day from being counted no longer than this.
_PATIENCE: Final = timedelta(hours=12)


class Restrictions(Protocol):
    """Whose data nobody may use: what counting and destruction have to know of the rights that stand above them."""

    async def restricts(self) -> Callable[[Record], bool]:
        """Return the check whether nobody may use a record now. Raises StoreError."""
        ...

    async def renew(self, retention: Retention, now: datetime) -> int:
        """Ask anew for the restrictions whose records end soon. Raises KeyDestroyed and StoreError."""
        ...

    async def forget(self, now: datetime) -> None:
        """Forget the restrictions that are over at `now` (aware). Raises StoreError."""
        ...


class Counting:
    """
    Counts days, each under one purpose: its aggregates and a tally of its records, in one durable append.

    Args:
        spool: Where records may still be on their way.
    """

    def __init__(
        self, certificates: Certificates, deletions: Deletions, restrictions: Restrictions, spool: Spool | None
    ) -> None:
        self._certificates = certificates
        self._deletions = deletions
        self._restrictions = restrictions
        self._spool = spool
        self._counted: dict[str, int] = {}  # by purpose: no day up to this one is still to be counted, as of
        self._counted_on = -1  # this day: another host may be late, or the clock have been ahead
        self._looked_at: frozenset[tuple[int, str]] = frozenset()  # days and purposes: whether anything came late

    async def days(self, stage: Stage, now: datetime) -> int:
        """
        Count every day that is over, so that nothing has to be counted when it must go; return how many these were.

        Raises:
            StoreError, SpoolError: The store, the keyring or the spool cannot be reached.
        """
        if self._counted_on != day_of(now):
            await self._restrictions.forget(now)
            self._counted, self._counted_on = {}, day_of(now)
        counted_days = 0
        for purpose in stage.retention.purposes:
            counted, waits = self._counted.get(purpose), None
            if counted is not None and now < start_of(counted + 2) + _SETTLED:
                continue  # the next day is not over
            but = self._certificates.tallies(stage.where, purpose).keys()
            async for day in stage.days(purpose, None if counted is None else start_of(counted + 1), but):
                if not await self._is_countable(day, now):
                    waits = day
                    break
                if not await self._is_known(stage, day, purpose):
                    await self._count(stage, day, purpose)
                    counted_days += 1
                self._counted[purpose] = day
            done = but if waits is None else [day for day in but if day < waits]
            self._counted[purpose] = max(self._counted.get(purpose, -1), max(done, default=-1))
        return counted_days

    async def before_it_goes(self, stage: Stage, day: int, purpose: str, now: datetime) -> int | None:
        """
        Count a day of which something is about to go, if it was not, or was before something came late; return how
        often it was counted, or None where it cannot be counted yet. Raises as `days`.
        """
        if await self._is_known(stage, day, purpose):
            return await self._count_late(stage, day, purpose)
        if not await self._is_countable(day, now):
            return None
        await self._count(stage, day, purpose)
        return 1

    async def _count_late(self, stage: Stage, day: int, purpose: str) -> int:
        """
        Count a day again of which something was written down only after it was counted, as an open stream is: once, and
        as long as nothing of it is deleted. It skips records that tell visitors apart: nobody knows which of them came
        late, and so whether the difference is too small to publish.
        """
        tally = self._certificates.tallies(stage.where, purpose).get(day)
        looked_at, self._looked_at = (day, purpose) in self._looked_at, self._looked_at | {(day, purpose)}
        if looked_at or tally is None or stage.where != LIVE or self._deletions.has(LIVE, day, purpose):
            return 0
        count, told_apart = 0, False
        async for page in stage.pages(purpose, Window(start_of(day), start_of(day + 1))):
            count += len(page)
            told_apart = told_apart or any(record.subject is not None for record in page)
        if told_apart or count <= sum(tally.rings.values()):
            return 0
        await self._count(stage, day, purpose, again=True)
        return 1

    async def _count(self, stage: Stage, day: int, purpose: str, *, again: bool = False) -> None:
        visitor = partial(visitor_of, sealer=stage.sealer)
        skipped = await self._restrictions.restricts() if stage.where == LIVE else None  # for statistics neither
        counts, rings = DayCounts(day, purpose, skipped=skipped, visitor=visitor), Counter[str]()
        async for page in stage.pages(purpose, Window(start_of(day), start_of(day + 1))):
            rings.update(stage.ring_of(record) for record in page if record.kind != NAMING)
            if stage.where == LIVE:
                await asyncio.to_thread(_add, counts, page, stage.sealer)
        aggregates = counts.records(stage.sealer) if stage.where == LIVE else []
        if stage.where == LIVE and purpose == RECEIPTS and not again:  # a period is published once
            for period in await self._periods(stage, day, counts):
                aggregates += period.records(stage.sealer)
        tally = Tally(day=day, purpose=purpose, where=stage.where, rings=dict(rings))
        if again:
            aggregates = await self._certificates.replaceable(tally, aggregates)
        await self._certificates.keep_tally(tally, *aggregates)

    async def _periods(self, stage: Stage, day: int, counts: DayCounts) -> list[PeriodCounts]:
        """Return what may be published of choices now that `day` is counted too."""

        async def pages(earlier: int) -> AsyncIterator[Sequence[Record]]:
            async for page in stage.pages(RECEIPTS, Window(start_of(earlier), start_of(earlier + 1))):
                yield await asyncio.to_thread(stage.sealer.whole, page)

        return await closing(stage.store, stage.sealer, pages, day, counts)

    async def _is_countable(self, day: int, now: datetime) -> bool:
        over = start_of(day + 1)
        return now >= over + _PATIENCE or (now >= over + _SETTLED and await self.is_drained(day))

    async def is_drained(self, day: int) -> bool:
        """Whether the spool of this machine holds nothing of that day any more."""
        spool = self._spool
        if spool is None:
            return True
        oldest = await asyncio.to_thread(lambda: spool.oldest)
        return oldest is None or oldest >= start_of(day + 1)

    async def _is_known(self, stage: Stage, day: int, purpose: str) -> bool:
        """Whether its records were counted before the first of them went."""
        known = self._certificates
        if any(known.has(stage.where, day, purpose, ring) for ring in (stage.ring, "")):
            return True
        return await known.is_counted(stage.where, day, purpose)


def _add(counts: DayCounts, page: Sequence[Record], sealer: Sealer) -> None:
    """Count what is as the site wrote it. For a thread."""
    counts.add(sealer.whole(page))
