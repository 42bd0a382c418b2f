"""A site that lives through time in a test: background work, publications, commands and visitors on one clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from tests.policies import POLICY

from consent_mw.testing.site import LivingSite

START = datetime(2028, 2, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TEXT = re.sub(r"(published|effective) = [\d-]+", r"\1 = 2028-01-01", POLICY.replace('"Asia/Seoul"', '"UTC"'))


async def home(request: Request) -> HTMLResponse:
    response = HTMLResponse("<!doctype html><title>x</title><body><h1>x</h1></body>")
    response.set_cookie("theme", "dark", max_age=3600)
    return response


SHOP = Starlette(routes=[Route("/", home)])


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., LivingSite]:
    def make(policy: str | None = TEXT, at: datetime = START, **options: Any) -> LivingSite:
        return LivingSite(SHOP, directory=tmp_path, policy=policy, at=at, **{"exclude": ("/consent*",), **options})

    return make


NewSite = Callable[..., LivingSite]


def test_nothing_is_destroyed_before_time_passes_and_all_of_it_at_its_hour(new_site: NewSite) -> None:
    with new_site(TEXT.replace('"90 days"', '"10 days"')) as site:
        site.visitor().get("/")
        site.pass_until(START + timedelta(days=10, minutes=59))
        assert len(site.records("visit")) == 1
        site.pass_time(minutes=1)
        assert site.records("visit") == []
        site.pass_time(days=1)
        (certificate,) = [each.data for each in site.certificates() if each.data["certificate.purpose"] == "necessary"]
        assert certificate["certificate.day"] == "2028-02-01"
        assert certificate["certificate.records"] == 1


def test_settling_does_the_work_of_this_instant_and_moves_no_time(new_site: NewSite) -> None:
    with new_site() as site:
        site.visitor().get("/")
        assert site.app.wiring.spool.waiting_bytes
        site.settle()
        assert not site.app.wiring.spool.waiting_bytes
        assert site.now - START < timedelta(seconds=1)


def test_what_has_not_waited_for_a_settling_is_not_done_in_the_background(new_site: NewSite) -> None:
    with new_site() as site:
        for _ in range(3):
            site.visitor().get("/")
        assert site.app.wiring.drain.handed_over == 0
        assert site.app.wiring.drain.loop is not None  # it counts as running: no request starts another


def test_a_revision_takes_over_at_its_instant_and_asks_again(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        site.publish(revised(site, days=30))
        assert kim.state()["announced"]["revision"] == 2
        site.pass_until(datetime(2028, 3, 1, 23, 59, 59, tzinfo=UTC))
        assert site.today == date(2028, 3, 1)
        site.pass_until(datetime(2028, 3, 1, 23, 59, 59, 900_000, tzinfo=UTC))
        assert kim.state()["revision"] == 1
        site.pass_until(datetime(2028, 3, 2, tzinfo=UTC))
        assert kim.state()["revision"] == 2
        assert kim.state()["show"]


def revised(site: LivingSite, days: int) -> str:
    """A second revision that is published today, under which something is kept longer."""
    text = TEXT.replace("revision = 1", "revision = 2").replace('"180 days"', '"200 days"')
    text = re.sub(r"published = [\d-]+", f"published = {site.today}", text)
    return re.sub(r"effective = [\d-]+", f"effective = {site.today + timedelta(days=days)}", text)


def test_a_revision_that_comes_too_early_is_refused_and_changes_nothing(new_site: NewSite, tmp_path: Path) -> None:
    with new_site() as site:
        with pytest.raises(ValueError, match="2028-03-02"):
            site.publish(revised(site, days=3))
        assert (tmp_path / "policy.toml").read_text() == TEXT
        site.pass_time(days=40, step=DAY)
        assert site.visitor().state()["revision"] == 1


def test_a_command_runs_at_the_instant_of_the_site(new_site: NewSite, tmp_path: Path) -> None:
    with new_site() as site:
        site.visitor().get("/")
        site.settle()
        site.clock.advance(timedelta(days=91, hours=25))
        due = site.run("purge", "--dry-run", "--json")
        assert due.exit_code == 1
        assert due.json()["left"]
        done = site.run("purge")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "1 records" in done.stdout
        assert site.records("visit") == []
        assert site.run("nonsense").exit_code == 2
    assert Path.cwd() != tmp_path


def test_two_visitors_share_nothing(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor(address="203.0.113.7", headers={"accept-language": "ko"})
        lee = site.visitor(address="198.51.100.4", headers={"accept-language": "en"})
        kim.accept()
        assert lee.get("/").cookies.get("theme") is None
        assert kim.get("/").cookies["theme"] == "dark"
        assert "theme" not in lee.cookies
        assert kim.state()["choice"] == "accept"
        assert lee.state()["choice"] is None
        assert {kim.state()["language"], lee.state()["language"]} == {"ko", "en"}


def test_a_cookie_expires_in_the_jar_when_the_clock_says_so(new_site: NewSite) -> None:
    with new_site(at=datetime(2001, 1, 1, tzinfo=UTC), policy=TEXT.replace("2028-01-01", "2001-01-01")) as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/")
        assert kim.cookies["theme"] == "dark"
        site.clock.advance(timedelta(minutes=59))
        assert kim.cookies["theme"] == "dark"
        site.clock.advance(timedelta(minutes=2))
        assert "theme" not in kim.cookies
        assert kim.state()["choice"] == "accept"
        site.clock.advance(timedelta(days=180))
        assert len(kim.cookies) == 0
        site.clock.advance(-timedelta(days=180))
        assert len(kim.cookies) == 0
