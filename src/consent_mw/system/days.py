"""What a day is: whole days of UTC since 1970, their quarters of an hour, and where local midnights fall in them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

#: Quarter hours a day. Every time zone's offset, and so every local midnight, falls on one.
QUARTERS: Final = 96
QUARTER_SECONDS: Final = 900
QUARTER: Final = timedelta(seconds=QUARTER_SECONDS)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_1970: Final = EPOCH.toordinal()
DAY_SECONDS: Final = 86_400
DAY_MILLISECONDS: Final = DAY_SECONDS * 1_000
DAY_NS: Final = DAY_SECONDS * 1_000_000_000

# Seven days apart, which no change of the clocks and back fits between, for as long as keys of today may live.
_SWING_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_WEEK: Final = timedelta(days=7)
_WEEKS: Final = 80 * 52


def instant_of(now_ns: int) -> datetime:
    """Return the instant (aware, UTC) that a clock tells in nanoseconds since 1970."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC)


def day_of(instant: datetime) -> int:
    """Return the whole days from 1970-01-01 UTC to `instant`, which is aware."""
    return (instant - EPOCH) // timedelta(days=1)


def start_of(day: int) -> datetime:
    """Return the first instant of a day."""
    return EPOCH + timedelta(days=day)


def date_of(day: int) -> date:
    """Return the date of a day."""
    return date.fromordinal(_1970 + day)


def day_of_date(calendar_date: date) -> int:
    """Return the day that a date is in UTC."""
    return calendar_date.toordinal() - _1970


@lru_cache(maxsize=4096)
def day_text(day: int) -> str:
    """Return a day as people and records write it: "2026-11-23"."""
    return date_of(day).isoformat()


@lru_cache(maxsize=256)
def midnights_of(day: int, zone: ZoneInfo) -> frozenset[int]:
    """Return the quarter hours of a day, the first one apart, with which another date begins in `zone`."""
    morning = start_of(day)
    dates = [(morning + number * QUARTER).astimezone(zone).date() for number in range(QUARTERS)]
    return frozenset(number for number in range(1, QUARTERS) if dates[number] != dates[number - 1])


@lru_cache(maxsize=64)
def swing_seconds(zone: ZoneInfo) -> int:
    """Return how far the clocks of `zone` go forth and back, as far as is known today; 0 where they never change."""
    offsets = {(_SWING_FROM + number * _WEEK).astimezone(zone).utcoffset() or timedelta() for number in range(_WEEKS)}
    return int((max(offsets) - min(offsets)).total_seconds())
