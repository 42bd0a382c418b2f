"""By when a request must be answered: ten days or one month, on the calendar of the policy's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.policy.loader import loads
from consent_mw.rights.deadlines import due_date, end_of
from consent_mw.rights.request import Answer, Case, Request

SECOND = timedelta(seconds=1)


def due(received: str, jurisdiction: str, zone: str = "Asia/Seoul") -> str:
    """Return the last day for what came at that time on the wall of `zone`."""
    at = datetime.fromisoformat(received).replace(tzinfo=ZoneInfo(zone))
    return due_date(at.astimezone(UTC), jurisdiction, ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("received", "last"),
    [
        ("2026-03-01T00:00", "2026-03-11"),  # the day of receipt is not counted
        ("2026-03-01T23:59:59", "2026-03-11"),
        ("2026-12-25T12:00", "2027-01-04"),
        ("2028-02-20T12:00", "2028-03-01"),  # a leap year
        ("2027-02-20T12:00", "2027-03-02"),
    ],
)
def test_korea_gives_ten_days(received: str, last: str) -> None:
    assert due(received, "KR") == last


@pytest.mark.parametrize("jurisdiction", ["EU", "UK"])
@pytest.mark.parametrize(
    ("received", "last"),
    [
        ("2026-01-31T12:00", "2026-02-28"),  # there is no 31 February
        ("2028-01-31T12:00", "2028-02-29"),
        ("2028-02-29T12:00", "2028-03-29"),
        ("2026-03-31T12:00", "2026-04-30"),
        ("2026-04-30T12:00", "2026-05-30"),
        ("2026-12-31T23:59:59", "2027-01-31"),
    ],
)
def test_europe_gives_a_month_by_the_calendar(received: str, last: str, jurisdiction: str) -> None:
    assert due(received, jurisdiction, "Europe/Berlin") == last


@pytest.mark.parametrize(
    ("received", "last"),
    [("2026-11-23T14:59:59+00:00", "2026-12-03"), ("2026-11-23T15:00:00+00:00", "2026-12-04")],
    ids=["a second before midnight in Seoul", "at midnight in Seoul"],
)
def test_the_day_of_receipt_is_one_of_the_policys_time_zone(received: str, last: str) -> None:
    assert due_date(datetime.fromisoformat(received), "KR", ZoneInfo("Asia/Seoul")).isoformat() == last


@pytest.mark.parametrize(
    ("zone", "received", "end"),
    [
        ("Asia/Seoul", "2026-11-23T09:00", "2026-12-03T15:00:00+00:00"),
        ("Europe/Berlin", "2026-03-20T09:00", "2026-03-30T22:00:00+00:00"),  # summer time began on the 29th
        ("Europe/Berlin", "2026-10-20T09:00", "2026-10-30T23:00:00+00:00"),  # and ended on the 25th
        ("America/Santiago", "2026-08-26T09:00", "2026-09-06T04:00:00+00:00"),  # where midnight does not exist
        ("America/Havana", "2026-10-21T09:00", "2026-11-01T04:00:00+00:00"),  # the first of two midnights
    ],
)
def test_it_is_overdue_at_midnight_and_not_a_second_before(zone: str, received: str, end: str) -> None:
    policy = loads('jurisdiction = "KR"' + POLICY.replace("Asia/Seoul", zone))
    came = datetime.fromisoformat(received).replace(tzinfo=ZoneInfo(zone))
    case = Case(Request.new("access", "phone", int(came.timestamp() * 1e9), received=came))
    midnight = end_of(case.due(policy), policy.time_zone)
    assert midnight.astimezone(UTC).isoformat() == end
    assert not case.is_overdue(policy, midnight.astimezone(UTC) - SECOND)
    assert case.is_overdue(policy, midnight.astimezone(UTC))


def test_what_has_ended_is_never_overdue_and_what_was_granted_still_is() -> None:
    policy = loads(POLICY)
    request = Request.new("erasure", "site", 0)
    long_after = datetime(2026, 1, 1, tzinfo=UTC)
    granted, done = (Answer.new(request.id, outcome, 1) for outcome in ("granted", "done"))
    assert Case(request, (granted,)).is_overdue(policy, long_after)
    assert not Case(request, (granted, done)).is_overdue(policy, long_after)


@given(
    received=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    jurisdiction=st.sampled_from(("KR", "EU", "UK", "US", "US-CA")),
    zone=st.sampled_from(["Asia/Seoul", "Europe/London", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_nobody_has_less_time_than_promised(received: datetime, jurisdiction: str, zone: str) -> None:
    last = due_date(received, jurisdiction, ZoneInfo(zone))
    given_days = (end_of(last, ZoneInfo(zone)) - received) / timedelta(days=1)
    assert given_days > (10 if jurisdiction == "KR" else 28) - 1 / 12  # an hour of summer time
    assert isinstance(last, date)
