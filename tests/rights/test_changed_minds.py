"""Persons who change their minds over months, in browsers, zones and revisions: rights and retention follow them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Scope

from consent_mw.crypto.day_parts import of_label
from consent_mw.system.days import day_of
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.site import LivingSite

START = datetime(2028, 2, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NewSite = Callable[..., LivingSite]


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x")


SHOP = Starlette(routes=[Route("/{name:path}", page)])


def policy(
    asked: str = "analytics=13 months,marketing=6 months",
    *,
    revision: int = 1,
    published: date = date(2028, 1, 1),
    effective: date | None = None,
    zone: str = "UTC",
    necessary: str = "10 days",
) -> str:
    purposes = [one.split("=") for one in asked.split(",")]
    more = [
        f'[purposes.{name}]\nbasis = "consent"\nretention = "{kept}"\n[log.{name}]\n"url.path" = "full"\n'
        for name, kept in purposes
    ]
    return f"""schema = 1
revision = {revision}
published = {published}
effective = {effective or published}
time_zone = "{zone}"
languages = ["en"]
[controller]
name = "x"
officer = {{ name = "k", email = "p@example.com" }}
[purposes.necessary]
basis = "necessary"
retention = "{necessary}"
[log.necessary]
"url.path" = "full"
{"".join(more)}"""


def signed_in(scope: Scope) -> str | None:
    return next((value.decode() for name, value in scope["headers"] if name == b"x-member"), None)


#: What a store is asked for differs: a person's days, links of a sign-in, and what ends. `make year` does all of it.
in_postgres = pytest.mark.parametrize("where", ["sqlite", "postgresql"])


@pytest.fixture
def where() -> str:
    return "sqlite"


@pytest.fixture
def new_site(request: pytest.FixtureRequest, tmp_path: Path, where: str) -> NewSite:
    more: dict[str, Any] = {}
    if where == "postgresql":
        more = {"store": request.getfixturevalue("postgres").database()}

    def make(text: str | None, at: datetime = START, **options: Any) -> LivingSite:
        options = {"subject": signed_in, "exclude": ("/consent*",), **more, **options}
        return LivingSite(SHOP, directory=tmp_path, policy=text, at=at, **options)

    return make


def member(site: LivingSite, name: str) -> ConsentClient:
    return site.visitor(headers={"x-member": name})


def read_by_staff(site: LivingSite, purpose: str = "analytics") -> list[str]:
    """Return the paths that `consent-mw log` shows."""
    site.settle()
    done = site.run("log", "--kind", "visit", "--purpose", purpose, "--reason", "to look", "--json")
    assert done.exit_code == 0, done.stderr
    return [json.loads(line)["url.path"] for line in done.stdout.splitlines()]


def paths(site: LivingSite, purpose: str) -> list[str]:
    return [row.data["url.path"] for row in site.records("visit") if row.purpose == purpose and "url.path" in row.data]


def certified(site: LivingSite, purpose: str) -> int:
    rows = [row.data for row in site.certificates() if row.data["certificate.purpose"] == purpose]
    return sum(row["certificate.records"] for row in rows)


def living_keys(site: LivingSite, instant: datetime, purpose: str) -> list[str]:
    live = site.app.runtime.sealer.keyring.live()
    return [label for day, label in live if day == day_of(instant) and of_label(label)[0] == purpose]


@in_postgres
def test_a_restriction_holds_in_the_next_browser_after_each_change_of_mind_until_it_is_lifted_there(
    new_site: NewSite,
) -> None:
    with new_site(policy()) as site:
        one = member(site, "ada")
        one.accept()
        one.get("/one")
        one.exercise("restrict")
        site.pass_time(days=40, step=20 * DAY)
        other = member(site, "ada")
        other.accept()
        other.get("/other")
        other.refuse("marketing")
        other.get("/refused")
        one.refuse("marketing")
        one.accept()
        one.get("/again")
        assert read_by_staff(site) == []
        assert other.my_data()["restricted"]
        other.exercise("lift")
        assert sorted(read_by_staff(site)) == ["/again", "/one", "/other", "/refused"]
        assert not one.my_data()["restricted"]


def test_of_two_restrictions_one_that_is_lifted_leaves_the_other(new_site: NewSite) -> None:
    with new_site(policy()) as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/one")
        kim.exercise("restrict")
        site.pass_time(hours=2)
        kim.exercise("restrict", message="again")
        site.pass_time(days=3)
        numbers = [request["number"] for request in kim.my_data()["requests"] if request["state"] != "done"]
        kim.exercise("lift", number=numbers[0])
        assert kim.my_data()["restricted"]
        assert read_by_staff(site) == []
        site.pass_time(days=150, step=10 * DAY)
        assert read_by_staff(site) == []
        for number in numbers[1:]:
            kim.exercise("lift", number=number)
        assert not kim.my_data()["restricted"]
        assert read_by_staff(site) == ["/one"]


def test_a_purpose_that_returns_under_its_name_is_taken_back_with_what_it_had_before(new_site: NewSite) -> None:
    with new_site(policy("analytics=13 months,functional=13 months")) as site:
        kim, lee = site.visitor(), site.visitor()
        for visitor in (kim, lee):
            visitor.accept()
            visitor.get("/first")
        without = policy("analytics=13 months", revision=2, published=site.today, effective=site.today + 8 * DAY)
        site.publish(without)
        site.pass_time(days=40, step=DAY)
        kim.accept()
        kim.get("/second")
        again = policy(
            "analytics=13 months,functional=3 months", revision=3, published=site.today, effective=site.today + 30 * DAY
        )
        site.publish(again)
        site.pass_time(days=31, step=DAY)
        kim.accept()
        kim.get("/third")
        site.settle()
        assert sorted(paths(site, "functional")) == ["/first", "/first", "/third"]
        kim.refuse("functional")
        site.pass_time(hours=1)
        assert paths(site, "functional") == ["/first"], "that of another person"
        site.pass_time(days=20, step=DAY)
        assert paths(site, "functional") == [], "it ends by the shorter promise that is in force"
        assert set(paths(site, "analytics")) == {"/first", "/second", "/third"}


@in_postgres
def test_an_erasure_finds_what_was_collected_under_receipts_that_are_gone_themselves(new_site: NewSite) -> None:
    with new_site(policy("analytics=2 years,marketing=2 years")) as site:
        kim, other = site.visitor(), site.visitor()
        other.accept()
        other.get("/of-another")
        for number in range(5):
            if number % 2:
                kim.refuse("marketing")
            else:
                kim.accept()
            kim.get(f"/{number}")
            site.pass_time(days=90, step=30 * DAY)
        assert len(paths(site, "analytics")) == 6
        assert len(kim.my_data()["held"]) >= 2
        kim.exercise("erase", confirm="yes")
        site.pass_time(minutes=5)
        assert {*paths(site, "analytics"), *paths(site, "marketing")} == {"/of-another"}
        assert [row.data["erased.records"] for row in site.erasures()][-1] >= 5


@pytest.mark.parametrize(
    ("zone", "at", "kept", "end"),
    [
        ("Asia/Seoul", datetime(2028, 2, 29, 10, tzinfo=UTC), "1 year", datetime(2029, 2, 28, 11, tzinfo=UTC)),
        ("America/St_Johns", datetime(2028, 2, 29, 1, tzinfo=UTC), "1 month", datetime(2028, 3, 29, 1, tzinfo=UTC)),
        ("Europe/London", datetime(2028, 10, 28, 23, 30, tzinfo=UTC), "1 day", datetime(2028, 10, 30, 1, tzinfo=UTC)),
        ("Europe/London", datetime(2028, 8, 31, 10, tzinfo=UTC), "6 months", datetime(2029, 2, 28, 11, tzinfo=UTC)),
    ],
)
def test_rows_end_at_their_hour_and_keys_within_a_day_where_months_and_clocks_are_uneven(
    new_site: NewSite, zone: str, at: datetime, kept: str, end: datetime
) -> None:
    with new_site(policy(f"analytics={kept}", zone=zone, necessary="3 years"), at=at) as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/one")
        site.settle()
        site.pass_until(end - timedelta(hours=2), step=30 * DAY)
        assert paths(site, "analytics") == ["/one"]
        site.pass_until(end + timedelta(hours=1))
        assert paths(site, "analytics") == []
        site.pass_until(end + DAY, step=timedelta(hours=6))
        assert living_keys(site, at, "analytics") == []
        assert certified(site, "analytics") == 1


def test_what_was_collected_in_two_zones_ends_by_each_of_them(new_site: NewSite) -> None:
    """The day of the change is cut at the midnights of both."""
    with new_site(policy("analytics=30 days", zone="Asia/Seoul")) as site:
        kim = site.visitor()
        kim.accept()
        begin = site.today + 8 * DAY
        site.publish(
            policy("analytics=30 days", revision=2, published=site.today, effective=begin, zone="America/St_Johns")
        )
        site.pass_until(START + 7 * DAY, step=DAY)
        kim.accept()
        for hour in range(30):
            kim.get(f"/{hour}")
            site.pass_time(hours=1)
        kim.accept()
        site.settle()
        assert len(paths(site, "analytics")) == 30
        begun = START + 7 * DAY
        site.pass_until(begun + 30 * DAY + timedelta(hours=10, minutes=30), step=DAY / 2)
        left = {f"/{hour}" for hour in range(30) if begun + timedelta(hours=hour) > site.now - 30 * DAY}
        gone = {f"/{hour}" for hour in range(30)} - {*paths(site, "analytics")}
        assert left <= {*paths(site, "analytics")}
        assert len(gone) >= 9
        site.pass_time(days=3, step=DAY / 4)
        assert paths(site, "analytics") == []
        assert certified(site, "analytics") == 30
        for day in range(2):
            assert living_keys(site, begun + day * DAY, "analytics") == []


@in_postgres
def test_what_waits_in_the_spool_beyond_its_shortest_purpose_keeps_the_others_and_leaves_a_gap(
    new_site: NewSite,
) -> None:
    with new_site(policy("analytics=13 months,marketing=20 days", necessary="5 days"), drain=False) as site:
        kim = site.visitor()
        kim.accept()
        for number in range(4):
            kim.get(f"/{number}")
        site.pass_time(days=9, step=DAY)
        kim.refuse("marketing")
        kim.get("/4")
        site.restart(drain=True)
        site.settle()
        assert sorted(paths(site, "analytics")) == ["/0", "/1", "/2", "/3", "/4"]
        assert paths(site, "necessary") == ["/4"]
        gaps = [row.data for row in site.records("gap")]
        assert sum(gap["gap.records"] for gap in gaps if gap["gap.reason"] == "ended") == 4, gaps


def test_one_person_who_changes_their_mind_ten_times_in_two_browsers_is_in_no_published_cell(
    new_site: NewSite,
) -> None:
    with new_site(policy()) as site:
        browsers = [member(site, "ada") for _ in range(2)]
        for number in range(10):
            for browser in browsers:
                if number % 2:
                    browser.refuse("marketing")
                else:
                    browser.accept()
                browser.get("/clinic/hiv")
                site.pass_time(minutes=1)
        for _ in range(2):
            visitor = site.visitor()
            visitor.accept()
            visitor.get("/clinic/hiv")
        many = [site.visitor() for _ in range(6)]
        for visitor in many:
            visitor.accept()
            visitor.get("/shop")
        site.pass_time(days=2, step=DAY / 4)
        counts = site.counts(START.date())["analytics"]
        assert "/clinic/hiv" not in json.dumps(counts)
        assert counts["kind"] == {"visit": 28}


@in_postgres
def test_certificates_say_the_number_with_latecomers_and_a_clock_that_steps_back(new_site: NewSite) -> None:
    with new_site(policy("analytics=10 days"), at=START.replace(hour=20)) as site:
        kim = site.visitor()
        kim.accept()
        for number in range(6):
            kim.get(f"/{number}")
        site.pass_until(START.replace(hour=0) + DAY + timedelta(minutes=40))
        assert site.counts(START.date())
        site.pass_time(hours=-1)
        for number in range(6, 10):
            kim.get(f"/{number}")
        site.pass_time(hours=2)
        site.pass_time(hours=-3)
        kim.get("/10")
        site.pass_time(days=15, step=DAY / 2)
        assert paths(site, "analytics") == []
        assert certified(site, "analytics") == 11
        assert living_keys(site, START, "analytics") == []


def test_a_person_who_withdraws_while_an_erasure_is_open_and_comes_back_is_counted_once(new_site: NewSite) -> None:
    with new_site(policy()) as site:
        kim = member(site, "kim")
        kim.accept()
        for number in range(3):
            kim.get(f"/{number}")
        kim.exercise("erase", confirm="yes")
        kim.reject()
        kim.accept()
        kim.get("/back")
        site.pass_time(minutes=10)
        assert paths(site, "analytics") == ["/back"]
        assert sum(row.data["erased.records"] for row in site.erasures()) == 6
        kim.exercise("restrict")
        kim.exercise("erase", confirm="yes")
        site.pass_time(minutes=10)
        assert paths(site, "analytics") == []
        assert kim.my_data()["held"] == []
