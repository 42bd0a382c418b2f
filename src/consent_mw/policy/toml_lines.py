"""On which line of a TOML file the place of a fault stands, which the parser does not tell. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from consent_mw.exceptions import Fault

_PART: Final = re.compile(r"""[\w-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_PATH: Final = rf"({_PART.pattern})(?:\s*\.\s*({_PART.pattern}))*"
_HEADER: Final = re.compile(rf"\s*(?P<bracket>\[\[?)\s*(?P<path>{_PATH})\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(rf"\s*(?P<path>{_PATH})\s*=")
#: The name in a place, such as `cookies.declared[1] "name".purpose`; a wrong one may contain quotes too.
_NAMED: Final = re.compile(r' ".*"(?=[.\[]|$)', re.DOTALL)
_INLINE: Final = re.compile(r"(?:[{,]\s*)([\w-]+)\s*=")
_FENCE: Final = re.compile(r'"""|\'\'\'')


def with_lines(text: str, faults: Iterable[Fault]) -> list[Fault]:
    """Return `faults`, each with its line of `text`, if that can be found."""
    places = lines_of(text)
    return [fault._replace(line=fault.line or line_of(fault.place, places) or 0) for fault in faults]


def lines_of(text: str) -> dict[str, int]:
    """
    Return the line, from 1, of each table and key of a TOML file, by its place: "purposes.ads.retention",
    "recipients[2]", "cookies.declared[1].name". Keys of inline tables stand on the line that begins them.
    """
    places: dict[str, int] = {}
    tables: Counter[str] = Counter()
    table, fence = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if header := _HEADER.match(line):
            table = _table(header["bracket"], _path(header["path"]), tables)
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            place = ".".join(filter(None, (table, _path(key["path"]))))
            places.setdefault(place, number)
            for inner in _INLINE.findall(line[key.end() :]):
                places.setdefault(f"{place}.{inner}", number)
        fences = _FENCE.findall(line)
        fence = fences[0] if len(fences) == 1 else ""
    return places


def line_of(place: str, places: dict[str, int]) -> int | None:
    """Return the line of `place`, or of the nearest table around it; None for what stands nowhere."""
    place = _NAMED.sub("", place).replace('"', "")
    while place:
        if place in places or f"{place}[1]" in places:  # [[contact]] where [contact] is meant
            return places.get(place) or places[f"{place}[1]"]
        place = place.rpartition("[")[0] if place.endswith("]") else place.rpartition(".")[0]
    return None


def _path(written: str) -> str:
    """Return a dotted key as places have it. Quotes are left out there, also those in a name."""
    return ".".join(re.sub(r'"|\\(?=["\\])', "", part).strip("'") for part in _PART.findall(written))


def _table(bracket: str, path: str, tables: Counter[str]) -> str:
    """Return the place of a table: one of a list has its number, and one below a list belongs to the list's newest
    entry."""
    head, _, rest = path.partition(".")
    table = head
    while rest:
        table = f"{table}[{tables[table]}]" if tables[table] else table
        head, _, rest = rest.partition(".")
        table = f"{table}.{head}"
    if bracket == "[[":
        tables[table] += 1
        return f"{table}[{tables[table]}]"
    return table
