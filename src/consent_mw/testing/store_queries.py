"""What a query means, as tests of a store: order, pages, sets, spans of time, names that are nearly the same."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations, pairwise
from typing import Any, Final
from uuid import UUID

import pytest

from consent_mw.records import Query, Record, time_of
from consent_mw.stores.base import Store, matches
from consent_mw.system.days import day_of
from consent_mw.testing.sample_records import (
    MILLISECOND,
    NOON,
    VISITS,
    NewStore,
    everything,
    in_order,
    make_record,
    opened,
)
from consent_mw.testing.store_model import compare
from consent_mw.testing.store_place import StorePlace

#: Names and tokens that some collation, padding or normalisation takes for one another.
_ALIKE: Final = (
    "visit", "Visit", "VISIT", "visit ", " visit", "vi sit", "vis\u0131t", "visi\u0301t", "vis\u00edt", "v\uff49sit",
    "vi\u200bsit", "stra\u00dfe", "strasse", "x" * 99, "x" * 100, "\N{COOKIE}" * 99, "\N{COOKIE}" * 100,
)  # fmt: skip
_ALIKE_BYTES: Final = (b"", b"\0", b"a", b"A", b"a\0", b"a ", b" a", b"\0a", b"a" * 63, b"a" * 64)
_HOUR: Final = timedelta(hours=1)


class StoreQueries(StorePlace):
    """The tests of what is fetched and deleted, and of nothing else."""

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
                several_people = Query(kinds=both, subjects=frozenset({b"one", b"two", b"three"}))
                known = [record for record in batch if record.subject is not None]
                assert await everything(store, several_people, page=page) == known
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

    def test_every_condition_must_hold_and_no_other(self, new_store: NewStore) -> None:
        sought = make_record(1, subject=b"somebody")
        others = [
            make_record(2, subject=b"somebody", kind="event"),
            make_record(3, subject=b"somebody", purpose="necessary"),
            make_record(4, subject=b"somebody else"),
            make_record(5, subject=None),
            make_record(6, subject=b"somebody", at=NOON - MILLISECOND),
            make_record(7, subject=b"somebody", at=NOON + MILLISECOND),
            make_record(8, subject=b"somebody"),
        ]
        every = in_order([sought, *others])
        conditions: dict[str, Any] = {
            "purposes": frozenset({"analytics", "no such purpose"}),
            "subjects": frozenset({b"somebody", b"nobody"}),
            "ids": frozenset(record.id for record in every if record is not others[-1]),
            "since": NOON,
            "until": NOON + MILLISECOND,
        }

        async def scenario() -> None:
            async with opened(new_store) as store:
                for number in range(len(conditions) + 1):
                    for names in combinations(conditions, number):
                        some = {name: conditions[name] for name in names}
                        query = Query(kinds=frozenset({"visit", "no such kind"}), **some)
                        meant = [record for record in every if matches(query, record)]
                        await store.append(every)
                        assert await store.fetch(query) == meant, names
                        assert await store.fetch(query, newest_first=True) == meant[::-1], names
                        assert await store.delete(query) == len(meant), names
                        rest = [record for record in every if record not in meant]
                        assert await store.fetch(Query(kinds=frozenset({"visit", "event"}))) == rest, names

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

    def test_names_that_look_alike_are_told_apart(self, new_store: NewStore) -> None:
        by_kind = [make_record(n, kind=name) for n, name in enumerate(_ALIKE)]
        by_purpose = [make_record(100 + n, kind="named", purpose=name) for n, name in enumerate(_ALIKE)]
        people = [
            make_record(200 + n, kind="of one", subject=subject) for n, subject in enumerate([*_ALIKE_BYTES, None])
        ]
        queries = [
            *(Query(kinds=frozenset({record.kind})) for record in by_kind),
            *(Query(kinds=frozenset({"named"}), purposes=frozenset({record.purpose})) for record in by_purpose),
            *(
                Query(kinds=frozenset({"of one"}), subjects=frozenset({record.subject or b""}))
                for record in people[:-1]
            ),
        ]
        expected = [*by_kind, *by_purpose, *people[:-1]]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append([*expected, people[-1]])
                assert [list(await store.fetch(query)) for query in queries] == [[record] for record in expected]
                assert [await store.delete(query) for query in queries] == [1] * len(queries)
                assert await store.fetch(Query(kinds=frozenset({"of one"}))) == people[-1:]

        asyncio.run(scenario())

    def test_a_page_has_a_thousand_unless_another_number_is_given(self, new_store: NewStore) -> None:
        batch = [make_record(n) for n in range(2_001)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                assert await store.fetch(VISITS, limit=0) == []
                assert await store.fetch(VISITS) == batch[:1000]
                assert await store.fetch(VISITS, newest_first=True) == batch[:-1001:-1]
                for limit in (499, 500, 501, 999, 1000, 1001, 2000, 2001, 2002, 100_000):
                    assert await store.fetch(VISITS, limit=limit) == batch[:limit], f"{limit=}"
                    later = await store.fetch(VISITS, after=batch[0].id, limit=limit)
                    assert later == batch[1 : limit + 1], f"{limit=}"
                assert await store.delete(VISITS) == len(batch)
                assert await store.fetch(VISITS) == []

        asyncio.run(scenario())

    def test_pages_of_any_size_join(self, new_store: NewStore) -> None:
        batch = [make_record(n) for n in range(2_001)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(batch)
                for page in (499, 500, 667, 999, 1000, 1001, 2000):
                    assert await everything(store, page=page) == batch, f"{page=}"
                    assert await everything(store, page=page, newest_first=True) == batch[::-1], f"{page=}"

        asyncio.run(scenario())

    @pytest.mark.parametrize("at", [timedelta(), _HOUR * 9, _HOUR * -3.5], ids=["UTC", "Seoul", "St. John's"])
    def test_an_hour_ends_at_midnight_as_at_any_other_hour(self, new_store: NewStore, at: timedelta) -> None:
        midnight = datetime(2027, 1, 1, tzinfo=timezone(at))
        hours = [midnight + step * _HOUR for step in range(-3, 4)]
        edges = (timedelta(), MILLISECOND, _HOUR / 2, _HOUR - MILLISECOND)
        batch = [make_record(n, at=hour + edge) for hour in hours for n, edge in enumerate(edges)]
        spans = [*pairwise(hours), (hours[0], hours[3]), (hours[2], hours[4]), (hours[3], hours[6])]

        async def scenario() -> None:
            async with opened(new_store) as store:
                for since, until in spans:
                    for zone in (UTC, timezone(at), timezone(-11 * _HOUR)):
                        span = Query(kinds=VISITS.kinds, since=since.astimezone(zone), until=until.astimezone(zone))
                        await store.append(batch)
                        meant = [record for record in batch if since <= time_of(record.id) < until]
                        assert await store.fetch(span) == meant
                        assert await store.delete(span) == len(meant)
                        rest = [record for record in batch if record not in meant]
                        assert await store.fetch(VISITS) == rest, f"after deleting from {since} to {until}"

        with _local_time(at):
            asyncio.run(scenario())

    def test_what_changed_is_in_every_later_fetch_whatever_was_asked_before(self, new_store: NewStore) -> None:
        batch = [make_record(n, subject=b"somebody", at=NOON + n * MILLISECOND) for n in range(4)]
        sought = batch[1]
        moment = time_of(sought.id)
        queries = [
            VISITS,
            Query(kinds=VISITS.kinds, purposes=frozenset({sought.purpose})),
            Query(kinds=VISITS.kinds, subjects=frozenset({b"somebody"})),
            Query(kinds=VISITS.kinds, ids=frozenset({sought.id})),
            Query(kinds=VISITS.kinds, ids=frozenset(record.id for record in batch)),
            Query(kinds=VISITS.kinds, since=moment, until=moment + MILLISECOND),
        ]

        async def pages(store: Store) -> list[Sequence[Record]]:
            return [await store.fetch(query, newest_first=number % 2 == 1) for number, query in enumerate(queries)]

        async def scenario() -> None:
            async with self.several(new_store, 2) as (one, other):
                for eraser in (one, other):
                    for erasing in queries[2:]:
                        await other.append(batch)
                        full = await pages(one)
                        assert full == await pages(other)
                        sizes = list(map(len, full))
                        for page in full:
                            if isinstance(page, list):
                                page.clear()  # it is the caller's
                        assert [len(page) for page in await pages(one)] == sizes
                        gone = [record for record in batch if matches(erasing, record)]
                        assert await eraser.delete(erasing) == len(gone)
                        for store in (one, other):
                            late = [record for page in await pages(store) for record in page if record in gone]
                            assert not late, f"what delete({erasing}) took is in a later fetch"
                        assert await eraser.delete(erasing) == 0
                        await other.append(gone)
                        again = [len(page) for page in await pages(one)]
                        assert again == sizes, "what was appended again is not in a later fetch"

        asyncio.run(scenario())

    @pytest.mark.parametrize("seed", range(3))
    def test_it_answers_as_a_model_does(self, new_store: NewStore, seed: int) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await compare(store, seed, calls=100)

        asyncio.run(scenario())


@contextmanager
def _local_time(ahead: timedelta) -> Generator[None]:
    """Let the machine's local time be so much ahead of UTC. POSIX writes it the other way round."""
    before = os.environ.get("TZ")
    hours, minutes = divmod(-ahead // timedelta(minutes=1), 60)
    os.environ["TZ"] = f"XST{hours}:{minutes:02}"
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
