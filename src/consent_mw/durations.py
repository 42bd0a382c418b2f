"""Calendar durations, as people declare them: "90 days", "13 months", "1 year"."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

__all__ = ["Duration"]

_FORM = re.compile(r"(\d{1,5}) ?(minute|hour|day|week|month|year)s?")


class Duration:
    """
    A length of time in calendar units; two of them are equal when count and unit are.

    A year is a year and not 365 days: one from 29 February ends on 28 February. Dates are counted with
    dateutil's `relativedelta`, which does just that.
    """

    __slots__ = ("count", "unit")

    #: Mean lengths in seconds, for Max-Age and for sorting; never for destruction dates.
    SECONDS: ClassVar[dict[str, int]] = {
        "minute": 60,
        "hour": 3_600,
        "day": 86_400,
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
            ValueError: The text is no duration; the message says what one looks like.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f'"{text}" is no duration; write a whole number and a unit, such as "90 days" or "1 year"')
        return cls(int(found[1]), found[2])

    def after(self, moment: datetime) -> datetime:
        """Return the moment this long after `moment`, counted on the calendar of its time zone."""
        return self._counted(moment, 1)

    def before(self, moment: datetime) -> datetime:
        """Return the moment this long before `moment`, counted on the calendar of its time zone."""
        return self._counted(moment, -1)

    def _counted(self, moment: datetime, sign: int) -> datetime:
        if self.unit in ("minute", "hour"):  # elapsed time, whatever the clocks on the wall do
            return (moment.astimezone(UTC) + sign * timedelta(seconds=self.seconds)).astimezone(moment.tzinfo)
        from dateutil.relativedelta import relativedelta

        if self.unit == "year":
            return moment + relativedelta(years=sign * self.count)
        if self.unit == "month":
            return moment + relativedelta(months=sign * self.count)
        return moment + sign * timedelta(seconds=self.count * self.SECONDS[self.unit])

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
