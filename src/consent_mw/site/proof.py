"""The exact words that a receipt is about, made again from what the receipt names."""

from __future__ import annotations

from pathlib import Path

from consent_mw.policy import Policy
from consent_mw.receipts import Receipt
from consent_mw.site.surfaces import SURFACES, shown_text
from consent_mw.wordings import Wordings, text_hash

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
    text = shown_text(policy, receipt.language, receipt.surface, own_templates=own_templates)
    return text if text_hash(text) == receipt.text else None
