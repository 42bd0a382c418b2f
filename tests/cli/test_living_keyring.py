"""A keyring that sealed something these days belongs to a machine that runs: nobody is told to give it up, nor may."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.sites_with_records import DAY, END, HOUR, THEN, SiteWithRecords

from consent_mw.cli import main
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.retention.overdue import at_work


@pytest.fixture
def site(tmp_path: Path) -> SiteWithRecords:
    return SiteWithRecords(tmp_path)


def run(site: SiteWithRecords, *options: str) -> int:
    return main(["purge", "--policy", str(site.file), *options])


def named(site: SiteWithRecords, *sealers: Sealer, at: datetime) -> None:
    site.keeps(*(site.record(at, sealer=sealer, secret="/") for sealer in sealers))


def test_every_keyring_that_is_gone_is_named_and_one_at_work_is_not_to_be_given_up(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, also_gone, alive = (Sealer(MemoryKeyring(), site.sealer.site_keys) for _ in range(3))
    named(site, gone, also_gone, alive, at=THEN)
    named(site, alive, at=datetime.now(UTC) - 2 * HOUR)
    named(site, gone, at=datetime.now(UTC) - 4 * DAY)
    assert run(site, "--dry-run") == 1
    err = capsys.readouterr().err
    for sealer in (gone, also_gone):
        assert f"--lost {sealer.keyring.name}" in err
    assert f"--lost {alive.keyring.name}" not in err
    assert f"keyring {alive.keyring.name} sealed something at" in err  # its rows are overdue


def test_what_another_machine_will_destroy_itself_is_no_fault_until_it_is_late(site: SiteWithRecords) -> None:
    other = Sealer(MemoryKeyring(), site.sealer.site_keys)
    named(site, other, at=THEN)
    named(site, other, at=END + DAY - HOUR)

    (left,) = site.left(END + DAY)
    assert (left.is_of_others, left.problem, left.unreached) == (True, "", {other.keyring.name: 1})
    (left,) = site.left(END + 2 * DAY)
    assert (left.is_of_others, left.late) == (False, True)
    assert "see why its machine destroys nothing" in left.problem
    (left,) = site.left(END + 9 * DAY)
    assert f"--lost {other.keyring.name}" in left.problem


def test_a_keyring_at_work_is_not_given_up_unless_somebody_insists(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    alive, quiet = (Sealer(MemoryKeyring(), site.sealer.site_keys) for _ in range(2))
    named(site, alive, quiet, at=THEN)
    named(site, alive, at=datetime.now(UTC) - 2 * DAY)
    ring, other = alive.keyring.name, quiet.keyring.name
    for options in (["--lost", ring], ["--lost", other, "--lost", ring], ["--lost", ring, "--dry-run"]):
        assert run(site, *options) == 1
        assert f"--lost {ring}: sealed something at" in capsys.readouterr().err
    assert len(site.records("visit")) == 3
    assert site.records("certificate") == []
    assert run(site, "--lost", other) == 1  # and what is of the living one is still overdue
    assert len(site.records("visit")) == 2
    assert run(site, "--lost", ring, "--although-at-work", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"]["records"] == 1


def test_its_own_keyring_is_not_given_up(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    named(site, site.sealer, at=THEN)
    assert run(site, "--lost", site.sealer.keyring.name) == 1
    assert "is the keyring of this data directory" in capsys.readouterr().err


def test_the_search_ends_at_the_newest_and_sees_clocks_that_are_ahead(site: SiteWithRecords) -> None:
    one, ahead, old = (Sealer(MemoryKeyring(), site.sealer.site_keys) for _ in range(3))
    now = datetime.now(UTC)
    for sealer, at in ((one, now - timedelta(minutes=5)), (ahead, now + HOUR), (old, now - 73 * HOUR)):
        named(site, sealer, at=at)

    rings = frozenset(sealer.keyring.name for sealer in (one, ahead, old))
    times = site.using(lambda store: at_work(store, site.sealer, rings, now))
    assert set(times) == {one.keyring.name, ahead.keyring.name}


def test_a_monitor_is_content_with_what_another_machine_is_about_to_destroy(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    other, now = Sealer(MemoryKeyring(), site.sealer.site_keys), datetime.now(UTC)
    named(site, other, at=now - 90 * DAY - 12 * HOUR)
    assert run(site, "--dry-run") == 1
    assert f"--lost {other.keyring.name}" in capsys.readouterr().err
    named(site, other, at=now)
    assert run(site, "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "of another machine" in out
    assert "--lost" not in err
    assert run(site) == 0
    assert len(site.records("visit")) == 2
