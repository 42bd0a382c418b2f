"""The part of the store contract that also a store without a place keeps, as tests."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_mw.exceptions import ConsentError
from consent_mw.records import Query, Record, time_of
from consent_mw.stores.base import Store, matches
from consent_mw.system.days import day_of
from consent_mw.testing.sample_records import (
    HOSTILE_BYTES,
    HOSTILE_NAMES,
    HOSTILE_TEXTS,
    MILLISECOND,
    NOON,
    VISITS,
    NewStore,
    everything,
    exact,
    in_order,
    make_record,
    opened,
    records_strategy,
)

__all__ = ["VolatileStoreSuite"]


class VolatileStoreSuite:
    """
    What every store keeps, also one that forgets all when its process ends.

    A subclass, whose name starts with `Test`, has the fixture `new_store`: a callable without arguments that
    returns a new, unopened store. The place is empty when a test starts, and for one test the same. Every test
    runs its own event loop, so that no plugin is needed.

    Attributes:
        rows: How many records the test of bounded memory stores; a million before a release.
    """

    rows: ClassVar[int] = 20_000

    @pytest.fixture
    def new_store(self) -> NewStore:
        """Return a callable that makes a store."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `new_store`: see docs/write-a-store.md")

    @asynccontextmanager
    async def several(self, new_store: NewStore, count: int) -> AsyncGenerator[list[Store]]:
        """Give `count` open stores of one place. Here: the same one, as nothing else would share its records."""
        async with opened(new_store) as store:
            yield [store] * count

    def test_it_is_a_store(self, new_store: NewStore) -> None:
        assert isinstance(new_store(), Store)

    def test_opening_and_closing_twice_is_harmless(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            store = new_store()
            await store.close()
            await store.open()
            await store.open()
            await store.append([make_record(1)])
            await store.close()
            await store.close()
            await store.open()
            assert await everything(store) == [make_record(1)]
            await store.close()

        asyncio.run(scenario())

    def test_what_was_appended_comes_back_equal(self, new_store: NewStore) -> None:
        # The fixture is used for all examples on purpose: each deletes what it stored.
        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(batch=records_strategy(), durable=st.booleans())
        def round_trip(batch: list[Record], durable: bool) -> None:
            asyncio.run(self._round_trip(new_store, batch, durable))

        round_trip()

    async def _round_trip(self, new_store: NewStore, batch: list[Record], durable: bool) -> None:
        query = Query(kinds=frozenset({"visit", "event"}))
        first = {record.id: record for record in reversed(batch)}
        async with opened(new_store) as store:
            await store.append(batch, durable=durable)
            fetched = await store.fetch(query)
            assert await store.delete(query) == len(first)
            assert await store.fetch(query) == []
        assert [exact(record) for record in fetched] == [exact(record) for record in in_order(first.values())]

    @pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: ascii(text[:20]))
    def test_any_text_in_the_data_comes_back(self, new_store: NewStore, text: str) -> None:
        record = make_record(1, data={"text": text, text: "as a name"})
        asyncio.run(self._comes_back(new_store, record, VISITS))

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_any_name_is_found_again(self, new_store: NewStore, name: str) -> None:
        record = make_record(1, kind=name, purpose=name, ring=name)
        asyncio.run(self._comes_back(new_store, record, Query(kinds=frozenset({name}), purposes=frozenset({name}))))

    @pytest.mark.parametrize("token", HOSTILE_BYTES, ids=lambda token: token[:8].hex() or "empty")
    def test_any_bytes_are_found_again(self, new_store: NewStore, token: bytes) -> None:
        record = make_record(1, subject=token, sealed=token)
        query = Query(kinds=frozenset({"visit"}), subjects=frozenset({token}))
        asyncio.run(self._comes_back(new_store, record, query))

    async def _comes_back(self, new_store: NewStore, record: Record, query: Query) -> None:
        neighbours = [
            make_record(2, kind="visits", purpose="analytic", subject=b"somebody"),
            make_record(3, kind="visit'", purpose="analytics'", subject=None),
        ]
        async with opened(new_store) as store:
            await store.append([*neighbours, record])
            assert [exact(fetched) for fetched in await store.fetch(query)] == [exact(record)]
            assert await store.delete(query) == 1
            assert len(await store.fetch(Query(kinds=frozenset({"visits", "visit'"})))) == 2

    def test_a_megabyte_of_sealed_bytes_comes_back(self, new_store: NewStore) -> None:
        record = make_record(1, sealed=os.urandom(1_000_000))
        asyncio.run(self._comes_back(new_store, record, VISITS))

    def test_the_first_record_of_an_id_stays(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(1, sealed=b"first")])
                await store.append([make_record(1, sealed=b"second"), make_record(2, sealed=b"new")])
                await store.append([make_record(1, kind="event", purpose="necessary", sealed=b"third")])
                assert [record.sealed for record in await store.fetch(VISITS)] == [b"first", b"new"]
                assert await store.fetch(Query(kinds=frozenset({"event"}))) == []

        asyncio.run(scenario())

    def test_the_first_record_of_an_id_stays_within_a_batch(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(1, sealed=sealed) for sealed in (b"first", b"second", b"third")])
                assert [record.sealed for record in await store.fetch(VISITS)] == [b"first"]

        asyncio.run(scenario())

    def test_an_empty_batch_is_harmless(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([])
                await store.append([], durable=True)
                assert await store.fetch(VISITS) == []

        asyncio.run(scenario())

    def test_records_come_in_order_of_id(self, new_store: NewStore) -> None:
        # Bytes of an id that sign, byte order or text would put elsewhere; kinds and purposes mixed.
        numbers = [0, 1, 0x7F, 0x80, 0xFF, 0x100, 2**31, 2**32, 2**61, 2**62 - 1]
        batch = [
            make_record(number, at=NOON + day * timedelta(days=1), kind=kind, purpose=purpose)
            for number, kind, purpose in zip(
                numbers, ["visit", "event"] * 5, ["b", "a", "b", "b", "c"] * 2, strict=True
            )
            for day in (0, 1)
        ]

        async def scenario() -> None:
            async with opened(new_store) as store:
                for record in reversed(batch):
                    await store.append([record])
                fetched = await store.fetch(Query(kinds=frozenset({"visit", "event"})))
                assert fetched == in_order(batch)

        asyncio.run(scenario())

    @pytest.mark.parametrize("page", [1, 2, 7, 100, 101, 1000])
    def test_pages_join_without_gap_or_double(self, new_store: NewStore, page: int) -> None:
        people = [None, b"one", b"two", b"three"]
        batch = [
            make_record(n, kind=("visit", "event")[n % 2], purpose=f"purpose {n % 3}", subject=people[n % 4])
            for n in range(100)
        ]
        both = frozenset({"visit", "event"})

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                assert await everything(store, Query(kinds=both), page=page) == batch
                every_id = frozenset(record.id for record in batch)
                assert await everything(store, Query(kinds=both, ids=every_id), page=page) == batch
                told_apart = Query(kinds=both, subjects=frozenset({b"one", b"two", b"three"}))
                known = [record for record in batch if record.subject is not None]
                assert await everything(store, told_apart, page=page) == known
                assert len(await store.fetch(Query(kinds=both), limit=page)) == min(page, 100)

        asyncio.run(scenario())

    @pytest.mark.parametrize("page", [1, 10, 100, 1000])
    def test_pages_join_where_one_purpose_and_one_person_have_nearly_all(self, new_store: NewStore, page: int) -> None:
        rare = (0, 57, 99)
        batch = [
            make_record(n, purpose="rare" if n in rare else "common", subject=b"rare" if n in rare else b"common")
            for n in range(100)
        ]
        queries = (
            VISITS,
            Query(kinds=VISITS.kinds, purposes=frozenset({"rare", "common", "unused"})),
            Query(kinds=VISITS.kinds, subjects=frozenset({b"rare", b"common", b"unknown"})),
        )

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                for query in queries:
                    assert await everything(store, query, page=page) == batch
                assert await store.delete(queries[-1]) == 100

        asyncio.run(scenario())

    def test_after_need_not_exist(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(n) for n in (1, 3, 5)])
                assert await store.fetch(VISITS, after=make_record(2).id) == [make_record(3), make_record(5)]
                assert await store.fetch(VISITS, after=UUID(int=0), limit=1) == [make_record(1)]
                assert await store.fetch(VISITS, after=UUID(int=2**128 - 1)) == []
                since = Query(kinds=VISITS.kinds, since=NOON)
                assert await store.fetch(since, after=make_record(3).id) == [make_record(5)]
                assert await store.fetch(since, after=UUID(int=0), limit=1) == [make_record(1)]

        asyncio.run(scenario())

    @pytest.mark.parametrize("page", [1, 7, 20, 1000])
    def test_newest_first_is_the_same_backwards(self, new_store: NewStore, page: int) -> None:
        # Five days, of each two milliseconds with two records: neither a day nor a tie may lose or double one.
        people = [None, b"one", b"two", b"three"]
        batch = [
            make_record(
                n, at=NOON + n // 4 * timedelta(days=1) + n // 2 % 2 * MILLISECOND,
                kind=("visit", "event")[n % 2], purpose=f"purpose {n % 3}", subject=people[n % 4],
            )
            for n in range(20)
        ]  # fmt: skip
        both = frozenset({"visit", "event"})
        some = frozenset({b"one", b"three", b"unknown"})
        # Each with all of them, and one more that holds nothing: a hint leaves out nothing that is in its place.
        places = {(day_of(time_of(record.id)), record.purpose): some for record in batch} | {(0, "unused"): some}
        queries = (
            Query(kinds=both, subjects=some, places=places),
            Query(
                kinds=both, subjects=some, places=places, since=NOON + timedelta(days=1), until=NOON + timedelta(days=3)
            ),
            Query(kinds=both),
            VISITS,
            Query(kinds=both, purposes=frozenset({"purpose 0", "purpose 1", "unused"})),
            Query(kinds=both, subjects=some),
            Query(kinds=both, ids=frozenset(record.id for record in batch[::3])),
            Query(kinds=both, since=NOON + timedelta(days=1), until=NOON + timedelta(days=3, milliseconds=1)),
        )

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                for query in queries:
                    expected = [record for record in batch if matches(query, record)]
                    assert await everything(store, query, page=page) == expected
                    assert await everything(store, query, page=page, newest_first=True) == expected[::-1]
                    newest = await store.fetch(query, limit=page, newest_first=True)
                    assert newest == expected[::-1][:page]

        asyncio.run(scenario())

    def test_a_bookmark_parts_the_records_in_both_directions(self, new_store: NewStore) -> None:
        batch = [make_record(n, at=NOON + n // 3 * timedelta(days=1), purpose=f"purpose {n % 2}") for n in (1, 3, 5, 7)]
        known = [record.id for record in batch]
        bookmarks = [*known, make_record(2).id, make_record(6, at=NOON + timedelta(days=2)).id, UUID(int=0)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                for after in [*bookmarks, UUID(int=2**128 - 1)]:
                    later = [record for record in batch if record.id > after]
                    earlier = [record for record in batch if record.id < after]
                    assert await store.fetch(VISITS, after=after) == later
                    assert await store.fetch(VISITS, after=after, newest_first=True) == earlier[::-1]
                    until = Query(kinds=VISITS.kinds, until=NOON + timedelta(days=2))
                    older = [record for record in earlier if matches(until, record)]
                    assert await store.fetch(until, after=after, limit=1, newest_first=True) == older[:-2:-1]

        asyncio.run(scenario())

    def test_since_includes_its_instant_and_until_excludes_it(self, new_store: NewStore) -> None:
        # Each end of a millisecond: the smallest and the largest id that it has.
        batch = [make_record(n, at=NOON + step * MILLISECOND) for step in (-1, 0, 1) for n in (0, 2**62 - 1)]

        async def count(store: Store, since: datetime | None, until: datetime | None) -> list[int]:
            fetched = await store.fetch(Query(kinds=VISITS.kinds, since=since, until=until))
            return [batch.index(record) for record in fetched]

        async def scenario() -> None:
            seoul = NOON.astimezone(timezone(timedelta(hours=9)))
            microsecond = timedelta(microseconds=1)
            async with opened(new_store) as store:
                await store.append(batch)
                assert await count(store, NOON, None) == [2, 3, 4, 5]
                assert await count(store, seoul, None) == [2, 3, 4, 5]
                assert await count(store, None, NOON) == [0, 1]
                assert await count(store, NOON, NOON + MILLISECOND) == [2, 3]
                assert await count(store, NOON, NOON) == []
                assert await count(store, NOON + MILLISECOND, NOON) == []
                assert await count(store, NOON + microsecond, None) == [4, 5]
                assert await count(store, NOON - microsecond, None) == [2, 3, 4, 5]
                assert await count(store, None, NOON + microsecond) == [0, 1, 2, 3]
                assert await count(store, None, NOON - microsecond) == [0, 1]
                extremes = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
                assert await count(store, *extremes) == [0, 1, 2, 3, 4, 5]
                assert await store.delete(Query(kinds=VISITS.kinds, since=NOON, until=NOON + MILLISECOND)) == 2
                assert await count(store, None, None) == [0, 1, 4, 5]

        asyncio.run(scenario())

    def test_an_empty_set_means_nothing(self, new_store: NewStore) -> None:
        nothing = (
            Query(kinds=frozenset()),
            Query(kinds=VISITS.kinds, purposes=frozenset()),
            Query(kinds=VISITS.kinds, subjects=frozenset()),
            Query(kinds=VISITS.kinds, ids=frozenset()),
        )

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(1, subject=b"somebody")])
                for query in nothing:
                    assert await store.fetch(query) == []
                    assert await store.delete(query) == 0
                assert len(await store.fetch(VISITS)) == 1

        asyncio.run(scenario())

    def test_every_condition_must_hold(self, new_store: NewStore) -> None:
        sought = make_record(1, subject=b"somebody")
        whole = Query(
            kinds=frozenset({"visit", "no such kind"}),
            purposes=frozenset({"analytics", "no such purpose"}),
            subjects=frozenset({b"somebody", b"nobody"}),
            ids=frozenset({sought.id, *(make_record(n).id for n in range(2, 8))}),
            since=NOON,
            until=NOON + MILLISECOND,
        )
        others = [
            make_record(2, subject=b"somebody", kind="event"),
            make_record(3, subject=b"somebody", purpose="necessary"),
            make_record(4, subject=b"somebody else"),
            make_record(5, subject=None),
            make_record(6, subject=b"somebody", at=NOON - MILLISECOND),
            make_record(7, subject=b"somebody", at=NOON + MILLISECOND),
            make_record(8, subject=b"somebody"),
        ]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([sought, *others])
                assert await store.fetch(whole) == [sought]
                assert await store.delete(whole) == 1
                assert await everything(store, Query(kinds=frozenset({"visit", "event"}))) == in_order(others)

        asyncio.run(scenario())

    def test_a_set_may_be_larger_than_what_is_stored(self, new_store: NewStore) -> None:
        ids = frozenset(make_record(n).id for n in range(40_000))
        people = frozenset(n.to_bytes(16, "big") for n in range(40_000))
        batch = [make_record(n, subject=n.to_bytes(16, "big")) for n in (5, 39_999, 40_001)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                assert await store.fetch(Query(kinds=VISITS.kinds, ids=ids)) == batch[:2]
                assert await store.fetch(Query(kinds=VISITS.kinds, subjects=people)) == batch[:2]
                assert await store.delete(Query(kinds=VISITS.kinds, ids=ids, subjects=people)) == 2

        asyncio.run(scenario())

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

    def test_a_deleted_id_may_be_appended_again(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(1, sealed=b"old")])
                assert await store.delete(VISITS) == 1
                assert await store.delete(VISITS) == 0
                await store.append([make_record(1, sealed=b"new")])
                assert [record.sealed for record in await store.fetch(VISITS)] == [b"new"]

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

    def test_no_reader_sees_half_a_batch_or_half_a_deletion(self, new_store: NewStore) -> None:
        size = 50

        async def write(store: Store) -> None:
            for number in range(20):
                await store.append([make_record(size * number + n, purpose=f"purpose {n % 3}") for n in range(size)])
                if number % 3 == 2:
                    await store.delete(VISITS)

        async def scenario() -> None:
            async with self.several(new_store, 2) as (writer, reader):
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
                    assert len(await store.fetch(query)) in (0, 100)
                    await store.append(batch)
                    assert await store.fetch(query) == batch

        asyncio.run(scenario())

    def test_what_it_is_given_stays_as_it_was(self, new_store: NewStore) -> None:
        batch = [make_record(n, data={"number": n, "text": "x"}) for n in (3, 1, 2, 1)]
        before, copies = list(batch), [exact(record) for record in batch]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                await store.append(tuple(batch))
                assert await store.fetch(VISITS) == in_order(batch[:3])

        asyncio.run(scenario())
        assert batch == before, "append changed the list that it was given: take a copy"
        assert [exact(record) for record in batch] == copies

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

    def test_paging_through_many_records_takes_bounded_memory(self, new_store: NewStore) -> None:
        batches = range(0, self.rows, 500)

        async def scenario() -> None:
            async with opened(new_store) as store:
                for start in batches:
                    rows = range(start, min(start + 500, self.rows))
                    await store.append([make_record(n, purpose=f"purpose {n % 3}", sealed=bytes(200)) for n in rows])
                assert await _count_within(store, bytes_at_most=5_000_000) == self.rows
                assert await store.delete(VISITS) == self.rows
                assert await store.fetch(VISITS) == []

        asyncio.run(scenario())


async def _count_within(store: Store, *, bytes_at_most: int) -> int:
    """Page through all visits, forgetting each page, and check what that takes of memory."""
    count, last = 0, None
    tracemalloc.start()
    try:
        while page := await store.fetch(VISITS, after=last, limit=500):
            assert last is None or last < page[0].id
            assert all(earlier.id < later.id for earlier, later in pairwise(page))
            count, last = count + len(page), page[-1].id
        newest = await store.fetch(VISITS, limit=1, newest_first=True)
        assert [record.id for record in newest] == [last]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= bytes_at_most, f"paging took {peak:,} bytes at its peak: is the whole result read for one page?"
    return count
