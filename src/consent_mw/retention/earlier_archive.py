"""What one host had in its archive on the disk before the hosts of its site had one together: it moves there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, KeyDestroyed, RecordDamaged, SchemaError
from consent_mw.kinds import KINDS
from consent_mw.paths import Places
from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages

#: Returns a record that the sealer opens, sealed for another archive; raises as `Sealer.open` and `Sealer.record`.
Resealed: TypeAlias = Callable[[Record, Sealer], Record]

_ALL = frozenset(KINDS)


class EarlierArchive:
    """A file with keys of its own, both of which go when all of it is elsewhere."""

    def __init__(self, places: Places, store: Store, sealer: Sealer) -> None:
        self._places = places
        self._store = store
        self._sealer = sealer

    @property
    def path(self) -> Path:
        """The file."""
        return self._places.archive

    @property
    def is_there(self) -> bool:
        """Whether anything may be left in it, which other hosts do not see."""
        return self.path.exists()

    @property
    def ring(self) -> str:
        """The name of its keyring."""
        return self._sealer.keyring.name

    def days(self) -> list[tuple[int, str]]:
        """Return the day and purpose of everything in it that can be opened. Raises StoreError."""
        return sorted({(day, of_label(label)[0]) for day, label in self._sealer.keyring.live()})

    async def move(self, to: Store, resealed: Resealed) -> int:
        """
        Move every record, sealed anew, and remove the file and its keys. Return how many records there were. What was
        interrupted is done again; the first copy of a record stays.

        Raises:
            StoreError: A store or its keys cannot be reached.
            OSError: A file cannot be removed.
        """
        count = 0
        async for page in pages(self._store, Query(kinds=_ALL)):
            copies = await asyncio.to_thread(self._copies, page, resealed)
            await to.append(copies, durable=True)
            count += await self._store.delete(Query(kinds=_ALL, ids=frozenset(record.id for record in page)))
        await self._store.close()
        await asyncio.to_thread(self._remove)
        return count

    def _copies(self, page: Sequence[Record], resealed: Resealed) -> list[Record]:
        copies: list[Record] = []
        for record in page:
            try:
                copies.append(resealed(record, self._sealer))
            except KeyDestroyed:  # it has ended
                continue
            except (ConfigurationError, RecordDamaged, SchemaError):  # it stays what it is, wherever it lies
                copies.append(record)
        return copies

    def _remove(self) -> None:
        keyring, places = self._sealer.keyring, self._places
        for day, label in keyring.live():
            keyring.destroy(day, label)
        keyring.close()
        KnownRings(places.rings).give_up(keyring.name)
        for path in (places.archive_keys, *map(self._beside, ("-wal", "-shm", "-journal")), places.archive):
            path.unlink(missing_ok=True)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}{ending}")
