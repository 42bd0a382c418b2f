"""What a declaration says of the log: the fields of each purpose's records, whether they are sealed, and events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from consent_mw.policy.model import ABUSE, FIELDS, Event
from consent_mw.policy.reading.tables import Reading


def read_log(reading: Reading, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, Any]:
    """Return by their names in `Policy`: the fields of the log, whether it is sealed, and the events."""
    table = reading.table(raw, "log")
    return {
        "seal": _seal(reading, table),
        "log": _log(reading, table, purposes),
        "events": _events(reading, reading.table(raw, "events"), purposes),
    }


def _seal(reading: Reading, log: Mapping[str, object]) -> bool:
    """Read `seal` in [log]. A table of that name belongs to a purpose called so."""
    raw = log.get("seal", True)
    if not isinstance(raw, bool | dict):
        reading.fault("log.seal", f"{raw!r} is neither true nor false", "write seal = true, or leave it out")
    return raw is not False


def _log(reading: Reading, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = {}
    for purpose, table in raw.items():
        if purpose == "seal" and not isinstance(table, dict):
            continue
        place = f"log.{purpose}"
        if not isinstance(table, dict):
            reading.fault(place, "is no table", f"write it as [{place}]")
        elif reading.kept_here(purpose, purposes, place):
            fields = cast("dict[str, object]", table)
            reading.unknown(fields, FIELDS, place)
            read[purpose] = {
                name: reading.one_of(value, FIELDS[name], f'{place}."{name}"')
                for name, value in fields.items()
                if name in FIELDS
            }
    return read


def _events(reading: Reading, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, Event]:
    events = reading.named(Event, raw, "events")
    for name, event in events.items():
        reading.kept_here(event.purpose, purposes, f"events.{name}.purpose")
        if event.purpose == ABUSE:
            reading.fault(f"events.{name}", "an event cannot be abuse", "record it with report_abuse")
    return events
