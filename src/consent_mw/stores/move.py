"""The records of one store on their way into another, a page at a time, while a site goes on using both."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from consent_mw.exceptions import StoreError, StoreUnavailable
from consent_mw.kinds import KINDS
from consent_mw.records import Query, Record, time_of
from consent_mw.stores.base import Store
from consent_mw.system.durable import replace
from consent_mw.system.locks import taken, unlock
from consent_mw.system.ownership import unlinked

__all__ = ["Move"]

_PAGE: Final = 1_000
#: Between two pages, so that the site's own statements come in between.
_REST: Final = 0.5  # of the time that a page took
_TRY_SECONDS: Final = 0.005
#: A page takes some tenths of a second.
_PATIENCE_SECONDS: Final = 60.0
_ID_BYTES: Final = 16
_EVERY: Final = frozenset(KINDS)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Move:
    """
    What two stores and a file make of a move that may be broken off anywhere.

    A page is copied, durably, and then deleted where it was. Before that its ids are written into the file, so that who
    comes next, after a crash, knows which records may lie in both and deletes them in the older store. Whoever deletes
    anything in both stores does it under the lock of the file, as each page is moved: nothing that was erased in
    between comes back with a page, and nothing is counted twice.

    Args:
        journal: The file, on a local disk. It is there while a page is on its way. Beside it stands its lock.
    """

    def __init__(self, source: Store, target: Store, journal: Path) -> None:
        self._source = source
        self._target = target
        self._journal = journal

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """
        Hold the lock, with nothing on its way.

        Raises:
            StoreUnavailable: Somebody has had it for a minute, and was stopped. Else as `Store.fetch` and `delete`.
            OSError: It cannot be made.
        """
        fd = unlinked(self._journal.with_name(f"{self._journal.name}.lock"), os.O_RDWR | os.O_CREAT)
        try:
            await self._taken(fd)
            try:
                await self._settle()
                yield
            finally:
                unlock(fd)
        finally:
            os.close(fd)

    async def _taken(self, fd: int) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not taken(fd):
            if time.monotonic() > until:
                raise StoreUnavailable(
                    f"{self._journal}: another process has been moving or deleting for a minute; where one was stopped "
                    "(Ctrl-Z), let it go on or end it, and else try again"
                )
            await asyncio.sleep(_TRY_SECONDS)

    async def run(self) -> AsyncIterator[int]:
        """
        Move all that there is, and yield how many records each page had. Begin again after a crash or an error.

        Raises:
            StoreError: One of the stores; or the target does not have what it was given. Nothing is lost.
            OSError: The journal cannot be written.
        """
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            async with self.alone():
                page = await self._source.fetch(Query(kinds=_EVERY), limit=_PAGE)
                if not page:
                    return
                replace(self._journal, b"".join(record.id.bytes for record in page))
                await self._target.append(page, durable=True)
                await self._settle()
            yield len(page)
            await asyncio.sleep(_REST * (loop.time() - began))

    async def _settle(self) -> None:
        """Delete in the older store what the newer one has of the page on its way, if one is."""
        if not self._journal.exists():
            return
        blob = self._journal.read_bytes()
        ids = [UUID(bytes=blob[at : at + _ID_BYTES]) for at in range(0, len(blob), _ID_BYTES)]
        query = _query(ids)
        there = await self._target.fetch(query, limit=len(ids) + 1)
        if there:
            await self._check(query, there)
            await self._source.delete(_query([record.id for record in there]))
        self._journal.unlink()

    async def _check(self, query: Query, there: Iterable[Record]) -> None:
        """Raises StoreError: the target keeps another record under the id of one that moves, which would be lost."""
        kept = {record.id: record for record in there}
        for record in await self._source.fetch(query, limit=len(kept) + _PAGE):
            if record.id in kept and kept[record.id] != record:
                raise StoreError(
                    f"the record {record.id} is another one in the two stores; nothing more is moved. See which of "
                    "them is the site's (consent-mw store check)"
                )


def _query(ids: list[UUID]) -> Query:
    """Return what means these records alone, in the days that they are of."""
    times = sorted(map(time_of, ids))
    return Query(kinds=_EVERY, ids=frozenset(ids), since=times[0], until=times[-1] + _MILLISECOND)
