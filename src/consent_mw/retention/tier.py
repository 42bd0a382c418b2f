"""One place where records live until their end, the live store or the archive, read in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import ENDING
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.calendar import Retention, Window
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of, start_of

LIVE: Final = "live"
ARCHIVE: Final = "archive"

# One delete of 100,000 rows keeps every other writer waiting for more than a second, one of 2,000 for some 20 ms.
PAGE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Stage:
    """
    A store, the keys of its records, and when they end there.

    Attributes:
        where: "live" or "archive".
        lost: Keyrings that were given up: their rows count as at hand.
    """

    where: str
    store: Store
    sealer: Sealer
    retention: Retention
    lost: frozenset[str] = frozenset()

    @property
    def ring(self) -> str:
        """The name of the keyring at hand."""
        return self.sealer.keyring.name

    def reaches(self, ring: str) -> bool:
        """Whether what that keyring sealed may be destroyed here; true for "", where no personal field is."""
        return not ring or ring in self.sealer.rings or ring in self.lost

    def ring_of(self, record: Record) -> str:
        """
        Return the name of the keyring that sealed a record. One that is not as the site wrote it counts as sealed by
        none, so that no word in a store keeps it beyond its end.
        """
        return record.ring if self.sealer.is_whole(record) else ""

    async def days(
        self, purpose: str, since: datetime | None = None, but: Set[int] = frozenset()
    ) -> AsyncIterator[int]:
        """
        Yield each day that has records of `purpose`, in order; those of `but` are left out, and cost one question where
        they follow each other. Raises StoreError.
        """
        last = -1
        while page := await self.store.fetch(_query(purpose, since), limit=1):
            day = day_of(time_of(page[0].id))
            if day == last:  # an id from beyond the calendar, which anybody may have written, counts as of its last day
                return
            if day not in but:
                yield day
            last = day
            while day + 1 in but:
                day += 1
            since = start_of(day + 1)

    async def beginnings(
        self, purpose: str, since: datetime | None = None
    ) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """
        Yield each day that has records of `purpose`, in order, with the first of them, some thousands at most. Of days
        with few of them many are read at once. Raises StoreError.
        """
        while page := await self.store.fetch(_query(purpose, since), limit=PAGE):
            by_day: dict[int, list[Record]] = {}
            for record in page:
                by_day.setdefault(day_of(time_of(record.id)), []).append(record)
            *whole, last = by_day
            is_last = len(page) < PAGE
            for day in by_day if is_last or not whole else whole:
                yield day, by_day[day]
            if is_last:
                return
            since = start_of(last if whole else last + 1)

    async def ended(self, purpose: str, now: datetime) -> AsyncIterator[tuple[int, Window]]:
        """Yield the hours whose records of `purpose` have ended by `now`, joined within each day. Raises StoreError."""
        since, until = None, self.retention.none_ended_since(purpose, now)
        while (since is None or since < until) and (
            page := await self.store.fetch(_query(purpose, since, until), limit=1)
        ):
            first = time_of(page[0].id)
            day = day_of(first)
            # What ended before the first is gone: a look each minute need not ask for it again.
            windows = [window for window in self.retention.ended(day, purpose, now) if window.until > first]
            if windows and windows[0].since <= first:
                for window in windows:
                    yield day, window
                windows = []
            # Days before their end are known by the calendar: the store is not asked for each of them.
            while not windows:
                day += 1
                if not self.retention.may_hold_ended(day, purpose, now):
                    return
                windows = self.retention.ended(day, purpose, now)
            since = windows[0].since  # what is between lives: it is not asked for

    async def pages(self, purpose: str, window: Window) -> AsyncIterator[Sequence[Record]]:
        """Yield the records of a window, some thousands at a time, in order. They may be deleted meanwhile."""
        after: UUID | None = None
        while page := await self.store.fetch(_query(purpose, *window), after=after, limit=PAGE):
            after = page[-1].id
            yield page


def _query(purpose: str, since: datetime | None, until: datetime | None = None) -> Query:
    return Query(kinds=ENDING, purposes=frozenset((purpose,)), since=since, until=until)
