"""Cookies on the wire: names in Cookie and Set-Cookie lines as browsers read them (RFC 6265bis). Decides nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["delete_line", "is_deletion", "name_of", "pairs"]

_BLANK = b" \t"
#: A control character other than tab makes a browser drop the whole line (RFC 6265bis, section 5.6, step 1).
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WHOLE_NUMBER = re.compile(rb"-?[0-9]+")
#: The two spellings of a date that servers write: IMF-fixdate, and the older one with hyphens.
_DATE = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d)[ -]([A-Z][a-z]{2})[ -](\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_EPOCH = b"Thu, 01 Jan 1970 00:00:00 GMT"


def pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    """
    Return (name, pair) for each piece of a Cookie header, blanks around it taken off.

    A piece without "=" has the empty name. Nothing is decoded, so that one bad neighbour spoils no other.
    """
    found: list[tuple[bytes, bytes]] = []
    for piece in header.split(b";"):
        pair = piece.strip(_BLANK)
        if pair:
            name, equals, _ = pair.partition(b"=")
            found.append((name.rstrip(_BLANK) if equals else b"", pair))
    return found


def name_of(line: bytes) -> str | None:
    """
    Return the name that a browser would store the Set-Cookie `line` under, or None if there can be none.

    RFC 6265bis, section 5.6: the name ends at the first "=" before the first ";", both sides trimmed. A line
    without "=" or with nothing before it stores a cookie without a name, which a server would later mistake for
    whatever its value looks like: it is None here. So is a line with a control character, which browsers drop.
    """
    if _CONTROL.search(line):
        return None
    name, equals, _ = line.partition(b";")[0].partition(b"=")
    name = name.strip(_BLANK)
    return name.decode("latin-1") if equals and name else None


def is_deletion(line: bytes, now: datetime) -> bool:
    """
    Whether every browser takes the Set-Cookie `line` as a deletion.

    Where readings could differ it is none: all its Max-Age must be zero or less or, if it has none, all its
    Expires be a date that servers write and lie in the past. A deletion that is not seen as one is merely
    judged like any other line.
    """
    ages: list[bytes] = []
    dates: list[bytes] = []
    for attribute in line.split(b";")[1:]:
        key, _, value = attribute.partition(b"=")
        key = key.strip(_BLANK).lower()
        if key == b"max-age":
            ages.append(value.strip(_BLANK))
        elif key == b"expires":
            dates.append(value.strip(_BLANK))
    if ages:
        return all(_WHOLE_NUMBER.fullmatch(age) and (age.startswith(b"-") or not age.strip(b"0")) for age in ages)
    return bool(dates) and all(_is_past(text, now) for text in dates)


def _is_past(text: bytes, now: datetime) -> bool:
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return False
    day, year, hour, minute, second = (int(found[i]) for i in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC) < now
    except ValueError:
        return False


def delete_line(name: str, *, path: str = "/", domain: str = "") -> bytes:
    """
    Return the Set-Cookie line that makes a browser forget `name`; path and domain must be those it was set with.

    Max-Age for today's browsers, Expires for those before them. A prefixed name is only heard with Secure.
    """
    line = b"%s=; Max-Age=0; Expires=%s; Path=%s" % (name.encode("latin-1"), _EPOCH, path.encode("latin-1"))
    if domain:
        line += b"; Domain=" + domain.encode("latin-1")
    if name.lower().startswith(("__host-", "__secure-")):
        line += b"; Secure"
    return line
