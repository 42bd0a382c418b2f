"""What a law demands is in the store that hosts share: moved, read, found, erased and destroyed over all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.support.commands import run
from tests.support.fleet import Host, Visitor, another, fleet, purging, until
from tests.support.one_host import DAY, OneHost, beside, settle
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer
from tests.support.sites_with_records import HELD, UTC_POLICY

from consent_mw.consent.data_subject import Person
from consent_mw.crypto.archive_keys import archive_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import StoreError
from consent_mw.policy.loader import loads
from consent_mw.records import Query, new_id
from consent_mw.retention.archive import Archive
from consent_mw.retention.destruction import Destruction, Outcome
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import DAY_NS

pytestmark = pytest.mark.timeout(400)

LAW = "Act on Something, article 15"
ARCHIVED = f'[purposes.analytics.archive]\nretention = "5 years"\nlaw = "{LAW}"\n'
FLEET_POLICY = POLICY.replace('"13 months"\n[purposes.marketing]', '"30 days"\n' + ARCHIVED + "[purposes.marketing]")
assert ARCHIVED in FLEET_POLICY
READ = ("--archive", "--purpose", "analytics", "--basis", "order 2026-114", "--json")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Generator[list[Host]]:
    place = tmp_path_factory.mktemp("archive")
    (place / "ahead").write_text("0")
    with fleet(place, postgres, "one", "two", "three", policy=FLEET_POLICY) as members:
        yield members


def ahead(hosts: list[Host]) -> int:
    return int((hosts[0].directory.parent / "ahead").read_text())


def pass_days(hosts: list[Host], days: int) -> None:
    seconds = ahead(hosts) + int(timedelta(days=days).total_seconds())
    (hosts[0].directory.parent / "ahead").write_text(str(seconds))


def purge(hosts: list[Host], *where: Host) -> None:
    """Do what each site does every minute."""
    for host in where or hosts:
        purging(host, ahead(hosts)).wait(120)


def held(visitor: Visitor, host: Host) -> dict[str, int]:
    """How many records of a visitor are where."""
    parts = [part for part in visitor.held(host)["held"] if part["purpose"] == "analytics"]
    return {part["where"]: part["count"] for part in parts}


def holds(visitor: Visitor, host: Host, there: dict[str, int]) -> bool:
    return held(visitor, host) == there


def lists(host: Host, times: int) -> bool:
    """Whether a host's list of who read names the order so often."""
    return run("audit", "--json", cwd=host.directory).stdout.count("order 2026-114") == times


def reads(host: Host, hosts: list[Host], events: int) -> bool:
    """Whether a host reads so many events in the archive."""
    done = run("log", *READ, "-n", "1000", "--store", host.store, cwd=host.directory, ahead=ahead(hosts))
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["kind"] for line in done.stdout.splitlines()].count("event") == events


def test_a_host_moves_what_all_wrote_and_each_of_them_reads_it(hosts: list[Host]) -> None:
    with closing(Visitor()) as kim, closing(Visitor("Mozilla/5.0 Chrome/150.0")) as lee:
        for visitor in (kim, lee):
            visitor.accept(hosts[0])
            for host in hosts:
                assert visitor.get(host, "/search").text == "found"
        for host in hosts:
            until(partial(holds, kim, host, {"live": 6}))
            until(partial(holds, lee, host, {"live": 6}))
        pass_days(hosts, 40)

        def is_moved() -> bool:
            purge(hosts, hosts[1])
            return held(kim, hosts[0]) == {"archive": 6}

        until(is_moved)
        for host in hosts:
            assert held(lee, host) == {"archive": 6}
            assert reads(host, hosts, 6)
            assert not Path(host.data / "archive.sqlite3").exists()
        for host in hosts:  # who read, and on which basis, on any of them
            until(partial(lists, host, 3))
        with another(hosts[0], "late", FLEET_POLICY) as late:
            late.begin()
            late.wait()
            until(partial(holds, kim, late, {"archive": 6}))
            late.end()
            retire(hosts, late)

        assert kim.post(hosts[2], "/consent/my-data", data={"action": "erase", "confirm": "yes"}).status_code < 400
        for host in hosts:
            until(partial(reads, host, hosts, 3))
            assert held(lee, host) == {"archive": 6}


def test_its_end_is_certified_when_all_hosts_have_destroyed_its_keys(hosts: list[Host]) -> None:
    assert any(label == archive_label("analytics") for host in hosts for _, label in slots(host))
    pass_days(hosts, 6 * 366)

    def is_certified() -> bool:
        purge(hosts)
        return any(row["certificate.where"] == "archive" for row in certificates(hosts))

    until(is_certified)
    purge(hosts)
    of_archive = [row for row in certificates(hosts) if row["certificate.where"] == "archive"]
    keyed = [row for row in of_archive if "certificate.holders" in row]
    assert keyed
    for row in keyed:
        assert all(host.id[:8] in row["certificate.holders"] for host in hosts), row
    assert sum(int(row["certificate.records"]) for row in of_archive) == 6, "a visitor's six; the other was erased"
    for host in hosts:
        assert not [label for _, label in slots(host) if label.startswith(archive_label("analytics"))]
    with closing(psycopg.connect(hosts[0].store, autocommit=True)) as connection:
        assert connection.execute("SELECT count(*) FROM consent_mw_archive.records").fetchone() == (0,)


def certificates(hosts: list[Host]) -> list[dict[str, str]]:
    words = ("log", "-n", "10000", "--kind", "certificate", "--json", "--store", hosts[0].store)
    lines = run(*words, cwd=hosts[0].directory, ahead=ahead(hosts)).stdout.splitlines()
    return [row for row in map(json.loads, lines) if row["certificate.purpose"] == "analytics"]


def slots(host: Host) -> list[tuple[int, str]]:
    with closing(FileKeyring(host.data / "keys")) as ring:
        return ring.live()


def retire(hosts: list[Host], host: Host) -> None:
    words = ("hosts", "retire", host.id, "--reason", "gone", "--although-at-work", "--store", host.store)
    assert run(*words, cwd=hosts[0].directory, ahead=ahead(hosts)).returncode == 0


# -- hosts without a server ---------------------------------------------------------------------------------------


DEMANDED = loads(UTC_POLICY.replace('"13 months"', '"2 days"') + HELD.replace("abuse", "analytics"))


def destruction_of(host: OneHost) -> Destruction:
    restrictions = SiteRestrictions(host.store, host.sealer)
    return Destruction.of_site(
        DEMANDED, host.places, host.store, host.sealer, restrictions, hosts=host.hosts, clock=host.clock
    )


async def destroys(host: OneHost) -> Outcome:
    destruction = destruction_of(host)
    done = await destruction.once(datetime.fromtimestamp(host.now_ns / 1e9, UTC))
    await destruction.close()
    return done


async def moves_at_once(host: OneHost) -> None:
    """Let a host start until its own archive is gone: it must not wait for the first of its hourly runs here."""
    destruction = destruction_of(host)
    runs = asyncio.create_task(destruction.keep_on(lambda: host.now_ns, every_seconds=3600))
    for _ in range(3_000):
        if not host.places.archive.exists():
            break
        await asyncio.sleep(0.02)
    runs.cancel()
    await asyncio.gather(runs, return_exceptions=True)
    await destruction.close()


def archive_of(host: OneHost) -> Archive:
    archive = Archive.of_site([DEMANDED], host.places, host.store, host.sealer)
    assert archive is not None
    return archive


async def opened(host: OneHost) -> list[bytes]:
    """What is in the archive, opened on a host."""
    archive = archive_of(host)
    records = await archive.store.fetch(Query(kinds=frozenset(("visit",))))
    await archive.store.close()
    return [archive.sealer.open(record) for record in records]


@asynccontextmanager
async def two_hosts(directory: Path, url: str) -> AsyncGenerator[tuple[OneHost, OneHost]]:
    """Give two hosts of which the first has sealed two records; they were never synchronised."""
    hosts = [OneHost(directory / name, OpenedStore(PostgresStore(url))) for name in ("one", "two")]
    try:
        await hosts[0].agree()
        await hosts[0].store.append([hosts[0].seal(b"1"), hosts[0].seal(b"2")], durable=True)
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            await host.store.close()


async def live_rows(host: OneHost) -> int:
    return len(await host.store.fetch(Query(kinds=frozenset(("visit",)))))


def test_a_host_moves_nothing_that_it_cannot_open_yet(tmp_path: Path, postgres: PostgresServer) -> None:
    async def work() -> None:
        async with two_hosts(tmp_path, postgres.database()) as (one, two):
            await two.agree()
            one.now_ns = two.now_ns = two.now_ns + 4 * DAY_NS
            done = await destroys(two)
            assert (done.archived, done.unreadable, done.records, await live_rows(two)) == (0, 0, 0, 2)
            await settle(one, two)
            done = await destroys(two)
            assert (done.archived, done.unreadable, await live_rows(two)) == (2, 0, 0)
            await settle(one, two)
            assert sorted(await opened(one)) == sorted(await opened(two)) == [b"1", b"2"]

    asyncio.run(work())


def test_the_key_of_what_moves_stays_until_no_spool_may_hold_more_of_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async def work() -> None:
        async with two_hosts(tmp_path, postgres.database()) as (one, two):
            await beside(two.agree(), one)
            one.keyring.key(DAY, "analytics 15:00-24:00", create=True)
            late, two.oldest = two.seal(b"3"), two.now_ns / 1e9
            one.now_ns = two.now_ns = two.now_ns + 4 * DAY_NS
            await settle(one, two)
            done = await destroys(one)
            assert done.archived == 2
            assert len([trouble for trouble in done.troubles if "wait for two" in trouble]) == 1, (
                "once for all its keys"
            )
            assert (DAY, "analytics") in one.keyring.live()
            await two.store.append([late], durable=True)
            two.oldest = None
            one.now_ns = two.now_ns = two.now_ns + DAY_NS // 1000
            await settle(one, two)
            done = await destroys(one)
            assert (done.archived, done.unreadable, done.troubles) == (1, 0, [])
            assert (DAY, "analytics") not in one.keyring.live()
            assert sorted(await opened(two)) == [b"1", b"2", b"3"]

    asyncio.run(work())


def test_what_a_host_had_archived_on_its_disk_moves_to_where_all_hosts_read_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async def work() -> None:
        async with two_hosts(tmp_path, postgres.database()) as (one, two):
            await beside(two.agree(), one)
            ring, token = FileKeyring(one.places.archive_keys), one.token()
            earlier = Archive(OpenedStore(SQLiteStore(one.places.archive)), Sealer(ring, one.site_keys))
            assert await earlier.tokens(Person()) == {}
            assert one.places.archive.exists()
            assert await archive_of(one).tokens(Person()) == {}, "nothing is in it: nobody has to wait"
            visits = [("visit", "analytics", token, bytes([n])) for n in range(3)]
            records = [
                one.sealer.record(new_id(one.now_ns), kind, purpose, subject=subject, plain=plain)
                for kind, purpose, subject, plain in visits
            ]
            assert await earlier.keep(records, one.sealer) == 0
            await earlier.store.close()
            with pytest.raises(StoreError, match="moves into the store"):
                await archive_of(one).tokens(Person())
            one.now_ns = two.now_ns = two.now_ns + DAY_NS
            await beside(moves_at_once(one), two)
            await settle(one, two)
            for host in (one, two):
                assert sorted(await opened(host)) == [b"\x00", b"\x01", b"\x02"]
            assert not one.places.archive.exists()
            assert not one.places.archive_keys.exists()

    asyncio.run(work())
