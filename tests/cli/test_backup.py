"""A backup is whole and holds no key; a restored one loses nothing that came since, and nothing goes backwards."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import refused, run
from tests.support.deaths import meddled
from tests.support.repository import ROOT
from tests.support.sites_with_records import DAY, END, HOUR, THEN, SiteWithRecords

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.audit import Audit
from consent_mw.cli import main
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.rights.request import Request
from consent_mw.staff.backup import back_up, read_manifest
from consent_mw.staff.restore import restore
from consent_mw.stores import sqlite, sqlite_copy
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.used import UsedStores
from consent_mw.system.locks import alone, in_turn

WRITER = """
import asyncio, os, sys
from pathlib import Path
from tests.support.sites_with_records import SiteWithRecords
from datetime import UTC, datetime
site = SiteWithRecords(Path(sys.argv[1]), Path(sys.argv[1], "policy.toml").read_text())
async def run():
    store = site.store()
    await store.open()
    while True:
        await store.append([site.record(datetime.now(UTC), url__path="/x") for _ in range(50)])
        print(flush=True)
asyncio.run(run())
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteWithRecords:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    text = Path("policy.toml").read_text()
    site = SiteWithRecords(tmp_path, text)
    SiteKeys.kept(site.places.site_keys)
    site = SiteWithRecords(tmp_path, text)
    Revisions(site.places.revisions).keep(site.policy, text)
    Audit(site.places.audit, site.places.audit_head).append({"reason": "before"}, now=datetime.now(UTC))
    site.keeps(*(site.record(datetime.now(UTC), url__path=f"/{n}") for n in range(5)))
    return site


def backed_up(capsys: pytest.CaptureFixture[str], *more: str) -> Path:
    capsys.readouterr()
    assert main(["backup", "backups", "--json", *more]) == 0
    return Path(json.loads(capsys.readouterr().out)["backup"])


def restored(capsys: pytest.CaptureFixture[str], backup: Path, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    exit_code = main(["restore", str(backup), "--json"])
    said = capsys.readouterr()
    assert exit_code == code, said
    answer: dict[str, Any] = json.loads(said.out)
    return answer


def test_a_backup_is_its_owner_s_alone_and_has_no_key(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    assert {path.name for path in kept.iterdir()} == {
        "audit.head", "audit.jsonl", "backup.json", "consent.sqlite3", "policy.toml", "revisions"}  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (kept, *kept.rglob("*"))} == {0}
    times = [[file.stat().st_mtime_ns for file in sorted(place.iterdir())]
             for place in (site.places.revisions, kept / "revisions")]  # fmt: skip
    assert times[0] == times[1], "which of a number was put in force last is told by the time"


def test_a_backup_is_made_while_the_site_writes(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    words = [sys.executable, "-c", WRITER, str(Path.cwd())]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        process.stdout.readline()
        kept = backed_up(capsys)
        assert main(["restore", str(kept)]) == 1
        assert "stop the site" in capsys.readouterr().err
        process.kill()
    with closing(sqlite3.connect(kept / "consent.sqlite3")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = store.execute("SELECT count(*) FROM records").fetchone()
    assert count % 50 == 5
    restored(capsys, kept)  # the killed writer has left a log beside the file
    assert len(site.records("visit")) == count
    assert main(["store", "check"]) == 0


def test_what_came_after_the_backup_is_carried_over_and_named(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    request = Request.new("access", "site", time.time_ns(), email="kim@example.com")
    site.keeps(request.record(site.sealer), site.record(datetime.now(UTC), secret="/lost"))
    Audit(site.places.audit, site.places.audit_head).append({"reason": "after"}, now=datetime.now(UTC))
    done = restored(capsys, kept)
    assert (done["requests"], done["carried"]) == ([str(request.id)], {"request": 1})
    assert len(site.records("visit")) == 5
    chain = Audit(site.places.audit, site.places.audit_head)
    assert [entry.facts["reason"] for entry in chain.entries()][:2] == ["before", "after"]
    assert main(["audit", "verify"]) == 0
    aside = Path(done["aside"])
    with closing(sqlite3.connect(aside / "consent.sqlite3")) as store:
        assert store.execute("SELECT count(*) FROM records WHERE kind = 'visit'").fetchone() == (6,)


def test_what_was_erased_since_is_erased_again(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    theirs = site.record(now, subject=b"a token of them!", url__path="/theirs")
    site.keeps(theirs)
    kept = backed_up(capsys)
    site.using(lambda store: store.delete(Query(kinds=frozenset(("visit",)), ids=frozenset((theirs.id,)))))
    Ledger(site.places.erasures).append(
        Entry(
            at=now + timedelta(seconds=1), request=theirs.id, until=now + timedelta(days=9),
            tokens=(b"a token of them!".hex(),), days=(int(now.timestamp() // 86_400),),
            purposes={theirs.purpose: 1},
        )
    )  # fmt: skip
    assert restored(capsys, kept)["erased_again"] == 1
    assert theirs.id not in {record.id for record in site.records("visit")}


def test_a_backup_in_the_midst_of_a_destruction_brings_back_nothing_that_was_certified(tmp_path: Path) -> None:
    SiteKeys.kept(SiteWithRecords(tmp_path).places.site_keys)
    site, backups = SiteWithRecords(tmp_path), list[Path]()
    site.keeps(*(site.record(THEN + n * HOUR, secret=n) for n in range(0, 8, 2)))
    site.keeps(*(site.record(THEN + n * HOUR, data={"n": n}) for n in range(1, 8, 2)))  # nothing is sealed

    def step() -> None:
        moment = END + timedelta(seconds=len(backups))
        backups.append(back_up(site.places, site.file, tmp_path / "backups", moment))

    with meddled([(sqlite, "_insert"), (sqlite, "_delete_rows"), (FileKeyring, "destroy")], step):
        assert site.destroys(END + DAY).records == 8
    certificates = site.records("certificate")
    assert [certificate.data["certificate.records"] for certificate in certificates] == [8]
    for backup in backups:
        restore(site.places, site.file, backup, END + 2 * DAY)
        assert site.records("visit") == []
        assert site.destroys(END + 2 * DAY).troubles == []
        assert site.records("certificate") == certificates, backup
    assert len(backups) > 5


def test_what_moved_into_the_file_since_the_backup_is_not_lost_with_the_replaced_file(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    used, file = UsedStores.beside(site.places.database), f"sqlite:///{site.places.database}"
    used.use("postgresql://somebody:secret@db.example/site")
    kept = backed_up(capsys)
    assert "secret" not in (kept / "backup.json").read_text()
    used.use(file)
    used.forget("postgresql://somebody:secret@db.example/site")
    site.keeps(site.record(datetime.now(UTC), secret="/moved out of the database"))
    assert restored(capsys, kept)["carried"] == {"visit": 1}
    assert len(site.records("visit")) == 6


def test_who_opens_the_store_during_a_restoration_has_the_restored_one(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, carry_over, late = backed_up(capsys), sqlite_copy.carry_over, list[Future[None]]()
    with ThreadPoolExecutor() as threads:

        def meanwhile(*arguments: Any) -> Any:
            late.append(threads.submit(site.keeps, site.record(datetime.now(UTC), secret="/late")))
            wait(late, timeout=0.2)
            return carry_over(*arguments)

        monkeypatch.setattr(sqlite_copy, "carry_over", meanwhile)
        restored(capsys, kept)
        late[0].result()
    assert len(site.records("visit")) == 6


@pytest.mark.parametrize(
    ("content", "why"), [(b"no database" * 1_000, "is not a"), (b"", r"consent\.sqlite3: is empty \(0 bytes\)\)")]
)
def test_a_store_that_cannot_be_read_is_replaced_and_what_is_lost_is_said(
    content: bytes, why: str, site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    site.places.database.write_bytes(content)
    site.places.database.with_name("consent.sqlite3-wal").write_bytes(b"an old log")
    assert main(["store", "check"]) == 1
    (lost,) = restored(capsys, kept, code=1)["lost"]
    assert "requests and receipts since the backup are lost" in lost
    assert re.search(why, lost)
    assert len(site.records("visit")) == 5
    assert main(["store", "check"]) == 0


def cut_off(backup: Path) -> None:
    file = backup / "consent.sqlite3"
    os.truncate(file, file.stat().st_size // 2)


def without_manifest(backup: Path) -> None:
    (backup / "backup.json").unlink()


def newer(backup: Path) -> None:
    manifest = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps({**manifest, "format": 2, "version": "9.0", "files": ["x"]}))


def of_another_site(backup: Path) -> None:
    Path("consent-data/site-keys").unlink()
    SiteKeys.kept(Path("consent-data/site-keys"))


def of_another_site_with_the_same_keys(backup: Path) -> None:
    for name in ("audit.jsonl", "audit.head", "audit.seen"):
        Path("consent-data", name).unlink()
    chain = Audit(Path("consent-data/audit.jsonl"), Path("consent-data/audit.head"))
    chain.append({"reason": "of another site"}, now=datetime.now(UTC))


def of_another_site_with_the_same_keys_and_no_chain(backup: Path) -> None:
    for name in ("audit.jsonl", "audit.head", "audit.seen"):
        Path("consent-data", name).unlink()
    KnownRings(Path("consent-data/rings.jsonl")).remember("live", FileKeyring("another"))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (of_another_site_with_the_same_keys_and_no_chain, "which was never used here"),
        (of_another_site_with_the_same_keys, "is another chain than the one of the backup"),
        (cut_off, "was cut off or changed since"),
        (without_manifest, "is no backup, or one that was cut off"),
        (newer, "was made by a newer consent-mw (9.0)"),
        (of_another_site, "no record of it was written by this site"),
        (shutil.rmtree, "is no backup, or one that was cut off"),
    ],
)
def test_a_backup_that_is_none_of_this_site_s_changes_nothing(
    harm: Callable[[Path], None], said: str, site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    harm(kept)
    before = site.places.database.read_bytes()
    assert main(["restore", str(kept)]) == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert site.places.database.read_bytes() == before
    assert not list(site.places.directory.glob("*restore*"))


def test_a_backup_that_was_cut_at_any_byte_or_changed_in_one_changes_nothing(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, chance = backed_up(capsys), random.Random(20)
    before = {file: file.read_bytes() for file in site.places.directory.rglob("*") if file.is_file()}
    for file in sorted(path for path in kept.rglob("*") if path.is_file()):
        content = file.read_bytes().rstrip(b"\n" if file.name == "backup.json" else b"")
        for at in {0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(6))}:
            changed = content[:at] + bytes((content[at] ^ 1 << chance.randrange(8),)) + content[at + 1 :]
            # One byte of the manifest may be of a name that nobody reads: its version.
            for harm in (content[:at], *([] if file.name == "backup.json" else [changed])):
                file.write_bytes(harm)
                assert main(["restore", str(kept)]) == 1, (file, at)
                assert capsys.readouterr().err.count("\n") == 1
        file.write_bytes(content)
    assert before == {file: file.read_bytes() for file in site.places.directory.rglob("*") if file.is_file()}
    restored(capsys, kept)


@pytest.mark.parametrize("room", [0, 1_000, 20_000, 70_000])
def test_a_full_disk_changes_nothing_that_a_second_try_does_not_mend(
    room: int, site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    site.keeps(*(site.record(datetime.now(UTC), url__path=f"/{n}" * 50) for n in range(300)))
    kept = backed_up(capsys)
    site.keeps(Request.new("access", "site", time.time_ns(), email="kim@example.com").record(site.sealer))
    said = refused(run("restore", kept, file_bytes=room))
    assert "File too large" in said or "disk" in said, said
    assert (len(site.records("visit")), len(site.records("request"))) == (305, 1)
    said = refused(run("backup", "others", file_bytes=room))
    assert not list(Path("others").iterdir()), "no partial backup is left"
    assert restored(capsys, kept)["carried"] == {"request": 1}
    assert main(["store", "check"]) == 0


def test_a_site_that_has_another_store_now_is_told_what_a_backup_of_its_file_means(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    for url in (f"sqlite:///{site.places.database}", "postgresql://me:secret@db.example/site"):
        UsedStores.beside(site.places.database).use(url)
    done = restored(capsys, kept)
    assert any("consent-mw store move" in note and "secret" not in note for note in done["notes"])
    assert main(["backup", "others"]) == 0
    said = capsys.readouterr().err
    assert "back that up with its own tools" in said
    assert f"out of sqlite:///{site.places.database}; back that up first, and postgresql://…@db.example/site" in said


def test_a_restoration_waits_for_no_command_that_is_at_work(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    with alone(site.places.destruction_lock):
        assert main(["restore", str(kept)]) == 1
    assert "a site or a command is at work in it" in capsys.readouterr().err


async def _silent(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that no request reaches."""


def test_a_site_that_runs_is_not_replaced_whatever_it_does_and_wherever_its_records_are(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    key = "a key of the trials, at least 16 characters"
    app = ConsentMiddleware(
        _silent, policy="policy.toml", secret_keys=[key], directory=site.places.directory, store=MemoryStore()
    )
    assert "a site or a command is at work in it" in refused(run("restore", kept))
    child = os.fork()
    if child == 0:  # as a server's worker, which outlives the process that loaded the site
        time.sleep(60)
        os._exit(0)
    try:
        del app
        gc.collect()
        assert "a site or a command is at work in it" in refused(run("restore", kept))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    restored(capsys, kept)


def test_a_data_directory_is_made_from_a_backup_alone(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    shutil.rmtree(site.places.directory)
    Path("policy.toml").unlink()
    done = restored(capsys, kept)
    assert {"consent.sqlite3", "audit.jsonl", "policy.toml"} <= set(done["put_back"])
    assert len(site.records("visit")) == 5
    chain = Audit(site.places.audit, site.places.audit_head)
    assert [entry.facts.get("command") for entry in chain.entries()] == [None, "restore"]


def test_a_restoration_that_was_killed_is_begun_again(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    site.keeps(Request.new("access", "site", time.time_ns(), email="kim@example.com").record(site.sealer))
    for milliseconds in range(0, 2_000, 250):
        with subprocess.Popen([sys.executable, "-m", "consent_mw", "restore", str(kept)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # fmt: skip
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGKILL)
        assert site.places.database.exists()
    restored(capsys, kept)
    assert (len(site.records("visit")), len(site.records("request"))) == (5, 1)
    assert main(["store", "check"]) == 0


def test_two_restorations_within_a_second_keep_what_each_replaced(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = backed_up(capsys)
    moment = datetime.now(UTC)
    asides = {restore(site.places, Path("policy.toml"), kept, moment).aside for _ in range(3)}
    assert len(asides) == 3
    assert all(Path(aside, "consent.sqlite3").exists() for aside in asides)


def test_a_backup_waits_for_another_one_and_each_is_whole(site: SiteWithRecords) -> None:
    another = Path("backups/2026-11-29-040000.unfinished")
    another.mkdir(parents=True)
    with ThreadPoolExecutor(1) as thread:
        with in_turn(another.parent):
            backup = thread.submit(back_up, site.places, site.file, another.parent, datetime.now(UTC))
            with pytest.raises(TimeoutError):
                backup.result(1)
            assert another.exists()
        assert "consent.sqlite3" in read_manifest(backup.result(60)).files
    assert not another.exists(), "what a stopped one left is removed"


def test_a_disk_that_takes_no_log_is_not_taken_for_a_site_at_work(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, soft = backed_up(capsys), resource.getrlimit(resource.RLIMIT_FSIZE)
    records = [site.record(datetime.now(UTC), secret="/late") for _ in range(500)]

    async def killed(store: SQLiteStore) -> None:
        await store.append(records)
        os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        site.using(killed)
    os.waitpid(child, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, soft[1]))
    try:
        assert main(["restore", str(kept)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    said = capsys.readouterr().err
    assert ("the disk refused" in said or "make room" in said, "stop the site" in said) == (True, False), said
    restored(capsys, kept)


def test_a_backup_within_the_data_directory_is_refused(
    site: SiteWithRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("link").symlink_to(site.places.directory)
    for target in (site.places.directory, site.places.directory / "backups", Path("link/backups")):
        assert main(["backup", str(target)]) == 1
        assert "name a directory elsewhere" in capsys.readouterr().err
    assert not (site.places.directory / "backups").exists()


def test_a_file_that_no_backup_can_read_is_named(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    Path("policy.toml").unlink(missing_ok=True)
    Path("policy.toml").mkdir()
    assert main(["backup", "backups"]) == 1
    assert capsys.readouterr().err == (
        "consent-mw: policy.toml: cannot be read (Is a directory); let this user read it\n"
    )
    assert list(Path("backups").iterdir()) == []


def test_a_name_that_is_no_text_keeps_nobody_from_a_backup(
    site: SiteWithRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = Path(os.fsdecode(bytes(tmp_path) + b"/a\n\xff\x1b[31m"))
    named.mkdir()
    for path in (Path("consent-data"), Path("policy.toml")):
        shutil.move(path, named)
    monkeypatch.chdir(named)
    assert main(["backup", str(named / "backups")]) == 0
    (kept,) = (named / "backups").iterdir()
    assert main(["restore", str(kept), "--directory", str(named / "consent-data")]) == 0
    said = capsys.readouterr().out
    assert "is put back" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_only_the_latest_backups_are_kept(site: SiteWithRecords, capsys: pytest.CaptureFixture[str]) -> None:
    Path("backups/2020-01-01-000000").mkdir(parents=True)  # of somebody else: it has no manifest
    backed_up(capsys).rename("backups/2021-01-01-000000")
    Path("backups/2021-01-02-000000.unfinished").mkdir()  # as a crash leaves one
    kept = backed_up(capsys, "--keep", "1")
    assert {directory.name for directory in Path("backups").iterdir()} == {kept.name, "2020-01-01-000000"}


def test_a_half_of_a_copy_is_found(site: SiteWithRecords) -> None:
    site.keeps(*(site.record(datetime.now(UTC), url__path="/" + "x" * 500) for _ in range(500)))
    asyncio.run(site.store().close())
    with closing(sqlite3.connect(site.places.database)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(site.places.database, site.places.database.stat().st_size // 8192 * 4096)
    assert main(["store", "check"]) == 1
