"""Compare two revisions of the policy page: which lines are gone, and which are new."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from consent_mw.site.page_text import lines_of

_SECTION: Final = re.compile(r'<section id="([\w-]+)">')


class Difference(NamedTuple):
    """One section that changed: its heading, and its lines `before` and `now` that the other revision lacks."""

    heading: str
    before: tuple[str, ...]
    now: tuple[str, ...]


def differences(old_html: str, new_html: str) -> list[Difference]:
    """Return the sections that differ between two rendered policies, in the order of the newer one."""
    old, new = _sections(old_html), _sections(new_html)
    names = [*new, *(name for name in old if name not in new)]
    all_fields = (_difference(old.get(name, ()), new.get(name, ())) for name in names)
    return [difference for difference in all_fields if difference.before or difference.now]


def _sections(html: str) -> dict[str, Sequence[str]]:
    """Return the lines of each section by its id. Lines before the first section have the empty name."""
    parts = _SECTION.split(html)
    named = zip(["", *parts[1::2]], [parts[0], *parts[2::2]], strict=True)
    return {name: lines_of(part) for name, part in named}


def _unnumbered(heading: str) -> str:
    return re.sub(r"^\d+\. ", "", heading)


def _difference(old: Sequence[str], new: Sequence[str]) -> Difference:
    before: list[str] = []
    now: list[str] = []
    # A section that only got another number, because of a new section before it, has not changed.
    plain_old, plain_new = (list(map(_unnumbered, lines[:1])) + list(lines[1:]) for lines in (old, new))
    for kind, i, j, k, m in SequenceMatcher(None, plain_old, plain_new, autojunk=False).get_opcodes():
        if kind != "equal":
            before += old[i:j]
            now += new[k:m]
    return Difference(next(iter(new or old), ""), tuple(before), tuple(now))
