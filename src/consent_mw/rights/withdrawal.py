"""Which consent a choice takes back, and the request that follows from it: what was collected under it is erased."""

from __future__ import annotations

from consent_mw.consent import Choice, Consent
from consent_mw.policy import Policy
from consent_mw.rights.person import Person
from consent_mw.rights.request import Request

__all__ = ["taken_back", "withdrawal"]


def taken_back(before: Consent, after: Consent, policy: Policy) -> tuple[str, ...]:
    """Return the purposes that were allowed under a receipt, and no longer are. Pure."""
    if before.receipt is None:
        return ()
    names = (purpose.name for purpose in policy.asked)
    return tuple(name for name in names if _allows(before, name) and not _allows(after, name))


def _allows(consent: Consent, purpose: str) -> bool:
    return consent.choice is Choice.ACCEPT or consent.purposes.get(purpose, False)


def withdrawal(
    before: Consent, after: Consent, policy: Policy, now_ns: int, sign_in: str | None = None
) -> Request | None:
    """Return the request that a change of mind from `before` to `after` is; None where nothing was taken back."""
    purposes = taken_back(before, after, policy)
    if not purposes or before.receipt is None:
        return None
    return Request.new("withdrawal", "site", now_ns, person=Person((before.receipt,), sign_in), purposes=purposes)
