"""The changes of a revision in words: one line for each change, in the language of a visitor or an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consent_mw.policy.amendments import Amendment
from consent_mw.policy.model import Policy
from consent_mw.site.page_text import lines_of

if TYPE_CHECKING:
    from consent_mw.site.templating import Templates


def amendment_lines(
    amendments: Sequence[Amendment], old: Policy, new: Policy, language: str, templates: Templates
) -> list[str]:
    """Return a line for each amendment, followed by why it matters, in the exact words of the policy page."""
    html = templates.render("_changes.html", language, amendments=amendments, old=old, new=new)
    return lines_of(html)
