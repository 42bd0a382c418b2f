"""Cookies on the wire: names in Cookie and Set-Cookie lines as browsers read them (RFC 6265bis). Decides nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = [
    "CookieFloor",
    "Placed",
    "anchored",
    "delete_line",
    "is_deletion",
    "lasts_seconds",
    "name_of",
    "pairs",
    "placed",
    "without_value",
]

_BLANK = b" \t"
#: A control character other than tab makes a browser drop the whole line (RFC 6265bis, section 5.6, step 1).
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
_WHOLE_NUMBER = re.compile(rb"-?[0-9]+")
#: The two spellings of a date that servers write: IMF-fixdate, and the older one with hyphens.
_DATE = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d)[ -]([A-Z][a-z]{2})[ -](\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
#: Browsers ignore an attribute whose value is longer (RFC 6265bis, section 5.6, step 6), and a year before 1601.
_LONGEST_ATTRIBUTE = 1_024
_FIRST_YEAR = 1601
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


def without_value(line: bytes) -> bytes | None:
    """
    Return the Set-Cookie `line` without the cookie's value, as the line that sets an empty one. Name and attributes,
    and with them what a browser makes of them, are the same. None where there is a control character in the value.
    """
    pair, semicolon, attributes = line.partition(b";")
    name, equals, value = pair.partition(b"=")
    # What is printable holds none, and of a value that is found out in less than half the time.
    if not value.decode("latin-1").isprintable() and len(value.translate(None, _CONTROLS)) != len(value):
        return None
    return name + equals + semicolon + attributes


def is_deletion(line: bytes, now: datetime) -> bool:
    """
    Whether every browser takes the Set-Cookie `line` as a deletion.

    Where readings could differ it is none: all its Max-Age must be zero or less or, if it has none, all its
    Expires be a date that servers write and lie in the past. A deletion that is not seen as one is merely
    judged like any other line.
    """
    ages = _attribute(line, b"max-age")
    dates = _attribute(line, b"expires")
    if any(len(value) > _LONGEST_ATTRIBUTE for value in (*ages, *dates)):
        return False
    if ages:
        return all(_WHOLE_NUMBER.fullmatch(age) and (age.startswith(b"-") or not age.strip(b"0")) for age in ages)
    return bool(dates) and all(_is_past(text, now) for text in dates)


def anchored(line: bytes, path: str) -> bytes:
    """
    Return the Set-Cookie `line` with the Path that it would get from a browser at `path` (percent-encoded).

    A line without one, or with one that does not begin with a slash, belongs to the directory of the address that
    sets it (RFC 6265bis, section 5.1.4): sent from another address it needs to say so.
    """
    given = [value for value in _attribute(line, b"path") if len(value) <= _LONGEST_ATTRIBUTE]
    if given and given[-1].startswith(b"/"):
        return line
    directory = path.rpartition("/")[0] if path.startswith("/") else ""
    return line + b"; Path=" + (directory or "/").encode("ascii", "replace")


def _attribute(line: bytes, name: bytes) -> list[bytes]:
    """Every value of one attribute, in order; the last that a browser understands wins."""
    split = (attribute.partition(b"=") for attribute in line.split(b";")[1:])
    return [value.strip(_BLANK) for key, _, value in split if key.strip(_BLANK).lower() == name]


def _is_past(text: bytes, now: datetime) -> bool:
    moment = _moment(text)
    return moment is not None and moment < now


def _moment(text: bytes) -> datetime | None:
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[i]) for i in (1, 3, 4, 5, 6))
    if year < _FIRST_YEAR:
        return None
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def lasts_seconds(line: bytes, now: datetime) -> int | None:
    """Return how long the cookie of a Set-Cookie line lasts; None until the browser closes."""
    ages = [age for age in _attribute(line, b"max-age") if age.isdigit() and len(age) < 12]
    if ages:
        return int(ages[-1])
    moments = [moment for moment in map(_moment, _attribute(line, b"expires")) if moment]
    return int((moments[-1] - now).total_seconds()) if moments else None


class CookieFloor(NamedTuple):
    """
    The least that every cookie which passes must say of itself. A line that says more stays as it is.

    Attributes:
        secure: Sent over https only. Added on https alone: on http a browser would drop the line.
        http_only: Out of the reach of scripts.
        same_site: "lax" takes `None` and nothing said to Lax, "strict" those and Lax to Strict.
    """

    secure: bool = True
    http_only: bool = False
    same_site: Literal["lax", "strict"] | None = None

    def raised(self, line: bytes, *, https: bool) -> bytes:
        """Return the Set-Cookie `line` with what it lacks, or the very line where it lacks nothing."""
        attributes = line.partition(b";")[2]
        look = _remembered_lacking if len(attributes) <= _REMEMBERED else _lacking
        lacking = look(self, attributes, https)
        return line + lacking if lacking else line


def _lacking(floor: CookieFloor, attributes: bytes, https: bool) -> bytes:
    """Return what `floor` adds to a line with these attributes."""
    line, lacking = b";" + attributes, b""
    if floor.secure and https and not _attribute(line, b"secure"):
        lacking += b"; Secure"
    if floor.http_only and not _attribute(line, b"httponly"):
        lacking += b"; HttpOnly"
    if floor.same_site and _level(line) < _LEVELS.index(floor.same_site):
        # The last of several counts (RFC 6265bis, section 5.7), so that one more outweighs them.
        lacking += b"; SameSite=" + floor.same_site.title().encode()
    return lacking


#: The longest attributes of a cookie for which it is remembered what they lack. Sites have a handful.
_REMEMBERED = 256
_remembered_lacking = lru_cache(maxsize=256)(_lacking)

_LEVELS = ("none", "lax", "strict")


def _level(line: bytes) -> int:
    """How much the last SameSite of a line asks for. What no browser knows, and nothing at all, asks for nothing."""
    said = [value.lower().decode("latin-1") for value in _attribute(line, b"samesite")]
    return _LEVELS.index(said[-1]) if said and said[-1] in _LEVELS else 0


class Placed(NamedTuple):
    """Where a browser keeps a cookie, as its Set-Cookie line says it: the Domain without its leading dot."""

    domain: str
    path: str
    partitioned: bool


def placed(line: bytes) -> Placed:
    """Return where the Set-Cookie `line` puts its cookie; an empty path where it says none."""
    domains, paths = _attribute(line, b"domain"), _attribute(line, b"path")
    domain = domains[-1].lower().lstrip(b".") if domains else b""
    path = paths[-1] if paths else b""
    return Placed(domain.decode("latin-1"), path.decode("latin-1"), bool(_attribute(line, b"partitioned")))


def delete_line(name: str, *, path: str = "/", domain: str = "", partitioned: bool = False) -> bytes:
    """
    Return the Set-Cookie line that makes a browser forget `name`; path and domain must be those it was set with.

    Max-Age for today's browsers, Expires for those before them. A prefixed name is only heard with Secure, and so is
    the line of a partitioned cookie, which lies in a jar of its own (CHIPS, section 2).
    """
    line = b"%s=; Max-Age=0; Expires=%s; Path=%s" % (name.encode("latin-1"), _EPOCH, path.encode("latin-1"))
    if domain:
        line += b"; Domain=" + domain.encode("latin-1")
    if partitioned:
        return line + b"; Secure; SameSite=None; Partitioned"
    if name.lower().startswith(("__host-", "__secure-")):
        line += b"; Secure"
    return line
