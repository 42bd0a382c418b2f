"""
Which part of a day of UTC a key seals: no part has two dates of the policy's calendar, so that all of it ends within 24
hours. Pure: no I/O, no clock read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from consent_mw.policy.model import Policy
from consent_mw.policy.timeline import Course, begins
from consent_mw.system.bounded_cache import remember
from consent_mw.system.days import QUARTER, QUARTER_SECONDS, QUARTERS, midnights_of, start_of, swing_seconds

_NOON: Final = 48
_REMEMBERED_DAYS: Final = 64


class Span(NamedTuple):
    """A part of a day of UTC, in quarter hours from its start: `begin` is in it, `end` is not."""

    begin: int
    end: int


WHOLE: Final = Span(0, QUARTERS)


def label_of(purpose: str, span: Span) -> str:
    """Return what a keyring calls the key of a part of a day: "marketing 15:00-24:00"; of a whole one, the purpose."""
    return purpose if span == WHOLE else f"{purpose} {_clock(span.begin)}-{_clock(span.end)}"


@lru_cache(maxsize=256)
def of_label(label: str) -> tuple[str, Span]:
    """Return the purpose and the part of a day that `label_of` was given. What has another form is a purpose."""
    purpose, _, hours = label.rpartition(" ")
    begin, _, end = hours.partition("-")
    try:
        span = Span(_quarter(begin), _quarter(end))
    except ValueError:
        return label, WHOLE
    return (purpose, span) if label == label_of(purpose, span) else (label, WHOLE)


class Calendar:
    """
    How the days of UTC are cut, by the time zones of the policies that were in force.

    A day is cut at each local midnight, and at noon where the clocks change and a part were so long that it could end
    over more than 24 hours. Where midnight is that of UTC and the clocks never change, a day is one part.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        """`policies` that were published, in any order; of one revision the last counts."""
        self._zones = [(begins(policy), policy.time_zone) for policy in Course(policies).holding]
        self._days: dict[int, tuple[Span, ...]] = {}

    def spans(self, day: int) -> tuple[Span, ...]:
        """Return the parts of a day (since 1970, UTC), in order; together they are all of it."""
        spans = self._days.get(day)
        if spans is None:
            spans = tuple(self._cut(day)) if self._zones else (WHOLE,)
            remember(self._days, day, spans, _REMEMBERED_DAYS)
        return spans

    def at(self, day: int, quarter: int) -> Span:
        """Return the part of a day in which one of its quarter hours is."""
        return next(span for span in self.spans(day) if quarter < span.end)

    def _cut(self, day: int) -> Iterator[Span]:
        zones = [self._zone(start_of(day) + number * QUARTER) for number in range(QUARTERS)]
        midnights = {zone: midnights_of(day, zone) for zone in set(zones)}
        longest = QUARTERS - 2 * max(map(swing_seconds, midnights)) // QUARTER_SECONDS
        begin = 0
        for quarter in range(1, QUARTERS + 1):
            if quarter < QUARTERS and zones[quarter] == zones[quarter - 1] and quarter not in midnights[zones[quarter]]:
                continue
            if quarter - begin > longest and begin < _NOON < quarter:
                yield Span(begin, _NOON)
                begin = _NOON
            yield Span(begin, quarter)
            begin = quarter

    def _zone(self, instant: datetime) -> ZoneInfo:
        """Return the time zone of the policy that was in force; the first holds from the beginning."""
        return next((zone for since, zone in reversed(self._zones) if since <= instant), self._zones[0][1])


def _clock(quarter: int) -> str:
    return f"{quarter // 4:02}:{quarter % 4 * 15:02}"


def _quarter(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 4 + int(minutes) // 15
