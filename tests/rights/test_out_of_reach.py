"""Nothing is called erased, or everything, while something of that person is in an older store or under other keys."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tests.support.my_data_site import ERASE, PAGE, asks, body, data, erased, reads, records, run, site, words
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer
from tests.support.site_of_erasures import DAY, NAME, NOW, NOW_NS, OTHER, Site, erasure_of
from tests.support.sites_with_records import HELD, UTC_POLICY, SiteWithRecords
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware
from consent_mw.cli import main
from consent_mw.consent.data_subject import Person
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.records import Query, encode_record, time_of
from consent_mw.retention.calendar import Retention
from consent_mw.retention.tier import LIVE, Stage
from consent_mw.spool.spool import Spool
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.split import SplitStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_of
from consent_mw.testing.sample_records import make_record


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of a database of its own: whose keys another test had are out of reach here."""
    return postgres.database()


async def moved(directory: Path, visitor: Visitor, store: str) -> ConsentMiddleware:
    """Have a visitor leave records in the site's file, and start the site again with another store."""
    await visitor.picks("accept")
    for path in ("/books", "/abuse"):
        await visitor.gets(path)
    assert isinstance(visitor.app, ConsentMiddleware)
    await visitor.app.runtime.drain.stop()
    visitor.app = after = site(directory, store=store)
    return after


def test_what_a_site_kept_before_it_moved_is_shown_erased_and_counted(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        app = await moved(tmp_path, visitor, database)
        assert f"{tmp_path}/consent-data/consent.sqlite3: what this site kept here before" in caplog.text
        before = (await data(visitor))["held"]
        assert {row["purpose"] for row in before} == {"analytics", "abuse"}
        await visitor.gets("/chairs")
        (count,) = [row["count"] for row in (await data(visitor))["held"] if row["purpose"] == "analytics"]
        assert count > next(row["count"] for row in before if row["purpose"] == "analytics")
        sent = await asks(visitor, *ERASE)
        await erased(app)
        match = re.search(r"Erased records: (\d+),", words(await reads(visitor, sent)))
        assert match
        assert int(match[1]) >= count
        assert [record.purpose for record in await records(app, "visit", "abuse") if record.subject] == ["abuse"]
        await app.runtime.drain.stop()

    run(work)


def test_open_requests_and_restrictions_move_along(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        await asks(visitor, ("action", "restrict"))
        app = await moved(tmp_path, visitor, database)
        assert (await data(visitor))["restricted"]
        await app.runtime.drain.stop()

    run(work)
    monkeypatch.chdir(tmp_path)
    assert main(["requests", "--store", database, "--all", "--json"]) == 0
    assert "restriction" in capsys.readouterr().out
    assert main(["store", "check", "--store", database]) == 0
    assert "consent.sqlite3: holds records from before the site had another store" in capsys.readouterr().out


def test_the_older_file_is_destroyed_by_the_commands_too(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = SiteWithRecords(tmp_path)
    old.keeps(old.record(datetime.now(UTC) - timedelta(days=400), secret="/"))
    assert main(["store", "check", "--policy", str(old.file), "--store", database]) == 0
    assert main(["purge", "--policy", str(old.file), "--store", database]) == 0
    assert "destroyed: 1 keys, 1 records" in capsys.readouterr().out
    assert old.records("visit") == []


def test_an_older_file_that_cannot_be_read_keeps_an_erasure_open_and_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(site(tmp_path))
        app = await moved(tmp_path, visitor, f"sqlite:///{tmp_path}/other.sqlite3")
        old = tmp_path / "consent-data/consent.sqlite3"
        whole = old.read_bytes()
        old.write_bytes(b"this is no database at all" * 100)
        outcome = await app.runtime.erasure.once(datetime.now(UTC))
        assert outcome.done == []
        assert str(old) in outcome.troubles[0]
        assert "can't be reached" in words(await reads(visitor))
        for left in old.parent.glob("consent.sqlite3-*"):
            left.unlink()
        old.write_bytes(whole)
        assert (await data(visitor))["held"]
        await app.runtime.drain.stop()

    run(work)


def test_visits_from_before_a_log_store_are_found_in_the_main_store(tmp_path: Path) -> None:
    before = Site(tmp_path, UTC_POLICY)
    before.keeps(before.of(NAME, NOW - DAY))
    before.asks(erasure_of(NAME))

    async def erase(main_store: Any) -> int:
        both = SplitStore(main_store, MemoryStore())
        await both.append([before.of(NAME, NOW - 2 * DAY)])
        return (await before.erasure(both).once(NOW)).done[0].records

    assert before.using(erase) == 2
    assert before.held_of(NAME) == []


def test_an_erasure_reaches_an_archive_that_no_revision_declares_any_more(tmp_path: Path) -> None:
    declared = Site(tmp_path, UTC_POLICY + HELD.replace("abuse", "analytics"))
    declared.keeps(declared.of(NAME, NOW - 500 * DAY), declared.of(OTHER, NOW - 500 * DAY))
    assert declared.destroys(NOW).archived == 2
    later = Site(tmp_path, UTC_POLICY)
    later.asks(erasure_of(NAME))
    assert later.erases().done[0].records == 1
    assert len(later.records("visit", archive=True)) == 1


def test_a_spool_of_another_keyring_keeps_an_erasure_open_and_is_named(tmp_path: Path) -> None:
    here = Site(tmp_path, UTC_POLICY)
    spool = Spool(here.places.spool, clock=lambda: NOW_NS - 10**10)
    spool.write(
        [encode_record(here.record(NOW - DAY, sealer=Sealer(MemoryKeyring(), here.sealer.site_keys), path="/"))]
    )
    spool.close()
    request = here.asks(erasure_of(NAME))
    later = NOW + timedelta(minutes=2)
    outcome = here.erases(later, spool=Spool(here.places.spool))
    assert (outcome.done, outcome.waiting) == ([], [request.id])
    assert f"request {request.id}: {here.places.spool} still holds" in outcome.troubles[0]


def test_my_data_is_not_everything_where_another_keyring_sealed_records(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(app := site(tmp_path))
        await visitor.picks("accept")
        assert "This is everything we hold about you" in words(await reads(visitor))
        other = SiteWithRecords(tmp_path, POLICY, keyring=MemoryKeyring())
        await app.runtime.store.append([other.record(datetime.now(UTC), purpose="analytics", path="/")])
        visitor.app = site(tmp_path)
        page = words(await reads(visitor))
        assert "This is what we found about you." in page
        assert "everything" not in page.replace("Withdraw everything", "").replace("Erase everything for good", "")
        assert "records that cannot be searched here" in page
        korean = body(await visitor.gets(PAGE, query_string=b"lang=ko"))
        assert "찾아볼 수 없는 기록도 있습니다" in korean
        assert "모든 정보입니다" not in korean
        document = json.loads(body(await visitor.gets(f"{PAGE}.json")))
        assert (document["complete"], document["out_of_reach"]) == (False, True)
        sent = await asks(visitor, *ERASE)
        await erased(visitor.app)
        assert "an erasure here does not reach them" in words(await reads(visitor, sent))
        await app.runtime.drain.stop()

    run(work)


def test_keys_that_went_are_noticed_in_days_that_were_counted_long_ago(tmp_path: Path) -> None:
    here = Site(tmp_path, UTC_POLICY)
    here.keeps(here.of(NAME, NOW - 5 * DAY))
    here.destroys(NOW)
    assert here.holdings(Person((NAME,))).beyond == frozenset()
    lost = here.sealer.keyring.name
    here.places.keys.unlink()
    here.sealer = Sealer.of_site(here.places)
    here.keeps(here.of(NAME, NOW))
    assert here.holdings(Person((NAME,))).beyond == {lost}


def test_a_withdrawal_says_that_its_records_are_erased_only_when_they_are(tmp_path: Path) -> None:
    async def work() -> None:
        visitor = Visitor(app := site(tmp_path))
        await visitor.picks("accept")
        sent = await asks(visitor, ("action", "withdraw"), ("purpose", "all"))
        page = words(await reads(visitor, sent))
        assert "Your consent is withdrawn." in page
        assert ("What was collected under it is erased." in page) == ("Erased records:" in page)
        await app.runtime.drain.once()
        await erased(app)
        assert "What was collected under it is erased." in words(await reads(visitor, sent))

    run(work)


def test_a_store_and_its_older_one_give_each_record_once_and_in_order(tmp_path: Path) -> None:
    here = Site(tmp_path, UTC_POLICY)
    days = [here.of(NAME, NOW - n * DAY) for n in range(10)]

    async def work(old: SQLiteStore) -> None:
        joined = JoinedStore(MemoryStore(), old, tmp_path / "move")
        await old.append(days[:6])
        await joined.append(days[4:])
        query = Query(kinds=frozenset(("visit",)))
        assert [record.id for record in await joined.fetch(query)] == sorted(record.id for record in days)
        first = await joined.fetch(query, limit=7)
        assert len(first) == 7
        assert len(await joined.fetch(query, after=first[-1].id, limit=7)) == 3
        await joined.delete(query)
        assert list(await joined.fetch(query)) == []

    here.using(work)


def test_a_record_from_beyond_the_calendar_ends_the_search_through_the_days(tmp_path: Path) -> None:
    here = Site(tmp_path, UTC_POLICY)
    today, beyond = here.of(NAME, NOW), make_record(0)
    here.keeps(today, msgspec.structs.replace(beyond, id=UUID(int=(1 << 128) - 1)))

    async def work(store: SQLiteStore) -> list[int]:
        stage = Stage(LIVE, store, here.sealer, Retention([here.policy]))
        days: list[int] = []
        async for day in stage.days("analytics"):
            days.append(day)
            if len(days) > 2:
                break
        return days

    assert here.using(work) == [day_of(NOW), day_of(time_of(UUID(int=(1 << 128) - 1)))]


def test_a_keyring_that_somebody_wrote_into_the_store_is_not_out_of_reach(tmp_path: Path) -> None:
    here = Site(tmp_path, UTC_POLICY)
    here.keeps(msgspec.structs.replace(here.of(NAME, NOW), ring="another"))
    assert here.holdings(Person((NAME,))).beyond == frozenset()
