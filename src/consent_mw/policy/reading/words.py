"""What a site says in its own words: a preamble, sections, headings, and the policies from before the declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, get_args

from consent_mw.policy.model import Destruction, Earlier, Place, Scope, Section, Text
from consent_mw.policy.reading.tables import Reading
from consent_mw.policy.recipients import same


def read_words(
    reading: Reading, raw: Mapping[str, object], effective: date | None, printed: Mapping[str, bool]
) -> dict[str, Any]:
    """Return the site's own words by their names in `Policy`; `printed`: whether it has the sections named there."""
    sections = reading.values(Section, raw.get("sections", []), "sections")
    _stand(reading, sections, printed)
    return {
        "preamble": reading.scalar(raw["preamble"], Text, "preamble") if "preamble" in raw else None,
        "scope": reading.optional(Scope, raw, "scope"),
        "sections": sections,
        "headings": _headings(reading, reading.table(raw, "headings")),
        "earlier": _earlier(reading, raw.get("earlier", []), effective),
        "destruction": reading.optional(Destruction, raw, "destruction") or Destruction(),
    }


def _earlier(reading: Reading, raw: object, effective: date | None) -> tuple[Earlier, ...]:
    read = reading.values(Earlier, raw, "earlier")
    for number, previous in enumerate(read, 1):
        if effective and previous.until > effective:
            fix = "write the last day on which the earlier policy held"
            reading.fault(f"earlier[{number}].until", f"{previous.until} is after effective, {effective}", fix)
        if not previous.url.startswith(("https://", "http://")):
            reading.fault(
                f"earlier[{number}].url", f'"{previous.url}" is no address', "write it whole, from https:// on"
            )
    return read


def _headings(reading: Reading, raw: Mapping[str, object]) -> dict[Place, Text]:
    places = [place for place in get_args(Place) if place != "top"]
    reading.unknown(raw, places, "headings")
    read = {name: reading.scalar(raw[name], Text, f"headings.{name}") for name in places if name in raw}
    return {name: text for name, text in read.items() if isinstance(text, Text)}


def _stand(reading: Reading, sections: Sequence[Section], printed: Mapping[str, bool]) -> None:
    """Note sections behind one of ours that this policy has no reason to print, and two of one title."""
    for number, section in enumerate(sections, 1):
        if not printed.get(section.after, True):
            problem, fix = f"there is no section {section.after}", 'write after = "recipients"'
            reading.fault(f"sections[{number}].after", problem, fix)
        if any(same(section.title, other.title) for other in sections[: number - 1]):
            reading.fault(f"sections[{number}].title", "another section is called so", "give it another title")
