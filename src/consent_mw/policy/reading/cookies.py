"""The cookies of a declaration, and what else a site keeps in the browser or has it fetch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from consent_mw.policy.model import Cookie, InBrowser, did_you_mean
from consent_mw.policy.presets import PRESETS
from consent_mw.policy.reading.tables import EXAMPLES, Reading

# RFC 6265, section 4.1.1: a cookie name is a token (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: A name or an address, in any script, without scheme, port and path.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)+")


def read_cookies(reading: Reading, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, Any]:
    """Return by their names in `Policy`: the cookies, what happens to undeclared ones, and what is in the browser."""
    table = reading.table(raw, "cookies")
    reading.unknown(table, ("presets", "undeclared", "declared"), "cookies")
    return {
        "cookies": _cookies(reading, table, purposes),
        "undeclared": reading.one_of(table.get("undeclared", "block"), ("block", "report"), "cookies.undeclared"),
        "browser": _browser(reading, raw.get("browser", []), purposes),
    }


def _cookies(reading: Reading, table: Mapping[str, object], purposes: Mapping[str, object]) -> tuple[Cookie, ...]:
    read: list[Cookie] = []
    for number, row in enumerate(reading.rows(table.get("declared", []), "cookies.declared"), 1):
        cookie = _cookie(reading, row, f"cookies.declared[{number}]", purposes)
        if cookie and any(cookie.name == other.name for other in read):
            reading.fault(f'cookies.declared[{number}] "{cookie.name}"', "is declared twice", "keep one of them")
        elif cookie:
            read.append(cookie)
    return (*read, *_presets(reading, table.get("presets", []), purposes, {cookie.name for cookie in read}))


def _presets(reading: Reading, raw: object, purposes: Mapping[str, object], declared: set[str]) -> Iterable[Cookie]:
    for preset in reading.rows(raw, "cookies.presets"):
        if not isinstance(preset, str) or preset not in PRESETS:
            reading.fault("cookies.presets", f"{preset!r} is not known", did_you_mean(str(preset), list(PRESETS)))
            continue
        for row in PRESETS[preset]:
            if row["name"] not in declared:  # what the site says itself wins, and of two presets the first
                declared.add(row["name"])
                cookie = _cookie(reading, row, f'cookies.presets "{preset}"', purposes)
                if cookie:
                    yield cookie


def _cookie(reading: Reading, row: object, place: str, purposes: Mapping[str, object]) -> Cookie | None:
    if not isinstance(row, dict):
        reading.fault(place, "is no table", "write each as [[cookies.declared]]")
        return None
    table = dict(cast("dict[str, object]", row))
    name = table.get("name")
    if isinstance(name, str):
        place = f'{place} "{name}"'
        if not _TOKEN.fullmatch(name) or "*" in name[:-1] or name == "*":
            reading.fault(place, "is no cookie name", "use the name in Set-Cookie; a * may stand at the end only")
    if isinstance(table.get("expires"), str) and table["expires"] == "session":
        table["expires"] = None
    table.setdefault("description", name if isinstance(name, str) and name else "?")
    cookie = reading.value(Cookie, table, place)
    if cookie:
        reading.kept_here(cookie.purpose, purposes, f"{place}.purpose")
        if not cookie.path.startswith("/"):
            reading.fault(place, f'path "{cookie.path}" does not begin with /', 'write path = "/"')
        for word in (cookie.path, cookie.domain):
            if not word.isascii() or not word.isprintable() or ";" in word:
                reading.fault(place, f"{word!r} cannot stand in a Set-Cookie line", "use printable ASCII without ;")
    return cookie


def _browser(reading: Reading, raw: object, purposes: Mapping[str, object]) -> tuple[InBrowser, ...]:
    read = reading.values(InBrowser, raw, "browser")
    for number, stored in enumerate(read, 1):
        place, fetched = f"browser[{number}]", stored.kind in ("pixel", "embed")
        reading.known_purpose(stored.purpose, purposes, f"{place}.purpose")
        if any((stored.name, stored.kind) == (other.name, other.kind) for other in read[: number - 1]):
            reading.fault(place, f'"{stored.name}" is declared twice', "keep one of them")
        if fetched and not stored.host:
            reading.fault(place, "has no host", f"add {EXAMPLES['host']}, from which the browser fetches it")
        if stored.host and not fetched:
            reading.fault(f"{place}.host", "is only for a pixel or an embed", "leave it out")
        elif stored.host and not _HOST.fullmatch(stored.host):
            reading.fault(f"{place}.host", f'"{stored.host}" is no host', f"write {EXAMPLES['host']}")
        if stored.expires and (fetched or stored.kind == "session_storage"):
            reading.fault(f"{place}.expires", f'does not go with kind = "{stored.kind}"', "leave it out")
    return read
