"""Choose the language of the policy for a visitor, and name it in a receipt. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from consent_mw.policy.language_tags import lookup

#: The most language ranges that are read. Browsers send a handful.
_MOST_RANGES = 20


def negotiate(accept_language: str, available: Sequence[str]) -> str | None:
    """
    Return the one of `available` that an Accept-Language header prefers, or None. Never raises.

    `language_tags.lookup` decides which language serves a reader. Between several, the browser's order and weights
    decide. `*` does not include a language of weight 0 (RFC 9110, section 12.5.4).
    """
    ranges = _ranges(accept_language)
    for wanted in _wanted(ranges):
        best = _any_but(ranges, available) if wanted == "*" else lookup(wanted, available)
        if best:
            return best
    return None


def _any_but(ranges: Sequence[tuple[str, float]], available: Sequence[str]) -> str | None:
    refused = {lookup(tag, available) for tag, quality in ranges if not quality}
    return next((tag for tag in available if tag not in refused), None)


def _wanted(ranges: Sequence[tuple[str, float]]) -> list[str]:
    return [tag for tag, quality in sorted(ranges, key=lambda weighted: -weighted[1]) if quality]


def _ranges(header: str) -> list[tuple[str, float]]:
    """Return the ranges of a header with their weights, in the order of the header."""
    ranges: list[tuple[str, float]] = []
    for part in header.split(",", _MOST_RANGES)[:_MOST_RANGES]:
        tag, _, weight = part.partition(";")
        if tag.strip():
            ranges.append((tag.strip().lower(), _quality(weight)))
    return ranges


def _quality(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def spoken(page: str, texts: str) -> str:
    """
    Return the language of a page for a receipt: that of our sentences, and that of the declaration if it differs.

    "en+de" is a page in English with the site's own texts in German.
    """
    return page if page == texts else f"{page}+{texts}"


def page_and_texts(named: str) -> tuple[str, str]:
    """Return the two languages in a name that `spoken` made."""
    page, _, texts = named.partition("+")
    return page, texts or page
