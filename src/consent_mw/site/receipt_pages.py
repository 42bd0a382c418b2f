"""The page of the visitor's own receipts. Only their consent cookie leads to them; nothing else in a request does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from starlette.responses import Response

from consent_mw._asgi import Scope
from consent_mw.consent.choice import Consent
from consent_mw.consent.receipts import Receipt, Receipts
from consent_mw.consent.wordings import Wordings
from consent_mw.exceptions import ConsentError
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.site.hand_over import Handing
from consent_mw.site.language import page_and_texts
from consent_mw.site.outline import Outline
from consent_mw.site.reader_queue import Busy, Readers
from consent_mw.site.receipt_document import Addresses, receipt_document
from consent_mw.site.receipt_words import words_of
from consent_mw.site.rendering import PERSONAL, Rendering
from consent_mw.site.visit import Visit

_log = logging.getLogger("consent_mw")

#: How long a visitor waits for a receipt. It is in the spool before a page says "saved"; the next drain run moves it to
#: the store.
_PATIENCE_SECONDS: Final = 2.0
_BETWEEN_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 5
#: The most receipts that the page shows, the newest first. The page of the visitor's data lists them all.
_SHOWN: Final = 50


class _Shown(NamedTuple):
    """One receipt for the page, with the declaration of that time and the words that the visitor was shown."""

    receipt: Receipt
    policy: Policy | None
    words: str | None


class ReceiptPages:
    """
    Answers `/receipt`.

    Args:
        handing: Moves the spool's records to the store.
        templates: The site's own templates, in case the words must be rendered again.
        readers: The queue of visitors who read their own data. Other pages share it.
        client: Returns from a scope the network that a request came from; "" if it is not known.
    """

    def __init__(
        self,
        rendering: Rendering,
        policy: Policy,
        receipts: Receipts,
        handing: Handing,
        *,
        revisions: Revisions,
        wordings: Wordings,
        templates: Path | None = None,
        readers: Readers,
        client: Callable[[Scope], str],
    ) -> None:
        self._rendering = rendering
        self._policy = policy
        self._receipts = receipts
        self._handing = handing
        self._revisions = revisions
        self._wordings = wordings
        self._templates = templates
        self._readers = readers
        self._client = client

    async def receipt(self, visit: Visit) -> Response:
        """Answer with the receipts that this visitor's cookie leads to, or with the reason why there are none."""
        consent = visit.consent.proven
        if consent.receipt is None or consent.given_on is None:
            return self._none(visit, _why(visit.consent.consent), 404)
        try:
            receipts = await self._asked_for(visit)
        except Busy:
            return self._none(visit, "busy", 503)
        if receipts:
            return self._answer(visit, await asyncio.to_thread(self._shown, receipts))
        fresh = consent.given_on >= visit.consent.today - timedelta(days=1)
        return self._none(visit, "stored" if fresh else "gone", 503 if fresh else 404)

    # -- reading ------------------------------------------------------------------------------------------------

    async def _asked_for(self, visit: Visit) -> list[Receipt]:
        """Return the receipts. Wait for those of today and yesterday, which may still be in the spool."""
        consent = visit.consent.proven
        if consent.receipt is None or consent.given_on is None:
            return []
        fresh = consent.given_on >= visit.consent.today - timedelta(days=1)
        receipts: list[Receipt] = []
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not _has_latest(receipts := await self._stored(visit, consent.receipt), consent) and fresh:
                    await self._handing.over()
                    if _has_latest(receipts := await self._stored(visit, consent.receipt), consent):
                        break
                    await asyncio.sleep(_BETWEEN_SECONDS)  # another process moves records, or still writes some
        except TimeoutError:
            pass
        except ConsentError as error:
            _log.warning("receipts cannot be read: %s", error)
        return receipts if _has_latest(receipts, consent) or not fresh else []

    async def _stored(self, visit: Visit, name: str) -> list[Receipt]:
        """Return the receipts in the store. A visitor who waits for the store to get one does not keep the turn."""
        async with self._readers.turn(name, self._client(visit.scope)):
            return await self._receipts.of(name, most=_SHOWN)

    # -- showing ------------------------------------------------------------------------------------------------

    def _shown(self, receipts: Sequence[Receipt]) -> list[_Shown]:
        return [
            _Shown(receipt, policy := self._declaration(receipt), self._words(receipt, policy)) for receipt in receipts
        ]

    def _declaration(self, receipt: Receipt) -> Policy | None:
        if receipt.policy == self._policy.digest:
            return self._policy
        try:
            return self._revisions.with_digest(receipt.revision, receipt.policy)
        except ConsentError as error:
            _log.warning("a receipt's declaration cannot be read: %s", error)
            return None

    def _words(self, receipt: Receipt, policy: Policy | None) -> str | None:
        return words_of(receipt, self._wordings, policy, own_templates=self._templates)

    def _answer(self, visit: Visit, shown: Sequence[_Shown]) -> Response:
        file = f"consent-receipt-{shown[0].receipt.given_at.date().isoformat()}"
        if not visit.wants_json:
            context = {"shown": shown, "zone": self._policy.time_zone, "why": ""}
            context |= {"outline_of": Outline, "page_and_texts": page_and_texts}
            return self._rendering.page(visit, "receipt.html", context, file=f"{file}.html")
        addresses = Addresses(visit.own_origin + visit.base)
        documents = [
            receipt_document(receipt.receipt, receipt.policy, addresses, words=receipt.words) for receipt in shown
        ]
        return self._rendering.data({"receipts": documents}, file=f"{file}.json")

    def _none(self, visit: Visit, why: str, status: int) -> Response:
        headers = {**PERSONAL, "retry-after": str(_RETRY_SECONDS)} if status == 503 else PERSONAL
        if visit.wants_json:
            return self._rendering.data({"error": why, "receipts": []}, status=status, headers=headers)
        return self._rendering.page(visit, "receipt.html", {"shown": [], "why": why}, status=status, headers=headers)


def _has_latest(receipts: Sequence[Receipt], consent: Consent) -> bool:
    return bool(receipts) and receipts[0].changes >= consent.changes


def _why(consent: Consent) -> str:
    """Return why nothing that this browser sends leads to a receipt."""
    if consent.choice is None:
        return "none"
    return "elsewhere" if consent.allows_something else "refused"
