"""What has ended is gone: its key first, then its rows, then there is a certificate. And nothing else is gone."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.support.sites_with_records import DAY, END, HELD, HOUR, THEN, UTC_POLICY, SiteWithRecords

from consent_mw.consent.data_subject import Person
from consent_mw.crypto.keyring import FileKeyring, MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import KeyDestroyed, KeyringUnreachable, StoreUnavailable
from consent_mw.records import time_of
from consent_mw.retention.aggregates import cells_of
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.request import Request
from consent_mw.system.days import day_of


@pytest.fixture
def site(tmp_path):
    return SiteWithRecords(tmp_path)


def test_rows_go_at_the_hour_and_their_key_with_the_last_of_the_day(site):
    site.keeps(*(site.record(THEN + hour * HOUR, secret=f"/{hour}") for hour in range(24)))
    assert site.destroys(END + 10 * HOUR - timedelta(milliseconds=1)).records == 9
    assert site.destroys(END + 10 * HOUR).records == 1
    assert [time_of(record.id).hour for record in site.records("visit")] == list(range(10, 24))
    assert site.records("certificate") == []
    assert site.sealer.keyring.live() == [(day_of(THEN), "necessary")]

    done = site.destroys(END + DAY)
    assert (done.keys, done.records, done.certificates, done.troubles) == (1, 14, 1, [])
    assert site.sealer.keyring.live() == []
    assert site.records("visit", "tally") == []
    (certificate,) = site.records("certificate")
    assert certificate.data == {
        "certificate.purpose": "necessary",
        "certificate.day": "2024-11-23",
        "certificate.where": "live",
        "certificate.records": 24,
        "certificate.archived": 0,
        "certificate.unreadable": 0,
        "certificate.ring": site.sealer.keyring.name,
        "certificate.key": "slot 0",
        "certificate.method": "key destroyed in place, then rows deleted",
        "certificate.revision": 1,
        "certificate.retention": "90 days",
        "certificate.ended": "2025-02-22T00:00:00+00:00",
        "certificate.destroyed": "2025-02-22T00:00:00+00:00",
    }
    assert certificate.purpose == "receipts"


def test_each_purpose_ends_on_its_own_day_and_takes_every_kind_along(site):
    kinds = {"necessary": "gap", "functional": "pending", "analytics": "event", "abuse": "abuse", "receipts": "receipt"}
    for purpose, kind in kinds.items():
        site.keeps(*(site.record(THEN + n * HOUR, kind=what, purpose=purpose, secret="x")
                     for n, what in enumerate(("visit", kind))))  # fmt: skip
    gone = []
    ends = (90, 180, 365, 395)
    # Each day before an end, each end, and the days between them now and then.
    for days in sorted({*range(60, 460, 25), *ends, *(end - 1 for end in ends)}):
        done = site.destroys(THEN + DAY + days * DAY)
        assert done.troubles == []
        if done.records:
            gone.append((days, done.keys, done.records, {record.purpose for record in site.records(*kinds.values())}))
    every = set(kinds)
    assert gone == [
        (90, 1, 2, every - {"necessary"}),
        (180, 1, 2, every - {"necessary", "functional"}),
        (365, 2, 4, {"analytics"}),
        (395, 1, 2, set()),  # 13 months from 23 November are over on 23 December
    ]
    assert len(site.records("certificate")) == 5


def test_a_second_run_finds_nothing_to_do(site):
    site.keeps(site.record(THEN, secret="/"))
    assert site.destroys(END + DAY).certificates == 1
    again = site.destroys(END + DAY)
    assert (again.keys, again.records, again.certificates, again.counted) == (0, 0, 0, 0)


def test_a_key_that_sealed_nothing_in_the_store_is_certified_with_none(site):
    site.sealer.keyring.key(day_of(THEN), "necessary", create=True)
    assert site.destroys(END + DAY).certificates == 1
    assert site.records("certificate")[0].data["certificate.records"] == 0


def test_records_without_sealed_fields_are_certified_without_a_key(site):
    site.keeps(*(site.record(THEN + n * HOUR, kind="gap") for n in range(3)))
    assert site.destroys(END + DAY).records == 3
    (certificate,) = site.records("certificate")
    assert certificate.data["certificate.records"] == 3
    assert certificate.data["certificate.method"] == "rows deleted; nothing was sealed"


def test_what_comes_out_of_the_spool_after_the_end_goes_too_and_is_certified_apart(site):
    late = site.record(THEN, secret="/late")
    site.keeps(site.record(THEN, secret="/"))
    site.destroys(END + DAY)
    site.keeps(late)
    with pytest.raises(KeyDestroyed):
        site.sealer.open(late)
    assert site.destroys(END + DAY).records == 1
    assert site.records("visit") == []
    assert [record.data["certificate.records"] for record in site.records("certificate")] == [1, 1]


def test_more_rows_than_a_page_in_one_millisecond_go_to_the_last(site):
    site.keeps(*(site.record(THEN, secret="/") for _ in range(4_500)))
    assert site.destroys(END + DAY).records == 4_500
    assert site.records("visit") == []
    assert site.records("certificate")[0].data["certificate.records"] == 4_500


def test_the_file_gives_the_room_of_many_rows_back(site):
    site.keeps(*(site.record(THEN + n * timedelta(seconds=1), secret="x" * 500) for n in range(5_000)))
    before = site.places.database.stat().st_size
    site.destroys(END + DAY)
    assert site.places.database.stat().st_size < before / 10


# -- keyrings ------------------------------------------------------------------------------------------------------


def test_records_of_another_keyring_are_listed_and_neither_deleted_nor_counted(site):
    other = Sealer(MemoryKeyring(), site.sealer.site_keys)
    site.keeps(site.record(THEN, secret="/"), site.record(THEN, sealer=other, secret="/"))
    done = site.destroys(END + DAY)
    assert (done.records, done.certificates) == (1, 1)
    assert site.records("certificate")[0].data["certificate.records"] == 1
    (left,) = site.left(END + DAY)
    assert (left.records, left.unreached, left.late) == (0, {other.keyring.name: 1}, False)
    assert f"run this where it is, or give it up: --lost {other.keyring.name}" in left.problem
    assert site.left(END + 2 * DAY)[0].late
    assert len(site.records("visit")) == 1


def test_a_keyring_that_was_given_up_loses_its_rows_and_the_certificate_says_so(site):
    other = Sealer(MemoryKeyring(), site.sealer.site_keys)
    site.keeps(site.record(THEN, secret="/"), site.record(THEN, sealer=other, secret="/"))
    site.destroys(END + DAY, lost=frozenset({other.keyring.name}))
    assert site.records("visit") == []
    methods = {record.data["certificate.ring"]: record.data["certificate.method"]
               for record in site.records("certificate")}  # fmt: skip
    assert methods == {
        site.sealer.keyring.name: "key destroyed in place, then rows deleted",
        other.keyring.name: "rows deleted; the keyring was given up as lost",
    }


def test_a_keyring_that_somebody_wrote_into_the_store_keeps_no_row_beyond_its_end(site):
    site.keeps(site.record(THEN, secret="/"), site.record(THEN + HOUR, secret="/"))
    with closing(sqlite3.connect(site.places.database)) as database, database:
        database.execute("UPDATE records SET ring = 'nobody' WHERE id = (SELECT min(id) FROM records)")
    assert not any(due.unreached or due.problem for due in site.left(END + DAY))
    assert site.destroys(END + DAY).records == 2
    assert site.records("visit") == []
    (certificate,) = site.records("certificate")
    assert certificate.data["certificate.records"] == 2


def test_a_key_file_that_is_away_destroys_and_counts_nothing_and_names_place_and_mend(site):
    site.keeps(site.record(THEN, secret="/"))
    away = site.places.keys.rename(site.places.directory / "away")
    done = site.destroys(END + DAY)
    assert (done.records, done.certificates) == (0, 0)
    assert len(done.troubles) == 1
    assert f"{site.places.keys}: the key file failed" in done.troubles[0]
    assert "see that it is there" in done.troubles[0]
    with pytest.raises(KeyringUnreachable):
        site.sealer.keyring.destroy(day_of(THEN), "necessary")
    away.rename(site.places.keys)
    assert site.destroys(END + DAY).records == 1


def test_a_key_of_a_purpose_that_no_revision_knows_is_listed_as_overdue(site):
    site.sealer.keyring.key(day_of(THEN), "forgotten", create=True)
    assert site.destroys(END + 900 * DAY).keys == 0
    (left,) = site.left(END)
    assert (left.purpose, left.key, left.late) == ("forgotten", True, True)
    assert "restore its file in revisions" in left.problem


def test_a_store_that_is_away_does_not_keep_a_key_from_being_destroyed(site):
    site.keeps(site.record(THEN, secret="/"))

    class Away:
        async def fetch(self, *_: object, **__: object) -> object:
            raise StoreUnavailable("the store is away; bring it back")

    done = asyncio.run(site._destroyed(Away(), END + DAY))
    assert (done.keys, done.troubles) == (1, ["the store is away; bring it back"])
    assert site.destroys(END + DAY).certificates == 1


# -- what must be left alone ---------------------------------------------------------------------------------------


def test_nothing_that_has_not_ended_is_touched(site):
    before = [site.record(THEN + n * DAY, purpose=purpose, secret=f"{n}")
              for n in range(-3, 4) for purpose in ("necessary", "analytics")]  # fmt: skip
    site.keeps(*before)
    now = END + DAY
    site.destroys(now)
    left = {record.id: record for record in site.records("visit")}
    ended = {record.id for record in before if record.purpose == "necessary" and time_of(record.id) <= THEN}
    assert set(left) == {record.id for record in before} - ended
    assert all(site.sealer.open(record) for record in left.values())


def test_two_at_once_do_not_work_on_the_same_site(site):
    site.keeps(site.record(THEN, secret="/"))
    with site.places.destruction_lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = site.destroys(END + DAY)
        assert (done.busy, done.keys, done.records) == (True, 0, 0)
        assert len(site.records("visit")) == 1
    assert site.destroys(END + DAY).records == 1


def test_rows_of_a_day_that_is_not_over_wait_until_it_was_counted(tmp_path):
    site = SiteWithRecords(tmp_path, UTC_POLICY.replace('"90 days"', '"1 hour"'))
    site.keeps(site.record(THEN, secret="/"))
    assert site.destroys(THEN + 3 * HOUR).records == 0
    assert len(site.records("visit")) == 1
    done = site.destroys(THEN + DAY + HOUR)
    assert (done.keys, done.records, done.certificates) == (1, 1, 1)
    assert Counter(record.kind for record in site.records()) == {"certificate": 1}


# -- a year from 29 February ---------------------------------------------------------------------------------------

LEAP_DAY = datetime.fromisoformat("2024-02-29T00:00+00:00")
#: Both a year after 28 February and after 29 February: the calendar has no other day for the second.
LEAP_END = datetime.fromisoformat("2025-02-28T00:00+00:00")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul"])
def test_a_year_from_29_february_ends_on_28_february_at_the_same_hour(tmp_path, zone):
    # Midnight and noon of that day, where the policy's calendar is read.
    midnight, end = (day.replace(tzinfo=ZoneInfo(zone)) for day in (LEAP_DAY, LEAP_END))
    site = SiteWithRecords(tmp_path, UTC_POLICY.replace('"UTC"', f'"{zone}"'))
    noon = midnight + 12 * HOUR
    site.keeps(*(site.record(at, kind="abuse", purpose="abuse", secret="x") for at in (midnight, noon)))
    assert site.destroys(end + HOUR - timedelta(milliseconds=1)).records == 0
    assert site.destroys(end + HOUR).records == 1
    assert site.destroys(end + 13 * HOUR - timedelta(milliseconds=1)).records == 0
    assert site.destroys(end + 13 * HOUR).records == 1
    assert site.records("abuse") == []
    assert site.destroys(end + 2 * DAY).troubles == []
    assert site.sealer.keyring.live() == []


def test_the_keys_of_28_and_29_february_die_together_and_each_day_has_its_certificate(tmp_path):
    site = SiteWithRecords(tmp_path)
    days = [LEAP_DAY - DAY, LEAP_DAY, LEAP_DAY + DAY]
    site.keeps(*(site.record(day + 23 * HOUR, kind="abuse", purpose="abuse", secret="x") for day in days))
    before = site.destroys(LEAP_END + DAY - timedelta(milliseconds=1))
    assert (before.keys, before.records) == (0, 0)
    done = site.destroys(LEAP_END + DAY)
    assert (done.keys, done.records, done.certificates) == (2, 2, 2)
    assert site.sealer.keyring.live() == [(day_of(LEAP_DAY + DAY), "abuse")]
    ends = {record.data["certificate.day"]: record.data["certificate.ended"] for record in site.records("certificate")}
    assert ends == {"2024-02-28": "2025-03-01T00:00:00+00:00", "2024-02-29": "2025-03-01T00:00:00+00:00"}


def test_what_a_law_holds_for_five_years_from_29_february_ends_on_28_february(holding):
    holding.keeps(holding.record(LEAP_DAY, kind="abuse", purpose="abuse", secret="x"))
    assert holding.destroys(LEAP_END + DAY).archived == 1
    end = LEAP_END.replace(year=2029)
    assert holding.destroys(end + HOUR - timedelta(milliseconds=1)).records == 0
    assert holding.destroys(end + HOUR).records == 1
    assert holding.records("abuse", archive=True) == []


# -- what stays ----------------------------------------------------------------------------------------------------


def test_a_day_of_four_visitors_leaves_its_certificate_and_no_count(site):
    site.keeps(*(site.record(THEN + n * HOUR, subject=bytes([n % 4]), data={"http.route": "/"}, secret="x")
                 for n in range(24)))  # fmt: skip
    assert site.destroys(END + DAY).records == 24
    assert [record.kind for record in site.records()] == ["certificate"]


def test_a_small_cell_is_told_by_no_count_that_stays(site):
    crowd = [site.record(THEN + n * HOUR, subject=bytes([n]), data={"http.route": "/"}, secret="x") for n in range(20)]
    few = [site.record(THEN + n * HOUR, subject=bytes([n]), data={"http.route": "/rare"}, secret="x") for n in range(4)]
    site.keeps(*crowd, *few)
    site.destroys(END + DAY)
    counts = {record.data["aggregate.by"]: cells_of(record) for record in site.records("aggregate")}
    assert counts["route"] == {"(other)": 24}
    assert not any("/rare" in cells for cells in counts.values())


# -- the archive ---------------------------------------------------------------------------------------------------


@pytest.fixture
def holding(tmp_path):
    return SiteWithRecords(tmp_path, UTC_POLICY + HELD)


ABUSE_END = datetime.fromisoformat("2025-11-24T00:00+00:00")
ARCHIVE_END = datetime.fromisoformat("2029-11-24T00:00+00:00")


def test_what_a_law_demands_moves_into_the_archive_under_another_key(holding):
    original = holding.record(THEN, kind="abuse", purpose="abuse", subject=b"who", data={"a": 1}, secret="198.51.100.7")
    holding.keeps(original)
    done = holding.destroys(ABUSE_END)
    assert (done.keys, done.records, done.archived, done.certificates, done.troubles) == (1, 1, 1, 1, [])
    assert holding.records("abuse") == []
    (held,) = holding.records("abuse", archive=True)
    assert (held.id, held.kind, held.purpose, held.data, held.subject) == (
        original.id, "abuse", "abuse", {"a": 1}, b"who")  # fmt: skip
    keys = FileKeyring(holding.places.archive_keys)
    assert held.ring == keys.name != original.ring
    assert b"198.51.100.7" in Sealer.of_site(holding.places, keys).open(held)
    with pytest.raises(KeyDestroyed):
        holding.sealer.open(original)
    assert holding.records("certificate")[0].data["certificate.archived"] == 1


def test_the_archive_ends_as_the_law_says_with_a_certificate_of_its_own(holding):
    holding.keeps(holding.record(THEN, kind="abuse", purpose="abuse", secret="198.51.100.7"))
    holding.destroys(ABUSE_END)
    assert holding.destroys(ARCHIVE_END - HOUR).records == 1  # its one hour of the day has ended
    assert holding.records("abuse", archive=True) == []
    done = holding.destroys(ARCHIVE_END)
    assert (done.keys, done.certificates) == (1, 1)
    assert FileKeyring(holding.places.archive_keys).live() == []
    last = holding.records("certificate")[-1].data
    assert (last["certificate.where"], last["certificate.records"], last["certificate.retention"]) == (
        "archive", 1, "5 years")  # fmt: skip


def test_a_copy_that_a_crash_left_in_both_places_is_kept_once(holding):
    original = holding.record(THEN, kind="abuse", purpose="abuse", secret="198.51.100.7")
    holding.keeps(original)
    holding.destroys(ABUSE_END - HOUR)
    holding.keeps(original)  # as if the deletion had not happened
    done = holding.destroys(ABUSE_END - HOUR)
    assert done.archived == 1
    assert len(holding.records("abuse", archive=True)) == 1
    assert holding.records("abuse") == []


def test_a_damaged_record_cannot_be_held_and_is_counted_as_such(holding):
    record = holding.record(THEN, kind="abuse", purpose="abuse", secret="198.51.100.7")
    holding.keeps(msgspec.structs.replace(record, sealed=record.sealed[:-1] + b"?"))
    done = holding.destroys(ABUSE_END)
    assert (done.records, done.archived, done.unreadable, done.keys) == (1, 0, 1, 1)
    data = holding.records("certificate")[0].data
    assert (data["certificate.archived"], data["certificate.unreadable"]) == (0, 1)


def test_who_is_under_restriction_is_not_counted_and_ends_all_the_same(site):
    names = [f"receipt {n}" for n in range(6)]
    for name in names:
        token = site.sealer.token(day_of(THEN), "analytics", name.encode())
        site.keeps(*(site.record(THEN + n * HOUR, purpose="analytics", subject=token) for n in range(10)))

    async def restrict(store):
        request = Request.new("restriction", "site", int(THEN.timestamp() * 1e9), person=Person((names[0],)))
        await Desk(store, site.sealer, kept_by_store(store)).register(request)

    site.using(restrict)
    assert site.destroys(THEN + 2 * DAY).troubles == []
    (kinds,) = [record for record in site.records("aggregate") if record.data["aggregate.by"] == "kind"]
    assert cells_of(kinds) == {"visit": 50}
    assert site.destroys(THEN + 500 * DAY).troubles == []
    assert site.records("visit") == []
