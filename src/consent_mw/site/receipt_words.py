"""Find the exact words that a receipt is about, from what the receipt names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from consent_mw.consent.receipts import Receipt
from consent_mw.consent.wordings import Wordings, text_hash
from consent_mw.policy.model import Policy
from consent_mw.site.language import page_and_texts
from consent_mw.site.surfaces import SURFACES, shown_text


def words_of(
    receipt: Receipt, wordings: Wordings, policy: Policy | None = None, *, own_templates: Path | None = None
) -> str | None:
    """
    Return the words that the visitor was shown, or None if they cannot be proven.

    The site kept them when it first showed them. If that file is lost, they are rendered again from the declaration of
    that time. Either way they count only if they have exactly the hash that the receipt names.

    Args:
        policy: The declaration that the receipt names (`Revisions.with_digest`); None if it is lost too.
        own_templates: The folder that is the middleware's option `templates`.
    """
    kept = wordings.read(receipt.text)
    if kept is not None or policy is None or receipt.surface not in SURFACES:
        return kept
    language = page_and_texts(receipt.language)[1]
    for cookies, enforced in product(_asked_about(policy, receipt.surface), (True, False)):
        text = shown_text(
            policy, language, receipt.surface, own_templates=own_templates, cookies=cookies, enforced=enforced
        )
        if text_hash(text) == receipt.text:
            return text
    return None


def _asked_about(policy: Policy, surface: str) -> Iterator[list[str]]:
    """Yield the waiting cookies that `surface` may have asked about: all, those of a purpose, or each; else none."""
    yield []
    if surface == "waiting":
        of_purposes = [[c.name for c in policy.cookies if c.purpose == purpose.name] for purpose in policy.asked]
        yield from of_purposes
        yield from ([name] for names in of_purposes for name in names)
