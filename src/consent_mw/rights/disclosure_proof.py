"""Compare the ledger of disclosures with the chain of accesses. Each entry is in both, or somebody removed it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.audit import Audit, Entry
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import DISCLOSURE
from consent_mw.policy.model import REQUESTS
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.calendar import Retention
from consent_mw.rights.disclosures import Disclosure
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of

#: The field in which an entry of the chain names the record that it proves.
_NUMBER: Final = "disclosure"
_DIGEST: Final = "sha256"


async def write(
    disclosure: Disclosure,
    store: Store,
    sealer: Sealer,
    chain: Audit,
    facts: Mapping[str, object],
    *,
    given: int,
    now: datetime,
) -> None:
    """
    Write an entry into the ledger, and its proof into the chain. On return both survive a power cut.

    The chain first records what is going to be written and then that it was written. So a command that is killed
    between the two leaves no false entry, and the check notices a record that is removed later.

    Args:
        facts: What else the chain records: who gave it, and why.
        given: How many records are disclosed.
        now: Aware.

    Raises:
        StoreError, KeyDestroyed: The entry could not be written; then the ledger does not contain it.
    """
    record = disclosure.record(sealer)
    begun = chain.append({**facts, _NUMBER: str(record.id), _DIGEST: _digest(record)}, now=now)
    ended = "stopped"
    try:
        await store.append([record], durable=True)
        ended = "whole"
    finally:
        chain.append({"closes": begun, "records": given if ended == "whole" else 0, "ended": ended}, now=now)


async def entries_of(store: Store) -> list[Record]:
    """Return the ledger as it is stored, oldest first. Raises StoreError."""
    query = Query(kinds=frozenset((DISCLOSURE,)), purposes=frozenset((REQUESTS,)))
    records: list[Record] = []
    while page := await store.fetch(query, after=records[-1].id if records else None):
        records += page
    return records


def named(entries: Iterable[Entry]) -> dict[UUID, tuple[Entry, bool]]:
    """Return the entries of a chain that prove disclosures, each with whether the chain says it was written."""
    begun: dict[int, tuple[UUID, Entry]] = {}
    whole: set[str] = set()
    for entry in entries:
        with suppress(ValueError):  # anyone may have written to the file
            if _NUMBER in entry.facts:
                begun[entry.number] = UUID(str(entry.facts[_NUMBER])), entry
        if entry.facts.get("ended") == "whole":
            whole.add(str(entry.facts.get("closes")))
    return {record_id: (entry, str(number) in whole) for number, (record_id, entry) in begun.items()}


class Findings(NamedTuple):
    """
    What a comparison found, one line each.

    Attributes:
        held: Entries of the chain whose record is present as it was written.
        broken: Records that are missing or were changed.
        notes: Remarks that do not make the comparison fail.
    """

    held: int
    broken: Sequence[str]
    notes: Sequence[str]


def compared(
    vouched: Mapping[UUID, tuple[Entry, bool]], records: Iterable[Record], retention: Retention, now: datetime
) -> Findings:
    """
    Compare the ledger with what the chain says about it (see `named`).

    Args:
        retention: Decides what may be gone: records whose retention ended by `now` (aware).
    """
    stored = {record.id: record for record in records}
    held, broken, notes = 0, list[str](), list[str]()
    for record_id, (entry, was_written) in vouched.items():
        record = stored.pop(record_id, None)
        if record is not None and _digest(record) == entry.facts.get(_DIGEST):
            held += 1
        elif record is not None:
            broken.append(f"disclosure {record_id} (entry {entry.number}): was changed since it was written")
        elif was_written and not _has_ended(record_id, retention, now):
            broken.append(f"disclosure {record_id} (entry {entry.number}): is missing from the ledger")
        elif not was_written:
            notes.append(f"disclosure {record_id} (entry {entry.number}): was never written; its command was stopped")
    if stored:
        notes.append(f"{len(stored)} disclosures are not in this chain: another host or program wrote them")
    return Findings(held, broken, notes)


def _has_ended(record_id: UUID, retention: Retention, now: datetime) -> bool:
    moment = time_of(record_id)
    windows = retention.ended(day_of(moment), REQUESTS, now)
    return any(window.since <= moment < window.until for window in windows)


def _digest(record: Record) -> str:
    """Return the hash of everything that a store gives back. Stores do not keep the order of the clear fields."""
    return hashlib.sha256(msgspec.json.encode(msgspec.to_builtins(record), order="sorted")).hexdigest()
