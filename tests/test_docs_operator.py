"""The operator's page: what it types works in a site, its services start and end, and its backup is whole."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.postgres import PostgresServer
from tests.support.sites_with_records import SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.policy.revisions import Revisions
from consent_mw.records import encode_record
from consent_mw.rights.request import Request
from consent_mw.spool.spool import Spool

PAGE = (Path(__file__).parent.parent / "docs/operator.md").read_text()
#: These need a file of a visitor; tests/test_receipt_command.py has one.
FOR_A_VISITOR = "receipt verify"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("console") for line in re.findall(r"^\$ consent-mw (.+)$", block, re.MULTILINE)]
UNITS = {
    name: unit for unit in blocks("ini") for name in re.findall(r"^# /etc/systemd/system/(.+)$", unit, re.MULTILINE)
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteWithRecords:
    """What `init` writes and a day of visits leaves, with one record that still waits. The test stands in it."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    text = Path("policy.toml").read_text()
    made = SiteWithRecords(tmp_path, text)
    Revisions(made.places.revisions).keep(made.policy, text)
    now = datetime.now(UTC)
    made.keeps(*(made.record(now - timedelta(hours=n), url__path=f"/{n}") for n in range(5)))
    spool = Spool(made.places.spool)
    spool.write([encode_record(made.record(now, url__path="/waits"))])
    spool.close()
    return made


def test_what_the_page_types_works_in_its_order(
    site: SiteWithRecords, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMANDS[:2] == ["init", "check policy.toml"]
    number = ""
    for line in COMMANDS[1:]:
        words = [postgres.url() if word.startswith("postgresql:") else word for word in shlex.split(line)]
        words = [number if word == "NUMBER" else word for word in words]
        if not line.startswith(FOR_A_VISITOR):
            assert main(words) == 0, (line, capsys.readouterr())
        told = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", capsys.readouterr().out)
        number = told[0] if told and line.startswith("requests add") else number
    assert Path("week.html").exists()


PROGRAMS = {block.split()[1]: block for block in blocks("python")}


def runs(name: str, *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAMS[name], *arguments], check=True, capture_output=True, text=True
    )
    return found.stdout


def backed_up() -> Path:
    """Run the page's program, and return what it made."""
    before = set(Path("backup").glob("*"))
    runs("backup.py")
    (copy,) = set(Path("backup").glob("*")) - before
    return copy


def modes(place: Path) -> set[int]:
    return {stat.S_IMODE(each.stat().st_mode) & 0o077 for each in (place, *place.rglob("*"))}


def test_the_backup_is_whole_and_has_no_key_in_it(site: SiteWithRecords) -> None:
    copy = backed_up()
    with closing(sqlite3.connect(copy / "consent.sqlite3")) as store:
        assert store.execute("SELECT count(*) FROM records").fetchone() == (5,)
    assert {path.name for path in copy.iterdir()} == {"consent.sqlite3", "revisions", "policy.toml"}
    assert modes(copy) == {0}, "nobody else may read it"
    told = re.findall(r"^\| `consent-data/(.+?) \| \*?\*?(yes|never|no)", PAGE, flags=re.MULTILINE)
    named = {name: answer for names, answer in told for name in re.findall(r"[\w.-]+", names)}
    assert {name for name, answer in named.items() if answer == "yes"} == set(re.findall(
        r"consent\.sqlite3|archive\.sqlite3|revisions|wordings|audit\.jsonl|audit\.head",
        PROGRAMS["backup.py"]))  # fmt: skip
    assert {name for path in site.places.directory.iterdir() if (name := path.name) not in named} <= {
        "consent.sqlite3-wal", "consent.sqlite3-shm", "destruction.lock", "audit.lock"}  # fmt: skip


def test_a_restored_backup_loses_no_read_request_or_certificate_since_it_was_made(site: SiteWithRecords) -> None:
    chain = Audit(site.places.audit, site.places.audit_head)
    chain.append({"reason": "before"}, now=datetime.now(UTC))
    copy = backed_up()
    chain.append({"reason": "after"}, now=datetime.now(UTC))
    request = Request.new("access", "site", time.time_ns(), email="kim@example.com")
    site.keeps(request.record(site.sealer), site.record(datetime.now(UTC), secret="/lost"))
    assert "1 requests, receipts and certificates since the backup were carried over" in runs("restore.py", str(copy))
    assert [record.id for record in site.records("request")] == [request.id]
    assert len(site.records("visit")) == 5
    assert [entry.facts["reason"] for entry in chain.entries()] == ["before", "after"]
    assert main(["audit", "verify"]) == 0
    assert modes(site.places.directory) == {0}


def test_a_store_that_cannot_be_read_any_more_is_replaced_and_what_is_lost_is_said(site: SiteWithRecords) -> None:
    copy = backed_up()
    number = "0197a3a0-0000-7000-8000-000000000000"
    site.places.erasures.write_text(
        json.dumps({"at": (datetime.now(UTC) + timedelta(seconds=5)).isoformat(), "request": number}) + "\n"
    )
    site.places.database.write_bytes(b"no database" * 1_000)
    said = runs("restore.py", str(copy))
    assert "requests that came after the backup are lost with it" in said
    assert f"request {number}: was being erased after the backup" in said
    assert len(site.records("visit")) == 5
    (aside,) = site.places.directory.glob("before-restore-*")
    assert (aside / "consent.sqlite3").read_bytes().startswith(b"no database")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_what_there_is(name: str) -> None:
    lines = re.findall(r"^ExecStart=(.+)$", UNITS[name], flags=re.MULTILINE)
    assert set(re.findall(r"^\[(.+)\]$", UNITS[name], flags=re.MULTILINE)) <= {"Unit", "Service", "Timer", "Install"}
    assert all(line.startswith("/srv/mysite/.venv/bin/consent-mw ") for line in lines)
    assert bool(lines) is name.endswith(".service")


def started(name: str) -> list[list[str]]:
    """Return the words of each ExecStart, for the Python of this test."""
    lines = re.findall(r"^ExecStart=\S+ (.+)$", UNITS[name], flags=re.MULTILINE)
    return [[sys.executable, "-m", "consent_mw", *shlex.split(line)] for line in lines]


def test_the_watch_is_content_with_a_healthy_site_and_not_with_a_broken_promise(site: SiteWithRecords) -> None:
    for words in started("consent-mw-watch.service"):
        assert subprocess.run(words, cwd=site.file.parent, check=False).returncode == 0, words
    site.keeps(site.record(datetime.now(UTC) - timedelta(days=400), url__path="/late"))
    codes = [subprocess.run(words, cwd=site.file.parent, check=False).returncode
             for words in started("consent-mw-watch.service")]  # fmt: skip
    assert codes == [0, 1, 0, 0, 0]


def test_the_drain_service_hands_over_what_waits_and_ends_in_order(site: SiteWithRecords) -> None:
    (words,) = started("consent-mw-drain.service")
    with subprocess.Popen([*words, "--json"], cwd=site.file.parent, stdout=subprocess.PIPE, text=True) as process:
        ends = time.monotonic() + 60
        while len(site.records("visit")) < 6 and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(told) == {"records": 1, "waiting_bytes": 0, "behind_seconds": 0}
