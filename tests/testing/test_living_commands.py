"""Each command of a living site works at the site's instant: what it judges, writes and says is of that day."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.living_shop import DAY, SHOP, START, TEXT

from consent_mw.testing.client import ConsentClient
from consent_mw.testing.site import LivingSite

ASKED = ("requests", "add", "--kind", "access", "--channel", "phone", "--received", "2028-02-01")
HELD = '[purposes.necessary.archive]\nretention = "5 years"\nlaw = "a law"\n'


@pytest.fixture
def site(tmp_path: Path) -> Generator[LivingSite]:
    with LivingSite(SHOP, directory=tmp_path, policy=TEXT + HELD, at=START, exclude=("/consent*",)) as site:
        yield site


@pytest.fixture
def kim(site: LivingSite) -> ConsentClient:
    kim = site.visitor()
    kim.accept()
    kim.get("/")
    site.settle()
    return kim


@pytest.mark.usefixtures("kim")
def test_purge_destroys_what_has_ended_at_that_instant(site: LivingSite) -> None:
    site.clock.advance(timedelta(days=90, hours=2))
    assert site.run("purge", "--dry-run").exit_code == 0
    site.clock.advance(timedelta(hours=25))
    due = site.run("purge", "--dry-run", "--json")
    assert (due.exit_code, [row["late"] for row in due.json()["left"]]) == (1, [True])
    done = site.run("purge", "--json")
    assert (done.exit_code, done.stderr, done.json()["done"]["records"]) == (0, "", 1)
    (certificate,) = site.certificates()
    assert certificate.data["certificate.destroyed"] == site.now.isoformat(timespec="seconds")
    assert certificate.data["certificate.ended"].startswith("2028-05-02")


@pytest.mark.usefixtures("kim")
def test_an_access_is_recorded_at_that_instant(site: LivingSite) -> None:
    site.pass_time(days=3, step=DAY)
    read = site.run("log", "--purpose", "necessary", "--reason", "a ticket", "--json", "--kind", "visit")
    assert [line["url.path"] for line in read.json_lines()] == ["/"]
    entries = site.run("audit", "show", "--json").json_lines()
    assert {entry["time"] for entry in entries} == {"2028-02-04T12:00:00+00:00"}
    assert site.run("audit", "verify").exit_code == 0


def test_a_request_of_the_telephone_is_due_a_month_from_that_day_and_then_overdue(site: LivingSite) -> None:
    assert site.run(*ASKED).exit_code == 0
    (asked,) = site.run("requests", "list", "--json").json_lines()
    assert asked["received"].startswith("2028-02-01")
    assert not asked["overdue"]
    site.pass_time(days=40, step=40 * DAY)
    late = site.run("requests", "list", "--json")
    assert (late.exit_code, late.json_lines()[0]["overdue"]) == (1, True)
    assert site.run("requests", "answer", asked["number"], "--reason", "done").exit_code == 0
    shown = site.run("requests", "show", asked["number"], "--json").json()
    assert shown["answers"][0]["given"].startswith("2028-03-12")


@pytest.mark.usefixtures("kim")
def test_a_disclosure_is_of_that_day(site: LivingSite) -> None:
    disclosed = site.run(
        "disclose", "add", "--to", "Police", "--basis", "lawful_demand", "--reference", "warrant 1",
        "--purpose", "necessary", "--item", "url.path",
    )  # fmt: skip
    assert disclosed.exit_code == 0, disclosed.stderr
    (entry,) = site.run("disclose", "list", "--json").json_lines()
    assert entry["time"].startswith("2028-02-01")


def test_a_report_ends_with_the_day_before_and_knows_how_long_records_wait(site: LivingSite) -> None:
    for _ in range(6):
        site.visitor().get("/")
    site.pass_time(days=2)
    report = site.run("report", "--json").json()
    assert report["until"] == "2028-02-02"
    assert report["days"]["2028-02-01"]["exchanges"] == 6
    site.visitor().get("/")
    site.clock.advance(timedelta(minutes=6))
    assert site.run("report", "--json").json()["drain"]["behind_seconds"] == 360
    behind = site.run("store", "check", "--quick")
    assert behind.exit_code == 1
    assert "for 360 seconds" in behind.stderr


@pytest.mark.usefixtures("kim")
def test_the_archive_is_opened_at_that_instant(site: LivingSite) -> None:
    site.pass_time(days=92, step=46 * DAY)
    assert site.run("log", "--archive", "--json").json()["newest"].startswith("2028-02-01")
    opened = site.run("log", "--archive", "--purpose", "necessary", "--basis", "order 1", "--json")
    assert [line["url.path"] for line in opened.json_lines()] == ["/"]
    assert site.run("audit", "show", "--json").json_lines()[0]["time"].startswith("2028-05-03")


@pytest.mark.usefixtures("kim")
def test_an_export_is_recorded_at_that_instant_and_lies_in_the_directory(site: LivingSite, tmp_path: Path) -> None:
    words = ("--format", "jsonl", "--purpose", "necessary", "--reason", "a ticket", "--output", "out.jsonl")
    assert site.run("export", *words).exit_code == 0
    assert "2028-02-01" in (tmp_path / "out.jsonl").read_text()
    assert site.run("audit", "show", "--json").json_lines()[0]["time"].startswith("2028-02-01")


def test_a_receipt_is_proven_a_year_less_a_day_later(site: LivingSite, kim: ConsentClient) -> None:
    (receipt,) = kim.my_data()["receipts"]
    site.pass_time(days=364, step=60 * DAY)
    proven = site.run("receipt", "verify", receipt["id"], "--reason", "a dispute", "--json")
    assert proven.exit_code == 0, proven.stderr
    assert "2028-02-01" in proven.stdout
    assert site.run("audit", "show", "--json").json_lines()[0]["time"].startswith("2029-01-30")


def test_a_policy_of_the_future_is_judged_by_that_day(site: LivingSite, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "policy.toml").write_text(TEXT.replace("effective = 2028-01-01", "effective = 2028-02-03"))
    assert "not in force before 2028-02-03" in site.run("check", "new/policy.toml").stdout
    site.pass_time(days=2)
    assert "not in force" not in site.run("check", "new/policy.toml").stdout


def test_init_writes_that_day(site: LivingSite, tmp_path: Path) -> None:
    site.pass_until(datetime(2028, 2, 29, 15, tzinfo=UTC), step=30 * DAY)  # in Seoul it is March
    assert site.run("init", "other").exit_code == 0
    assert "effective = 2028-03-01" in (tmp_path / "other" / "policy.toml").read_text()


def test_what_a_command_is_typed_and_warns_of_goes_in_and_comes_out(site: LivingSite) -> None:
    added = site.run(*ASKED, "--message", "-", "--json", typed="안녕하세요\n")
    assert added.exit_code == 0, added.stderr
    shown = site.run("requests", "show", added.json()["number"], "--reason", "a ticket", "--json").json()
    assert shown["message"] == "안녕하세요"
    assert site.run("nonsense").exit_code == 2


def test_a_command_leaves_this_process_as_it_was(site: LivingSite, tmp_path: Path) -> None:
    before = Path.cwd()
    site.run("report")
    assert Path.cwd() == before != tmp_path
