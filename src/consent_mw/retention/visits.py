"""A visit: what one visitor did until they paused for half an hour. Derived from records, never stored; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from consent_mw.kinds import VISIT
from consent_mw.records import Record, Scalar, time_of

#: The pause after which the next exchange begins another visit.
IDLE: Final = timedelta(minutes=30)


class Visit(NamedTuple):
    """
    One visit.

    Attributes:
        subject: The token of the visitor for that day: it means nothing on another day, or without its key.
        began, ended: When its first and its last exchange began (aware, UTC).
        exchanges: How many there were, pages and everything they load alike.
        entry, exit: The first and the last route, where the framework tells them.
    """

    subject: bytes
    began: datetime
    ended: datetime
    exchanges: int
    entry: Scalar
    exit: Scalar


class Visits:
    """
    Joins records into visits, one record after the other, in order of time. Memory follows who is there at once.

    Only who allowed a purpose that is asked about has a subject; all others are in no visit. A subject holds for
    one day of UTC, so a visit over its midnight counts as two.
    """

    def __init__(self, idle: timedelta = IDLE) -> None:
        self._idle = idle
        self._open: dict[bytes, Visit] = {}  # in order of the latest exchange

    def add(self, record: Record) -> Iterator[Visit]:
        """Take in the next record, and yield the visits that have ended before it."""
        now = time_of(record.id)
        yield from self._ended(now)
        if record.subject is None or record.kind != VISIT:
            return
        route = record.data.get("http.route")
        visit = self._open.pop(record.subject, None) or Visit(record.subject, now, now, 0, route, route)
        self._open[record.subject] = visit._replace(ended=now, exchanges=visit.exchanges + 1, exit=route)

    def rest(self) -> Iterator[Visit]:
        """Yield the visits that are still going on, at the end of the records."""
        while self._open:
            yield self._open.pop(next(iter(self._open)))

    def _ended(self, now: datetime) -> Iterator[Visit]:
        while self._open and next(iter(self._open.values())).ended + self._idle <= now:
            yield self._open.pop(next(iter(self._open)))
