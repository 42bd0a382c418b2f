"""Which revision of a policy holds when. Pure: declarations and an instant in, a declaration out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from consent_mw.policy.model import Policy


def begins(policy: Policy) -> datetime:
    """
    Return the instant from which `policy` holds, in UTC: the first one of its effective day, in its own time zone.

    Where the clocks go forward at midnight that day begins at one; where a day was left out, with the next.
    """
    return _midnight(policy.effective, policy.time_zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


class Course:
    """
    The published revisions of a site, in their order.

    The first holds from the beginning, whatever date it says: nothing was promised before it. Each later one holds from
    its effective day on. One that a higher one replaced before that day never holds.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        """`policies` in any order; of one revision the last counts."""
        by_revision = {policy.revision: policy for policy in policies}
        ordered = [by_revision[number] for number in sorted(by_revision)]
        #: Every published revision, by number.
        self.published: tuple[Policy, ...] = tuple(ordered)
        #: Those that hold or will, in their order.
        self.holding: tuple[Policy, ...] = tuple(
            policy for place, policy in enumerate(ordered) if place == 0 or not _replaced(policy, ordered[place + 1 :])
        )

    def at(self, now: datetime) -> Policy | None:
        """Return the revision that holds at `now`, which is aware; None where none was published."""
        holds: Policy | None = None
        for place, policy in enumerate(self.holding):
            if place == 0 or begins(policy) <= now:
                holds = policy
        return holds

    def ahead(self, now: datetime) -> Policy | None:
        """Return the revision that is published and does not hold yet at `now`, or None. There is never a second."""
        last = self.holding[-1] if len(self.holding) > 1 else None
        return last if last is not None and begins(last) > now else None


def _replaced(policy: Policy, later: Iterable[Policy]) -> bool:
    """Whether a later one was published before `policy` began: on a day, of its own zone, that was over by then."""
    began = begins(policy)
    return any(_midnight(other.published + timedelta(days=1), other.time_zone) <= began for other in later)
