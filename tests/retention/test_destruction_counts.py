"""A certificate's number is the number that was destroyed: late rows and crashes included, erasures left out."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.destroying import destroyed
from tests.support.sites_with_records import DAY, END, HELD, HOUR, THEN, UTC_POLICY, SiteWithRecords

from consent_mw import ConsentMiddleware
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.records import Query, Record
from consent_mw.retention.aggregates import cells_of
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.testing.clock import Clock
from consent_mw.testing.driver import drive, http_scope


@pytest.fixture
def site(tmp_path: Path) -> SiteWithRecords:
    return SiteWithRecords(tmp_path)


def certified(site: SiteWithRecords, **of: str) -> list[int]:
    """What each certificate says, oldest first."""
    return [
        int(str(record.data["certificate.records"]))
        for record in site.records("certificate")
        if all(record.data[f"certificate.{name}"] == value for name, value in of.items())
    ]


def counted(site: SiteWithRecords, by: str) -> list[dict[str, int]]:
    return [cells_of(record) for record in site.records("aggregate") if record.data["aggregate.by"] == by]


def test_what_is_written_down_after_its_day_was_counted_is_in_certificate_and_counts(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(10)))
    assert site.destroys(THEN + DAY + HOUR).counted == 1
    site.keeps(*(site.record(THEN + n * HOUR, secret="/late") for n in range(7)))
    assert site.destroys(END + DAY).records == 17
    assert certified(site) == [17]
    assert counted(site, "kind") == [{"visit": 17}]
    assert site.records("deletion", "tally", "visit") == []


def test_a_count_grows_by_no_fewer_than_may_be_told(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN + n * HOUR, secret="/", data={"http.route": "/"}) for n in range(10)))
    site.destroys(THEN + DAY + HOUR)
    site.keeps(*(site.record(THEN + n * HOUR, secret="/late", data={"http.route": "/"}) for n in range(4)))
    site.destroys(END + DAY)
    assert certified(site) == [14]
    assert counted(site, "route") == [{"/": 10}], "10 then and 14 now would tell the four"


def test_visitors_that_are_told_apart_are_not_counted_again(site: SiteWithRecords) -> None:
    def visits(count: int) -> list[Record]:
        return [site.record(THEN + n * HOUR, purpose="analytics", subject=bytes([n]), secret="/") for n in range(count)]

    site.keeps(*visits(10))
    site.destroys(THEN + DAY + HOUR)
    site.keeps(*visits(7))
    site.destroys(THEN + 500 * DAY)
    assert certified(site) == [17]
    assert counted(site, "kind") == [{"visit": 10}]


def test_days_are_counted_that_the_clock_had_left_behind_while_it_was_ahead(site: SiteWithRecords) -> None:
    async def run(store: Any) -> None:
        destruction = Destruction.of_site(
            site.policy, site.places, store, site.sealer, SiteRestrictions(store, site.sealer)
        )
        ahead = THEN + 5 * DAY
        await store.append([site.record(ahead, secret="/")], durable=True)
        await destruction.once(ahead + DAY + HOUR)
        await store.append([site.record(THEN + n * HOUR, secret="/") for n in range(10)], durable=True)
        assert (await destruction.once(THEN + DAY + HOUR)).counted == 1
        await destruction.close()

    site.using(run)
    assert counted(site, "kind") == [{"visit": 10}]


def test_a_day_of_which_everything_was_given_up_has_one_certificate(site: SiteWithRecords) -> None:
    lost = Sealer(MemoryKeyring(), site.sealer.site_keys)
    site.keeps(*(site.record(THEN + n * HOUR, sealer=lost, secret="/") for n in range(3)))
    site.destroys(END + DAY, lost=frozenset((lost.keyring.name,)))
    assert certified(site) == [3]


def test_what_was_erased_meanwhile_is_in_no_certificate_of_destruction(site: SiteWithRecords) -> None:
    records = [site.record(THEN + n * HOUR, secret="/") for n in range(10)]
    site.keeps(*records)
    site.destroys(THEN + DAY + HOUR)
    erased = Query(kinds=frozenset(("visit",)), ids=frozenset(record.id for record in records[:4]))
    site.using(lambda store: store.delete(erased))
    site.destroys(END + DAY)
    assert certified(site) == [6]


def test_rows_that_go_hour_by_hour_are_counted_over_every_run(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(24)))
    for hour in range(1, 25):
        if hour == 12:
            site.keeps(*(site.record(THEN, secret="/late") for _ in range(5)))
        site.destroys(END + hour * HOUR)
    assert certified(site) == [29]


def test_what_comes_after_the_certificate_gets_another_also_if_a_run_died_between(site: SiteWithRecords) -> None:
    site.keeps(site.record(THEN, secret="/"))
    late = [site.record(THEN, secret="/late") for _ in range(2)]
    site.destroys(END + DAY)
    site.keeps(*late)

    class Dies(type(site.store())):  # type: ignore[misc]  # whichever store the site has
        async def append(self, records: Any, *, durable: bool = False) -> None:
            if any(record.kind == "certificate" for record in records):
                raise KeyboardInterrupt
            await super().append(records, durable=durable)

    with pytest.raises(KeyboardInterrupt):
        site.using(lambda store: site._destroyed(store, END + DAY), Dies(site.places.database))
    assert site.records("visit") == []
    assert certified(site) == [1]
    site.destroys(END + DAY)
    assert sorted(certified(site)) == [1, 2]


def test_the_ids_of_what_went_are_read_by_one_later_run_and_by_no_other(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(24)))
    begun = END + 10 * HOUR
    site.destroys(begun)
    (went,) = site.records("deletion")
    assert went.data["deletion.step"]
    site.destroys(begun + timedelta(minutes=1))
    (settled,) = site.records("deletion")
    assert (settled.data["deletion.step"], settled.data["deletion.records"]) == ("", 10)
    site.destroys(begun + timedelta(minutes=2))
    assert site.records("deletion") == [settled]
    site.destroys(END + DAY)
    assert certified(site) == [24]


def test_a_run_that_dies_right_after_a_certificate_leaves_no_tally_and_no_count_behind(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN, secret="/") for _ in range(3)))

    class Dies(type(site.store())):  # type: ignore[misc]  # whichever store the site has
        async def append(self, records: Any, *, durable: bool = False) -> None:
            await super().append(records, durable=durable)
            if any(record.kind == "certificate" for record in records):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.using(lambda store: site._destroyed(store, END + DAY), Dies(site.places.database))
    assert site.records("tally", "deletion")
    site.destroys(END + DAY)
    assert site.records("tally", "deletion") == []
    assert certified(site) == [3]


def test_hosts_that_share_a_store_certify_each_what_it_destroyed(tmp_path: Path) -> None:
    one = SiteWithRecords(tmp_path)
    other = SiteWithRecords(tmp_path, keyring=MemoryKeyring())
    one.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(24) for site in (one, other)))
    one.keeps(*(one.record(THEN + n * HOUR, kind="gap") for n in range(24)))
    for hour in range(1, 25):
        for site in (one, other):
            site.destroys(END + hour * HOUR)
    assert certified(one, ring=one.sealer.keyring.name) == [48], "and what nobody sealed"
    assert certified(one, ring=other.sealer.keyring.name) == [24]


def test_a_record_that_comes_while_a_piece_goes_stays_until_it_is_counted(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(THEN + n * timedelta(seconds=1), secret="/") for n in range(10)))
    other = Sealer(MemoryKeyring(), site.sealer.site_keys)
    foreign = site.record(THEN + timedelta(seconds=5), sealer=other, secret="/")

    crowd = [foreign]

    class Crowded(type(site.store())):  # type: ignore[misc]  # whichever store the site has
        async def delete(self, query: Query) -> int:
            await super().append([crowd.pop()] if crowd else [])
            count: int = await super().delete(query)
            return count

    site.using(lambda store: site._destroyed(store, END + DAY), Crowded(site.places.database))
    assert [record.id for record in site.records("visit")] == [foreign.id], "its key lives elsewhere"
    assert certified(site) == [10]


KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from tests.support.destroying import destroyed
from tests.support.sites_with_records import SiteWithRecords
site = SiteWithRecords(Path(sys.argv[1]), Path(sys.argv[1], "policy.toml").read_text())
print("ready", flush=True)
assert site.destroys(datetime.fromisoformat(sys.argv[2])).troubles == []
print("done", flush=True)
"""


@pytest.mark.parametrize("held", [False, True])
def test_a_destruction_that_is_killed_at_any_moment_counts_every_record_once(tmp_path: Path, held: bool) -> None:
    site = SiteWithRecords(tmp_path, UTC_POLICY + (HELD.replace("abuse", "necessary") if held else ""))
    site.keeps(*(site.record(THEN + n * timedelta(seconds=2), secret="/") for n in range(12_000)))
    site.destroys(THEN + DAY + HOUR)
    site.keeps(*(site.record(THEN + n * timedelta(seconds=2), secret="/late") for n in range(500)))
    chance, kills = random.Random(4711), 0
    for _ in range(8):
        killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), (END + DAY).isoformat()],
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.4))
        killed.send_signal(signal.SIGKILL)
        kills += "done" not in killed.communicate()[0]
    assert kills >= 2
    assert site.destroys(END + DAY).troubles == []
    assert site.records("visit", "deletion") == []
    assert sum(certified(site)) == 12_500
    archived = sum(int(str(record.data["certificate.archived"])) for record in site.records("certificate"))
    assert archived == (12_500 if held else 0)
    assert len(site.records("visit", archive=True)) == (12_500 if held else 0)


def test_a_stream_that_was_open_over_midnight_is_certified_and_counted(tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path)

    async def run() -> None:
        go, began = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if scope["path"] == "/stream":
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                began.set()
                await go.wait()
            await send({"type": "http.response.body", "body": b"x"})

        clock = Clock()
        clock.set(datetime(2026, 12, 1, 23, 50, tzinfo=UTC))
        asgi = ConsentMiddleware(app, policy=site.file, secret_keys=["a key of at least 16 bytes"], clock=clock)
        runtime = asgi.runtime
        await runtime.store.open()
        for _ in range(10):
            await drive(asgi, http_scope("/"))
        streams = [asyncio.create_task(drive(asgi, http_scope("/stream"))) for _ in range(7)]
        await began.wait()
        await asyncio.sleep(0)
        await runtime.drain.once()
        clock.set(datetime(2026, 12, 2, 0, 40, tzinfo=UTC))
        await destroyed(runtime.destruction, datetime(2026, 12, 2, 0, 40, tzinfo=UTC))
        clock.set(datetime(2026, 12, 2, 1, 30, tzinfo=UTC))
        go.set()
        await asyncio.gather(*streams)
        await runtime.drain.once()
        await destroyed(runtime.destruction, datetime(2027, 3, 5, tzinfo=UTC))
        await runtime.drain.stop()

    asyncio.run(run())
    assert certified(site, purpose="necessary", day="2026-12-01") == [17]
    assert {"visit": 17} in counted(site, "kind")
