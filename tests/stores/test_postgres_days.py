"""PostgreSQL has a table for each day and purpose: how many of them a search meets, and when they go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.sites_with_records import END, THEN, UTC_POLICY, SiteWithRecords

from consent_mw.hosts.messages import PURPOSE as HOSTS
from consent_mw.kinds import DELETION, ENDING, HELD, LINK, REQUEST, TALLY
from consent_mw.policy.loader import loads
from consent_mw.policy.model import LINKS, RECEIPTS, REQUESTS
from consent_mw.records import Query, Record
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.postgres_schema import UNDIVIDED
from consent_mw.stores.postgres_search import Search, Stretch
from consent_mw.stores.subjects import questions, tokens_at_once
from consent_mw.system.days import day_of
from consent_mw.testing.clock import Clock
from consent_mw.testing.sample_records import NOON, make_record

DAY = timedelta(days=1)
TODAY = day_of(NOON)
YOUNG, OLD = 40, 400
OWN = {LINKS: LINK, REQUESTS: REQUEST, RECEIPTS: TALLY, AGGREGATES: "aggregate", HOSTS: "sharing"}


class Touching(PostgresStore):
    """Counts the searches in tables, and the tables of records that they lock."""

    searches = 0
    tables = 0

    async def _stretches(self, connection: Any, search: Search) -> AsyncIterator[Stretch]:
        async for stretch in super()._stretches(connection, search):
            yield stretch
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation"
                " WHERE pid = pg_backend_pid() AND relkind = 'r' AND relispartition"
            )
            self.searches += 1
            self.tables += (await cursor.fetchone())[0]

    async def during(self, work: Awaitable[Any]) -> tuple[int, int]:
        before = self.searches, self.tables
        await work
        return self.searches - before[0], self.tables - before[1]


@pytest.fixture
def schema() -> str:
    return f"test_{uuid4().hex[:12]}"


def runs(store: PostgresStore, work: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        await store.open()
        try:
            return await work()
        finally:
            await store.close()

    return asyncio.run(run())


def tables(postgres: PostgresServer, schema: str) -> list[str]:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = %s AND relkind = 'r' AND relispartition ORDER BY 1",
            [schema],
        ).fetchall()
    return [row[0] for row in rows]


def test_the_purposes_that_are_not_divided_are_those_that_the_package_keeps_records_for() -> None:
    assert set(OWN) == UNDIVIDED
    assert UNDIVIDED.isdisjoint(loads(UTC_POLICY).purposes.keys() - {RECEIPTS, REQUESTS})


@pytest.mark.parametrize("age", [YOUNG, OLD])
def test_what_the_site_keeps_for_itself_is_one_table_a_purpose_at_any_age(
    postgres: PostgresServer, schema: str, age: int
) -> None:
    store = Touching(postgres.url(), schema=schema)
    days = range(TODAY - age + 1, TODAY + 1)

    def record(day: int, purpose: str) -> Record:
        at = NOON + (day - TODAY) * DAY
        return make_record([*OWN].index(purpose), at=at, kind=OWN[purpose], purpose=purpose, subject=b"%d" % day)

    async def work() -> None:
        await store.append([record(day, purpose) for day in days for purpose in OWN])
        assert tables(postgres, schema) == [f"records_{purpose}" for purpose in sorted(OWN)]

        subjects = {(day, LINKS): frozenset((b"%d" % day,)) for day in days}
        (member,) = questions(subjects, frozenset((LINK,)), tokens_at_once(store))
        assert await store.during(store.fetch(member)) == (1, 1)
        assert len(await store.fetch(member)) == age
        for purpose, kind in OWN.items():
            every = Query(kinds=frozenset((kind,)), purposes=frozenset((purpose,)))
            assert await store.during(store.fetch(every)) == (1, 1)
            assert len(await store.fetch(every)) == age
        none = Query(kinds=frozenset((DELETION,)), purposes=frozenset((RECEIPTS,)))
        assert await store.during(store.fetch(none)) == (0, 0)
        assert await store.delete(Query(kinds=frozenset((LINK,)), until=NOON)) == age - 1
        assert [record.subject for record in await store.fetch(member)] == [b"%d" % TODAY]

    runs(store, work)


@pytest.mark.parametrize("age", [YOUNG, OLD])
def test_a_token_with_its_place_is_searched_in_its_own_table_alone(
    postgres: PostgresServer, schema: str, age: int
) -> None:
    """Many erasures are looked for at once: each statement meets each table once, whatever else is in the ledger."""
    store = Touching(postgres.url(), schema=schema)
    days = range(TODAY - age + 1, TODAY + 1)
    records = [make_record(1, at=NOON + (day - TODAY) * DAY, subject=b"%d" % day) for day in days]

    async def work() -> None:
        await store.append(records)
        subjects = {(day, "analytics"): frozenset((b"%d" % day, b"gone %d" % day)) for day in days}
        (asked,) = questions(subjects, HELD, tokens_at_once(store))
        searches, met = await store.during(store.fetch(asked))
        assert met == age
        assert searches <= 1 + age // 64

    runs(store, work)


def mixed_records() -> Iterator[Record]:
    chance = random.Random(3)
    for number in range(300):
        purpose = chance.choice(("analytics", "marketing", LINKS, RECEIPTS))
        at = NOON + chance.choice((0, 1, 2, 5, 6, 20, 21, 90)) * DAY + chance.randrange(3) * timedelta(hours=5)
        kind = chance.choice(("visit", "event", "receipt"))
        yield make_record(number, at=at, kind=kind, purpose=purpose, subject=chance.choice((None, b"a", b"b")))


def mixed_queries() -> Iterator[Query]:
    purposes = (None, {"analytics", LINKS}, {LINKS, RECEIPTS}, {RECEIPTS}, {"marketing"}, {"analytics", "nothing"})
    subjects = (None, {b"a"}, {b"a", b"b"})
    spans = ((None, None), (NOON + DAY, None), (None, NOON + 6 * DAY), (NOON + 3 * DAY, NOON + 50 * DAY))
    kinds = ({"visit", "event"}, {"receipt"})
    for some, of, (since, until), kind in product(purposes, subjects, spans, kinds):
        yield Query(
            kinds=frozenset(kind), purposes=None if some is None else frozenset(some),
            subjects=None if of is None else frozenset(of), since=since, until=until,
        )  # fmt: skip


def test_days_and_what_is_not_divided_are_searched_together_in_order(postgres: PostgresServer, schema: str) -> None:
    store, memory = PostgresStore(postgres.url(), schema=schema), MemoryStore()
    records = list(mixed_records())

    async def work() -> None:
        await memory.open()
        for one in (store, memory):
            await one.append(records)
        for query in mixed_queries():
            for backwards in (False, True):
                more: Any = {"limit": 20, "newest_first": backwards}
                page = await memory.fetch(query, **more)
                assert await store.fetch(query, **more) == page, query
                if page:
                    assert await store.fetch(query, after=page[-1].id, **more) == await memory.fetch(
                        query, after=page[-1].id, **more
                    ), query
        for query in list(mixed_queries())[::5]:
            assert await store.delete(query) == await memory.delete(query), query
        every = Query(kinds=frozenset(("visit", "event", "receipt")))
        assert await store.fetch(every) == await memory.fetch(every)
        assert await store.count_others(frozenset(("visit",))) == len(
            [one for one in await memory.fetch(every) if one.kind != "visit"]
        )

    runs(store, work)


def test_a_day_goes_with_the_last_of_its_records_also_where_these_are_deleted_by_their_names(
    postgres: PostgresServer, schema: str
) -> None:
    store = PostgresStore(postgres.url(), schema=schema)
    days = [[make_record(n, at=NOON + day * DAY) for n in range(4)] for day in range(3)]

    async def work() -> None:
        await store.append([record for day in days for record in day])
        end = NOON + timedelta(hours=12)
        # Somebody else's deletion, which does not say that the day is over, leaves an empty table.
        assert await store.delete(Query(kinds=ENDING, ids=frozenset(one.id for one in days[0]))) == 4
        assert len(tables(postgres, schema)) == 4
        for some in (days[1][:2], days[1][2:]):
            assert len(tables(postgres, schema)) == 4
            assert await store.delete(Query(kinds=ENDING, ids=frozenset(one.id for one in some), until=end + DAY)) == 2
        assert len(tables(postgres, schema)) == 2, "with the one before it, that was empty"

    runs(store, work)


def test_destruction_leaves_the_tables_of_those_days_alone_that_have_not_ended(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> None:
    site, store = SiteWithRecords(tmp_path), PostgresStore(postgres.url(), schema=schema)

    async def work() -> list[list[str]]:
        await store.append([site.record(THEN + n * DAY + m * timedelta(hours=5)) for n in range(3) for m in range(4)])
        left: list[list[str]] = []
        for hours in (0, 6, 24, 72):
            restrictions = SiteRestrictions(store, site.sealer)
            clock = Clock(END + timedelta(hours=hours))
            destruction = Destruction.of_site(
                site.policy, site.places, store, site.sealer, restrictions, clock=clock
            )  # fmt: skip
            assert (await destruction.once(clock.now)).troubles == []
            await destruction.close()
            left.append([name for name in tables(postgres, schema) if name.startswith("day_necessary")])
        return left

    ahead = "day_necessary_20241126"
    first, second, third = (f"day_necessary_202411{day}" for day in (23, 24, 25))
    every = [first, second, third, ahead]
    assert runs(store, work) == [every, every, every[1:], [ahead]]
