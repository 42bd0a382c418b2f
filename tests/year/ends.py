"""When a promise ends, by the calendar: the judge's own arithmetic, from docs/retention.md alone."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

#: "at most 24 hours late" (policy.md, retention.md).
LATE = timedelta(hours=24)
_HOUR = timedelta(hours=1)
_MILLISECOND = timedelta(milliseconds=1)
_MONTHS = {"months": 1, "month": 1, "years": 12, "year": 12}


class Span(NamedTuple):
    """A duration as a policy writes it, such as "13 months"."""

    number: int
    unit: str

    @classmethod
    def of(cls, text: str) -> Span:
        count, unit = text.split()
        return cls(int(count), unit)


class Promise(NamedTuple):
    """What one revision says about one purpose: how long, on whose calendar, and from when it holds."""

    span: Span
    zone: ZoneInfo
    since: datetime


def after(at: datetime, span: Span, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    """Return the instant at which `span` has passed since `at`: the same hour of the calendar of `zone`."""
    local = at.astimezone(zone)
    if span.unit in _MONTHS:
        month = local.month - 1 + span.number * _MONTHS[span.unit]
        year, month = local.year + month // 12, month % 12 + 1
        wall = local.replace(year=year, month=month, day=min(local.day, monthrange(year, month)[1]))
    else:
        wall = local + timedelta(**{span.unit if span.unit.endswith("s") else span.unit + "s": span.number})
    return wall.replace(fold=fold).astimezone(UTC)


class End(NamedTuple):
    """
    When a record ends.

    Attributes:
        earliest, latest: Its instant; two where the clocks were put back and the hour is there twice.
        hour: When the hour of its row has ended, whole.
    """

    earliest: datetime
    latest: datetime
    hour: datetime


def end_of(at: datetime, promises: Iterable[Promise]) -> End:
    """Return when a record ends that was made at `at`, of several promises by the one that ends first."""
    ends = [_end(at, promise) for promise in promises]
    return End(min(e.earliest for e in ends), min(e.latest for e in ends), min(e.hour for e in ends))


@lru_cache(maxsize=200_000)
def _end(at: datetime, promise: Promise) -> End:
    span, zone = promise.span, promise.zone
    both = sorted(after(at, span, zone, fold=fold) for fold in (0, 1))
    return End(both[0], both[-1], _hour_ends(at.replace(minute=0, second=0, microsecond=0), span, zone))


@lru_cache(maxsize=10_000)
def _hour_ends(hour: datetime, span: Span, zone: ZoneInfo) -> datetime:
    # What came between 9 and 10 goes at 10 o'clock: when the last millisecond of that hour has ended. A local midnight
    # can lie within an hour of UTC, and at a month's end the minutes before it may end after those behind it.
    ends = [
        after(hour + n * _HOUR / 4 - _MILLISECOND, span, zone, fold=fold) + _MILLISECOND
        for n in range(1, 5)
        for fold in (0, 1)
    ]
    return max(ends)
