"""The doctor examines everything, whatever it finds first, and names what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.sites_with_records import SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.policy.revisions import Revisions
from consent_mw.records import encode_record
from consent_mw.rights.request import Request
from consent_mw.spool.spool import Spool
from consent_mw.stores.used import UsedStores


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteWithRecords:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    text = Path("policy.toml").read_text()
    site = SiteWithRecords(tmp_path, text)
    Revisions(site.places.revisions).keep(site.policy, text)
    KnownRings(site.places.rings).remember("live", site.sealer.keyring)
    chain = Audit(site.places.audit, site.places.audit_head)
    for reason in ("one", "two"):
        chain.append({"reason": reason}, now=datetime.now(UTC))
    site.keeps(site.record(datetime.now(UTC), url__path="/"))
    assert main(["backup", "backups"]) == 0
    return site


def examined(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, list[str]]]:
    capsys.readouterr()
    code = main(["doctor", "--backups", "backups", "--json", *more])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    return code, {check["name"]: check["problems"] for check in report["checks"] if not check["ok"]}


def test_a_healthy_site_is_well(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(capsys) == (0, {})
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"{name}: well" for name in (
        "policy", "files", "store", "destruction", "requests", "audit", "clock")]  # fmt: skip
    assert said.err == ""


def another_policy(site: SiteWithRecords) -> None:
    site.file.write_text(site.file.read_text().replace('retention = "90 days"', 'retention = "5 years"'))


def a_strange_owner(site: SiteWithRecords) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(site.places.directory, 54_321, 54_321)


def what_waits(site: SiteWithRecords) -> None:
    spool = Spool(site.places.spool, clock=lambda: time.time_ns() - 3_600 * 10**9)
    spool.write([encode_record(site.record(datetime.now(UTC), url__path="/waits"))])
    spool.close()


def a_half_of_the_store(site: SiteWithRecords) -> None:
    site.places.database.write_bytes(site.places.database.read_bytes()[:8192])


def an_empty_list_of_keyrings(site: SiteWithRecords) -> None:
    site.places.rings.write_bytes(b"")


def what_has_ended(site: SiteWithRecords) -> None:
    site.keeps(site.record(datetime.now(UTC) - timedelta(days=400), url__path="/late"))


def a_lost_key(site: SiteWithRecords) -> None:
    site.places.keys.unlink()


def a_late_request(site: SiteWithRecords) -> None:
    asked = datetime.now(UTC) - timedelta(days=60)
    site.keeps(
        Request.new("access", "phone", int(asked.timestamp() * 1e9), email="kim@example.com").record(site.sealer)
    )


def a_shorter_chain(site: SiteWithRecords) -> None:
    site.places.audit.write_bytes(site.places.audit.read_bytes().splitlines(keepends=True)[0])


def a_clock_ahead(site: SiteWithRecords) -> None:
    site.keeps(site.record(datetime.now(UTC) + timedelta(days=1), url__path="/tomorrow"))


def an_old_backup(site: SiteWithRecords) -> None:
    (file,) = Path("backups").glob("*/backup.json")
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "created": (datetime.now(UTC) - timedelta(days=3)).isoformat()}))


def a_backup_cut_off(site: SiteWithRecords) -> None:
    (copy,) = Path("backups").glob("*/consent.sqlite3")
    copy.write_bytes(copy.read_bytes()[:4096])


@pytest.mark.parametrize(
    ("harm", "where"),
    [
        (another_policy, "policy"),
        (a_strange_owner, "files"),
        (what_waits, "store"),
        (a_half_of_the_store, "store"),
        (an_empty_list_of_keyrings, "store"),
        (what_has_ended, "destruction"),
        (a_lost_key, "store"),
        (a_late_request, "requests"),
        (a_shorter_chain, "audit"),
        (a_clock_ahead, "clock"),
        (an_old_backup, "backup"),
        (a_backup_cut_off, "backup"),
    ],
)
def test_what_is_wrong_is_found_and_told_in_lines(
    harm: Callable[[SiteWithRecords], None], where: str, site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(site)
    code, wrong = examined(capsys)
    assert code == 1
    assert where in wrong
    assert "something is wrong" not in wrong[where]
    assert main(["doctor", "--backups", "backups", "--quick"]) == 1
    said = capsys.readouterr()
    assert re.search(rf"^{where}: \d+ wrong$", said.out, re.MULTILINE)
    assert all(line.startswith("consent-mw: ") for line in said.err.splitlines())


def test_every_file_that_was_cut_to_nothing_is_named(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    site.places.audit_of_hosts.mkdir(mode=0o700)
    (site.places.audit_of_hosts / f"{'0' * 32}-{1:012}-{'0' * 32}").write_bytes(b"{}\n")
    kept = [file for file in site.places.directory.rglob("*") if file.is_file() and file.stat().st_size]
    kept = [file for file in kept if file.suffix != ".lock" and not file.name.endswith(("-wal", "-shm"))]
    assert {site.places.database, site.places.keys, site.places.audit} < set(kept)
    for file in kept:
        content = file.read_bytes()
        file.write_bytes(b"")
        code, wrong = examined(capsys, "--quick")
        file.write_bytes(content)
        assert code == 1
        assert any(file.name in line for lines in wrong.values() for line in lines), (file, wrong)


def a_cut_key_file(site: SiteWithRecords) -> None:
    site.places.keys.write_bytes(b"")


def garbage_for_keys(site: SiteWithRecords) -> None:
    site.places.keys.write_bytes(b"garbage" * 1_000)


def cut_site_keys(site: SiteWithRecords) -> None:
    site.places.site_keys.write_bytes(b"")


def no_store(site: SiteWithRecords) -> None:
    site.places.database.unlink()


def another_store(site: SiteWithRecords) -> None:
    UsedStores.beside(site.places.database).use(f"sqlite:///{site.places.directory}/another.sqlite3")


def an_empty_chain(site: SiteWithRecords) -> None:
    site.places.audit.write_bytes(b"")


def no_directory(site: SiteWithRecords) -> None:
    shutil.rmtree(site.places.directory)


def an_open_directory(site: SiteWithRecords) -> None:
    site.places.directory.chmod(0o777)


@pytest.mark.parametrize(
    "harm",
    [
        a_half_of_the_store, a_lost_key, a_cut_key_file, garbage_for_keys, cut_site_keys, no_store, another_store,
        an_empty_chain, a_shorter_chain, no_directory, an_open_directory,
    ],
)  # fmt: skip
def test_one_cause_is_one_problem_with_its_fix(
    harm: Callable[[SiteWithRecords], None], site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(site)
    code, wrong = examined(capsys)
    assert code == 1
    (problem,) = [line for lines in wrong.values() for line in lines]
    assert "; " in problem
    capsys.readouterr()
    main(["doctor"])
    said = capsys.readouterr().out
    assert re.search(r": wrong, for the reason given under \w+$", said, re.MULTILINE) or len(wrong) == 1
