"""A choice on its way to the disk: its receipt is there before anybody reads that the choice is saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from consent_mw.consent.choice import Consent
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.log.recorder import Recorder
from consent_mw.log.user_agents import is_crawler

__all__ = ["ReceiptKeeper"]

_log = logging.getLogger("consent_mw")


class ReceiptKeeper:
    """
    Keeps the receipts of choices, for our own pages and for what the application changes by itself.

    Args:
        clock: Nanoseconds since 1970.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], int]) -> None:
        self._recorder = recorder
        self._clock = clock

    async def stands(
        self, consent: RequestConsent, chosen: Consent, before: Consent, agent: str, sign_in: str | None = None
    ) -> bool:
        """
        Bring the receipt of what was chosen to the disk, and return whether the choice stands.

        Without a durable receipt nothing is accepted: `consent` is then as it was `before`, and the visitor is asked
        again. A refusal always stands, and so does what takes back no more than a withdrawal that is kept already. For
        an `agent` behind which nobody is, nothing does.
        """
        if is_crawler(agent):
            consent.restore(before)
            return False
        kept = await asyncio.to_thread(
            self._recorder.receipt,
            # What was chosen here stands behind the new answer, also where another host has taken it back meanwhile.
            consent.proven if consent.proven.receipt is not None else before,
            chosen,
            consent.shown,
            self._clock(),
            sign_in=sign_in,
            registered=consent.withdrawal_kept,
        )
        if not kept and chosen.allows_something and not consent.withdrawal_kept:
            _log.error("an acceptance could not be kept as a receipt; it was not taken")
            consent.restore(before)
            return False
        consent.receipt_kept = True
        return True
