"""Keys are shared, destroyed for good, and never seal twice under one nonce."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_mw.crypto import key_slots
from consent_mw.crypto.keyring import FileKeyring, MemoryKeyring
from consent_mw.crypto.sealer import Sealer, names_of
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import (
    ConfigurationError,
    KeyDestroyed,
    RecordDamaged,
    SchemaError,
    StoreError,
    StoreUnavailable,
)
from consent_mw.records import Record, new_id
from consent_mw.system import mounts

DAY = 20_780
NOW_NS = DAY * 86_400_000_000_000 + 3_600_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


def run(program: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sealed(sealer: Sealer, plain: bytes, *, record_id: UUID | None = None) -> Record:
    return sealer.record(record_id or new_id(NOW_NS), "visit", "necessary", plain=plain)


def changed(record: Record, **values: object) -> Record:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return Record(**{**fields, **values})


@pytest.fixture(params=["file", "memory"])
def keyring(request, path):
    ring = FileKeyring(path) if request.param == "file" else MemoryKeyring()
    yield ring
    ring.close()


def test_a_key_is_made_once_and_each_day_and_purpose_has_its_own(keyring):
    first = keyring.key(DAY, "necessary", create=True)
    assert len(first) == 32
    assert keyring.key(DAY, "necessary", create=False) == keyring.key(DAY, "necessary", create=True) == first
    others = {keyring.key(DAY + 1, "necessary", create=True), keyring.key(DAY, "abuse", create=True)}
    assert len(others | {first}) == 3
    assert keyring.live() == [(DAY, "abuse"), (DAY, "necessary"), (DAY + 1, "necessary")]


def test_a_missing_key_is_not_made_by_asking(keyring):
    with pytest.raises(KeyDestroyed, match="2026-11-23"):
        keyring.key(DAY, "necessary", create=False)
    assert keyring.live() == []


def test_a_destroyed_key_is_not_given_nor_made_again(keyring):
    keyring.key(DAY, "necessary", create=True)
    before = keyring.generation
    assert keyring.destroy(DAY, "necessary")
    assert keyring.generation != before
    assert not keyring.destroy(DAY, "necessary")
    for create in (True, False):
        with pytest.raises(KeyDestroyed):
            keyring.key(DAY, "necessary", create=create)


def test_keys_and_tombstones_outlive_the_process(path):
    ring = FileKeyring(path)
    kept = ring.key(DAY, "necessary", create=True)
    ring.key(DAY, "abuse", create=True)
    ring.destroy(DAY, "abuse")
    ring.close()
    ring.close()
    again = FileKeyring(path)
    assert again.name == ring.name
    assert again.key(DAY, "necessary", create=False) == kept
    with pytest.raises(KeyDestroyed):
        again.key(DAY, "abuse", create=True)


def test_each_file_has_a_name_of_its_own_and_is_private(tmp_path):
    names = {FileKeyring(tmp_path / str(number)).name for number in range(3)}
    assert len(names) == 3
    assert all(name.startswith("local-") for name in names)
    assert stat.S_IMODE((tmp_path / "0").stat().st_mode) == 0o600


def test_no_file_holds_a_key_after_it_was_destroyed(tmp_path, path):
    ring = FileKeyring(path)
    keys = {(DAY, f"purpose {number}"): ring.key(DAY, f"purpose {number}", create=True) for number in range(20)}

    def keys_in_files() -> int:
        everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        return sum(key in everything for key in keys.values())

    inode, size = path.stat().st_ino, path.stat().st_size
    assert keys_in_files() == 20
    for day, purpose in keys:
        ring.destroy(day, purpose)
    assert keys_in_files() == 0
    assert (path.stat().st_ino, path.stat().st_size) == (inode, size)


MAKE_A_KEY = """
import sys
from consent_mw.crypto.keyring import FileKeyring
sys.stdin.readline()
print(FileKeyring(sys.argv[1]).key(20780, "necessary", create=True).hex())
"""


def test_processes_that_start_at_once_agree_on_the_key(path):
    command = [sys.executable, "-c", MAKE_A_KEY, str(path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert len({worker.communicate(timeout=60)[0] for worker in workers}) == 1
    assert FileKeyring(path).live() == [(DAY, "necessary")]


def test_threads_that_ask_at_once_agree_on_the_keys(path):
    ring = FileKeyring(path)
    barrier = threading.Barrier(4)

    def ask(_: int) -> list[bytes]:
        barrier.wait()
        return [ring.key(day, "necessary", create=True) for day in range(DAY, DAY + 10)]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))
    assert all(answer == answers[0] for answer in answers)


def test_a_key_destroyed_by_one_process_opens_nothing_in_another_at_once(path):
    sealer = Sealer(FileKeyring(path), SITE_KEYS)
    record = sealed(sealer, b"10.0.0.1")
    assert sealer.open(record) == b"10.0.0.1"
    run("import sys; from consent_mw.crypto.keyring import FileKeyring; "
        "assert FileKeyring(sys.argv[1]).destroy(20780, 'necessary')", path)  # fmt: skip
    with pytest.raises(KeyDestroyed):
        sealer.open(record)
    with pytest.raises(KeyDestroyed):
        sealed(sealer, b"10.0.0.2")
    with pytest.raises(KeyDestroyed):
        sealer.token(DAY, "necessary", b"10.0.0.1")


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + bytes(9000), bytes(5000)])
def test_a_foreign_file_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"keys: the key file is not one of consent-mw; give another path"):
        FileKeyring(path)
    assert path.read_bytes() == content


def test_every_damage_to_the_header_is_refused_and_the_file_left_alone(path):
    FileKeyring(path).close()
    content = path.read_bytes()
    for position in range(40):
        broken = bytearray(content)
        broken[position] ^= 1
        path.write_bytes(broken)
        with pytest.raises(ConfigurationError, match="keys: the key file"):
            FileKeyring(path)
        assert path.read_bytes() == broken


def test_a_newer_file_is_refused(path, monkeypatch):
    monkeypatch.setattr(key_slots, "_VERSION", 2)
    FileKeyring(path).close()
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="has format 2"):
        FileKeyring(path)


def test_a_cut_header_is_refused(path):
    FileKeyring(path).close()
    os.truncate(path, 100)
    with pytest.raises(ConfigurationError, match="damaged"):
        FileKeyring(path)


@pytest.mark.parametrize("left", [0, 7, 50_000])
def test_a_file_that_lost_slots_is_refused_rather_than_called_one_whose_keys_were_destroyed(path, left):
    FileKeyring(path).close()
    os.truncate(path, key_slots.PAGE + left)
    with pytest.raises(ConfigurationError, match="was cut off; put the whole file back"):
        FileKeyring(path)


def test_what_cannot_be_a_private_local_file_is_refused(tmp_path, path, monkeypatch):
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        FileKeyring(tmp_path / "missing" / "keys")
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="not a regular file"):
            FileKeyring(place)
    FileKeyring(path).close()
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        FileKeyring(path)
    table = tmp_path / "mountinfo"
    table.write_text("20 1 0:1 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    with pytest.raises(ConfigurationError, match="nfs4"):
        FileKeyring(tmp_path / "other")


def test_a_full_disk_leaves_no_half_made_file(path):
    program = """
import resource, sys
from consent_mw.exceptions import ConfigurationError
from consent_mw.crypto.keyring import FileKeyring
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    FileKeyring(sys.argv[1])
except ConfigurationError as error:
    print(error)
"""
    assert "cannot be opened" in run(program, path)
    assert path.stat().st_size == 0
    assert FileKeyring(path).key(DAY, "necessary", create=True)


def test_a_damaged_slot_loses_that_key_only_and_is_wiped_by_the_next_destruction(path, caplog):
    ring = FileKeyring(path)
    keys = [ring.key(DAY + number, "necessary", create=True) for number in range(3)]
    ring.close()
    content = bytearray(path.read_bytes())
    content[content.index(keys[1]) - 4] ^= 1  # in the day of the second slot
    path.write_bytes(content)
    again = FileKeyring(path)
    assert again.live() == [(DAY, "necessary"), (DAY + 2, "necessary")]
    with pytest.raises(KeyDestroyed):
        again.key(DAY + 1, "necessary", create=False)
    assert keys[1] in path.read_bytes()
    assert again.destroy(DAY, "necessary")
    assert keys[1] not in path.read_bytes()
    assert "1 of its keys were damaged" in caplog.text
    assert again.key(DAY + 2, "necessary", create=False) == keys[2]


def filled(path: Path, *, first_day: int) -> FileKeyring:
    ring = FileKeyring(path)
    ring.key(first_day, "necessary", create=True)
    content = path.read_bytes()[: key_slots.PAGE]
    slots = [key_slots.slot(first_day + number, "necessary", os.urandom(32)) for number in range(1024)]
    path.write_bytes(content + b"".join(slots))
    ring.close()
    return FileKeyring(path)


def test_a_full_file_grows_at_its_end_and_moves_nothing(path):
    ring = filled(path, first_day=DAY)
    before = path.read_bytes()
    new = ring.key(DAY + 1024, "necessary", create=True)
    after = path.read_bytes()
    assert after[key_slots.PAGE : len(before)] == before[key_slots.PAGE :]
    assert after.index(new) > len(before)
    assert len(ring.live()) == 1025


def test_only_an_old_tombstone_makes_room_for_a_new_key(path):
    ring = filled(path, first_day=DAY)
    size = path.stat().st_size
    ring.destroy(DAY, "necessary")
    ring.key(DAY + 399, "abuse", create=True)
    assert path.stat().st_size > size
    ring.close()
    os.truncate(path, size)
    ring = FileKeyring(path)
    ring.key(DAY + 400, "abuse", create=True)
    assert path.stat().st_size == size
    assert ring.key(DAY, "necessary", create=True)


def test_a_name_too_long_for_its_slot_is_refused(path):
    ring = FileKeyring(path)
    assert ring.key(DAY, "가" * 26 + "aa", create=True)
    with pytest.raises(ConfigurationError, match="80 bytes"):
        ring.key(DAY, "가" * 27, create=True)


def test_a_file_replaced_or_removed_while_in_use_is_noticed(path, tmp_path):
    ring = FileKeyring(path)
    FileKeyring(tmp_path / "other").close()
    os.replace(tmp_path / "other", path)
    with pytest.raises(StoreError, match="replaced while in use"):
        ring.key(DAY, "necessary", create=True)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="see that it is there"):
        ring.key(DAY, "necessary", create=True)


SITE_KEYS = SiteKeys.random()
SEALER = Sealer(MemoryKeyring(), SITE_KEYS)


@given(st.binary(max_size=2000))
def test_what_was_sealed_is_opened(plain):
    record = sealed(SEALER, plain)
    assert SEALER.open(record) == plain
    assert len(record.sealed) == len(plain) + 21 + 47
    assert len(plain) < 8 or plain not in record.sealed


@given(st.data())
def test_a_changed_record_is_refused(data):
    record = sealed(SEALER, b"10.0.0.1 /account?id=7")
    broken = bytearray(record.sealed)
    position = data.draw(st.integers(0, len(broken) - 1))
    broken[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoreError):
        SEALER.open(changed(record, sealed=bytes(broken)))
    cut = data.draw(st.integers(0, len(broken) - 1))
    with pytest.raises(StoreError):
        SEALER.open(changed(record, sealed=record.sealed[:cut]))


def test_a_sealed_part_opens_only_in_its_own_record(path):
    sealer = Sealer(FileKeyring(path), SITE_KEYS)
    record = sealed(sealer, b"10.0.0.1")
    sealer.keyring.key(DAY, "necessaryabuse", create=True)
    others = {"id": new_id(NOW_NS), "kind": "abuse", "purpose": "analytics", "subject": b"x",
              "ring": "", "data": {"a": 1}}  # fmt: skip
    for name, value in others.items():
        with pytest.raises(RecordDamaged, match="changed since it was written"):
            sealer.open(changed(record, **{name: value}))


def test_a_seal_of_its_own_key_is_told_from_those_of_other_keyrings_and_versions():
    sealer, other = Sealer(MemoryKeyring(), SITE_KEYS), Sealer(MemoryKeyring(), SITE_KEYS)
    record = sealed(sealer, b"10.0.0.1")
    assert other.is_whole(record)
    with pytest.raises(ConfigurationError, match=f"not by {other.keyring.name}"):
        other.open(record)
    blob = sealer.seal_bytes(record.id.bytes, DAY, "necessary", names_of("visit", "necessary"), b"x", bytes(12))
    with pytest.raises(SchemaError, match="format 9"):
        sealer.open_bytes(
            record.id.bytes, DAY, "necessary", names_of("visit", "necessary"), record.ring, b"\x09" + blob[1:]
        )


def test_kind_and_purpose_cannot_trade_letters():
    keyring = MemoryKeyring()
    sealer = Sealer(keyring, SITE_KEYS)
    keyring.key(DAY, "bc", create=True)
    keyring._keys[DAY, "c"] = keyring._keys[DAY, "bc"]
    record_id = new_id(NOW_NS).bytes
    blob = sealer.seal_bytes(record_id, DAY, "bc", names_of("a", "bc"), b"x", bytes(12))
    with pytest.raises(RecordDamaged):
        sealer.open_bytes(record_id, DAY, "c", names_of("ab", "c"), keyring.name, blob)


def test_a_late_record_seals_under_the_key_of_its_own_day():
    sealer = Sealer(MemoryKeyring(), SITE_KEYS)
    record = sealed(sealer, b"x", record_id=new_id(NOW_NS - 2 * 86_400_000_000_000))
    assert sealer.keyring.live() == [(DAY - 2, "necessary")]
    assert sealer.open(record) == b"x"


def test_a_token_holds_for_its_day_purpose_and_value_only():
    keyring = MemoryKeyring()
    first, second = Sealer(keyring, SITE_KEYS), Sealer(keyring, SITE_KEYS)
    token = first.token(DAY, "analytics", b"visitor")
    assert len(token) == 16
    assert second.token(DAY, "analytics", b"visitor") == token
    others = [(DAY + 1, "analytics", b"visitor"), (DAY, "abuse", b"visitor"), (DAY, "analytics", b"other")]
    assert token not in {first.token(*other) for other in others}


def nonces(blobs: list[bytes]) -> set[bytes]:
    return {blob[:29] for blob in blobs}


def test_no_nonce_repeats_across_threads():
    sealer = Sealer(MemoryKeyring(), SITE_KEYS)
    record_id = new_id(NOW_NS)
    barrier = threading.Barrier(4)

    def seal(_: int) -> list[bytes]:
        barrier.wait()
        return [sealer.record(record_id, "visit", "necessary", plain=b"x").sealed[21:] for _ in range(2000)]

    with ThreadPoolExecutor(4) as threads:
        blobs = [blob for part in threads.map(seal, range(4)) for blob in part]
    assert len(nonces(blobs)) == 8000


def test_no_nonce_and_no_id_repeats_in_a_process_that_was_copied_while_it_ran(path):
    """libc's fork, of which Python is not told, stands for the snapshot of a virtual machine that is resumed twice."""
    program = """
import ctypes, os, sys
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.records import new_id, new_id_number
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
sealer = Sealer(FileKeyring(sys.argv[1]), SiteKeys.random())
now_ns = 20780 * 86_400_000_000_000
sealer.record(new_id(now_ns), "visit", "necessary", plain=b"x")
copy = ctypes.CDLL(None).fork()
records = [sealer.record(new_id(now_ns), "visit", "necessary", plain=b"x") for _ in range(50)]
os.write(1, "".join(f"{record.id} {record.sealed[21:50].hex()}\\n" for record in records).encode())
if copy == 0:
    os._exit(0)
os.waitpid(copy, 0)
"""
    lines = [line.split() for line in run(program, path).splitlines()]
    assert len(lines) == 100
    assert [len(set(column)) for column in zip(*lines, strict=True)] == [100, 100]


def test_no_nonce_repeats_across_forks(path):
    program = """
import os, sys
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.records import new_id
from consent_mw.crypto.sealer import Sealer, names_of
from consent_mw.crypto.site_keys import SiteKeys
sealer = Sealer(FileKeyring(sys.argv[1]), SiteKeys.random())
record_id = new_id(20780 * 86_400_000_000_000)
def seal():
    lines = [sealer.record(record_id, "visit", "necessary", plain=b"x").sealed[21:50].hex() for _ in range(50)]
    os.write(1, ("\\n".join(lines) + "\\n").encode())
seal()
children = []
for _ in range(3):
    if (child := os.fork()) == 0:
        seal()
        if (grandchild := os.fork()) == 0:
            seal()
        else:
            os.waitpid(grandchild, 0)
            seal()
        os._exit(0)
    children.append(child)
seal()
for child in children:
    os.waitpid(child, 0)
seal()
"""
    lines = run(program, path).split()
    assert len(lines) == 50 * (3 + 3 * 3)
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/app", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/share/local", None),
        ("/mnt/with space/x", "cifs"),
        ("/twice", "fuse.sshfs"),
        ("/host/site", "virtiofs"),
    ],
)
def test_a_network_file_system_is_told_by_the_deepest_and_latest_mount(tmp_path, monkeypatch, path, kind):
    table = tmp_path / "mountinfo"
    table.write_text(
        "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "21 20 0:30 / /mnt/share rw - nfs4 server:/export rw\n"
        "22 21 8:2 / /mnt/share/local rw master:2 propagate_from:1 - xfs /dev/sdb1 rw\n"
        "26 20 0:33 / /host rw - virtiofs share rw\n"
        "23 20 0:31 / /mnt/with\\040space rw - cifs //server/share rw\n"
        "24 20 0:32 / /twice rw - tmpfs none rw\n"
        "25 20 0:33 / /twice rw - fuse.sshfs me@server: rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    assert mounts.network_file_system(Path(path)) == kind


def test_without_a_mount_table_every_path_counts_as_local(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "missing")
    assert mounts.network_file_system(tmp_path) is None
