"""Read and write Cookie and Set-Cookie lines as browsers read them (RFC 6265bis). Decides nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

_BLANK = b" \t"
#: A control character other than tab makes a browser drop the whole line (RFC 6265bis, section 5.6, step 1).
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
_WHOLE_NUMBER = re.compile(rb"-?[0-9]+")
#: The two spellings of a date that servers write: IMF-fixdate, and the older one with hyphens.
_DATE = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d)[ -]([A-Z][a-z]{2})[ -](\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MOST_SECONDS = 400 * 86_400
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
#: Browsers ignore an attribute whose value is longer (RFC 6265bis, section 5.6, step 6), and a year before 1601.
_LONGEST_ATTRIBUTE = 1_024
_FIRST_YEAR = 1601
_EPOCH = b"Thu, 01 Jan 1970 00:00:00 GMT"


def pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    """
    Return (name, pair) for each piece of a Cookie header, without the blanks around it.

    A piece without "=" has an empty name. Nothing is decoded, so a bad piece does not spoil the others.
    """
    split: list[tuple[bytes, bytes]] = []
    for piece in header.split(b";"):
        pair = piece.strip(_BLANK)
        if pair:
            name, equals, _ = pair.partition(b"=")
            split.append((name.rstrip(_BLANK) if equals else b"", pair))
    return split


def name_of(line: bytes) -> str | None:
    """
    Return the name under which a browser would store the Set-Cookie `line`, or None.

    RFC 6265bis, section 5.6: the name ends at the first "=" before the first ";", both sides trimmed. A line without
    "=", or with nothing before it, stores a cookie without a name. A server would later mistake that for whatever its
    value looks like, so the result is None. It is also None for a line with a control character, which browsers drop.
    """
    if _CONTROL.search(line):
        return None
    name, equals, _ = line.partition(b";")[0].partition(b"=")
    name = name.strip(_BLANK)
    return name.decode("latin-1") if equals and name else None


def without_value(line: bytes) -> bytes | None:
    """
    Return the Set-Cookie `line` with an empty value; None if there is a control character in the value.

    Name and attributes stay the same, so a browser treats the line in the same way.
    """
    pair, semicolon, attributes = line.partition(b";")
    name, equals, value = pair.partition(b"=")
    # Printable text holds no control character, and `isprintable` takes less than half the time of `translate`.
    if not value.decode("latin-1").isprintable() and len(value.translate(None, _CONTROLS)) != len(value):
        return None
    return name + equals + semicolon + attributes


def is_deletion(line: bytes, now: datetime) -> bool:
    """
    Whether every browser takes the Set-Cookie `line` as a deletion.

    A line that browsers could read differently does not count. Every Max-Age must be zero or less. If there is none,
    every Expires must be a date in a form that servers write, and lie in the past. A deletion that is not recognised
    is judged like any other line.
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
    Return the Set-Cookie `line` with the Path that a browser at `path` (percent-encoded) would give it.

    A line without a Path, or with one that does not begin with a slash, belongs to the directory of the address that
    sets it (RFC 6265bis, section 5.1.4). If we send the line from another address, it must name that directory.
    """
    given = [value for value in _attribute(line, b"path") if len(value) <= _LONGEST_ATTRIBUTE]
    if given and given[-1].startswith(b"/"):
        return line
    directory = path.rpartition("/")[0] if path.startswith("/") else ""
    return line + b"; Path=" + (directory or "/").encode("ascii", "replace")


def _attribute(line: bytes, name: bytes) -> list[bytes]:
    """Return every value of one attribute, in order. The last value that a browser understands wins."""
    split = (attribute.partition(b"=") for attribute in line.split(b";")[1:])
    return [value.strip(_BLANK) for key, _, value in split if key.strip(_BLANK).lower() == name]


def _is_past(text: bytes, now: datetime) -> bool:
    moment = _moment(text)
    return moment is not None and moment < now


def _moment(text: bytes) -> datetime | None:
    match = _DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[i]) for i in (1, 3, 4, 5, 6))
    if year < _FIRST_YEAR:
        return None
    try:
        return datetime(year, _MONTHS.index(match[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def lasts_seconds(line: bytes, now: datetime) -> int | None:
    """
    Return how many seconds the cookie of a Set-Cookie line lasts; None if it lasts until the browser closes.

    Browsers keep none for more than 400 days (RFC 6265bis, section 5.5).
    """
    ages = [age for age in _attribute(line, b"max-age") if age.isdigit() and len(age) <= _LONGEST_ATTRIBUTE]
    if ages:
        return min(int(ages[-1]), _MOST_SECONDS)
    moments = [moment for moment in map(_moment, _attribute(line, b"expires")) if moment]
    return min(int((moments[-1] - now).total_seconds()), _MOST_SECONDS) if moments else None


class CookieFloor(NamedTuple):
    """
    The minimum attributes of every cookie that passes. A stricter line stays as it is.

    Attributes:
        secure: The browser sends the cookie over https only. Added only on https: on http a browser would drop the
            line.
        http_only: Scripts cannot read the cookie.
        same_site: "lax" raises `None` and a missing SameSite to Lax. "strict" raises those, and Lax, to Strict.
    """

    secure: bool = True
    http_only: bool = False
    same_site: Literal["lax", "strict"] | None = None

    def raised(self, line: bytes, *, https: bool) -> bytes:
        """Return the Set-Cookie `line` with the missing attributes, or the same object if none is missing."""
        attributes = line.partition(b";")[2]
        look = _remembered_lacking if len(attributes) <= _REMEMBERED else _lacking
        lacking = look(self, attributes, https)
        return line + lacking if lacking else line


def _lacking(floor: CookieFloor, attributes: bytes, https: bool) -> bytes:
    """Return the bytes that `floor` adds to a line with these attributes."""
    line, lacking = b";" + attributes, b""
    if floor.secure and https and not _attribute(line, b"secure"):
        lacking += b"; Secure"
    if floor.http_only and not _attribute(line, b"httponly"):
        lacking += b"; HttpOnly"
    if floor.same_site and _level(line) < _LEVELS.index(floor.same_site):
        # The last of several SameSite counts (RFC 6265bis, section 5.7), so appending one is enough.
        lacking += b"; SameSite=" + floor.same_site.title().encode()
    return lacking


#: Attributes up to this length are cached together with what they lack. A site has only a few different ones.
_REMEMBERED = 256
_remembered_lacking = lru_cache(maxsize=256)(_lacking)

_LEVELS = ("none", "lax", "strict")


def _level(line: bytes) -> int:
    """Return the level of the last SameSite of a line: 0 for a value that browsers do not know, or for none."""
    said = [value.lower().decode("latin-1") for value in _attribute(line, b"samesite")]
    return _LEVELS.index(said[-1]) if said and said[-1] in _LEVELS else 0


class Placed(NamedTuple):
    """Where a Set-Cookie line puts its cookie in the browser. The Domain is without its leading dot."""

    domain: str
    path: str
    partitioned: bool


def placed(line: bytes) -> Placed:
    """Return where the Set-Cookie `line` puts its cookie. The path is empty if the line has no Path."""
    domains, paths = _attribute(line, b"domain"), _attribute(line, b"path")
    domain = domains[-1].lower().lstrip(b".") if domains else b""
    path = paths[-1] if paths else b""
    return Placed(domain.decode("latin-1"), path.decode("latin-1"), bool(_attribute(line, b"partitioned")))


def delete_line(name: str, *, path: str = "/", domain: str = "", partitioned: bool = False) -> bytes:
    """
    Return the Set-Cookie line that deletes the cookie `name`. Path and domain must be those it was set with.

    Max-Age is for today's browsers, Expires for older ones. Browsers accept a prefixed name only with Secure. They
    also require Secure for a partitioned cookie, which they keep in a separate jar (CHIPS, section 2).
    """
    line = b"%s=; Max-Age=0; Expires=%s; Path=%s" % (name.encode("latin-1"), _EPOCH, path.encode("latin-1"))
    if domain:
        line += b"; Domain=" + domain.encode("latin-1")
    if partitioned:
        return line + b"; Secure; SameSite=None; Partitioned"
    if name.lower().startswith(("__host-", "__secure-")):
        line += b"; Secure"
    return line
