"""What is in the stores of the site, read beside it: every record opened, and copies of rows as a backup has them."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError
from consent_mw.paths import Places
from consent_mw.records import Query, Record, decode_record, encode_record
from consent_mw.stores import opened_store
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store

_PAGE: Final = 2_000
#: Whatever the site keeps of its own accord, but for what waits ten minutes for an answer.
_KINDS: Final = frozenset((
    "visit", "event", "abuse", "receipt", "gap", "undeclared", "request", "answer", "link", "disclosure", "erased",
    "certificate", "aggregate",
))  # fmt: skip
#: Of which the judge looks into sealed fields.
_OPENED: Final = frozenset(("visit", "event", "abuse", "receipt"))


class Sight:
    """
    Reads what there is. It decides nothing: that is the judge's.

    Args:
        store: A URL of PostgreSQL; None for the file in the directory.
    """

    def __init__(self, places: Places, store: str | None) -> None:
        self._places = places
        self._store = opened_store(store or f"sqlite:///{places.database}")
        self._runner = asyncio.Runner()
        self._said: dict[bytes, str] = {}

    def look(self, sealer: Sealer, since: datetime | None) -> dict[str, Any]:
        """Return the ids of all records, and those that were not told before, opened."""
        records = self._runner.run(_fetched(self._store, since))
        new = [record for record in records if self._is_new(record)]
        return {"ids": [record.id.hex for record in records], "new": [_told_of(record, sealer) for record in new]}

    def _is_new(self, record: Record) -> bool:
        key = record.id.bytes + record.purpose.encode()
        said = json.dumps(dict(record.data)) if record.kind == "aggregate" else ""  # which may be counted once more
        known, self._said[key] = self._said.get(key), said
        return known != said

    def archived(self) -> list[list[Any]]:
        """Return kind, purpose and time of what is in the archive."""
        archive = archive_beside(self._store)
        if archive is None:
            if not Path(self._places.archive).exists():
                return []
            archive = opened_store(f"sqlite:///{self._places.archive}")
        return [[row.kind, row.purpose, row.id.int >> 80] for row in self._runner.run(_fetched(archive, None))]

    def copies(self, since: datetime, share: float) -> list[list[Any]]:
        """Return some of the visits since then as they lie in the store, each with its time and purpose."""
        chosen = (row for row in self._runner.run(_fetched(self._store, since)) if row.id.bytes[-1] < share * 256)
        return [
            [row.id.int >> 80, row.purpose, base64.b64encode(encode_record(row)).decode()]
            for row in chosen
            if row.kind == "visit"
        ]

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


def opens(copy: str, sealer: Sealer) -> bool:
    """Whether a copy of a row still tells anything."""
    return _opened(decode_record(base64.b64decode(copy)), sealer) is not None


def _told_of(record: Record, sealer: Sealer) -> dict[str, Any]:
    data = dict(record.data)
    if record.kind in _OPENED:
        opened = _opened(record, sealer)
        data |= opened if isinstance(opened, dict) else {"closed": True}
    return {
        "id": record.id.hex, "kind": record.kind, "purpose": record.purpose, "ms": record.id.int >> 80,
        "subject": record.subject.hex() if record.subject else None, "data": data,
    }  # fmt: skip


def _opened(record: Record, sealer: Sealer) -> Any:
    if not record.ring:
        return {}
    try:
        return msgspec.msgpack.decode(sealer.open(record))
    except ConsentError:
        return None


async def _fetched(store: Store, since: datetime | None) -> list[Record]:
    await store.open()
    query, after, records = Query(kinds=_KINDS, since=since), None, list[Record]()
    while page := await store.fetch(query, after=after, limit=_PAGE):
        records += page
        after = page[-1].id
    return records
