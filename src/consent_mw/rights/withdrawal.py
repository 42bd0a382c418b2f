"""Which consent a choice takes back, and the resulting request: what was collected under that consent is erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from consent_mw.consent.choice import Choice, Consent
from consent_mw.consent.data_subject import Person
from consent_mw.consent.receipt_name import born_on
from consent_mw.policy.model import Policy, Purpose
from consent_mw.policy.timeline import Course, begins
from consent_mw.rights.request import Request
from consent_mw.system.days import day_of


class Removed(NamedTuple):
    """
    A purpose that visitors were once asked about and no longer are. What was collected for it lives on until its end. A
    later revision may ask about it again.

    Attributes:
        purpose: As it was last declared.
        last_day: The last day (since 1970, UTC) on which a visitor could allow it.
    """

    purpose: Purpose
    last_day: int

    def may_be_of(self, name: str) -> bool:
        """Whether the visitor whose receipts are kept under `name` may have allowed it."""
        return born_on(name) <= self.last_day


NOTHING_REMOVED: Final[Mapping[str, Removed]] = {}


def removed(policies: Iterable[Policy], policy: Policy) -> dict[str, Removed]:
    """
    Return the purposes, by name, that a revision up to `policy` asked about and the next one did not. Pure.

    Args:
        policies: Every declaration that was published.
    """
    removed: dict[str, Removed] = {}
    for earlier, later in pairwise(
        policy_then for policy_then in Course(policies).holding if policy_then.revision <= policy.revision
    ):
        kept = {purpose.name for purpose in later.asked}
        for purpose in earlier.asked:
            if purpose.name not in kept:
                removed[purpose.name] = Removed(purpose, day_of(begins(later)))
    return removed


def taken_back(
    before: Consent, after: Consent, policy: Policy, removed: Mapping[str, Removed] = NOTHING_REMOVED
) -> tuple[str, ...] | None:
    """
    Return the purposes that a receipt allowed and that are no longer allowed. No name means everything, and None means
    nothing. A visitor who now allows none takes back everything, also what earlier revisions asked about. A no to a
    purpose that was not declared for a while also covers what was allowed before that. Pure.
    """
    if before.receipt is None:
        return None
    held = {
        name: purpose_removed for name, purpose_removed in removed.items() if purpose_removed.may_be_of(before.receipt)
    }
    allowed = [purpose.name for purpose in policy.asked if _allows(before, purpose)]
    allows_none = not any(_allows(after, purpose) for purpose in policy.asked)
    if allows_none and (allowed or (held and after.choice is Choice.REJECT)):
        return ()
    names = [purpose.name for purpose in policy.asked if purpose.name in allowed and not _allows(after, purpose)]
    names += [name for name in held if name not in names and after.purposes.get(name) is False]
    return tuple(names) or None


def _allows(consent: Consent, purpose: Purpose) -> bool:
    """Whether data was collected for a purpose. For an opt-out, also before the visitor answered."""
    if consent.choice is Choice.PROMPT:
        return consent.purposes.get(purpose.name, purpose.basis == "opt_out")
    return consent.choice is Choice.ACCEPT


def withdrawal(
    before: Consent,
    after: Consent,
    policy: Policy,
    now_ns: int,
    sign_in: str | None = None,
    removed: Mapping[str, Removed] = NOTHING_REMOVED,
) -> Request | None:
    """
    Return the request that follows from a change of mind from `before` to `after`; None if nothing was taken back.
    """
    purposes = taken_back(before, after, policy, removed)
    if purposes is None or before.receipt is None:
        return None
    return Request.new("withdrawal", "site", now_ns, person=Person((before.receipt,), sign_in), purposes=purposes)
