"""The store contract as tests: a backend's whole test is a subclass of `StoreSuite` and one fixture."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import ClassVar

import pytest

from consent_mw.records import Query
from consent_mw.stores.base import Store
from consent_mw.testing.crash_points import WithEnvironment, calls_of, killed_at, processes
from consent_mw.testing.sample_records import VISITS, NewStore, everything, make_record, opened
from consent_mw.testing.store_blocking import StoreBlocking
from consent_mw.testing.store_failing import StoreFailing
from consent_mw.testing.volatile_store_suite import VolatileStoreSuite

__all__ = ["NewStore", "StoreSuite", "VolatileStoreSuite"]

# What each process of a test appends: so many batches of so many records.
_BATCH = 20
_BATCHES = 25
#: What is appended or deleted at once while the process is killed.
_TOGETHER = [make_record(n, purpose=f"purpose {n % 3}") for n in range(9)]


class StoreSuite(VolatileStoreSuite, StoreFailing, StoreBlocking):
    """
    The whole contract: what was kept is there again, in other processes, and after SIGKILL.

    The store that `new_store` returns, and every other that it returns in the same test, keep their records in one
    place. The callable crosses into other processes, so it can be pickled: `functools.partial` of the store's
    class can, a lambda cannot.

    The fixture `break_it` is wanted too: a callable that lets the place fail under an open store, and may return one
    that mends it. Without it the test that needs it is skipped.

    Attributes:
        crashes: At how many calls within `append` and `delete`, evenly apart, the process is killed; more of them
            before a release.
    """

    crashes: ClassVar[int] = 10

    @asynccontextmanager
    async def several(self, new_store: NewStore, count: int) -> AsyncGenerator[list[Store]]:
        """Give `count` open stores of one place, each with a connection of its own."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(opened(new_store)) for _ in range(count)]

    def test_what_was_kept_is_there_after_reopening(self, new_store: NewStore) -> None:
        batch = [make_record(n) for n in range(3)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
            async with opened(new_store) as store:
                assert await store.fetch(VISITS) == batch
                await store.delete(Query(kinds=VISITS.kinds, ids=frozenset({batch[1].id})))
            async with opened(new_store) as store:
                assert await store.fetch(VISITS) == [batch[0], batch[2]]

        asyncio.run(scenario())

    @pytest.mark.parametrize("verb", ["append", "delete"])
    def test_a_crash_at_any_call_leaves_all_or_nothing(self, new_store: NewStore, verb: str) -> None:
        act = partial(_act, verb)

        async def count_left() -> int:
            """Return how many there are, and leave what the next act begins with."""
            async with opened(new_store) as store:
                number = len(await everything(store))
                await store.delete(VISITS)
                if verb == "delete":
                    await store.append(_TOGETHER)
                return number

        asyncio.run(count_left())
        context = processes()
        ours, theirs = context.Pipe()
        counting = context.Process(target=calls_of, args=(WithEnvironment(new_store), act, theirs))
        counting.start()
        theirs.close()
        calls = int(ours.recv())
        counting.join()
        asyncio.run(count_left())
        ours, theirs = context.Pipe()
        points = sorted({calls * step // self.crashes for step in range(self.crashes)})
        dying = context.Process(target=killed_at, args=(WithEnvironment(new_store), act, points, theirs))
        dying.start()
        theirs.close()
        try:
            for point in points:
                ours.recv()
                number = asyncio.run(count_left())
                assert number in (0, len(_TOGETHER)), (
                    f"killed in {verb} at call {point} of {calls}, half of it was there"
                )
                ours.send(True)
        finally:
            ours.close()  # it ends when nobody answers
            dying.kill()
            dying.join()

    def test_stores_that_open_an_empty_place_at_once_agree(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            stores = [new_store() for _ in range(8)]
            await asyncio.gather(*(store.open() for store in stores))
            await asyncio.gather(*(store.append([make_record(n)]) for n, store in enumerate(stores)))
            for store in stores:
                assert len(await store.fetch(VISITS)) == 8
                await store.close()

        asyncio.run(scenario())

    def test_four_processes_write_at_once(self, new_store: NewStore) -> None:
        with processes().Pool(4) as pool:
            pool.map(partial(_append_many, WithEnvironment(new_store)), range(4), chunksize=1)

        async def scenario() -> None:
            async with opened(new_store) as store:
                ids = [record.id for record in await everything(store)]
                assert ids == [make_record(n).id for n in range(4 * _BATCHES * _BATCH)]

        asyncio.run(scenario())

    @pytest.mark.parametrize("durable", [False, True], ids=["ordinary", "durable"])
    def test_what_was_appended_survives_sigkill_whole(self, new_store: NewStore, durable: bool) -> None:
        context = processes()
        ours, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=_append_until_killed, args=(WithEnvironment(new_store), theirs, durable))
        writer.start()
        theirs.close()  # or a writer that dies early would leave us waiting
        kept = [ours.recv() for _ in range(20)]
        writer.kill()
        writer.join()
        while ours.poll():
            try:
                kept.append(ours.recv())
            except (EOFError, OSError):  # killed within a report
                break
        ours.close()

        async def scenario() -> None:
            async with opened(new_store) as store:
                numbers = [int(str(record.data["number"])) for record in await everything(store)]
                assert set(kept) <= {number // _BATCH for number in numbers}
                assert len(numbers) % _BATCH == 0
                assert numbers == list(range(len(numbers)))
                await store.append([make_record(n) for n in range(len(numbers) + _BATCH)])
                assert len(await everything(store)) == len(numbers) + _BATCH

        asyncio.run(scenario())

    def test_what_was_deleted_stays_deleted_after_sigkill(self, new_store: NewStore) -> None:
        async def count() -> int:
            async with opened(new_store) as store:
                return len(await everything(store))

        context = processes()
        ours, theirs = context.Pipe(duplex=False)
        eraser = context.Process(target=_delete_once, args=(WithEnvironment(new_store), theirs))
        eraser.start()
        theirs.close()
        assert ours.recv() == _BATCH - 1
        eraser.kill()
        eraser.join()
        ours.close()
        assert asyncio.run(count()) == 1


async def _act(verb: str, store: Store) -> None:
    await (store.append(_TOGETHER) if verb == "append" else store.delete(VISITS))


def _append_many(new_store: NewStore, writer: int) -> None:
    async def append() -> None:
        async with opened(new_store) as store:
            for batch in range(_BATCHES):
                start = (writer * _BATCHES + batch) * _BATCH
                await store.append([make_record(n) for n in range(start, start + _BATCH)])

    asyncio.run(append())


def _append_until_killed(new_store: NewStore, reports: Connection, durable: bool) -> None:
    """Report the number of each batch once its `append` returned."""

    async def append() -> None:
        store = new_store()
        await store.open()
        number = 0
        while True:
            start = number * _BATCH
            await store.append([make_record(n) for n in range(start, start + _BATCH)], durable=durable)
            reports.send(number)
            number += 1

    asyncio.run(append())


def _delete_once(new_store: NewStore, report: Connection) -> None:
    async def delete() -> None:
        store = new_store()
        await store.open()
        await store.append([make_record(n) for n in range(_BATCH)])
        report.send(
            await store.delete(Query(kinds=VISITS.kinds, ids=frozenset(make_record(n).id for n in range(1, _BATCH))))
        )
        await asyncio.Event().wait()

    asyncio.run(delete())
