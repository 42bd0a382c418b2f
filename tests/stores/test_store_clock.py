"""A host whose clock is not that of the shared database destroys nothing, and says so; SQLite is never asked."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.support.postgres import PostgresServer
from tests.support.sites_with_records import DAY, THEN, SiteWithRecords

from consent_mw.cookies.pending import Pending
from consent_mw.exceptions import StoreUnavailable
from consent_mw.log.drain import Drain
from consent_mw.records import Query, Record, new_id
from consent_mw.retention.destruction import Destruction, Outcome
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.split import SplitStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.store_clock import StoreClock, store_now
from consent_mw.testing.clock import Clock
from consent_mw.testing.commands import run_command

MINUTE = timedelta(minutes=1)


def clock_off_by(apart: timedelta) -> Callable[[], int]:
    return lambda: time.time_ns() + apart // timedelta(microseconds=1) * 1_000


def present() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def shared(postgres: PostgresServer) -> PostgresStore:
    return PostgresStore(postgres.url(), schema=f"test_{uuid4().hex[:12]}")


@pytest.fixture
def site(tmp_path: Path) -> SiteWithRecords:
    return SiteWithRecords(tmp_path)


def destroyed(site: SiteWithRecords, shared: Store, apart: timedelta) -> Outcome:
    async def destroy(store: Store) -> Outcome:
        destruction = Destruction.of_site(
            site.policy, site.places, store, site.sealer, SiteRestrictions(store, site.sealer)
        )
        return await destruction.once(present() + apart)

    outcome: Outcome = site.using(destroy, shared)
    return outcome


@pytest.mark.parametrize(("apart", "said"), [(3 * DAY, "ahead of"), (-3 * DAY, "behind"), (2 * MINUTE, "ahead of")])
def test_a_host_with_a_wrong_clock_destroys_neither_its_own_nor_what_others_sent(
    site: SiteWithRecords, shared: PostgresStore, apart: timedelta, said: str
) -> None:
    ended, fresh = site.record(THEN, secret="/"), site.record(present() - 89 * DAY, secret="/")
    clear = Record(new_id(time.time_ns() - 89 * DAY // timedelta(microseconds=1) * 1_000), "visit", "necessary", None,
                   "", {}, b"")  # fmt: skip
    site.using(lambda store: store.append([ended, fresh, clear], durable=True), shared)
    keys = site.sealer.keyring.live()

    done = destroyed(site, shared, apart)
    assert (done.keys, done.records, done.certificates) == (0, 0, 0)
    (trouble,) = done.troubles
    match = re.search(r"clock is ([\d,]+) seconds", trouble)
    assert match
    assert abs(int(match[1].replace(",", "")) - abs(apart).total_seconds()) < 30
    assert f"{said} the store's, so nothing is destroyed" in trouble
    assert site.sealer.keyring.live() == keys

    done = destroyed(site, shared, timedelta())
    assert (done.keys, done.records, done.troubles) == (1, 1, [])
    query = Query(kinds=frozenset({"visit"}))
    left = site.using(lambda store: store.fetch(query), shared)
    assert {record.id for record in left} == {fresh.id, clear.id}


def test_what_waits_for_a_visitor_of_another_host_is_not_ended_by_a_clock_that_is_ahead(
    site: SiteWithRecords, shared: PostgresStore
) -> None:
    waiting = site.record(present(), kind="pending", purpose="functional", secret="x")
    expired = site.record(present() - DAY, kind="pending", purpose="functional", secret="x")
    query = Query(kinds=frozenset({"pending"}))

    async def drained(store: Store, apart: timedelta) -> set[UUID]:
        pending = Pending(site.policy, store, site.sealer)
        spool = Spool(site.places.spool)
        try:
            await Drain(site.policy, spool, store, site.sealer, pending, clock_off_by(apart)).once()
        finally:
            spool.close()
        return {record.id for record in await store.fetch(query)}

    async def both(store: Store) -> None:
        await store.append([waiting, expired], durable=True)
        assert await drained(store, DAY) == {waiting.id, expired.id}
        assert await drained(store, timedelta()) == {waiting.id}

    site.using(both, shared)


def test_the_commands_say_it_too(tmp_path: Path, postgres: PostgresServer) -> None:
    SiteWithRecords(tmp_path)
    options = {"--store": [postgres.database()]}
    ahead, right = clock_off_by(3 * DAY), clock_off_by(timedelta())

    def run(command: str, *words: str, clock: Callable[[], int]) -> tuple[int, str]:
        done = run_command([*command.split(), *words], clock=clock, directory=tmp_path, options=options)
        return done.exit_code, done.stderr

    for command in ("store check --quick", "purge"):
        code, said = run(command, clock=ahead)
        assert code == 1
        assert "ahead of the store's, so nothing is destroyed" in said
        assert "ahead of" not in run(command, clock=right)[1]
    assert run("store check --quick", clock=right) == (0, "")


class _Away(MemoryStore):
    """One with a clock, which goes away when it is told to."""

    is_away = False

    async def now(self) -> datetime:
        if self.is_away:
            raise StoreUnavailable("away")
        return present()


def test_while_the_store_is_away_its_clock_is_taken_to_run_on_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    store = _Away()
    clock = StoreClock(store)
    store.is_away = True
    assert asyncio.run(clock.fault(present())).startswith("away; until")  # never compared
    store.is_away = False
    assert asyncio.run(clock.fault(present())) == ""
    store.is_away = True
    began, now = time.monotonic(), present()
    for passed, apart, said in (
        (timedelta(), timedelta(), ""),
        (23 * timedelta(hours=1), 3 * DAY, "ahead of"),  # it was set while nobody could be asked
        (23 * timedelta(hours=1), timedelta(), ""),
        (25 * timedelta(hours=1), timedelta(), "away; until"),
    ):
        monkeypatch.setattr(time, "monotonic", lambda passed=passed: began + passed.total_seconds())
        fault = asyncio.run(clock.fault(now + passed + apart))
        assert said in fault
        assert bool(fault) == bool(said)


def test_a_slow_answer_is_no_wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryStore):
        async def now(self) -> datetime:
            ticks.append(ticks[-1] + 300)
            return asked + timedelta(seconds=299)

    ticks, asked = [1000.0], present()
    monkeypatch.setattr(time, "monotonic", lambda: ticks[-1])
    assert asyncio.run(StoreClock(Slow()).fault(asked)) == ""


def test_every_store_that_stands_for_another_tells_its_clock_and_a_file_has_none(
    tmp_path: Path, shared: PostgresStore
) -> None:
    file, other = SQLiteStore(tmp_path / "a.sqlite3"), SQLiteStore(tmp_path / "b.sqlite3")

    async def tell(store: Store) -> datetime | None:
        await store.open()
        try:
            return await store_now(store)
        finally:
            await store.close()

    for store in (shared, OpenedStore(shared), JoinedStore(shared, file, tmp_path / "move"), SplitStore(shared, file)):
        instant = asyncio.run(tell(store))
        assert instant is not None
        assert abs(instant - present()) < MINUTE
    for alone in (file, OpenedStore(file), SplitStore(file, other), MemoryStore()):
        assert asyncio.run(tell(alone)) is None
    opened = OpenedStore(SQLiteStore(tmp_path / "never.sqlite3"))
    assert asyncio.run(store_now(opened)) is None
    assert not (tmp_path / "never.sqlite3").exists()  # it is not even opened for that


def test_the_clock_of_a_test_is_compared_with_nothing() -> None:
    store = _Away()
    store.is_away = True
    clock = Clock(THEN)
    assert asyncio.run(StoreClock(store, clock).fault(clock.now)) == ""
