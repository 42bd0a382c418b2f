"""The newest records through an ascending `fetch`: the right ones, at a cost that follows how many are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.records import Query, Record
from consent_mw.stores.latest import latest
from consent_mw.stores.memory import MemoryStore
from consent_mw.testing.sample_records import NOON, make_record

VISIT = frozenset({"visit"})


class CountingStore(MemoryStore):
    """A store that counts how often it is asked, and what it hands out."""

    calls = 0
    handed_out = 0

    async def fetch(self, query: Query, *, after: UUID | None = None, limit: int = 1000) -> Sequence[Record]:
        found = await super().fetch(query, after=after, limit=limit)
        self.calls += 1
        self.handed_out += len(found)
        return found


def newest(
    store: MemoryStore, records: Sequence[Record], limit: int, purposes: frozenset[str] | None = None
) -> list[Record]:
    async def scenario() -> list[Record]:
        await store.append(records)
        return await latest(store, VISIT, purposes=purposes, limit=limit, now=NOON)

    return asyncio.run(scenario())


AGES = st.one_of(
    st.integers(0, 50),
    st.integers(0, 100_000),
    st.integers(0, 10 * 365 * 86_400_000),
    st.just(0),
    st.integers(-60_000, 0),  # by a clock that is ahead
)


@settings(deadline=None)
@given(ages=st.lists(AGES, max_size=60), limit=st.integers(1, 20))
def test_they_are_the_last_of_all_records_the_newest_first(ages: list[int], limit: int) -> None:
    records = [make_record(n, at=NOON - timedelta(milliseconds=age)) for n, age in enumerate(ages)]
    expected = sorted(records, key=lambda record: record.id, reverse=True)[:limit]
    assert newest(MemoryStore(), records, limit) == expected


@settings(deadline=None)
@given(ages=st.lists(AGES, max_size=60), limit=st.integers(1, 20), oldest=st.integers(-1_000, 100_000))
def test_none_is_older_than_was_asked_for(ages: list[int], limit: int, oldest: int) -> None:
    records = [make_record(n, at=NOON - timedelta(milliseconds=age)) for n, age in enumerate(ages)]
    store, since = MemoryStore(), NOON - timedelta(milliseconds=oldest)

    async def scenario() -> list[Record]:
        await store.append(records)
        return await latest(store, VISIT, since=since, limit=limit, now=NOON)

    wanted = [record for record, age in zip(records, ages, strict=True) if age <= oldest]
    assert asyncio.run(scenario()) == sorted(wanted, key=lambda record: record.id, reverse=True)[:limit]


def test_only_the_kinds_and_purposes_that_were_asked_for() -> None:
    records = [
        make_record(n, kind=kind, purpose=purpose)
        for n, (kind, purpose) in enumerate([("visit", "a"), ("visit", "b"), ("event", "a"), ("visit", "a")])
    ]
    assert newest(MemoryStore(), records, 10, frozenset({"a"})) == [records[3], records[0]]


def test_none_are_wanted_or_none_are_there() -> None:
    assert newest(MemoryStore(), [make_record(1)], 0) == []
    assert newest(MemoryStore(), [], 10) == []


@pytest.mark.parametrize(
    "step",
    [timedelta(milliseconds=1), timedelta(seconds=1), timedelta(hours=1)],
    ids=["a busy site", "a site", "a quiet site"],
)
def test_what_is_read_follows_what_is_wanted_and_not_what_is_stored(step: timedelta) -> None:
    store = CountingStore()
    records = [make_record(n, at=NOON - (5_000 - n) * step) for n in range(5_000)]
    assert newest(store, records, 20) == records[:-21:-1]
    assert store.handed_out <= 10 * 20
    assert store.calls <= 20


def test_a_long_silence_costs_a_handful_of_questions() -> None:
    store = CountingStore()
    records = [make_record(n, at=NOON - timedelta(days=3650)) for n in range(30)]
    assert newest(store, records, 20) == records[:-21:-1]
    assert store.calls <= 40
