"""Move the records of one store into another, a page at a time, while a site goes on using both."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
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
from consent_mw.system.ownership import content, unlinked

_PAGE: Final = 1_000
#: The rest between two pages, so that the site's own statements get their turn. It is a part of the processor time that
#: a page took: on a busy machine its wall time is mostly waiting, in which the site had its turn.
_REST: Final = 0.5
_TRY_SECONDS: Final = 0.005
#: A page takes some tenths of a second.
_PATIENCE_SECONDS: Final = 60.0
_ID_BYTES: Final = 16
_EVERY: Final = frozenset(KINDS)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Move:
    """
    Moves records from one store to another. It may be interrupted anywhere.

    A page is copied, durably, and then deleted in the older store. Before that its ids are written into a file, the
    journal. So after a crash the next run knows which records may be in both, and deletes them in the older store.
    Every deletion in both stores takes the lock of the file, as every page does. So nothing that was erased in between
    comes back with a page, and nothing is counted twice.

    Args:
        journal: The file, on a local disk. It exists while a page is on its way. Its lock is a file beside it.
    """

    def __init__(self, source: Store, target: Store, journal: Path) -> None:
        self._source = source
        self._target = target
        self._journal = journal

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """
        Hold the lock, with no page on its way.

        Raises:
            StoreUnavailable: Another process has held it for a minute, perhaps because it is stopped. Otherwise as
                `Store.fetch` and `delete`.
            OSError: The lock's file cannot be created.
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
        Move all records, and yield how many each page had. Start it again after a crash or an error.

        Raises:
            StoreError: One of the stores failed, or the target does not have what was appended. Nothing is lost.
            OSError: The journal cannot be written.
        """
        while True:
            began = time.process_time()
            async with self.alone():
                page = await self._source.fetch(Query(kinds=_EVERY), limit=_PAGE)
                if not page:
                    return
                replace(self._journal, b"".join(record.id.bytes for record in page))
                await self._target.append(page, durable=True)
                await self._settled(page)
            yield len(page)
            await asyncio.sleep(_REST * (time.process_time() - began))

    async def _settle(self) -> None:
        """Delete in the older store what the newer one already has of an interrupted page, if there is one."""
        if not self._journal.exists():
            return
        blob = content(self._journal)
        if not blob or len(blob) % _ID_BYTES:
            raise StoreError(
                f"{self._journal}: was cut off or changed, so what was on its way is not known; remove it, and begin "
                "the move again: until it is done, what is in both stores counts twice"
            )
        ids = [UUID(bytes=blob[at : at + _ID_BYTES]) for at in range(0, len(blob), _ID_BYTES)]
        await self._settled(await self._source.fetch(_query(ids), limit=len(ids) + 1))

    async def _settled(self, page: Sequence[Record]) -> None:
        """As `_settle`, with what the older store holds of the page."""
        if page:
            there = await self._target.fetch(_query([record.id for record in page]), limit=len(page) + 1)
            _check(page, there)
            if there:
                await self._source.delete(_query([record.id for record in there]))
        self._journal.unlink()


def _check(page: Iterable[Record], there: Iterable[Record]) -> None:
    """Raise StoreError if the target has another record under the id of a moved one, which would be lost."""
    kept = {record.id: record for record in there}
    for record in page:
        if kept.get(record.id, record) != record:
            raise StoreError(
                f"the record {record.id} is another one in the two stores; nothing more is moved. See which of "
                "them is the site's (consent-mw store check)"
            )


def _query(ids: list[UUID]) -> Query:
    """Return the query for exactly these records, limited to their days."""
    times = sorted(map(time_of, ids))
    return Query(kinds=_EVERY, ids=frozenset(ids), since=times[0], until=times[-1] + _MILLISECOND)
