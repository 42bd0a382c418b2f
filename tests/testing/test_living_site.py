"""A site that lives through time in a test: background work, publications, commands and visitors on one clock."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.living_shop import DAY, SHOP, START, TEXT
from tests.support.postgres import PostgresServer
from tests.support.repository import ROOT

from consent_mw.exceptions import PolicyError
from consent_mw.middleware import ConsentMiddleware
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.site import LivingSite


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., LivingSite]:
    def make(policy: str | None = TEXT, at: datetime = START, **options: Any) -> LivingSite:
        return LivingSite(SHOP, directory=tmp_path, policy=policy, at=at, **{"exclude": ("/consent*",), **options})

    return make


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of a database of its own."""
    return postgres.database()


NewSite = Callable[..., LivingSite]


def test_nothing_is_destroyed_before_time_passes_and_all_of_it_at_its_hour(new_site: NewSite) -> None:
    with new_site(TEXT.replace('"90 days"', '"10 days"')) as site:
        site.visitor().get("/")
        site.pass_until(START + timedelta(days=10, minutes=59))
        assert len(site.records("visit")) == 1
        site.pass_time(minutes=1)
        assert site.records("visit") == []
        site.pass_time(days=1)
        (certificate,) = [row.data for row in site.certificates() if row.data["certificate.purpose"] == "necessary"]
        assert certificate["certificate.day"] == "2028-02-01"
        assert certificate["certificate.records"] == 1


def test_settling_does_the_work_of_this_instant_and_moves_no_time(new_site: NewSite) -> None:
    with new_site() as site:
        site.visitor().get("/")
        assert site.app.runtime.spool.waiting_bytes
        site.settle()
        assert not site.app.runtime.spool.waiting_bytes
        assert site.now - START < timedelta(seconds=1)


def test_nothing_goes_on_in_the_background_by_itself(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        assert "consent-mw drain" not in kim.get("/tasks").text
        assert "consent-mw drain" in served_by_itself(site)


def served_by_itself(site: LivingSite) -> str:
    """Return the names of the tasks of the same site in production."""
    data, file = site.directory / "other", site.directory / "policy.toml"
    app = ConsentMiddleware(SHOP, policy=file, directory=data, secret_keys=["only for this test"], clock=site.clock)
    with ConsentClient(app) as visitor:
        return visitor.get("/tasks").text


def test_a_revision_takes_over_at_its_instant_and_asks_again(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        site.publish(revised(site, days=30))
        assert kim.state()["announced"]["revision"] == 2
        site.pass_until(datetime(2028, 3, 1, 23, 59, 59, tzinfo=UTC), step=DAY)
        assert site.today == date(2028, 3, 1)
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
        site.pass_time(days=40, step=20 * DAY)
        assert site.visitor().state()["revision"] == 1


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


def test_a_visitor_on_https_has_a_browser_of_their_own_for_each_host(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor(base_url="https://shop.example")
        kim.accept()
        assert "__Host-consent" in kim.cookies
        assert site.visitor(base_url="http://shop.example").get("/").status_code == 200


def test_who_asks_for_it_is_erased_in_the_background_of_the_next_settling(new_site: NewSite) -> None:
    with new_site() as site:
        kim, lee = site.visitor(), site.visitor()
        for visitor in (kim, lee):
            visitor.accept()
            visitor.get("/")
        assert {holding["purpose"] for holding in kim.my_data()["held"]} >= {"analytics"}
        kim.exercise("withdraw", purpose="analytics")
        site.settle()
        (erasure,) = site.erasures()
        assert erasure.data["erased.records"] == 1
        assert len([row for row in site.records("visit") if row.purpose == "analytics"]) == 1
        assert lee.my_data()["held"]


def test_a_day_is_counted_once_it_is_over(new_site: NewSite) -> None:
    with new_site() as site:
        for _ in range(6):
            site.visitor().get("/")
        site.pass_until(datetime(2028, 2, 2, tzinfo=UTC))
        assert site.counts(START.date()) == {}
        site.pass_time(hours=1)
        assert site.counts(START.date())["necessary"]["route"] == {"/": 6}
        assert site.counts(START.date() + DAY) == {}


def test_what_a_law_demands_is_read_from_the_archive(new_site: NewSite) -> None:
    held = '[purposes.necessary.archive]\nretention = "5 years"\nlaw = "a law"\n'
    with new_site(TEXT + held) as site:
        site.visitor().get("/")
        assert site.archived() == []
        site.pass_time(days=91, step=30 * DAY)
        assert site.records("visit") == []
        (visit,) = site.archived("visit")
        assert visit.data["url.path"] == "/"
        (certificate,) = [row.data for row in site.certificates() if row.data["certificate.purpose"] == "necessary"]
        assert certificate["certificate.archived"] == 1


def test_work_is_done_before_the_clock_moves_on_each_full_step_and_at_the_end(new_site: NewSite) -> None:
    with new_site(at=START + timedelta(minutes=20)) as site:
        seen = moments(site)
        site.pass_time(hours=2)
        assert seen == ["12:20", "13:00", "14:00", "14:20"]
        seen.clear()
        site.pass_time(days=1, step=timedelta(hours=8))
        assert seen == ["14:20", "16:00", "00:00", "08:00", "14:20"]


def moments(site: LivingSite) -> list[str]:
    """Return a list that tells each moment at which background work happens."""
    drain, seen = site.app.runtime.drain, list[str]()
    look = drain.poll_published

    def noted() -> None:
        seen.append(f"{site.now:%H:%M}")
        look()

    drain.poll_published = noted
    return seen


def test_the_clock_may_be_set_back(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.get("/")
        site.pass_time(hours=-3)
        kim.get("/")
        assert [row.time.hour for row in site.records("visit")] == [9, 12]
        site.pass_time(days=92, step=30 * DAY)
        assert site.records("visit") == []


def test_a_wrong_time_is_refused(new_site: NewSite) -> None:
    with new_site() as site:
        with pytest.raises(ValueError, match="step=0:00:00"):
            site.pass_time(days=1, step=timedelta())
        with pytest.raises(ValueError, match="no time zone"):
            site.pass_until(datetime(2028, 3, 1))  # noqa: DTZ001 - this is the fault


def test_a_site_starts_again_over_its_directory_with_the_same_visitors(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/")
        first = site.app
        site.restart(debug=True)
        assert site.app is not first
        assert site.app.runtime.options.debug
        assert kim.state()["choice"] == "accept"
        assert len(site.records("receipt")) == 1
        site.pass_time(hours=1)


def test_a_site_that_cannot_start_again_says_why(new_site: NewSite, tmp_path: Path) -> None:
    with new_site() as site:
        (tmp_path / "policy.toml").write_text(TEXT.replace('"90 days"', '"91 days"'))
        with pytest.raises(PolicyError, match="published with other content"):
            site.restart()


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from tests.support.living_shop import SHOP, START
from consent_mw.testing.site import LivingSite

with LivingSite(SHOP, directory=sys.argv[1], at=START, exclude=("/consent*",)) as site:
    for number in range(7):
        visitor = site.visitor()
        visitor.accept()
        visitor.get("/")
        if number == 3:
            site.settle()
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_opened_and_nothing_acknowledged_is_lost(
    new_site: NewSite, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text(TEXT)
    program = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    acknowledged = len(killed.stdout.splitlines())
    with new_site(policy=None, at=START + DAY) as site:
        assert len(site.records("receipt")) == acknowledged == 7
        assert len([row for row in site.records("visit") if row.purpose == "necessary"]) == 7
        site.pass_time(days=1)
        assert site.counts(START.date())["necessary"]["route"] == {"/": 7}


def test_a_site_over_postgresql_lives_through_time_too(new_site: NewSite, database: str) -> None:
    with new_site(store=database) as site:
        for _ in range(6):
            site.visitor().get("/")
        site.pass_time(days=1)
        assert site.counts(START.date())["necessary"]["route"] == {"/": 6}
        assert len(site.run("log", "--json", "--kind", "visit").json_lines()) == 6
        assert site.run("requests").stdout == "no request is open\n"  # of a group the command that none names
        site.pass_time(days=91, step=30 * DAY)
        assert site.records("visit") == []
        assert site.run("purge", "--dry-run").exit_code == 0
        assert sum(row.data["certificate.records"] for row in site.certificates()) == 6
