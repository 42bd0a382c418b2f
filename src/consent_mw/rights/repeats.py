"""Withdrawals and erasures of the last seconds: the same request of the same receipt need not be kept again."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from consent_mw.exceptions import SpoolError
from consent_mw.rights.request import Request
from consent_mw.spool.spool import Spool
from consent_mw.system.bounded_cache import remember

#: The same request of the same receipt within this time counts as sent twice.
_SAME: Final = timedelta(seconds=10)
_REMEMBERED: Final = 4_096


class Repeats:
    """
    Remembers the withdrawals and erasures that were just kept.

    No rate limit applies to withdrawals and erasures, so none of them is refused. Only this bounds them: a request that
    comes again within a few seconds is the same one. The same holds while the spool has little room left and still
    holds the first. That one is carried out when the store is back, for all that was recorded until then.

    Each process remembers only its own.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept: dict[tuple[object, ...], Request] = {}

    def number_of(self, request: Request, changes: int) -> UUID | None:
        """
        Return the number of the request that `request` repeats; None if it is new.

        Args:
            changes: How often its sender had chosen (`Consent.changes`). A visitor who allows something again in
                between and takes it back again does not repeat themselves.
        """
        first = self._kept.get(_what(request, changes))
        if first is None or not request.person.names:
            return None
        since = request.registered - first.registered
        repeats = timedelta() <= since and (since < _SAME or self._holds(first))
        return first.id if repeats else None

    def keep(self, request: Request, changes: int) -> None:
        """Remember a request that is on the disk now."""
        remember(self._kept, _what(request, changes), request, _REMEMBERED)

    def _holds(self, request: Request) -> bool:
        if not self._spool.is_tight:
            return False
        try:
            oldest = self._spool.oldest
        except SpoolError:
            return False
        return oldest is not None and oldest <= request.registered


def _what(request: Request, changes: int) -> tuple[object, ...]:
    return request.kind, request.purposes, request.person.names[:1], request.person.sign_in, changes
