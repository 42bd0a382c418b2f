"""Several stores for the log, none of which knows of the others: each host appends to one, all is read from all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_mw.exceptions import ConfigurationError, StoreUnavailable
from consent_mw.records import Query, Record
from consent_mw.stores import log_store_from, opened_store
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.several import SeveralStores
from consent_mw.stores.split import SplitStore
from consent_mw.testing.sample_records import VISITS, make_record


async def paged(store: Store, query: Query, limit: int, *, newest_first: bool) -> list[UUID]:
    ids: list[UUID] = []
    while page := await store.fetch(query, after=ids[-1] if ids else None, limit=limit, newest_first=newest_first):
        ids += [record.id for record in page]
    return ids


@given(
    placed=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=40),
    limit=st.integers(1, 7),
    newest_first=st.booleans(),
    gone=st.sets(st.integers(0, 40)),
)
def test_three_stores_are_one_for_each_of_three_hosts(
    placed: list[tuple[int, int]], limit: int, newest_first: bool, gone: set[int]
) -> None:
    async def work() -> None:
        stores, whole = [MemoryStore() for _ in range(3)], MemoryStore()
        hosts = [SeveralStores([*stores[n:], *stores[:n]]) for n in range(3)]
        for number, host in dict(reversed(placed)).items():
            await hosts[host].append([make_record(number)])
            await whole.append([make_record(number)])
        wanted = await paged(whole, VISITS, limit, newest_first=newest_first)
        for joined in hosts:
            assert await paged(joined, VISITS, limit, newest_first=newest_first) == wanted
        deleted = Query(kinds=VISITS.kinds, ids=frozenset(make_record(number).id for number in gone))
        assert await hosts[0].delete(deleted) == await whole.delete(deleted)
        assert await hosts[2].fetch(VISITS) == await whole.fetch(VISITS)

    asyncio.run(work())


class _Meeting(MemoryStore):
    """Answers when every store of its party is asked."""

    def __init__(self, party: asyncio.Barrier) -> None:
        super().__init__()
        self._party = party

    async def fetch(self, *words: Any, **more: Any) -> Sequence[Record]:
        await self._party.wait()
        return await super().fetch(*words, **more)

    async def delete(self, query: Query) -> int:
        await self._party.wait()
        return await super().delete(query)


def test_all_servers_are_asked_at_the_same_time() -> None:
    async def work() -> None:
        party = asyncio.Barrier(4)
        main, *logs = [_Meeting(party) for _ in range(4)]
        site = SplitStore(main, SeveralStores(logs))
        await site.append([make_record(1), make_record(2, kind="receipt")])
        both = Query(kinds=VISITS.kinds | {"receipt"})
        async with asyncio.timeout(60):  # one after the other they would wait for ever
            assert len(await site.fetch(both)) == 2
            assert await site.delete(both) == 2

    asyncio.run(work())


class _Away(MemoryStore):
    async def delete(self, query: Query) -> int:
        raise StoreUnavailable("the server is away")


def test_what_is_erased_goes_from_every_server_that_answers() -> None:
    async def work() -> None:
        first, last = MemoryStore(), MemoryStore()
        for number, store in enumerate((first, last)):
            await store.append([make_record(number)])
        with pytest.raises(StoreUnavailable):
            await SeveralStores([first, _Away(), last]).delete(VISITS)
        assert not await first.fetch(VISITS)
        assert not await last.fetch(VISITS)

    asyncio.run(work())


class _Leased(MemoryStore):
    def __init__(self, *, mine: bool) -> None:
        super().__init__()
        self.mine = mine

    def lease(self, _: str) -> AbstractAsyncContextManager[bool]:
        return nullcontext(self.mine)


@pytest.mark.parametrize("mine", [(True, True), (True, False), (False, True)])
def test_a_lease_is_held_where_it_is_held_in_all(mine: tuple[bool, bool]) -> None:
    async def work() -> bool:
        async with lease(SeveralStores([_Leased(mine=is_mine) for is_mine in mine]), "x") as held:
            return held

    assert asyncio.run(work()) is all(mine)


def test_a_store_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"log_store: names postgresql://…@b/x twice"):
        log_store_from(["postgresql://a/x", "postgresql://me:secret@b/x", "postgresql://me:secret@b/x"])
    assert log_store_from([]) is log_store_from(None) is None
    assert log_store_from([one := MemoryStore()]) is one


def test_what_is_of_no_log_stays_in_the_store() -> None:
    main, first, second = MemoryStore(), MemoryStore(), MemoryStore()

    async def work() -> None:
        store = opened_store(main, [first, second])
        await store.append([make_record(1), make_record(2, kind="receipt")])
        assert [len(part._records) for part in (main, first, second)] == [1, 1, 0]

    asyncio.run(work())
