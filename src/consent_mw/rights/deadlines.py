"""By when a request must be answered. Pure: a day in, a day out."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from consent_mw.policy.durations import Duration

#: By jurisdiction. KR: Enforcement Decree of the Personal Information Protection Act, articles 41(4), 43(3), 44(2).
#: EU and UK: GDPR, article 12(3). US: California Civil Code, section 1798.130(a)(2); other states have the same.
_ANSWER_WITHIN: Final = {
    "KR": Duration(10, "day"),
    "EU": Duration(1, "month"),
    "UK": Duration(1, "month"),
    "US": Duration(45, "day"),
}


def answer_within(jurisdiction: str) -> Duration:
    """Return how long an answer may take under "KR", "EU", "UK", "US", or a state as "US-CA"."""
    return _ANSWER_WITHIN[jurisdiction.partition("-")[0]]


def due_date(received: datetime, jurisdiction: str, zone: ZoneInfo) -> date:
    """
    Return the last day for the answer to a request received at that instant (aware), on the calendar of `zone`.

    The day of receipt is not counted: ten days from 1 March end with 11 March, one month from 31 January with the last
    day of February.
    """
    day = datetime.combine(received.astimezone(zone).date(), time(), zone)
    return answer_within(jurisdiction).after(day).date()


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """
    Return the instant at which `day` is over in `zone` (aware). From then on, what was due on that day is overdue.
    """
    return datetime.combine(day + timedelta(days=1), time(), zone)
