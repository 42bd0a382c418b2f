"""Two hosts live through a retention: what one destroys is certified when the other has, and an operator sees it."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer

from consent_mw.hosts import hosts
from consent_mw.testing.site import LivingSite

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


async def home(_: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


@pytest.fixture(autouse=True)
def nobody_answers_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site here lives only while it is asked: another waits for its keys in vain, five seconds a time."""
    monkeypatch.setattr(hosts, "_PATIENCE_SECONDS", 0.1)


@pytest.fixture
def sites(tmp_path: Path, postgres: PostgresServer) -> Generator[list[LivingSite]]:
    url = postgres.database()
    app = Starlette(routes=[Route("/", home)])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = LivingSite(app, policy=POLICY, directory=tmp_path / "one", at=START, store=url)
    two = LivingSite(app, policy=POLICY, directory=tmp_path / "two", at=START, store=url)
    with one, two:
        yield [one, two]


def certified(site: LivingSite) -> dict[str, tuple[object, object]]:
    """Records and holders of each certificate of the purpose that everybody's visits are kept for."""
    rows = [record.data for record in site.certificates() if record.data["certificate.purpose"] == "necessary"]
    return {str(row["certificate.day"]): (row["certificate.records"], row["certificate.holders"]) for row in rows}


def test_what_was_certified_before_the_move_to_a_database_is_not_certified_again(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    app = Starlette(routes=[Route("/", home)])
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START) as site:
        site.visitor().get("/")
        site.pass_time(days=92, step=23 * DAY)
        before, later = site.certificates(), site.now
    assert len(before) > 0
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=later, store=postgres.database()) as site:
        site.visitor().get("/")
        site.pass_time(days=1, step=DAY)
        days = [(record.data["certificate.day"], record.data["certificate.purpose"]) for record in site.certificates()]
    assert len(set(days)) == len(days) >= len(before)


def test_a_day_of_which_a_part_has_ended_is_no_alarm(tmp_path: Path, postgres: PostgresServer) -> None:
    # Midnight of Seoul parts a day of UTC at 15:00; each part has a key of its own, and ends nine hours apart.
    app = Starlette(routes=[Route("/", home)])
    with LivingSite(app, policy=POLICY, directory=tmp_path, at=START, store=postgres.database()) as site:
        for _ in range(2):
            site.visitor().get("/")
            site.pass_time(hours=4, step=4 * HOUR)
        site.pass_until(START + 90 * DAY, step=45 * DAY)
        dry: list[str] = []
        for _ in range(4):
            site.pass_time(hours=4, step=4 * HOUR)
            dry.append(site.run("purge", "--dry-run").stderr)
    assert not any(dry), dry


@pytest.mark.timeout(300)
def test_a_certificate_waits_for_each_host_or_for_its_retirement(sites: list[LivingSite]) -> None:
    one, two = sites
    for site in (one, two, one, two):
        site.visitor().get("/")
        site.settle()
    one.pass_time(days=92, step=23 * DAY)
    assert certified(one) == {}
    dry = one.run("purge", "--dry-run")
    assert dry.exit_code == 1
    assert "2026-11-24, necessary (live): its key overdue; not destroyed yet by " in dry.stderr
    assert "consent-mw hosts retire" in dry.stderr
    two.pass_time(days=92, step=23 * DAY)
    one.settle()
    (records, holders) = certified(one)["2026-11-24"]
    assert records == 4
    assert str(holders).count("(") == 2
    assert "retired" not in str(holders)
    assert one.run("purge", "--dry-run").exit_code == 0


@pytest.mark.timeout(300)
def test_one_who_is_retired_stands_in_the_certificate(sites: list[LivingSite]) -> None:
    one, two = sites
    for site in (one, two, one, two):
        site.visitor().get("/")
        site.settle()
    one.pass_time(days=92, step=23 * DAY)
    listed = json.loads(one.run("hosts", "--json").stdout)["hosts"]
    (gone,) = [host for host in listed if not host["here"]]
    assert gone["overdue"]
    assert one.run("hosts").exit_code == 1
    retired = one.run("hosts", "retire", gone["id"][:8], "--reason", "scaled down")
    assert retired.exit_code == 0, retired.stderr
    one.settle()
    (records, holders) = certified(one)["2026-11-24"]
    assert records == 4
    assert f"({gone['id'][:8]}), retired and not confirmed" in str(holders)
    assert one.run("hosts").exit_code == 0
