"""Which of the policy's languages to speak to a visitor. Pure: a header in, one declared tag out."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["negotiate"]

#: Browsers send a handful; what comes after is not read.
_MOST_RANGES = 20


def negotiate(accept_language: str, available: Sequence[str]) -> str | None:
    """
    Return the one of `available` that an Accept-Language header likes best, or None. Never raises.

    RFC 4647, section 3.4 (lookup): a range is shortened from the right until one fits, so that "en-GB" finds "en";
    one for a whole language also finds a regional variety, so that "pt" finds "pt-BR".
    """
    for wanted in _wanted(accept_language):
        if wanted == "*":
            return available[0] if available else None
        found = _lookup(wanted, available)
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


def _lookup(wanted: str, available: Sequence[str]) -> str | None:
    known = {tag.lower(): tag for tag in reversed(available)}
    parts = wanted.split("-")[:8]
    for length in range(len(parts), 0, -1):
        shorter = "-".join(parts[:length])
        if shorter in known:
            return known[shorter]
    return next((tag for tag in available if tag.lower().startswith(f"{parts[0]}-")), None)
