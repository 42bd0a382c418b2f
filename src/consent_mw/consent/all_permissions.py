"""The permissions of all visitors under one policy: those who answered alike share theirs."""

from __future__ import annotations

from typing import Final

from consent_mw.consent.choice import Consent
from consent_mw.consent.permissions import Permissions
from consent_mw.policy.model import Policy
from consent_mw.system.bounded_cache import Budget, Memory

#: Sets of answers, and what is decided under all of them about names and Set-Cookie lines.
_PERMISSIONS_BYTES: Final = 2 << 20
_DECISIONS_BYTES: Final = 2 << 20
#: What a set of answers takes at least, and one answer in it.
_SET_BYTES: Final = 2_000
_ANSWER_BYTES: Final = 250


class AllPermissions:
    """Makes and remembers permissions. It knows nobody who uses them, so that a request's consent may hold it."""

    def __init__(self, policy: Policy, *, reserved: frozenset[str], report_only: bool) -> None:
        self._policy = policy
        self._reserved = reserved
        self._report_only = report_only
        self._permissions: Memory[object, Permissions] = Memory(Budget(_PERMISSIONS_BYTES))
        self._decisions: Budget = Budget(_DECISIONS_BYTES)

    def __call__(self, consent: Consent, signals: frozenset[str]) -> Permissions:
        """Return the permissions of everyone who answered alike."""
        key = (
            consent.choice,
            frozenset(consent.purposes.items()),
            frozenset(consent.cookies.items()),
            consent.reopened_purposes,
            consent.reopened_cookies,
            signals,
            consent.signals,
        )
        permissions = self._permissions.seen.get(key)
        if permissions is None:
            permissions = Permissions(
                self._policy,
                consent,
                signals,
                reserved=self._reserved,
                report_only=self._report_only,
                budget=self._decisions,
            )
            self._permissions.remember(key, permissions, _SET_BYTES + weight_of(consent))
        return permissions


def weight_of(consent: Consent) -> int:
    """Return about how many bytes the answers of one consent take."""
    reopened = len(consent.reopened_purposes) + len(consent.reopened_cookies)
    return _ANSWER_BYTES * (len(consent.purposes) + len(consent.cookies) + len(consent.signals) + reopened)
