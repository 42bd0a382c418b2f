"""The doctor examines everything, whatever it finds first, and names what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.commands import refused, run
from tests.support.sites_with_records import SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.key_slots import PAGE
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.hosts.book import Book
from consent_mw.hosts.messages import Place
from consent_mw.policy.revisions import Revisions
from consent_mw.records import encode_record
from consent_mw.rights.ledger import Entry, Ledger
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


def a_backup_of_tomorrow(site: SiteWithRecords) -> None:
    (kept,) = Path("backups").iterdir()
    file = kept / "backup.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "created": (datetime.now(UTC) + timedelta(days=1)).isoformat()}))


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
        (a_backup_of_tomorrow, "backup"),
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


def a_lock_that_nobody_may_use(site: SiteWithRecords) -> None:
    site.places.site_lock.touch()
    site.places.site_lock.chmod(0)


def a_spool_that_leads_to_itself(site: SiteWithRecords) -> None:
    shutil.rmtree(site.places.spool, ignore_errors=True)
    site.places.spool.symlink_to(site.places.spool)


def a_file_for_a_directory(site: SiteWithRecords) -> None:
    shutil.rmtree(site.places.wordings, ignore_errors=True)
    site.places.wordings.touch()


@pytest.mark.parametrize(
    "harm",
    [
        a_lock_that_nobody_may_use, a_spool_that_leads_to_itself, a_file_for_a_directory,
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


@pytest.fixture
def full_site(site: SiteWithRecords) -> SiteWithRecords:
    """A site that has erased somebody, has shown words, and has had other hosts."""
    now = datetime.now(UTC)
    for ledger in (site.places.erasures, site.places.erasures_of_hosts):
        for _ in range(2):
            entry = Entry(at=now, request=uuid4(), deletes=bytes(8), until=now + timedelta(days=1))
            Ledger(ledger).append(entry)
    for text in ("some words", "other words"):
        Wordings(site.places.wordings).keep(text)
    KnownRings(site.places.rings).remember("archive", FileKeyring(site.places.archive_keys))
    Book(site.places.host_book, site.sealer).add(notes=[("used", Place(20_000, "necessary"), b"")] * 2)
    return site


def journals(site: SiteWithRecords) -> list[Path]:
    places = site.places
    return [places.rings, places.erasures, places.erasures_of_hosts, places.host_book]


@pytest.mark.parametrize(
    "garbage", [b"garbage", b'{"a":1}', b"{}", b"[]", b"\xff\xfe{", b'{"where":"live","ring":3}'], ids=repr
)
def test_a_line_that_is_not_ours_is_said_with_the_command_that_takes_it_out(
    garbage: bytes, full_site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examined(capsys) == (0, {})
    for journal in journals(full_site):
        kept = journal.read_bytes()
        lines = kept.splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:2], garbage + b"\n", *lines[2:], garbage]))
        _, wrong = examined(capsys)
        (problem,) = [line for lines in wrong.values() for line in lines]
        subprocess.run(problem.rpartition("run: ")[2], shell=True, check=True)
        assert journal.read_bytes() == kept
        assert examined(capsys) == (0, {})


def test_a_line_that_a_crash_tore_is_no_fault(full_site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    for journal in journals(full_site):
        kept = journal.read_bytes()
        begun = kept.splitlines()[1]
        for torn in (begun[:-1], begun[: len(begun) // 2], b"{", begun[:9] + bytes(40), bytes(64)):
            journal.write_bytes(kept + b"\n" + torn + kept)
            assert examined(capsys, "--quick") == (0, {}), (journal, torn)
        journal.write_bytes(kept)


def test_what_was_changed_is_said_and_put_back_by_a_restoration(
    full_site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("backups")
    assert main(["backup", "backups"]) == 0
    (backup,) = Path("backups").iterdir()
    for file in [*full_site.places.revisions.iterdir(), *full_site.places.wordings.iterdir()]:
        kept = file.read_bytes()
        for content in (kept + b"\n", kept[:-1], b"garbage", b"\xff"):
            file.write_bytes(content)
            _, wrong = examined(capsys, "--quick")
            (problem,) = [line for lines in wrong.values() for line in lines]
            assert f"{file.name}: was changed" in problem
        assert main(["restore", str(backup)]) == 0
        assert file.read_bytes() == kept
    assert examined(capsys) == (0, {})


@pytest.mark.parametrize("content", [b"garbage", b"\xff", b"2:00"], ids=repr)
def test_an_end_of_the_chain_that_was_spoiled_is_said(
    content: bytes, site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Audit(site.places.audit, site.places.audit_head).seen
    seen.write_bytes(content)
    _, wrong = examined(capsys)
    (problem,) = [line for lines in wrong.values() for line in lines]
    assert f"{seen.name}: is not what the site wrote" in problem
    seen.unlink()
    assert examined(capsys) == (0, {})


def test_a_damaged_key_is_said(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    blob = bytearray(site.places.keys.read_bytes())
    blob[PAGE + 10] ^= 1
    site.places.keys.write_bytes(blob)
    _, wrong = examined(capsys)
    assert [line for lines in wrong.values() for line in lines if "1 of its keys are damaged" in line]


def test_a_chain_whose_first_entry_found_no_room_is_no_fault(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Audit(site.places.audit, site.places.audit_head)
    for path in (chain.path, chain.head, chain.seen):
        path.unlink()
    shown = ["log", "--purpose", "necessary", "--reason", "a full disk"]
    assert "cannot be recorded" in refused(run(*shown, file_bytes=0))
    assert chain.path.stat().st_size == 0
    assert examined(capsys) == (0, {})
    assert main(shown) == 0
    assert examined(capsys) == (0, {})


def test_a_restoration_says_that_an_erasure_cannot_be_repeated(
    full_site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_site.places.erasures.open("ab") as ledger:
        ledger.write(b"garbage\n")
    (backup,) = Path("backups").iterdir()
    assert main(["restore", str(backup)]) == 1
    assert f"{full_site.places.erasures.name}: line " in capsys.readouterr().err


def test_a_segment_that_goes_while_the_files_are_listed_is_no_fault(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site is at work meanwhile: what was listed has been moved to the store by the time it is looked at."""
    segment, listing = site.places.directory / "passing.spool1", Path.rglob

    def moved_meanwhile(place: Path, pattern: str) -> list[Path]:
        segment.touch()
        listed = list(listing(place, pattern))
        segment.unlink()
        return listed

    monkeypatch.setattr(Path, "rglob", moved_meanwhile)
    assert examined(capsys) == (0, {})
