"""When what was collected ends: on the calendar, to the hour, by the promise under which it was collected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.crypto.day_parts import Span
from consent_mw.exceptions import PolicyError
from consent_mw.policy.durations import Duration
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.retention.calendar import Retention, Window
from consent_mw.system.days import day_of, start_of

HOUR = timedelta(hours=1)
BEGIN = datetime(2023, 1, 1, tzinfo=UTC)


def policy(retention: str, *, zone: str = "UTC", revision: int = 1, effective: str = "2020-01-01") -> Policy:
    text = POLICY.replace('retention = "90 days"', f'retention = "{retention}"')
    text = text.replace('"Asia/Seoul"', f'"{zone}"').replace("revision = 1", f"revision = {revision}")
    text = text.replace("published = 2026-11-23", f"published = {effective}")
    return loads(text.replace("effective = 2026-11-23", f"effective = {effective}"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# When an hour is over, when its records have ended: hand-counted on the calendar of the zone.
ENDS = [
    ("1 year", "UTC", "2024-02-29T10:00+00:00", "2025-02-28T10:00+00:00"),
    ("1 year", "Asia/Seoul", "2024-02-29T10:00+09:00", "2025-02-28T10:00+09:00"),
    ("1 year", "UTC", "2023-02-28T10:00+00:00", "2024-02-28T10:00+00:00"),
    ("13 months", "UTC", "2025-10-20T10:00+00:00", "2026-11-20T10:00+00:00"),
    ("13 months", "Asia/Seoul", "2025-01-31T08:00+09:00", "2026-02-28T08:00+09:00"),
    ("1 month", "UTC", "2026-01-31T10:00+00:00", "2026-02-28T10:00+00:00"),
    ("6 months", "UTC", "2025-08-31T10:00+00:00", "2026-02-28T10:00+00:00"),
    ("90 days", "UTC", "2026-01-01T10:00+00:00", "2026-04-01T10:00+00:00"),
    # The clocks of Berlin go forward on 29 March 2026: a day on the calendar has 23 hours, and 24 hours are 24.
    ("1 day", "Europe/Berlin", "2026-03-28T10:00+01:00", "2026-03-29T10:00+02:00"),
    ("24 hours", "Europe/Berlin", "2026-03-28T10:00+01:00", "2026-03-29T11:00+02:00"),
    ("30 minutes", "UTC", "2026-01-01T10:00+00:00", "2026-01-01T10:30+00:00"),
]


@pytest.mark.parametrize(("retention", "zone", "collected", "ends"), ENDS)
def test_an_hour_of_records_ends_exactly_as_the_calendar_says(retention, zone, collected, ends):
    rules = Retention([policy(retention, zone=zone)])
    before = Window(at(collected) - HOUR, at(collected))  # the hour that is over at `collected`
    day, end = day_of(before.since), at(ends)

    def is_in(now: datetime) -> bool:
        windows = rules.ended(day, "necessary", now)
        return any(window.since <= before.since and before.until <= window.until for window in windows)

    assert is_in(end)
    assert not is_in(end - timedelta(milliseconds=1))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"])
@pytest.mark.parametrize("retention", ["1 year", "13 months", "90 days"])
@settings(max_examples=20)
@given(moment=st.integers(0, 4 * 365 * 86_400_000).map(lambda ms: BEGIN + timedelta(milliseconds=ms)))
def test_no_record_is_destroyed_early_or_left_for_an_hour(retention, zone, moment):
    promise = policy(retention, zone=zone)
    rules, day = Retention([promise]), day_of(moment)
    end = Duration.parse(retention).after(moment.astimezone(promise.time_zone)).astimezone(UTC)

    def is_in(now: datetime) -> bool:
        return any(window.since <= moment < window.until for window in rules.ended(day, "necessary", now))

    assert not is_in(end)
    assert is_in(end + HOUR)


@pytest.mark.parametrize("zone", ["Asia/Seoul", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"])
@settings(max_examples=20)
@given(
    retention=st.sampled_from(["1 day", "30 days", "1 month", "13 months"]),
    day=st.integers(day_of(at("2011-11-01")), day_of(at("2029-12-31"))),
    later=st.integers(-4 * 96, 4 * 96),
)
def test_a_day_holds_what_has_ended_from_its_first_end_on_in_whichever_order_it_is_asked(zone, retention, day, later):
    promise = policy(retention, zone=zone)
    rules, length = Retention([promise]), Duration.parse(retention)
    lasts = [start_of(day) + number * HOUR / 4 - timedelta(milliseconds=1) for number in range(1, 97)]
    ends = [length.after(last.astimezone(promise.time_zone)).astimezone(UTC) for last in lasts]
    first = min(ends) + timedelta(milliseconds=1)
    for now in (first + later * HOUR / 4, first - timedelta(milliseconds=1), first):
        assert rules.holds_ended(day, "necessary", now) == (first <= now)


def test_what_was_collected_under_a_shorter_promise_keeps_it():
    longer = policy("1 year", revision=2, effective="2026-02-01")
    rules = Retention([longer, policy("90 days")])
    before, after = day_of(at("2026-01-31T00:00+00:00")), day_of(at("2026-02-01T00:00+00:00"))
    now = at("2027-06-01T00:00+00:00")
    old, new = rules.rule(before, "necessary", now), rules.rule(after, "necessary", now)
    assert old is not None
    assert new is not None
    assert (old.revision, str(old.retention)) == (1, "90 days")
    assert (new.revision, str(new.retention)) == (2, "1 year")


def test_a_shorter_promise_holds_for_older_records_too_once_it_is_in_force():
    shorter = policy("30 days", revision=2, effective="2026-03-01")
    rules = Retention([policy("1 year"), shorter])
    day = day_of(at("2026-01-01T00:00+00:00"))
    assert not rules.has_ended(day, "necessary", at("2026-02-28T23:00+00:00"))
    assert rules.has_ended(day, "necessary", at("2026-03-01T00:00+00:00"))


@pytest.mark.parametrize(
    ("zone", "instant"),
    [
        ("America/New_York", "2026-03-01T00:00-05:00"),
        ("Asia/Seoul", "2026-03-01T00:00+09:00"),
        ("UTC", "2026-03-01T00:00Z"),
    ],
)
def test_a_promise_counts_from_the_first_instant_of_its_day_in_its_own_zone(zone, instant):
    shorter = policy("30 days", zone=zone, revision=2, effective="2026-03-01")
    rules, day = Retention([policy("1 year", zone=zone), shorter]), day_of(at("2026-01-01T00:00+00:00"))
    assert not rules.has_ended(day, "necessary", at(instant) - timedelta(seconds=1))
    assert rules.has_ended(day, "necessary", at(instant))


def test_a_record_is_kept_as_the_promise_in_force_at_its_instant_said_also_on_the_day_of_a_change():
    longer = policy("1 year", zone="America/New_York", revision=2, effective="2026-02-01")
    rules, day = Retention([policy("90 days", zone="America/New_York"), longer]), day_of(at("2026-02-01T00:00Z"))
    promised = at("2026-05-02T04:00Z")  # 90 days after the last instant of the older one, at midnight in New York
    assert rules.ended(day, "necessary", promised) == [Window(start_of(day), start_of(day) + 5 * HOUR)]
    assert rules.ended(day, "necessary", at("2027-01-31T23:59Z")) == [Window(start_of(day), start_of(day) + 5 * HOUR)]
    assert rules.has_ended(day, "necessary", at("2027-02-02T00:00Z"))


MONTHS = [("1 month", "30 days"), ("3 months", "90 days"), ("13 months", "395 days"), ("1 year", "366 days")]


@pytest.mark.parametrize(("first", "second"), [*MONTHS, *(pair[::-1] for pair in MONTHS)])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "Europe/London"])
def test_of_two_promises_the_one_that_ends_first_counts_for_each_record(first, second, zone):
    both = [policy(first, zone=zone), policy(second, zone=zone, revision=2, effective="2027-02-20")]
    rules, later = Retention(both), at("2029-06-01T00:00Z")
    for number in range(-40, 20):
        moment = at("2027-02-20T12:10Z") + number * timedelta(days=1)
        bound = [promise for promise in both if number < 0 or promise.revision == 2]
        ends = [promise.kept["necessary"].after(moment.astimezone(promise.time_zone)) for promise in bound]
        # A row goes with its hour.
        end = rules.end(day_of(moment), "necessary", later, Span(48, 52))
        assert end is not None
        assert min(ends) < end <= min(ends) + HOUR
        if number < 0:  # until the later one is in force the first promise counts alone
            ahead = rules.end(day_of(moment), "necessary", at("2027-02-19T00:00Z"), Span(48, 52))
            assert ahead is not None
            assert ends[0] < ahead <= ends[0] + HOUR


def test_a_record_of_february_ends_after_its_month_though_the_30_days_of_a_later_revision_are_less_on_average():
    rules = Retention([policy("1 month"), policy("30 days", revision=2, effective="2027-02-20")])
    day, now = day_of(at("2027-02-05T12:10Z")), at("2027-03-05T13:00Z")
    assert rules.ended(day, "necessary", now) == [Window(start_of(day), start_of(day) + 13 * HOUR)]
    assert rules.has_ended(day, "necessary", at("2027-03-06T00:00Z"))
    rule = rules.rule(day, "necessary", now)
    assert rule is not None
    assert (rule.revision, str(rule.retention)) == (1, "1 month")


def test_an_archive_holds_what_ends_by_a_promise_that_has_one():
    text = '[purposes.abuse.archive]\nretention = "5 years"\nlaw = "a law"\n'
    held = msgspec.structs.replace(policy("90 days"), purposes=loads(POLICY + text).purposes)
    without = policy("90 days", revision=2, effective="2026-02-01")
    rules, later = Retention([held, without]), at("2030-01-01T00:00Z")
    before, after = at("2026-01-31T23:59Z"), at("2026-02-01T00:00Z")
    holding = [rules.holding(instant, "abuse", later) for instant in (before, after)]
    assert [bool(rule) for rule in holding] == [True, False]


def test_a_revision_that_never_held_promised_nothing():
    announced = policy("30 days", revision=2, effective="2026-03-01")
    instead = msgspec.structs.replace(
        policy("1 year", revision=3, effective="2026-04-01"), published=announced.effective - timedelta(days=1)
    )
    rules, day = Retention([policy("1 year"), announced, instead]), day_of(at("2026-01-01T00:00+00:00"))
    assert not rules.has_ended(day, "necessary", at("2026-12-31T00:00+00:00"))


def test_a_purpose_that_a_later_revision_dropped_ends_as_it_was_promised():
    text = POLICY.replace('[purposes.functional]\nbasis = "consent"\nretention = "180 days"\n', "")
    text = text.replace('purpose = "functional"', 'purpose = "necessary"').replace("revision = 1", "revision = 2")
    rules = Retention([loads(POLICY), loads(text)])
    rule = rules.rule(20_780, "functional", start_of(21_500))
    assert rule is not None
    assert (rule.revision, str(rule.retention)) == (1, "180 days")
    assert rules.rule(20_780, "unheard_of", start_of(21_500)) is None
    assert not rules.has_ended(20_780, "unheard_of", start_of(90_000))


HELD = '[purposes.abuse.archive]\nretention = "5 years"\nlaw = "a law"\n'


def test_the_archive_counts_its_longer_duration_from_the_record():
    rules = Retention([loads(POLICY + HELD)])
    day = day_of(at("2026-11-23T00:00+00:00"))
    archive = rules.of_archive()
    assert archive.purposes == ("abuse",)
    assert rules.end(day, "abuse", start_of(day)) == at("2027-11-24T00:00+00:00")
    assert archive.end(day, "abuse", start_of(day)) == at("2031-11-24T00:00+00:00")


def test_an_archive_shorter_than_its_purpose_or_without_a_law_is_refused():
    with pytest.raises(PolicyError, match=r"purposes\.abuse\.archive\.retention: 1 year is no longer"):
        loads(POLICY + HELD.replace("5 years", "1 year"))
    with pytest.raises(PolicyError, match=r"purposes\.abuse\.archive.*law"):
        loads(POLICY + HELD.replace('law = "a law"\n', ""))


def test_what_is_not_sealed_must_be_said_in_so_many_words():
    assert loads(POLICY).seal
    assert not loads(POLICY + "[log]\nseal = false\n").seal
    with pytest.raises(PolicyError, match=r"log\.seal: 0 is neither true nor false; write seal = true"):
        loads(POLICY + "[log]\nseal = 0\n")


@pytest.mark.parametrize("retention", ["7 minutes", "5 hours", "1 day", "1 month"])
@settings(max_examples=5)
@given(
    now=st.integers(0, 4 * 365 * 1440).map(lambda minutes: BEGIN + timedelta(minutes=minutes, seconds=7)),
    later=st.integers(0, 90),
)
def test_nothing_that_was_collected_after_what_is_told_has_ended(retention, now, later):
    rules = Retention([policy(retention, zone="America/St_Johns")])
    for moment in (now, now + timedelta(minutes=later)):
        days = range(day_of(moment) - 33, day_of(moment) + 2)
        ended = [window.until for day in days for window in rules.ended(day, "necessary", moment)]
        assert rules.none_ended_since("necessary", moment) == max(ended)
