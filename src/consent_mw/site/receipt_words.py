"""The exact words that a receipt is about, made again from what the receipt names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from consent_mw.consent.receipts import Receipt
from consent_mw.consent.wordings import Wordings, text_hash
from consent_mw.policy.model import Policy
from consent_mw.site.language import page_and_texts
from consent_mw.site.surfaces import SURFACES, shown_text

__all__ = ["words_of"]


def words_of(
    receipt: Receipt, wordings: Wordings, policy: Policy | None = None, *, own_templates: Path | None = None
) -> str | None:
    """
    Return the words that were shown, or None where they cannot be proven.

    They were kept when they were first shown. Where that file is lost they are rendered again from the declaration of
    then; either way they count only if they have the very hash that the receipt names.

    Args:
        policy: The declaration that the receipt names (`Revisions.with_digest`), None where it is lost too.
        own_templates: The folder that the middleware is given as `templates`.
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
    """The waiting cookies that may have been asked about: all, those of a purpose, or each alone. Nothing elsewhere."""
    yield []
    if surface == "waiting":
        of_purposes = [[c.name for c in policy.cookies if c.purpose == purpose.name] for purpose in policy.asked]
        yield from of_purposes
        yield from ([name] for names in of_purposes for name in names)
