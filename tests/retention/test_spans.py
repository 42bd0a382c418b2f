"""A key is gone within 24 hours of the first record that it sealed having ended, in every zone and at every date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st
from tests.support.destroying import destroyed
from tests.support.policies import POLICY
from tests.support.sites_with_records import HOUR, UTC_POLICY, SiteWithRecords

from consent_mw import ConsentMiddleware
from consent_mw.consent.data_subject import Person, tokens
from consent_mw.crypto.day_parts import WHOLE, Calendar, Span, label_of, of_label
from consent_mw.exceptions import ConsentError
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.records import Query
from consent_mw.retention.calendar import LATE, Retention
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.system.days import QUARTERS, day_of, start_of
from consent_mw.testing.clock import Clock
from consent_mw.testing.driver import drive, http_scope

ZONES = (
    "Asia/Seoul",
    "UTC",
    "Europe/London",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/New_York",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "Antarctica/Troll",
    "America/Havana",
)
RETENTIONS = ("1 day", "1 month", "30 days", "90 days", "6 months", "1 year", "13 months")
_QUARTER = timedelta(minutes=15)


def policy(zone: str, retention: str = "90 days", *, revision: int = 1, effective: str = "2020-01-01") -> Policy:
    text = POLICY.replace('"Asia/Seoul"', f'"{zone}"').replace("revision = 1", f"revision = {revision}")
    text = text.replace('retention = "90 days"', f'retention = "{retention}"')
    return loads(text.replace("2026-11-23", effective))


def after(moment: datetime, retention: str, zone: ZoneInfo) -> datetime:
    """When a record of `moment` ends: counted here without the package's own calendar."""
    count, unit = retention.split()
    step = relativedelta(**{f"{unit.rstrip('s')}s": int(count)})  # type: ignore[arg-type]  # the unit is one of its names
    return (moment.astimezone(zone).replace(tzinfo=None) + step).replace(tzinfo=zone).astimezone(UTC)


def hard_days(zone: ZoneInfo) -> Iterator[int]:
    """The days around the ends of months, 29 February among them, and around each change of the clocks."""
    for month in range(12):
        yield from (day_of(datetime(2027, 8, 1, tzinfo=UTC) + relativedelta(months=month)) - n for n in (1, 2))
    begin = day_of(datetime(2027, 8, 1, tzinfo=UTC))
    for day in range(begin, begin + 366):
        offsets = [(start_of(day + n)).astimezone(zone).utcoffset() for n in (0, 1)]
        if offsets[0] != offsets[1]:
            yield from (day - 1, day, day + 1)


@pytest.mark.parametrize("name", ZONES)
def test_a_key_is_gone_a_day_after_the_first_of_its_records_ended_and_never_before_the_last(name: str) -> None:
    zone = ZoneInfo(name)
    for retention in RETENTIONS:
        declared = policy(name, retention)
        rules, calendar, ever = Retention([declared]), Calendar([declared]), start_of(30_000)
        for day in sorted(set(hard_days(zone))):
            for span in calendar.spans(day):
                edges = [start_of(day) + n * _QUARTER for n in range(span.begin, span.end)]
                firsts = [after(edge, retention, zone) for edge in edges]
                lasts = [after(edge + _QUARTER - timedelta(milliseconds=1), retention, zone) for edge in edges]
                end = rules.end(day, "necessary", ever, span)
                assert end is not None
                assert max(lasts) < end <= min(firsts) + LATE, (retention, day, span)
                assert rules.has_ended(day, "necessary", end, span)
                assert not rules.has_ended(day, "necessary", end - timedelta(milliseconds=1), span)


@pytest.mark.parametrize("name", [*ZONES, "Asia/Kolkata", "Pacific/Chatham", "Africa/Casablanca"])
def test_the_parts_of_a_day_are_all_of_it_and_none_has_two_local_dates(name: str) -> None:
    zone, calendar = ZoneInfo(name), Calendar([policy(name)])
    for day in hard_days(zone):
        spans = calendar.spans(day)
        assert (spans[0].begin, spans[-1].end) == (0, QUARTERS)
        assert all(one.end == other.begin for one, other in pairwise(spans))
        for begin, end in spans:
            dates = {(start_of(day) + n * _QUARTER).astimezone(zone).date() for n in range(begin, end)}
            assert len(dates) == 1
            assert all(calendar.at(day, quarter) == (begin, end) for quarter in (begin, end - 1))


def test_where_the_clocks_never_change_and_midnight_is_that_of_utc_a_day_has_one_key() -> None:
    for name in ("UTC", "Africa/Abidjan", "Atlantic/Reykjavik"):
        assert Calendar([policy(name)]).spans(21_000) == (WHOLE,)
    assert Calendar().spans(21_000) == (WHOLE,)


def test_a_day_on_which_another_zone_comes_into_force_is_cut_there_too() -> None:
    calendar = Calendar([policy("Asia/Seoul"), policy("Asia/Kathmandu", revision=2, effective="2027-02-20")])
    days = [day_of(datetime(2027, 2, n, tzinfo=UTC)) for n in (18, 19, 20)]
    assert [[label_of("a", span) for span in calendar.spans(day)] for day in days] == [
        ["a 00:00-15:00", "a 15:00-24:00"],
        ["a 00:00-15:00", "a 15:00-18:15", "a 18:15-24:00"],
        ["a 00:00-18:15", "a 18:15-24:00"],
    ]


@given(st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True), st.integers(0, 95), st.integers(1, 96))
def test_a_label_says_purpose_and_part_and_fits_into_a_slot(purpose: str, begin: int, end: int) -> None:
    span = Span(min(begin, end - 1), end)
    label = label_of(purpose, span)
    assert of_label(label) == (purpose, span)
    assert len(label.encode()) <= 80
    assert (label == purpose) == (span == WHOLE)


@pytest.mark.parametrize("label", ["a b", "a 15:07-24:00", "a 00:00-24:00", "a 1:00-2:00", "a 15:00-", " 00:00"])
def test_what_only_looks_like_a_part_is_a_purpose(label: str) -> None:
    assert of_label(label) == (label, WHOLE)


# -- sites ---------------------------------------------------------------------------------------------------------

SEOUL = UTC_POLICY.replace('"UTC"', '"Asia/Seoul"').replace('"90 days"', '"6 months"')
#: 28 February in Seoul until 15 o'clock, and then 1 March: they end on 28 August and on 1 September.
FEBRUARY = datetime(2029, 2, 28, tzinfo=UTC)
AUGUST = datetime(2029, 8, 28, tzinfo=UTC)


@pytest.fixture
def seoul(tmp_path: Path) -> SiteWithRecords:
    return SiteWithRecords(tmp_path, SEOUL)


def test_each_part_of_a_day_has_a_key_of_its_own_and_they_have_one_certificate(seoul: SiteWithRecords) -> None:
    first, last = (seoul.record(FEBRUARY + hour * HOUR, secret="x") for hour in (1, 16))
    seoul.keeps(first, last)
    assert [label for _, label in seoul.sealer.keyring.live()] == ["necessary 00:00-15:00", "necessary 15:00-24:00"]
    assert seoul.destroys(AUGUST + 14 * HOUR).keys == 0
    assert seoul.destroys(AUGUST + 15 * HOUR).keys == 1
    with pytest.raises(ConsentError):
        seoul.sealer.open(first)
    assert seoul.sealer.open(last)
    assert seoul.left(AUGUST + 30 * HOUR) == []
    assert seoul.records("certificate") == []

    done = seoul.destroys(AUGUST + timedelta(days=4))
    assert (done.keys, done.records, done.certificates) == (1, 1, 1)
    (certificate,) = seoul.records("certificate")
    assert certificate.data["certificate.records"] == 2
    assert certificate.data["certificate.key"] == "slot 0, slot 1"
    assert certificate.data["certificate.day"] == "2029-02-28"


def test_an_overdue_part_is_listed_though_another_of_its_day_has_not_ended(seoul: SiteWithRecords) -> None:
    seoul.keeps(*(seoul.record(FEBRUARY + hour * HOUR, secret="x") for hour in (1, 16)))
    (due,) = seoul.left(AUGUST + 15 * HOUR)
    assert (due.key, due.late, due.records) == (True, False, 1)
    (due,) = seoul.left(AUGUST + 17 * HOUR)
    assert (due.key, due.late) == (True, True)


def test_what_is_sealed_names_its_part_so_it_opens_under_another_calendar(seoul: SiteWithRecords) -> None:
    record = seoul.record(FEBRUARY + 16 * HOUR, secret="x")
    assert seoul.sealer.span_of(record) == (60, 96)
    seoul.sealer.follow([policy("Europe/London")])
    assert seoul.sealer.open(record)
    assert seoul.sealer.span_of(record) == (60, 96)


def test_a_visitor_has_one_token_in_all_parts_of_a_day_and_no_part_of_it_is_asked_for_one(tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path, SEOUL)
    day, person = day_of(FEBRUARY), Person(("receipt",))
    token = site.sealer.token(day, "analytics", b"receipt")
    site.keeps(*(site.record(FEBRUARY + n * HOUR, purpose="analytics", subject=token, secret="x") for n in (1, 16)))
    assert len(site.sealer.keyring.live()) == 3
    assert tokens(site.sealer, person) == {(day, "analytics"): frozenset((token,))}


def test_what_a_law_holds_moves_in_parts_and_is_told_apart_until_the_last_of_its_day_ends(tmp_path: Path) -> None:
    held = '[purposes.abuse.archive]\nretention = "18 months"\nlaw = "a law"\n'
    site = SiteWithRecords(tmp_path, SEOUL + held)
    token = site.sealer.token(day_of(FEBRUARY), "abuse", b"receipt")
    site.keeps(*(site.record(FEBRUARY + n * HOUR, kind="abuse", purpose="abuse", subject=token, secret="x")
                 for n in (1, 16)))  # fmt: skip
    year = FEBRUARY.replace(year=2030)
    assert site.destroys(year + 15 * HOUR).archived == 1
    assert site.destroys(year + 24 * HOUR).archived == 1
    assert site.sealer.keyring.live() == []
    end = AUGUST.replace(year=2030)  # and 1 September
    assert site.destroys(end + 15 * HOUR).records == 1
    assert len(site.records("naming", archive=True)) == 1
    assert site.left(end + 40 * HOUR) == []
    done = site.destroys(end + timedelta(days=4))
    assert (done.records, done.troubles) == (1, [])
    assert site.records("naming", "abuse", archive=True) == []
    assert [record.data["certificate.records"] for record in site.records("certificate")] == [2, 2]


@pytest.mark.parametrize(
    ("zone", "retention", "collected"),
    [
        ("Asia/Seoul", "6 months", "2029-02-28T01:00Z"),
        ("Asia/Seoul", "13 months", "2029-04-30T14:59Z"),
        ("Europe/London", "1 day", "2029-10-27T00:10Z"),  # the next day has 25 hours
        ("America/St_Johns", "90 days", "2029-08-06T03:00Z"),
        ("Asia/Kathmandu", "1 month", "2029-02-28T18:00Z"),
    ],
)
def test_a_copy_from_a_backup_opens_for_no_longer_than_a_day(tmp_path: Path, zone: str, retention: str,
                                                             collected: str) -> None:  # fmt: skip
    site = SiteWithRecords(tmp_path, SEOUL.replace("Asia/Seoul", zone).replace('"6 months"', f'"{retention}"'))
    instant = datetime.fromisoformat(collected).astimezone(UTC)
    end = after(instant, retention, ZoneInfo(zone))

    async def run() -> tuple[datetime, datetime]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})

        clock = Clock(instant)
        asgi = ConsentMiddleware(app, policy=site.file, secret_keys=["a key of at least 16 bytes"], clock=clock)
        runtime = asgi.runtime
        await runtime.store.open()
        await drive(asgi, http_scope("/secret"))
        assert await runtime.drain.once() == 1
        (copy,) = await runtime.store.fetch(Query(kinds=frozenset(("visit",))))
        opens = row = instant
        for number in range(-4, 4 * 30):
            now = end + number * _QUARTER
            await destroyed(runtime.destruction, now)
            if await runtime.store.fetch(Query(kinds=frozenset(("visit",)))):
                row = now
            try:
                runtime.sealer.open(copy)
                opens = now
            except ConsentError:
                break
        await runtime.drain.stop()
        return row, opens

    row, opens = asyncio.run(run())
    assert end - HOUR / 2 < row < end + HOUR
    assert end - HOUR / 2 < opens < end + LATE


def test_a_key_does_not_wait_for_the_minute_when_its_part_of_a_day_ends(seoul: SiteWithRecords) -> None:
    seoul.keeps(seoul.record(FEBRUARY, secret="x"))
    now = [AUGUST + 15 * HOUR - timedelta(milliseconds=900)]

    async def run(store: Any) -> None:
        destruction = Destruction.of_site(
            seoul.policy, seoul.places, store, seoul.sealer, SiteRestrictions(store, seoul.sealer)
        )
        task = asyncio.ensure_future(destruction.keep_on(lambda: int(now[0].timestamp() * 1e9)))
        await asyncio.sleep(0)
        now[0] = AUGUST + 15 * HOUR
        async with asyncio.timeout(60):
            while seoul.sealer.keyring.live():  # noqa: ASYNC110 - another process would see no more of it
                await asyncio.sleep(0.05)
        task.cancel()
        await destruction.close()

    seoul.using(run)


def test_a_site_makes_the_keys_of_today_and_tomorrow_ahead_and_none_that_nothing_needs(tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path, SEOUL)
    site.sealer.prepare([day_of(FEBRUARY)], ["necessary", "analytics"], with_tokens=site.policy.with_tokens)
    assert [label for _, label in site.sealer.keyring.live()] == [
        "analytics",
        "analytics 00:00-15:00",
        "analytics 15:00-24:00",
        "necessary 00:00-15:00",
        "necessary 15:00-24:00",
    ]
