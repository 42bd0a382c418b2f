"""The random name under which the receipts of one visitor are kept, and the day that it begins with."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from typing import Final

from consent_mw.system.days import day_of_date

#: Days for which a visitor who chooses again counts as the one who chose before: as many as one count may be about.
AGAIN_DAYS: Final = 28

_DAY_BYTES: Final = 2
_RANDOM_BYTES: Final = 14
_LETTERS: Final = 22


def new_name(today: date, *, again: bool = False) -> str:
    """
    Return a name of 22 letters: the day (UTC), a bit, and 111 random ones. As in an id (RFC 9562, version 7) the day
    tells where to look, and nothing that the cookie's own date does not. None begins with a hyphen, which a command
    would take for an option.

    Args:
        again: Whether its holder had chosen in the last days under no name, or another.
    """
    first, *rest = secrets.token_bytes(_RANDOM_BYTES)
    content = day_of_date(today).to_bytes(_DAY_BYTES) + bytes([first & 0xFE | again, *rest])
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def born_on(name: str) -> int:
    """Return the day (since 1970, UTC) on which `name` was made; 0 where it does not tell. Never raises."""
    return int.from_bytes(_begin(name)[:_DAY_BYTES])


def is_again(name: str, today: date) -> bool:
    """Whether the holder of `name` was somebody else in the counts of the last days before `today`. Never raises."""
    begin = _begin(name)
    return len(begin) > _DAY_BYTES and bool(begin[_DAY_BYTES] & 1) and day_of_date(today) - born_on(name) < AGAIN_DAYS


def _begin(name: str) -> bytes:
    try:
        return urlsafe_b64decode(name[:4]) if len(name) == _LETTERS else b""
    except ValueError:
        return b""
