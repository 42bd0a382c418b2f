"""Calendar durations, as people declare them: "90 days", "13 months", "1 year"."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar, Self

from consent_mw.system.days import DAY_SECONDS

__all__ = ["Duration", "rounded"]

_CYCLE_MONTHS, _CYCLE_DAYS = 4_800, 146_097  # 400 years, after which the calendar repeats itself
_FORM = re.compile(r"(\d{1,5}) ?(minute|hour|day|week|month|year)s?")


class Duration:
    """
    A length of time in calendar units; two of them are equal when count and unit are.

    A year is a year and not 365 days: one from 29 February ends on 28 February.
    """

    __slots__ = ("count", "unit")

    #: Mean lengths in seconds, for Max-Age; never for destruction dates, nor for which of two promises is the longer.
    SECONDS: ClassVar[dict[str, int]] = {
        "minute": 60,
        "hour": 3_600,
        "day": DAY_SECONDS,
        "week": 604_800,
        "month": 2_629_800,
        "year": 31_557_600,
    }

    def __init__(self, count: int, unit: str) -> None:
        self.count: int = count
        self.unit: str = unit

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read "90 days". Zero is a length too.

        Raises:
            ValueError: The text is not a duration; the message shows an example.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'"{text}" is no duration; write a whole number and a unit, such as "90 days" or "1 year"')
        return cls(int(match[1]), match[2])

    def after(self, moment: datetime) -> datetime:
        """Return the moment this long after `moment`, counted on the calendar of its time zone."""
        return self._counted(moment, 1)

    def before(self, moment: datetime) -> datetime:
        """Return the moment this long before `moment`, counted on the calendar of its time zone."""
        return self._counted(moment, -1)

    def _counted(self, moment: datetime, sign: int) -> datetime:
        if self.unit in ("minute", "hour"):  # elapsed time, whatever the clocks on the wall do
            return (moment.astimezone(UTC) + sign * timedelta(seconds=self.seconds)).astimezone(moment.tzinfo)
        if self.unit in ("month", "year"):
            return _months_later(moment, sign * self.count * (12 if self.unit == "year" else 1))
        return moment + sign * timedelta(seconds=self.count * self.SECONDS[self.unit])

    def longer_by(self, other: Duration, swing_seconds: int = 0) -> tuple[int, int]:
        """
        Return the least and the most seconds by which it ends after `other`, of all dates from which both can run.

        A month is longer than 30 days from most dates and shorter from some, so the least may be below 0 and the most
        above. Of two that are both months, or both days, mean lengths tell which is longer, from whatever date.

        Args:
            swing_seconds: How far the clocks on the wall go forth and back: days on the calendar follow them, hours do
                not.
        """
        least, most = self._range(other, swing_seconds)
        others_least, others_most = other._range(self, swing_seconds)
        return least - others_most, most - others_least

    def _range(self, other: Duration, swing_seconds: int) -> tuple[int, int]:
        """Its least and greatest length in seconds; where it is of the same sort as `other`, its mean one."""
        if self._sort == other._sort:
            return self.seconds, self.seconds
        swing = swing_seconds if other._sort == "elapsed" else 0
        if self._sort != "months":
            return self.seconds - swing, self.seconds + swing
        least, most = _days_of_months(self.count * (12 if self.unit == "year" else 1))
        return least * DAY_SECONDS - swing, most * DAY_SECONDS + swing

    @property
    def _sort(self) -> str:
        if self.unit in ("month", "year"):
            return "months"
        return "days" if self.unit in ("day", "week") else "elapsed"

    @property
    def seconds(self) -> int:
        """About how many seconds it lasts."""
        return self.count * self.SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"

    def __repr__(self) -> str:
        return f"Duration({self.count}, {self.unit!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and (self.count, self.unit) == (other.count, other.unit)

    def __hash__(self) -> int:
        return hash((self.count, self.unit))


def _months_later(moment: datetime, months: int) -> datetime:
    """Return the same day of another month, or the last one of a shorter month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day, fold=0)


@lru_cache(maxsize=64)
def _days_of_months(months: int) -> tuple[int, int]:
    """Return the fewest and the most days that so many months have: from a 31st they end with a shorter month."""
    cycles, months = divmod(months, _CYCLE_MONTHS)
    starts, lengths = _two_cycles()
    days = [starts[begin + months] - starts[begin] for begin in range(_CYCLE_MONTHS)]
    short = [max(0, lengths[begin] - lengths[begin + months]) for begin in range(_CYCLE_MONTHS)]
    least = min(days_of - cut for days_of, cut in zip(days, short, strict=True))
    return cycles * _CYCLE_DAYS + least, cycles * _CYCLE_DAYS + max(days)


@lru_cache(maxsize=1)
def _two_cycles() -> tuple[list[int], list[int]]:
    """Return the days before each month of 800 years, and how many each has."""
    years = ((31, 28 + isleap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31) for year in range(2000, 2800))
    lengths = [days for year in years for days in year]
    return [0, *accumulate(lengths)], lengths


_MINUTE, _HOUR, _YEAR = 60, 3_600, 365 * DAY_SECONDS


def rounded(seconds: float) -> str:
    """Return a length of time as a policy writes it, the shortest that is not less than `seconds`."""
    # An Expires date is a second or two off by the time that it is read.
    minutes = max(1, -(-(int(seconds) - 5) // _MINUTE))
    for unit, length in (("year", _YEAR), ("day", DAY_SECONDS), ("hour", _HOUR)):
        count, rest = divmod(minutes * _MINUTE, length)
        if count and not rest:
            return str(Duration(count, unit))
    for unit, length, most in (("minute", _MINUTE, 120), ("hour", _HOUR, 72)):
        if minutes * _MINUTE <= most * length:
            return str(Duration(-(-minutes * _MINUTE // length), unit))
    return str(Duration(min(-(-minutes * _MINUTE // DAY_SECONDS), 99_999), "day"))
