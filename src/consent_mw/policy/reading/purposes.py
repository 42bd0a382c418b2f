"""The purposes of a declaration: who holds the data of each, why, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from consent_mw.policy.model import ABUSE, NECESSARY, RECEIPTS, REQUESTS, Purpose
from consent_mw.policy.own_purposes import OWN_PURPOSES
from consent_mw.policy.reading.tables import EXAMPLES, Reading

#: Purposes that the package itself relies on whatever a visitor picks, each with a basis that fits.
_NEVER_ASKED = {
    NECESSARY: "necessary",
    ABUSE: "legitimate_interest",
    RECEIPTS: "legitimate_interest",
    REQUESTS: "legitimate_interest",
}


def read_purposes(reading: Reading, raw: Mapping[str, object]) -> dict[str, Purpose]:
    """Return the purposes by name, with those of our own that the declaration leaves to us."""
    if NECESSARY not in raw:
        fix = 'add it with basis = "necessary": the consent cookie itself is for it'
        reading.fault("purposes", f'"{NECESSARY}" is not declared', fix)
    purposes = reading.named(Purpose, raw, "purposes", _titled)
    for name, basis in _NEVER_ASKED.items():
        if name in purposes and purposes[name].asked:
            reading.fault(f"purposes.{name}.basis", "cannot be asked about", f'write basis = "{basis}"')
    for purpose in purposes.values():
        _held(reading, purpose, f"purposes.{purpose.name}")
        if purpose.archive and purpose.retention and purpose.archive.retention.longer_by(purpose.retention)[0] <= 0:
            held, kept = purpose.archive.retention, purpose.retention
            problem = f"{held} is no longer than the purpose, {kept}, from every date"
            reading.fault(f"purposes.{purpose.name}.archive.retention", problem, "write the longer one, or no archive")
    return {**purposes, **{name: own for name, own in OWN_PURPOSES.items() if name not in purposes}}


def _titled(name: str, table: object) -> object:
    """A purpose may go without texts: its own name then stands for the title, and the title for the rest."""
    if not isinstance(table, dict):
        return table
    given = cast("dict[str, object]", table)
    if own := OWN_PURPOSES.get(name):
        return {"title": own.title.by_language, "description": own.description.by_language} | given
    title = given.get("title", name.replace("_", " ").capitalize())
    return {"title": title, "description": title} | given


def _held(reading: Reading, purpose: Purpose, place: str) -> None:
    """Note what contradicts who holds the data of a purpose, and how long."""
    ours = purpose.held_by == "server"
    if ours and not purpose.retention:
        fix = f'add {EXAMPLES["retention"]}, or held_by = "application" with until'
        reading.fault(place, "has no retention", fix)
    elif not purpose.retention and not purpose.until:
        reading.fault(place, "has neither retention nor until", f"add {EXAMPLES['retention']}, or until = …")
    for key in (
        ("until", "items", "kept", "subjects", "source", "answered_by", "deidentified")
        if ours
        else ("archive", "refused_by")
    ):
        if getattr(purpose, key):
            who = "the application" if ours else "this server"
            fix = 'add held_by = "application", or leave it out' if ours else "write [[kept]] lines, or leave it out"
            reading.fault(f"{place}.{key}", f"is only for what {who} holds", fix)
    if purpose.law and purpose.basis != "legal_obligation":
        fix = 'write basis = "legal_obligation", or grounds = … for another basis'
        reading.fault(f"{place}.law", f'does not go with basis = "{purpose.basis}"', fix)
    if not ours and purpose.name in (*_NEVER_ASKED,):
        reading.fault(f"{place}.held_by", "is always this server", "leave it out")
    if not ours and purpose.retention and purpose.until:
        reading.fault(f"{place}.until", "says another end than retention", "keep one of them")
    gone, kept = purpose.deidentified, purpose.retention
    if not ours and gone and kept and kept.longer_by(gone)[0] <= 0:
        problem = f"{gone} is no shorter than the retention, {kept}, from every date"
        reading.fault(f"{place}.deidentified", problem, "write the shorter one, or leave it out")
    if purpose.basis == "legal_obligation" and not (purpose.law or purpose.archive or purpose.kept or purpose.grounds):
        reading.fault(place, "names no law that obliges to it", f"add {EXAMPLES['law']}")
    if purpose.items and not (purpose.items.required or purpose.items.optional):
        reading.fault(f"{place}.items", "names none", 'write items = { required = "…", optional = "…" }')
