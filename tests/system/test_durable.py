"""What is said to be kept is on the disk: its bytes, and then the name that leads to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import pytest

from consent_mw.audit import Audit
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.spool.spool import Spool
from consent_mw.system import durable

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
FOUNDING = files("consent_mw.policy").joinpath("founding.toml").read_text("utf-8")


class Disk:
    """
    What a power cut would leave: of each file the bytes that were last synchronised, of each directory its names then.

    Args:
        without: What is not synchronised though it is asked for, "files" or "directories".
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, without: str = "") -> None:
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.moved_too_early: list[str] = []
        self._without = without
        for call in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, call, self._synchronised(getattr(os, call)))
        for call in ("replace", "rename", "link"):
            monkeypatch.setattr(os, call, self._moved(getattr(os, call)))

    def _synchronised(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def synchronise(fd: int) -> None:
            call(fd)
            place = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if place.is_dir() and self._without != "directories":
                self.names[place.stat().st_ino] = {entry.name: entry.inode() for entry in os.scandir(place)}
            elif place.is_file() and self._without != "files":
                self.contents[place.stat().st_ino] = place.read_bytes()

        return synchronise

    def _moved(self, call: Callable[..., None]) -> Callable[..., None]:
        def move(source: Path, target: Path, **options: object) -> None:
            if not self._has(Path(source)):
                self.moved_too_early.append(str(target))
            call(source, target, **options)

        return move

    def _has(self, file: Path) -> bool:
        return self.contents.get(file.stat().st_ino) == file.read_bytes()

    def lacks(self, directory: Path) -> list[str]:
        """Return the files of `directory` that a power cut would take, or change."""
        kept = self.names.get(directory.stat().st_ino, {})
        return sorted(
            file.name
            for file in directory.iterdir()
            if file.stat().st_size and not (self._has(file) and kept.get(file.name) == file.stat().st_ino)
        )


def key_made_and_destroyed(directory: Path) -> None:
    keyring = FileKeyring(directory / "keys")
    keyring.key(20_000, "necessary", create=True)
    keyring.key(20_001, "necessary", create=True)
    keyring.destroy(20_000, "necessary")
    keyring.close()


def revision_kept(directory: Path) -> None:
    Revisions(directory).keep(loads(FOUNDING), FOUNDING)


def audit_written(directory: Path) -> None:
    audit = Audit(directory / "audit.jsonl", directory / "audit.head")
    for name in ("log", "export"):
        audit.append({"command": name}, now=NOW)


def ledger_entry(until: datetime) -> Entry:
    return Entry(at=NOW, request=uuid4(), until=until, tokens=("00" * 16,), days=(20_000,),
                 purposes={"analytics": 1})  # fmt: skip


def erasure_noted(directory: Path) -> None:
    Ledger(directory / "erasures.jsonl").append(ledger_entry(NOW + timedelta(days=1)))


def ledger_pruned(directory: Path) -> None:
    ledger = Ledger(directory / "erasures.jsonl")
    ledger.append(ledger_entry(NOW))
    ledger.append(ledger_entry(NOW + timedelta(days=9)))
    assert ledger.prune(NOW + timedelta(days=1)) == 1


def keyring_remembered(directory: Path) -> None:
    keyring = FileKeyring(directory.parent / "elsewhere-keys")
    KnownRings(directory / "rings.jsonl").remember("live", keyring)
    keyring.close()


def frames_spooled(directory: Path) -> None:
    spool = Spool(directory, clock=lambda: int(NOW.timestamp() * 1e9))
    assert spool.write([b"a frame"], durable=True)
    assert spool.append(b"another")
    assert spool.sync()


KEPT = {
    "site keys": lambda directory: SiteKeys.kept(directory / "site-keys", [b"a secret"]),
    "a revision": revision_kept,
    "words": lambda directory: Wordings(directory).keep("the words of a banner"),
    "the audit trail": audit_written,
    "an erasure": erasure_noted,
    "a pruned ledger": ledger_pruned,
    "a keyring's name": keyring_remembered,
    "a day's key": key_made_and_destroyed,
    "frames of the spool": frames_spooled,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir(mode=0o700)
    return place


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_what_is_kept_survives_a_power_cut(
    keep: Callable[[Path], object], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    keep(directory)
    assert list(directory.iterdir())
    assert disk.lacks(directory) == []
    assert disk.moved_too_early == []


@pytest.mark.parametrize("without", ["files", "directories"])
@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_a_synchronisation_that_is_left_out_is_noticed(
    keep: Callable[[Path], object], without: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, without)
    keep(directory)
    assert disk.lacks(directory) != []


def written_within(limit: int, call: str, place: Path) -> str:
    """Let a process write where no file may have more than `limit` bytes, and return what it complained of."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from consent_mw.system import durable;"
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        f"durable.{call}"
    )
    return subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True).stderr


def test_a_file_is_replaced_whole_or_stays_as_it_was(directory: Path) -> None:
    place = directory / "file"
    durable.replace(place, b"before")
    assert "File too large" in written_within(4, "replace(Path(sys.argv[1]), b'after' * 9)", place)
    assert place.read_bytes() == b"before"
    assert [file.name for file in directory.iterdir()] == ["file"]


def test_what_a_crash_left_aside_is_gone_with_the_next_write(directory: Path) -> None:
    (directory / ".file").write_bytes(b"a key, and much more than what follows")
    durable.replace(directory / "file", b"after")
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == {"file": b"after"}


def test_a_file_that_is_there_is_kept(directory: Path) -> None:
    durable.keep(directory / "file", b"the first")
    durable.keep(directory / "file", b"the second")
    assert (directory / "file").read_bytes() == b"the first"
    assert [file.name for file in directory.iterdir()] == ["file"]


def test_an_addition_that_does_not_fit_is_cut_off_again(directory: Path) -> None:
    place = directory / "file"
    durable.append(place, b"one\n")
    assert "No space left on device" in written_within(6, "append(Path(sys.argv[1]), b'two\\n')", place)
    assert place.read_bytes() == b"one\n"


def test_additions_of_many_processes_are_all_there(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from consent_mw.system import durable;"
        "[durable.append(Path(sys.argv[1]), b'%s %d\\n' % (sys.argv[2].encode(), number)) for number in range(40)]"
    )
    place = directory / "file"
    writers = [subprocess.Popen([sys.executable, "-c", code, place, str(number)]) for number in range(4)]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    lines = place.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 160
