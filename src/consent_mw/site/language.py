"""Which of the policy's languages to speak to a visitor, and how a receipt names it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from consent_mw.policy.language_tags import lookup

__all__ = ["negotiate", "page_and_texts", "spoken"]

#: Browsers send a handful; what comes after is not read.
_MOST_RANGES = 20


def negotiate(accept_language: str, available: Sequence[str]) -> str | None:
    """
    Return the one of `available` that an Accept-Language header likes best, or None. Never raises.

    What serves whom is `tags.lookup`; the browser's order and weights decide between several.
    """
    for wanted in _wanted(accept_language):
        if wanted == "*":
            return available[0] if available else None
        found = lookup(wanted, available)
        if found:
            return found
    return None


def _wanted(header: str) -> list[str]:
    weighed: list[tuple[float, int, str]] = []
    for place, part in enumerate(header.split(",", _MOST_RANGES)[:_MOST_RANGES]):
        tag, _, weight = part.partition(";")
        quality = _quality(weight)
        if tag.strip() and quality > 0:
            weighed.append((-quality, place, tag.strip().lower()))
    return [tag for _, _, tag in sorted(weighed)]


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
    Return how a receipt names what was shown: the language of our sentences, and the declaration's if it is another.

    "en+de" is a page in English with the site's own texts in German.
    """
    return page if page == texts else f"{page}+{texts}"


def page_and_texts(named: str) -> tuple[str, str]:
    """Return the two languages that `spoken` has named."""
    page, _, texts = named.partition("+")
    return page, texts or page
