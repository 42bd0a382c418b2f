"""Stores that break one promise each: `StoreSuite` has to find them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from msgspec.structs import replace

from consent_mw.exceptions import StoreError, StoreUnavailable
from consent_mw.records import Query, Record, time_of
from consent_mw.stores.pages import pages
from consent_mw.stores.sqlite import SQLiteStore

T = TypeVar("T")


class InPieces(SQLiteStore):
    """Each record is appended and deleted for itself, so that a crash leaves some."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        for record in records:
            await super().append([record], durable=durable)

    async def delete(self, query: Query) -> int:
        rows = [record async for page in pages(self, query) for record in page]
        return sum(
            [await super(InPieces, self).delete(Query(kinds=query.kinds, ids=frozenset({row.id}))) for row in rows]
        )


class RaisesItsDriversErrors(SQLiteStore):
    """What its driver raises reaches the caller as it is."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        try:
            return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        except StoreError as error:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.") from error


class TiesUnsorted(SQLiteStore):
    """Records of one millisecond come as they were written."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        return sorted(
            page, key=lambda record: (time_of(record.id), record.sealed, -record.id.int), reverse=newest_first
        )


class MillisecondsOnly(SQLiteStore):
    """Of the ends of a span it drops what is less than a millisecond."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        since = query.since and query.since.replace(microsecond=query.since.microsecond // 1000 * 1000)
        query = replace(query, since=since)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class SortsWhatItIsGiven(SQLiteStore):
    """The caller's list is in another order after an append."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if isinstance(records, list):
            records.sort(key=lambda record: record.id)
        await super().append(records, durable=durable)


class ErasesOneTooMany(SQLiteStore):
    """The record right behind a span goes with it, and is not counted."""

    async def delete(self, query: Query) -> int:
        count = await super().delete(query)
        if query.until is not None:
            behind = await self.fetch(Query(kinds=query.kinds, since=query.until), limit=1)
            await super().delete(Query(kinds=query.kinds, ids=frozenset(record.id for record in behind)))
        return count


class PagesMeet(SQLiteStore):
    """The last record of a page is the first of the next."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        after = after and UUID(int=after.int + (1 if newest_first else -1) if 0 < after.int < 2**128 - 1 else after.int)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class CommitsLate(SQLiteStore):
    """An append returns while another connection cannot see it yet."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self._late = asyncio.ensure_future(self._later(list(records), durable))

    async def _later(self, records: Sequence[Record], durable: bool) -> None:
        await asyncio.sleep(0.01)
        await super().append(records, durable=durable)


class DeletesLate(SQLiteStore):
    """It counts at once, and deletes afterwards."""

    async def delete(self, query: Query) -> int:
        count = len([record async for page in pages(self, query) for record in page])
        self._late = asyncio.ensure_future(self._later(query))
        return count

    async def _later(self, query: Query) -> None:
        await asyncio.sleep(0.01)
        await super().delete(query)


class ClosesEarly(SQLiteStore):
    """What is on its way when it is closed is dropped, and its caller told that it was kept."""

    closed = False

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await asyncio.sleep(0.01)
        if not self.closed:
            await super().append(records, durable=durable)

    async def close(self) -> None:
        self.closed = True
        await super().close()


class OneTaskAtATime(SQLiteStore):
    """What one task asks is kept where the next one writes it, too."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self._query = query
        await asyncio.sleep(0)
        return await super().fetch(self._query, after=after, limit=limit, newest_first=newest_first)


class BlocksInDelete(SQLiteStore):
    """Deleting alone is done on the loop."""

    async def delete(self, query: Query) -> int:
        session = self._session
        assert session is not None
        deleting = session.thread.submit(self._with_store_errors, self._connected, session, self._delete, query)
        return int(deleting.result())


class AppendSwallows(SQLiteStore):
    """What could not be kept is not reported."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        with suppress(Exception):
            await super().append(records, durable=durable)


class AppendSwallowsTheDrivers(SQLiteStore):
    """As before, but a store that is not open says so."""

    def _append(self, connection: sqlite3.Connection, records: Sequence[Record], durable: bool) -> None:
        with suppress(sqlite3.Error):
            super()._append(connection, records, durable)


class FetchSwallows(SQLiteStore):
    """What could not be read is an empty page."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        try:
            return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        except StoreError:
            return []


class FetchSwallowsTheDrivers(SQLiteStore):
    """As before, but a store that is not open says so."""

    def _fetch(self, connection: sqlite3.Connection, reading: Any, limit: int) -> list[Record]:
        try:
            return super()._fetch(connection, reading, limit)
        except sqlite3.Error:
            return []


class DeleteSwallows(SQLiteStore):
    """What could not be deleted counts as not there."""

    async def delete(self, query: Query) -> int:
        try:
            return await super().delete(query)
        except StoreError:
            return 0


class DeleteSwallowsTheDrivers(SQLiteStore):
    """As before, but a store that is not open says so."""

    def _delete(self, connection: sqlite3.Connection, query: Query) -> int:
        try:
            return super()._delete(connection, query)
        except sqlite3.Error:
            return 0


class OpensInSilence(SQLiteStore):
    """A place that cannot be opened raises what the system says."""

    async def open(self) -> None:
        try:
            await super().open()
        except StoreUnavailable as error:
            raise OSError(str(error)) from error


class SaysTooMuch(SQLiteStore):
    """An error has several lines."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        try:
            await super().append(records, durable=durable)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}\nTraceback (most recent call last):") from error


class MidnightEndsTheDay(SQLiteStore):
    """The hour that ends at midnight ends where its day began."""

    async def delete(self, query: Query) -> int:
        if query.until is not None and query.since is not None and query.until.hour == 0:
            query = replace(query, until=query.until - timedelta(hours=1))
        return await super().delete(query)


class TakesLocalDays(SQLiteStore):
    """A span that ends at midnight of the machine's time takes another hour."""

    async def delete(self, query: Query) -> int:
        if query.until is not None and time.localtime(query.until.timestamp()).tm_hour == 0:
            query = replace(query, until=query.until + timedelta(hours=1))
        return await super().delete(query)


class ForgetsTheZone(SQLiteStore):
    """An instant is read as if it were UTC."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        if query.since is not None:
            query = replace(query, since=query.since.replace(tzinfo=time_of(UUID(int=0)).tzinfo))
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class CachesPages(SQLiteStore):
    """A page is read once, until this store itself deletes something."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._pages: OrderedDict[Any, Sequence[Record]] = OrderedDict()

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        key = (repr(query), after, limit, newest_first)
        if key not in self._pages:
            page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
            if not page:
                return page
            self._pages[key] = page
        return list(self._pages[key])

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append(records, durable=durable)
        self._pages.clear()

    async def delete(self, query: Query) -> int:
        count = await super().delete(query)
        self._pages.clear()
        return count


class CachesById(SQLiteStore):
    """What was asked for by its id is remembered, also when a span takes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._known: dict[UUID, Record] = {}

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        if query.ids is not None and len(query.ids) == 1 and query.purposes is None and after is None:
            (wanted,) = query.ids
            if wanted in self._known and self._known[wanted].kind in query.kinds:
                return [self._known[wanted]]
        page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        if query.ids is not None:
            self._known |= {record.id: record for record in page}
        return page

    async def delete(self, query: Query) -> int:
        for one in query.ids or ():
            self._known.pop(one, None)
        return await super().delete(query)


class LendsItsPages(CachesPages):
    """What the caller does with a page is done to the next one."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        return self._pages.get((repr(query), after, limit, newest_first), [])


class BlocksInOpen(SQLiteStore):
    """It waits for its file on the loop."""

    async def open(self) -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - the fault
        await super().open()


class BlocksDurably(SQLiteStore):
    """It waits for the disk on the loop, where an append has to be durable."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append(records, durable=durable)
        if durable:
            time.sleep(0.15)  # noqa: ASYNC251 - the fault


class BelongsToALoop(SQLiteStore):
    """It lives on the loop on which it was opened first."""

    loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("is bound to a different event loop")
        await super().open()


class CountsInBooleans(SQLiteStore):
    """It says whether there was something, and not how much."""

    async def delete(self, query: Query) -> int:
        return await super().delete(query) > 0


class BlocksOnce(SQLiteStore):
    """Its first page after it was opened is read on the loop."""

    fresh = False

    async def open(self) -> None:
        self.fresh = True
        await super().open()

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        if self.fresh:
            time.sleep(0.05)  # noqa: ASYNC251 - the fault
        self.fresh = False
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class LosesOneOf64(SQLiteStore):
    """Of 64 appends on their way at once the last is dropped."""

    waiting = 0

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self.waiting += 1
        last = self.waiting == 64
        try:
            await asyncio.sleep(0)
            await super().append(records[:-1] if last else records, durable=durable)
        finally:
            self.waiting -= 1


class LosesEach64th(SQLiteStore):
    """Of all appends each 64th is dropped."""

    number = 0

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        self.number += 1
        if self.number % 64:
            await super().append(records, durable=durable)


class CountsOneMore(SQLiteStore):
    """A claim of many counts what somebody else took meanwhile."""

    async def delete(self, query: Query) -> int:
        there = len(await self.fetch(query, limit=1))
        return max(await super().delete(query), there)


class InHalves(SQLiteStore):
    """A batch that fails in its second half keeps the first."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        half = len(records) // 2
        await super().append(records[:half], durable=durable)
        await super().append(records[half:], durable=durable)


class ReadsWhatIsNotCommitted(SQLiteStore):
    """A task sees what another one of the same store is about to append."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        known = self.__dict__.setdefault("_ahead", [])
        known.extend(records[: len(records) // 2])
        await super().append(records, durable=durable)
        known.clear()

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        page = list(await super().fetch(query, after=after, limit=limit, newest_first=newest_first))
        ahead = {record.id: record for record in self.__dict__.get("_ahead", ()) if record.kind in query.kinds}
        return page if after or newest_first else sorted(
            ({record.id: record for record in page} | ahead).values(), key=lambda record: record.id
        )[:limit]  # fmt: skip


class KeepsTheLast(SQLiteStore):
    """Of two records with one id the last stays, where they differ in kind."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        for record in records:
            same = await self.fetch(Query(kinds=frozenset({"visit", "event", "Visit"}), ids=frozenset({record.id})))
            if same and same[0].kind != record.kind:
                await super().delete(Query(kinds=frozenset({same[0].kind}), ids=frozenset({record.id})))
        await super().append(records, durable=durable)


class FloatsOnly(SQLiteStore):
    """Whole numbers are kept as a float has them."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append(
            [
                replace(record, data={k: int(float(v)) if type(v) is int else v for k, v in record.data.items()})
                for record in records
            ],
            durable=durable,
        )


class Normalises(SQLiteStore):
    """Names are brought into one form of Unicode."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        forms = {unicodedata.normalize(form, kind) for kind in query.kinds for form in ("NFC", "NFD")}
        query = replace(query, kinds=frozenset(forms) | query.kinds)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class IgnoresCase(SQLiteStore):
    """Purposes are one, however they are written."""

    async def delete(self, query: Query) -> int:
        if query.purposes is not None:
            forms = {form for name in query.purposes for form in (name, name.lower(), name.upper(), name.title())}
            query = replace(query, purposes=frozenset(forms))
        return await super().delete(query)


class PadsTokens(SQLiteStore):
    """Zeros at the end of a token are not kept."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append(
            [replace(one, subject=one.subject and (one.subject.rstrip(b"\0") or one.subject)) for one in records],
            durable=durable,
        )


class CutsNames(SQLiteStore):
    """A name has 63 bytes, as in some databases."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        cut = [replace(one, ring=one.ring.encode()[:63].decode(errors="ignore")) for one in records]
        await super().append(cut, durable=durable)


class CutsBytes(SQLiteStore):
    """A value has 64 KiB."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append([replace(one, sealed=one.sealed[:65_536]) for one in records], durable=durable)


class HasPagesOf500(SQLiteStore):
    """No page has more than 500, whatever is asked for."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        return await super().fetch(query, after=after, limit=min(limit, 500), newest_first=newest_first)


class LosesAtTheEdge(SQLiteStore):
    """After a full page of 1,000 the next begins one too late."""

    full: UUID | None = None

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        page = await super().fetch(query, after=after, limit=limit + 1, newest_first=newest_first)
        if after is not None and after == self.full:
            page = page[1:]
        page = page[:limit]
        self.full = page[-1].id if len(page) == 1000 else None
        return page


class ReadsOneThing(SQLiteStore):
    """Beside ids, purposes are not looked at."""

    async def delete(self, query: Query) -> int:
        return await super().delete(replace(query, purposes=None) if query.ids is not None else query)


class WritesBehind(SQLiteStore):
    """What was appended is written when it is closed, and when somebody asks this store."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._waiting: list[Record] = []

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if durable:
            await super().append(records, durable=durable)
        else:
            self._waiting += records

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        await super().append(waiting)

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        await self._write()
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)

    async def delete(self, query: Query) -> int:
        await self._write()
        return await super().delete(query)

    async def close(self) -> None:
        if self._session:
            await self._write()
        await super().close()


class TakesWhatItIsGivenWhenClosed(SQLiteStore):
    """After it was closed it goes on as if it were open, and forgets."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if self._session is not None:
            await super().append(records, durable=durable)


class HoldsItsFile(SQLiteStore):
    """Whatever it opens stays open."""

    held: ClassVar[list[int]] = []

    async def open(self) -> None:
        await super().open()
        self.held.append(os.open(self.path, os.O_RDONLY))


class EmptiesItsPlace(SQLiteStore):
    """Whoever opens it twice has it empty."""

    async def open(self) -> None:
        again = self._session is not None
        await super().open()
        if again:
            await self.delete(Query(kinds=frozenset({"visit"})))


class DeletesInPieces(SQLiteStore):
    """Each purpose is deleted for itself, so that one who is cancelled has deleted some."""

    async def delete(self, query: Query) -> int:
        if query.ids is not None or query.subjects is not None:
            return await super().delete(query)
        count = 0
        for purpose in sorted({record.purpose async for page in pages(self, query) for record in page}):
            if query.purposes is None or purpose in query.purposes:
                count += await super().delete(replace(query, purposes=frozenset({purpose})))
        return count


class HangsAfterACancel(SQLiteStore):
    """A lock that a cancelled task held is never free again."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._busy = False

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        if self._busy:
            raise StoreUnavailable("busy")
        self._busy = True
        page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        self._busy = False
        return page


class GoesOnAfterACancel(SQLiteStore):
    """What was cancelled happens a little later all the same."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await asyncio.shield(self._late(super().append(records, durable=durable)))

    async def delete(self, query: Query) -> int:
        return await asyncio.shield(self._late(super().delete(query)))

    async def _late(self, call: Coroutine[Any, Any, T]) -> T:
        await asyncio.sleep(0.01)
        return await call


class HasItsOwnPlace(SQLiteStore):
    """Each object has a file of its own."""

    number = 0

    def __init__(self, path: str | os.PathLike[str]) -> None:
        type(self).number += 1
        super().__init__(Path(f"{os.fspath(path)}-{os.getpid()}-{self.number}"))


class NewestFirstForgetsAfter(SQLiteStore):
    """Backwards, the bookmark itself is there again."""

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        if newest_first and after is not None:
            after = UUID(int=after.int + 1)
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


class SkipsLongBatches(SQLiteStore):
    """Of a batch what is beyond 2,000 is dropped."""

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        await super().append(records[:2_000], durable=durable)


class DeletesAThousand(SQLiteStore):
    """One delete takes 1,000 at most."""

    async def delete(self, query: Query) -> int:
        rows = await self.fetch(query, limit=1_000)
        return await super().delete(replace(query, ids=frozenset(row.id for row in rows)))
