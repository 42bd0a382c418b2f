"""What a new revision of a policy owes to visitors: how long it is announced before it holds, and what it asks again.

Pure: policies, days and instants in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple

from consent_mw.exceptions import Fault
from consent_mw.policy.amendments import Amendment, amendments
from consent_mw.policy.model import Policy

#: The promise of section 11: whole calendar days between the day of publication, not counted, and the effective one.
ORDINARY_DAYS: Final = 7
IMPORTANT_DAYS: Final = 30


class Notice(NamedTuple):
    """
    What announcing a revision takes.

    Attributes:
        amendments: What it changes, compared with the one in force; what weighs comes first.
        days: Calendar days of notice: 30 if anything weighs, 7 if visitors read of anything, else none.
    """

    amendments: list[Amendment]
    days: int

    def earliest(self, published: date) -> date:
        """Return the first day on which the revision may hold: after the 1st and 7 days it is the 8th."""
        return published + timedelta(days=self.days)

    def faults(self, policy: Policy, today: date) -> list[Fault]:
        """
        Return what forbids publishing `policy` on `today`, which is the day in its time zone.

        Its dates are what visitors read: that of the publication must be true, and the other far enough ahead.
        """
        faults: list[Fault] = []
        zone = policy.time_zone.key
        if policy.published != today:
            problem = f"{policy.published} is not today, which is {today} in {zone}; a revision is published once, now"
            faults.append(Fault(policy.file, "published", problem, f"write published = {today}"))
        if policy.effective < self.earliest(today):
            weighing = sum(1 for change in self.amendments if change.reason)
            why = f"important changes: {weighing}" if weighing else "visitors read of it"
            problem = f"{policy.effective} is too early: {self.days} days' notice after {today} ({why})"
            faults.append(
                Fault(policy.file, "effective", problem, f"write effective = {self.earliest(today)}, or later")
            )
        return faults


def notice(in_force: Policy | None, policy: Policy) -> Notice:
    """Return what announcing `policy` takes. Before the first revision nothing was promised, so it takes nothing."""
    changes = amendments(in_force, policy) if in_force else []
    days = IMPORTANT_DAYS if any(change.reason for change in changes) else ORDINARY_DAYS if changes else 0
    return Notice(changes, days)


class Changes(NamedTuple):
    """
    What a visitor who answered the older revision has not answered about the newer one.

    Attributes:
        purposes: Asked purposes that are new, or that do more than before.
        cookies: Declared names of cookies that are new or do more, inside purposes that are not in `purposes`.
    """

    purposes: frozenset[str]
    cookies: frozenset[str]


def changes(old: Policy, new: Policy) -> Changes:
    """
    Return what has to be asked again: a consent covers what was declared when it was given, and nothing more.

    That is what weighs, where the visitor is asked at all. A shorter retention, a field less or another wording puts no
    new question to them; another controller puts all of them, since the answers were given to somebody else.
    """
    weighing = [change for change in amendments(old, new) if change.reason]
    asked = {purpose.name for purpose in new.asked}
    if any(change.what == "controller" for change in weighing):
        return Changes(frozenset(asked), frozenset())
    purposes = frozenset(asked.intersection(change.purpose for change in weighing if not change.cookie))
    return Changes(purposes, frozenset(_cookies(weighing, asked - purposes)))


def _cookies(weighing: Iterable[Amendment], purposes: set[str]) -> Iterable[str]:
    return (change.cookie for change in weighing if change.cookie and change.purpose in purposes)


def since(kept: Mapping[int, Policy], policy: Policy) -> dict[int, Changes]:
    """Return, for each earlier revision that was kept, what its visitors have to be asked again."""
    return {revision: changes(old, policy) for revision, old in kept.items() if revision < policy.revision}
