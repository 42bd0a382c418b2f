"""What a store keeps while several tasks and several stores use its place at once, as tests."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final

import pytest

from consent_mw.exceptions import ConsentError
from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.testing.loop_watch import Watched, watched
from consent_mw.testing.sample_records import VISITS, NewStore, everything, make_record, opened
from consent_mw.testing.store_place import StorePlace

#: A call is cancelled after so many turns of the loop, and after so many parts of those that the whole takes.
_TURNS: Final = (0, 1, 2, 3)
_PARTS: Final = 10
#: A call is cancelled, too, where it waits for the first time, for the second, and so on.
_WAITS: Final = 12
#: So much later a cancelled call must have changed nothing more.
_LATE_SECONDS: Final = 0.03


class StoreSharing(StorePlace):
    """The tests of what happens at once."""

    def test_deletion_while_somebody_pages(self, new_store: NewStore) -> None:
        batch = [make_record(n, purpose=f"purpose {n % 2}") for n in range(100)]

        async def scenario() -> None:
            async with self.several(new_store, 2) as (reader, eraser):
                await eraser.append(batch)
                seen = list(await reader.fetch(VISITS, limit=10))
                gone = [record.id for record in [*batch[5:15], *batch[50:60]]]  # the bookmark itself too
                assert await eraser.delete(Query(kinds=VISITS.kinds, ids=frozenset(gone))) == 20
                while page := await reader.fetch(VISITS, after=seen[-1].id, limit=10):
                    assert page[0].id > seen[-1].id
                    seen.extend(page)
                assert seen == batch[:10] + batch[15:50] + batch[60:]

        asyncio.run(scenario())

    def test_a_later_record_is_met_by_who_already_pages(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with self.several(new_store, 2) as (reader, writer):
                await writer.append([make_record(1)])
                assert await reader.fetch(VISITS, limit=2) == [make_record(1)]
                await writer.append([make_record(2)])
                assert await reader.fetch(VISITS, after=make_record(1).id) == [make_record(2)]

        asyncio.run(scenario())

    def test_one_of_many_claims_a_record(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with self.several(new_store, 8) as stores:
                await stores[0].append([make_record(n, kind="pending") for n in range(20)])
                for n in range(20):
                    claim = Query(kinds=frozenset({"pending"}), ids=frozenset({make_record(n).id}))
                    counts = await asyncio.gather(*(store.delete(claim) for store in stores))
                    assert sorted(counts) == [0] * 7 + [1]

        asyncio.run(scenario())

    def test_writers_at_once_lose_nothing_and_keep_one_of_each(self, new_store: NewStore) -> None:
        async def write(store: Store, writer: int) -> None:
            for start in range(0, 200, 20):
                # Half of each batch is everybody's, half the writer's own.
                shared = [make_record(n, sealed=b"by %d" % writer) for n in range(start, start + 20)]
                own = [make_record(1000 * writer + n) for n in range(start, start + 20)]
                await store.append(shared + own)

        async def scenario() -> None:
            async with self.several(new_store, 5) as stores:
                await asyncio.gather(*(write(store, writer) for writer, store in enumerate(stores, start=1)))
                records = await everything(stores[0])
            expected = {make_record(1000 * writer + n).id for writer in range(6) for n in range(200)}
            assert [record.id for record in records] == sorted(expected)
            first, last = records[0:200:20], records[19:200:20]
            assert [record.sealed for record in first] == [record.sealed for record in last]

        asyncio.run(scenario())

    @pytest.mark.parametrize("reads", ["another", "the same"])
    def test_no_reader_sees_half_a_batch_or_half_a_deletion(self, new_store: NewStore, reads: str) -> None:
        size = 50

        async def write(store: Store) -> None:
            for number in range(20):
                await store.append([make_record(size * number + n, purpose=f"purpose {n % 3}") for n in range(size)])
                if number % 3 == 2:
                    await store.delete(VISITS)

        async def scenario() -> None:
            async with self.several(new_store, 2) as (writer, other):
                reader = other if reads == "another" else writer
                writing = asyncio.create_task(write(writer))
                while not writing.done():
                    assert len(await reader.fetch(VISITS, limit=100_000)) % size == 0
                    await asyncio.sleep(0)
                await writing

        asyncio.run(scenario())

    def test_a_cancelled_append_happened_as_a_whole_or_not_at_all(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                for number in range(20):
                    batch = [make_record(n, kind=f"kind {number}") for n in range(100 * number, 100 * number + 100)]
                    appending = asyncio.create_task(store.append(batch))
                    for _ in range(number % 5):
                        await asyncio.sleep(0)
                    appending.cancel()
                    await asyncio.wait([appending])
                    query = Query(kinds=frozenset({f"kind {number}"}))
                    kept = len(await store.fetch(query))
                    assert kept in (0, 100)
                    await asyncio.sleep(_LATE_SECONDS)
                    assert len(await store.fetch(query)) == kept, "a cancelled append went on after it had ended"
                    await store.append(batch)
                    assert await store.fetch(query) == batch

        asyncio.run(scenario())

    def test_many_tasks_use_one_store_at_once(self, new_store: NewStore) -> None:
        batches = [
            [make_record(100 * number + n, kind=f"kind {number}") for n in range(number + 1)] for number in range(8)
        ]
        queries = [Query(kinds=frozenset({f"kind {number}"})) for number in range(8)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                for _ in range(3):  # all tasks call the same verb in one turn of the loop
                    await asyncio.gather(*map(store.append, batches))
                    fetched = await asyncio.gather(*map(store.fetch, queries))
                    assert [list(page) for page in fetched] == batches, "a task got what another one asked for"
                    deleted = await asyncio.gather(*map(store.delete, queries))
                    assert deleted == [len(batch) for batch in batches], "a task deleted what another one meant"

        asyncio.run(scenario())

    def test_an_append_that_returned_while_it_was_closed_was_kept(self, new_store: NewStore) -> None:
        async def appended(store: Store, batch: list[Record]) -> bool:
            try:
                await store.append(batch)
            except ConsentError:
                return False
            return True

        async def scenario() -> None:
            for number in range(5):
                store = new_store()
                await store.open()
                batch = [make_record(n, kind=f"kind {number}") for n in range(100 * number, 100 * number + 100)]
                appending = asyncio.ensure_future(appended(store, batch))
                for _ in range(number):
                    await asyncio.sleep(0)
                await store.close()
                was_kept = await appending
                await store.open()
                count = len(await store.fetch(Query(kinds=frozenset({f"kind {number}"}))))
                await store.close()
                assert count in ((100,) if was_kept else (0, 100)), "close dropped what append said was kept"

        asyncio.run(scenario())

    @pytest.mark.parametrize("count", [1, 4])
    def test_of_many_calls_at_once_none_is_lost(self, new_store: NewStore, count: int) -> None:
        async def scenario() -> None:
            async with self.several(new_store, count) as stores:
                for many in (3, 65):
                    batch = [make_record(n) for n in range(many)]
                    by_turns = [(stores[n % count], record) for n, record in enumerate(batch)]
                    await asyncio.gather(*(store.append([record]) for store, record in by_turns))
                    assert await stores[0].fetch(VISITS) == batch, f"of {many} appends at once one is lost"
                    claims = [
                        store.delete(Query(kinds=VISITS.kinds, ids=frozenset({record.id})))
                        for store, record in by_turns
                    ]
                    assert await asyncio.gather(*claims) == [1] * many
                    assert await stores[-1].fetch(VISITS) == []

        asyncio.run(scenario())

    def test_of_many_appends_one_after_the_other_none_is_lost(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                batch = [make_record(n) for n in range(150)]
                for record in batch:
                    await store.append([record])
                assert await store.fetch(VISITS) == batch

        asyncio.run(scenario())

    def test_a_cancelled_delete_happened_as_a_whole_or_not_at_all(self, new_store: NewStore) -> None:
        batch = [make_record(n, purpose=f"purpose {n % 3}") for n in range(100)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                whole = await watched(lambda: store.delete(VISITS))
                cuts = [partial(_cancelled, turns=turns) for turns in _moments(whole)]
                cuts += [partial(_cancelled_at, wait=wait) for wait in range(_WAITS)]
                for cut in cuts:
                    await store.append(batch)
                    await cut(store.delete(VISITS))
                    left = len(await store.fetch(VISITS))
                    assert left in (0, 100)
                    await asyncio.sleep(_LATE_SECONDS)
                    assert await store.delete(VISITS) == left, "a cancelled delete went on after it had ended"

        asyncio.run(scenario())

    def test_a_store_stays_usable_after_any_call_was_cancelled(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            store = new_store()
            for turns in _moments(await watched(store.open)):
                await _cancelled(store.open(), turns)
                await store.open()
                await store.append([make_record(1)])
                await _cancelled(store.fetch(VISITS), turns)
                assert await store.fetch(VISITS) == [make_record(1)]
                await _cancelled(store.close(), turns)
                await store.close()

        asyncio.run(scenario())


def _moments(whole: Watched) -> list[int]:
    """Return after how many turns of the loop to cancel a call that took so many."""
    return sorted({*_TURNS, *(whole.turns * part // _PARTS for part in range(_PARTS))})


async def _cancelled(call: Coroutine[Any, Any, object], turns: int) -> None:
    """Begin a call and cancel it after so many turns of the loop. What it raises else is raised."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _cancelled_at(call: Coroutine[Any, Any, object], wait: int) -> None:
    """Begin a call and cancel it where it waits for the `wait`th time, however long that takes."""
    with suppress(asyncio.CancelledError):
        await asyncio.ensure_future(_cut(call, wait))


@types.coroutine
def _cut(call: Coroutine[Any, Any, object], wait: int) -> Generator[Any, Any, None]:
    step = partial(call.send, None)
    for number in count():
        try:
            waited = step()
        except StopIteration:
            return
        task = asyncio.current_task()
        if number == wait and task is not None:
            task.cancel()
        try:
            step = partial(call.send, (yield waited))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the call's
            step = partial(call.throw, error)
