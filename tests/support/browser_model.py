"""What a browser stores and sends, from RFC 6265bis (draft 20), section 5, and from nothing of the package's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_WSP = b" \t"
_MOST = timedelta(days=400)
_EARLIEST = datetime(1601, 1, 1, tzinfo=UTC)
# Section 5.1.1: the delimiters between the tokens of a cookie date.
_DELIMITERS = re.compile(rb"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")


class Key(NamedTuple):
    """What makes two cookies the same one (section 5.7, step 22), and its jar (CHIPS, section 2)."""

    name: bytes
    domain: str
    host_only: bool
    path: bytes
    partitioned: bool = False


class Held(NamedTuple):
    """One stored cookie. `expires` is None until the browser closes."""

    value: bytes
    expires: datetime | None
    secure: bool
    http_only: bool


class Browser:
    """One browser, speaking to one host."""

    def __init__(self, host: str, *, secure: bool = True) -> None:
        self.host = host
        self.secure = secure
        self.jar: dict[Key, Held] = {}

    def visible(self, path: bytes, now: datetime) -> list[Key]:
        """Section 5.8.3: what is sent with a request to `path`, the longest paths first."""
        self.jar = {key: held for key, held in self.jar.items() if not _expired(held, now)}
        keys = [
            key
            for key, held in self.jar.items()
            if _path_matches(path, key.path) and (self.secure or not held.secure) and self._domain_matches(key)
        ]
        return sorted(keys, key=lambda key: -len(key.path))

    def header(self, path: bytes, now: datetime) -> bytes | None:
        """Return the Cookie header of a request to `path`, or None."""
        pairs = [key.name + b"=" + self.jar[key].value if key.name else self.jar[key].value
                 for key in self.visible(path, now)]  # fmt: skip
        return b"; ".join(pairs) or None

    def receive(self, line: bytes, path: bytes, now: datetime) -> Key | None:
        """Take one Set-Cookie line of an answer from `path`; return what it stored or removed, if anything."""
        read = self.read(line, path, now)
        if read is None:
            return None
        key, held = read
        if not self.secure and any(
            held.secure and other.name == key.name and _path_matches(key.path, other.path)
            for other, held in self.jar.items()
        ):
            return None  # step 16: leave secure cookies alone
        self.jar.pop(key, None)
        if not _expired(held, now):
            self.jar[key] = held
        return key

    def read(self, line: bytes, path: bytes, now: datetime) -> tuple[Key, Held] | None:
        """Sections 5.6 and 5.7 up to the storage: what `line` asks for, or None where it is ignored."""
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line):
            return None
        pair, _, unparsed = line.partition(b";")
        name, equals, value = pair.partition(b"=")
        if not equals:
            name, value = b"", pair
        name, value = name.strip(_WSP), value.strip(_WSP)
        if len(name) + len(value) > 4096 or not (name or value):
            return None
        attributes = _attributes(unparsed) if b";" in line else []
        domain = _last(attributes, b"domain")
        secure = _last(attributes, b"secure") is not None
        if (domain and not domain.isascii()) or (secure and not self.secure):
            return None
        wanted = (domain or b"").decode().lower().removeprefix(".")
        if wanted and not self._matches(wanted):
            return None
        given = _last(attributes, b"path")
        place = given if given and given.startswith(b"/") else default_path(path)
        if (_last(attributes, b"samesite") or b"").lower() == b"none" and not secure:
            return None
        if not _prefix_holds(name.lower(), secure=secure, host=not wanted and given is not None and place == b"/"):
            return None
        if not name and value.lower().startswith((b"__secure-", b"__host-")):
            return None
        held = Held(value, _expiry(attributes, now), secure, _last(attributes, b"httponly") is not None)
        partitioned = secure and _last(attributes, b"partitioned") is not None
        return Key(name, wanted or self.host, not wanted, place, partitioned), held

    def _matches(self, domain: str) -> bool:
        return self.host == domain or self.host.endswith("." + domain)

    def _domain_matches(self, key: Key) -> bool:
        return key.domain == self.host if key.host_only else self._matches(key.domain)


def default_path(path: bytes) -> bytes:
    """Section 5.1.4: the directory of a request's path."""
    return path[: path.rindex(b"/")] if path.startswith(b"/") and path.count(b"/") > 1 else b"/"


def cookie_date(text: bytes) -> datetime | None:
    """Section 5.1.1: read a date as a browser does, or None."""
    clock = day = month = year = None
    for token in filter(None, _DELIMITERS.split(text)):
        if clock is None and (match := re.match(rb"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|$)", token)):
            clock = tuple(int(part) for part in match.groups())
        elif day is None and (match := re.match(rb"(\d{1,2})(?:\D|$)", token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := re.match(rb"(\d{2,4})(?:\D|$)", token)):
            year = int(match[1])
    if clock is None or day is None or month is None or year is None:
        return None
    year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    if year < 1601:
        return None
    try:
        return datetime(year, month, day, clock[0], clock[1], clock[2], tzinfo=UTC)
    except ValueError:
        return None


def _attributes(unparsed: bytes) -> list[tuple[bytes, bytes]]:
    read: list[tuple[bytes, bytes]] = []
    for part in unparsed.split(b";"):
        name, _, value = part.partition(b"=")
        name, value = name.strip(_WSP).lower(), value.strip(_WSP)
        if len(value) <= 1024:
            read.append((name, value))
    return read


def _last(attributes: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in reversed(attributes) if key == name), None)


def _expiry(attributes: list[tuple[bytes, bytes]], now: datetime) -> datetime | None:
    ages = [value for key, value in attributes if key == b"max-age" and re.fullmatch(rb"-?[0-9]+", value)]
    if ages:
        seconds = int(ages[-1][:20])
        return now + min(timedelta(seconds=min(seconds, 10**9)), _MOST) if seconds > 0 else _EARLIEST
    dates = [date for key, value in attributes if key == b"expires" and (date := cookie_date(value))]
    return min(dates[-1], now + _MOST) if dates else None


def _expired(held: Held, now: datetime) -> bool:
    return held.expires is not None and held.expires <= now


def _path_matches(path: bytes, cookie_path: bytes) -> bool:
    if path == cookie_path:
        return True
    return path.startswith(cookie_path) and (cookie_path.endswith(b"/") or path[len(cookie_path) :][:1] == b"/")


def _prefix_holds(name: bytes, *, secure: bool, host: bool) -> bool:
    """Section 5.7, steps 19 and 20: prefixes count in any case."""
    if name.startswith(b"__host-"):
        return secure and host
    return secure or not name.startswith(b"__secure-")
