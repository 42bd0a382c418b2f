"""What a revision changes, in words: one line a change, in a visitor's language or an operator's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consent_mw.policy.amendments import Amendment
from consent_mw.policy.model import Policy
from consent_mw.site.page_text import lines_of

if TYPE_CHECKING:
    from consent_mw.site.templating import Templates

__all__ = ["told"]


def told(amendments: Sequence[Amendment], old: Policy, new: Policy, language: str, templates: Templates) -> list[str]:
    """Return a line for each of `amendments`, with why it weighs behind it: the very words of the policy's page."""
    html = templates.render("_changes.html", language, amendments=amendments, old=old, new=new)
    return lines_of(html)
