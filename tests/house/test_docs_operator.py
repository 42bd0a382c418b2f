"""The operator's page: what it types works in a site, its services start and end, and its backup is whole."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.postgres import PostgresServer
from tests.support.repository import ROOT
from tests.support.sites_with_records import SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.policy.revisions import Revisions
from consent_mw.records import encode_record
from consent_mw.spool.spool import Spool
from consent_mw.stores.used import UsedStores

PAGE = (ROOT / "docs/operator.md").read_text()
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
    site = SiteWithRecords(tmp_path, text)
    Revisions(site.places.revisions).keep(site.policy, text)
    now = datetime.now(UTC)
    site.keeps(*(site.record(now - timedelta(hours=n), url__path=f"/{n}") for n in range(5)))
    spool = Spool(site.places.spool)
    spool.write([encode_record(site.record(now, url__path="/waits"))])
    spool.close()
    return site


def test_what_the_page_types_works_in_its_order(
    site: SiteWithRecords, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMANDS[:2] == ["init", "check policy.toml"]
    number, backup, database = "", "", postgres.database()
    for line in COMMANDS[1:]:
        words = [database if word.startswith("postgresql:") else word for word in shlex.split(line)]
        words = [number if word == "NUMBER" else word for word in words]
        words = [
            "backups" if word == "/var/backups/mysite" else backup if "/mysite/" in word else word for word in words
        ]
        if line.startswith("store move"):
            UsedStores.beside(site.places.database).use(database)  # as the site does when it starts with store=
        if not line.startswith(FOR_A_VISITOR):
            assert main(words) == 0, (line, capsys.readouterr())
        backup = str(*Path("backups").glob("*"))
        match = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", capsys.readouterr().out)
        number = match[0] if match and line.startswith("requests add") else number
    assert Path("week.html").exists()


def test_the_page_tells_of_each_file_whether_a_backup_has_it(
    site: SiteWithRecords, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = re.findall(r"^\| `(?:consent-data/)?(.+?) \| \*?\*?(yes|never|no)", PAGE, flags=re.MULTILINE)
    named = {name: answer for names, answer in rows for name in re.findall(r"[\w.-]+", names)}
    Audit(site.places.audit, site.places.audit_head).append({"reason": "before"}, now=datetime.now(UTC))
    site.places.wordings.mkdir()
    (site.places.wordings / "words").touch()
    site.places.archive.write_bytes(site.places.database.read_bytes())
    FileKeyring(site.places.archive_keys).close()
    capsys.readouterr()
    assert main(["backup", str(tmp_path / "backups"), "--json"]) == 0
    copied = {path.name for path in Path(json.loads(capsys.readouterr().out)["backup"]).iterdir()}
    assert copied - {"backup.json"} == {name for name, answer in named.items() if answer == "yes"} - {"secret.key"}
    assert {name for path in site.places.directory.iterdir() if (name := path.name) not in named} <= {
        "consent.sqlite3-wal", "consent.sqlite3-shm", "destruction.lock", "audit.lock"}  # fmt: skip


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
    Audit(site.places.audit, site.places.audit_head).append({"reason": "before"}, now=datetime.now(UTC))
    assert main(["backup", "backups"]) == 0
    (words,) = started("consent-mw-watch.service")
    words = ["backups" if word == "/var/backups/mysite" else word for word in words]
    well = subprocess.run(words, cwd=site.file.parent, check=False, capture_output=True, text=True)
    assert (well.returncode, well.stderr) == (0, "")
    site.keeps(site.record(datetime.now(UTC) - timedelta(days=400), url__path="/late"))
    result = subprocess.run(words, cwd=site.file.parent, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "destruction: 1 wrong" in result.stdout
    assert "overdue" in result.stderr


def test_the_drain_service_hands_over_what_waits_and_ends_in_order(site: SiteWithRecords) -> None:
    (words,) = started("consent-mw-drain.service")
    with subprocess.Popen([*words, "--json"], cwd=site.file.parent, stdout=subprocess.PIPE, text=True) as process:
        ends = time.monotonic() + 60
        while len(site.records("visit")) < 6 and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output) == {"records": 1, "waiting_bytes": 0, "behind_seconds": 0}
