"""Keep the receipt of a choice: it is on the disk before any page says that the choice is saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from consent_mw.consent.choice import Consent
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.log.recorder import Receipt, Recorder
from consent_mw.log.user_agents import is_crawler
from consent_mw.stores.base import Store

_log = logging.getLogger("consent_mw")

#: A visitor waits this long for the store. Then the page asks them to try again.
_STORE_SECONDS: Final = 5.0


class ReceiptKeeper:
    """
    Keeps the receipts of choices, for our own pages and for changes that the application makes by itself.

    Args:
        clock: Nanoseconds since 1970.
        store: If given, each receipt must be in this store before any page says that the choice is saved. None if the
            disk of this machine is enough.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], int], store: Store | None = None) -> None:
        self._recorder = recorder
        self._clock = clock
        self._store = store

    @property
    def in_store(self) -> bool:
        """Whether a choice must be in the store before a page says that it is kept."""
        return self._store is not None

    async def stands(
        self, consent: RequestConsent, chosen: Consent, before: Consent, agent: str, sign_in: str | None = None
    ) -> bool:
        """
        Keep the receipt of a choice on the disk, and return whether the choice stands.

        Without a durable receipt nothing is accepted: `consent` is then as it was `before`, and the visitor is asked
        again. A refusal always stands. So does a choice that takes back no more than a withdrawal which is kept
        already. A choice by an `agent` without a person behind it never stands.
        """
        if is_crawler(agent):
            consent.restore(before)
            return False
        receipt = await asyncio.to_thread(
            self._recorder.receipt,
            # The new answer rests on what was chosen here, even if another host has taken it back since.
            consent.proven if consent.proven.receipt is not None else before,
            chosen,
            consent.shown,
            self._clock(),
            sign_in=sign_in,
            registered=consent.withdrawal_kept,
        )
        kept = receipt is not None and await self._kept(receipt, accepts=chosen.allows_something)
        if not kept and chosen.allows_something and not consent.withdrawal_kept:
            _log.error("an acceptance could not be kept as a receipt; it was not taken")
            consent.restore(before)
            return False
        consent.receipt_kept = True
        return True

    async def _kept(self, receipt: Receipt, *, accepts: bool) -> bool:
        if self._store is None:
            return await asyncio.to_thread(self._recorder.keep, receipt)
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._store.append(receipt.records, durable=True)
        except Exception as error:  # noqa: BLE001 - a custom store may raise anything
            _log.error(
                "the store does not take a receipt: %s", error or f"no answer within {_STORE_SECONDS:.0f} seconds"
            )
            # A refusal stands even if its receipt fails here: the receipt then goes the usual way.
            return not accepts and await asyncio.to_thread(self._recorder.keep, receipt)
        self._recorder.kept(receipt, is_kept=True)
        return True
