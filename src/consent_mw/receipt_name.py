"""The random name under which the receipts of one visitor are kept, and the day that it begins with."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from typing import Final

__all__ = ["born_on", "new_name"]

_1970: Final = date(1970, 1, 1)
_DAY_BYTES: Final = 2
_RANDOM_BYTES: Final = 14
_LETTERS: Final = 22


def new_name(today: date) -> str:
    """
    Return a name of 22 letters: the day (UTC), and 112 random bits. As in an id (RFC 9562, version 7) the day tells
    where to look, and nothing that the cookie's own date does not. None begins with a hyphen, which a command would
    take for an option.
    """
    day = (today - _1970).days.to_bytes(_DAY_BYTES)
    return urlsafe_b64encode(day + secrets.token_bytes(_RANDOM_BYTES)).rstrip(b"=").decode()


def born_on(name: str) -> int:
    """Return the day (since 1970, UTC) on which `name` was made; 0 where it does not tell. Never raises."""
    if len(name) != _LETTERS:
        return 0
    try:
        return int.from_bytes(urlsafe_b64decode(name[:4])[:_DAY_BYTES])
    except ValueError:
        return 0
