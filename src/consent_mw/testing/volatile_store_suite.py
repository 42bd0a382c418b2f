"""The part of the store contract that also a store without a place keeps, as tests."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from itertools import pairwise
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.testing.sample_records import (
    HOSTILE_BYTES,
    HOSTILE_NAMES,
    HOSTILE_TEXTS,
    VISITS,
    NewStore,
    everything,
    exact,
    in_order,
    make_record,
    opened,
    records_strategy,
)
from consent_mw.testing.store_blocking import StoreStandstill
from consent_mw.testing.store_faults import outcome_of
from consent_mw.testing.store_queries import StoreQueries
from consent_mw.testing.store_sharing import StoreSharing

__all__ = ["VolatileStoreSuite"]

#: Numbers that a column, JSON or a float of another size would change.
_SCALARS: Final = (
    None, True, False, 0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63),
    0.0, 1.0, 0.1, -0.1, 1e-7, 5e-324, 1.7976931348623157e308, 123456789.123456789, 1e16, 2.0**53,
)  # fmt: skip
#: What the contract does not ask a store to hold: it may keep it, or raise whatever it wants.
_BEYOND: Final = (object(), "\ud800", 2**70)


class VolatileStoreSuite(StoreQueries, StoreSharing, StoreStandstill):
    """
    What every store keeps, also one that forgets all when its process ends.

    A subclass, whose name starts with `Test`, has the fixture `new_store`: a callable without arguments that
    returns a new, unopened store. The place is empty when a test starts, and for one test the same. Every test
    runs its own event loop, so that no plugin is needed.

    Attributes:
        rows: How many records the test of bounded memory stores; a million before a release.
    """

    rows: ClassVar[int] = 20_000

    def test_it_is_a_store(self, new_store: NewStore) -> None:
        assert isinstance(new_store(), Store)

    def test_opening_and_closing_twice_is_harmless(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            store = new_store()
            await store.close()
            await store.open()
            await store.open()
            await store.append([make_record(1)])
            await store.open()
            await store.close()
            await store.close()
            await store.open()
            assert await everything(store) == [make_record(1)]
            await store.close()

        asyncio.run(scenario())

    def test_it_may_be_opened_again_on_another_loop(self, new_store: NewStore) -> None:
        store, batch = new_store(), [make_record(n) for n in range(8)]

        async def appended(record: Record) -> int:
            await store.open()
            await asyncio.gather(*(store.append([record]) for _ in range(8)))
            count = len(await store.fetch(VISITS))
            await store.close()
            return count

        assert [asyncio.run(appended(record)) for record in batch] == list(range(1, 9))

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

    def test_any_number_in_the_data_comes_back(self, new_store: NewStore) -> None:
        record = make_record(1, data={f"number {n}": scalar for n, scalar in enumerate(_SCALARS)})
        asyncio.run(self._comes_back(new_store, record, VISITS))

    @pytest.mark.parametrize("beyond", _BEYOND, ids=["an object", "half a character", "a number of 71 bits"])
    def test_a_batch_that_cannot_be_kept_leaves_nothing(self, new_store: NewStore, beyond: object) -> None:
        batch = [make_record(n, purpose=f"purpose {n % 3}") for n in range(9)]
        data: dict[str, Any] = {"beyond": beyond}
        batch[6] = make_record(6, data=data)

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(20)])
                try:
                    await store.append(batch)
                except Exception:  # noqa: BLE001 - it is beyond the contract
                    kept = [20]
                else:
                    kept = [*range(9), 20]
                ids = [make_record(n).id for n in kept]
                assert [record.id for record in await store.fetch(VISITS)] == ids, "append was not all or nothing"
                await store.append([make_record(21)])
                assert len(await store.fetch(VISITS)) == len(kept) + 1

        asyncio.run(scenario())

    @pytest.mark.parametrize("moment", ["before it was opened", "after it was closed"])
    def test_a_store_that_is_not_open_says_so_or_works(self, new_store: NewStore, moment: str) -> None:
        batch, added = [make_record(n) for n in range(3)], make_record(7)
        claim = Query(kinds=VISITS.kinds, ids=frozenset({batch[0].id}))

        async def scenario() -> None:
            store = new_store()
            if moment == "after it was closed":
                await store.open()
                await store.append(batch)
                await store.close()
            there = batch if moment == "after it was closed" else []
            outcomes = [await outcome_of(call) for call in (store.fetch(VISITS), store.append([added]))]
            outcomes.append(await outcome_of(store.delete(claim)))
            await store.close()
            for outcome in outcomes:
                assert outcome.is_ours, (
                    f"{outcome.error} reached the caller; raise StoreUnavailable from it, in one line"
                )
            fetched, appended, deleted = outcomes
            expected = [record for record in there if deleted.error or record != batch[0]]
            expected += [] if appended.error else [added]
            await store.open()
            assert await store.fetch(VISITS) == expected, "it returned without an error, and did nothing"
            assert fetched.error or fetched.result == there, "it returned without an error, and not what is there"
            assert deleted.error or deleted.result == len(there[:1])
            await store.close()

        asyncio.run(scenario())

    def test_a_closed_store_holds_neither_files_nor_threads(self, new_store: NewStore) -> None:
        async def held_after(cycles: int) -> int:
            for _ in range(cycles):
                store = new_store()
                await store.open()
                await store.append([make_record(1)])
                await store.fetch(VISITS)
                await store.close()
                del store
            gc.collect()
            return len(os.listdir("/dev/fd")) + threading.active_count()

        async def scenario() -> tuple[int, int]:
            return await held_after(2), await held_after(10)

        first, last = asyncio.run(scenario())
        assert last < first + 8, f"closed stores left something open: {last} files and threads, before {first}"

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

    def test_a_deleted_id_may_be_appended_again(self, new_store: NewStore) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([make_record(1, sealed=b"old")])
                assert await store.delete(VISITS) == 1
                assert await store.delete(VISITS) == 0
                await store.append([make_record(1, sealed=b"new")])
                assert [record.sealed for record in await store.fetch(VISITS)] == [b"new"]

        asyncio.run(scenario())

    def test_what_it_is_given_stays_as_it_was(self, new_store: NewStore) -> None:
        batch = [make_record(n, data={"number": n, "text": "x"}) for n in (3, 1, 2, 1)]
        before, copies = list(batch), [exact(record) for record in batch]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                await store.append(tuple(batch))
                lent = [make_record(9)]
                await store.append(lent)
                lent[0] = make_record(8)  # it is the caller's again
                assert await store.fetch(VISITS) == in_order([*batch[:3], make_record(9)])

        asyncio.run(scenario())
        assert batch == before, "append changed the list that it was given: take a copy"
        assert [exact(record) for record in batch] == copies

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
