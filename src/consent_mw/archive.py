"""What a law demands beyond its purpose: moved out of the live store, sealed under keys of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consent_mw.exceptions import ConfigurationError, KeyDestroyed, RecordDamaged, SchemaError
from consent_mw.records import Record
from consent_mw.sealer import Sealer
from consent_mw.stores.base import Store

__all__ = ["Archive"]


class Archive:
    """A store and a keyring apart from the live ones. Its keys follow the day of the record, not of the move."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self.store = store
        self.sealer = sealer

    async def keep(self, records: Sequence[Record], live: Sealer) -> int:
        """
        Keep copies of `records`, sealed anew, and return how many could not be opened and are left out.

        On return the copies survive a power cut, so the originals may go. Doing it again after a crash is harmless:
        the first copy of a record stays. The subject does not come along: it would mean nothing without its key.

        Raises:
            StoreError: Store or keys of either side cannot be reached; then nothing was kept.
        """
        copies = await asyncio.to_thread(lambda: [copy for record in records if (copy := self._copy(record, live))])
        if copies:
            await self.store.append(copies, durable=True)
        return len(records) - len(copies)

    def _copy(self, record: Record, live: Sealer) -> Record | None:
        ring, sealed = "", record.sealed
        if record.ring:
            try:
                plain = live.open(record)
                sealed = self.sealer.seal(record.id, record.kind, record.purpose, plain)
            except (ConfigurationError, KeyDestroyed, RecordDamaged, SchemaError):
                return None
            ring = self.sealer.keyring.name
        return Record(record.id, record.kind, record.purpose, None, ring, record.data, sealed)
