"""Move our forms to the end of a page, so that `document.forms[0]` stays the site's own form. Pure."""

from __future__ import annotations

import re
from typing import Final

#: Enough for our own markup: no form contains another one, and autoescape leaves no ">" in an attribute.
_FORM: Final = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_CONTROL: Final = re.compile(r"<(button|input|select|textarea)\b")
_CLASS: Final = re.compile(r'\s*class="([^"]*)"')
_END: Final = re.compile(rb"</(?:body|html)\s*>\s*\Z", re.IGNORECASE)
_ALONE: Final = 'class="consent-mw" hx-boost="false" data-turbo="false" hidden'


def ends(page: bytes) -> bool:
    """Whether a page ends properly, so that an element after it becomes the last one of its body."""
    return _END.search(page, max(0, len(page) - 100)) is not None


def loosened(html: str) -> tuple[str, str]:
    """
    Return our markup whose controls refer to forms elsewhere by name (HTML, 4.10.18.3), and those forms.

    Old pages submit `document.forms[0]`, above all those that lead to a bank or a sign-in by themselves.
    """
    forms: list[str] = []

    def loose(match: re.Match[str]) -> str:
        name = f"consent-mw-form-{len(forms) + 1}"
        look = _CLASS.search(match[1])
        # This closes a form that the page left open: inside it, ours would not be a form.
        forms.append(f'</form><form id="{name}"{_CLASS.sub("", match[1])} {_ALONE}></form>')
        controls = _CONTROL.sub(rf'<\1 form="{name}"', match[2])
        return f'<div class="{look[1] if look else ""}">{controls}</div>'

    return _FORM.sub(loose, html), "".join(forms)
