"""Nothing that the spool acknowledged is lost, nothing is invented, and a write never fails a request."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.exceptions import ConfigurationError, SpoolError
from consent_mw.spool.frames import HEADER_BYTES, pack, unpack, unpack_from
from consent_mw.spool.gaps import Gap
from consent_mw.spool.segment import Segment, SegmentName
from consent_mw.spool.spool import Spool
from consent_mw.system import mounts

MARKER = bytes(range(8))
NOW_NS = 1_795_000_000_000_000_000


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spool(directory):
    spool = Spool(directory)
    yield spool
    spool.close()


def drained(spool: Spool) -> list[bytes]:
    frames: list[bytes] = []
    while segments := spool.closed():
        for segment in segments:
            frames += segment.frames()
            segment.discard()
    return frames


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool1"))


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE)


def finish(worker: subprocess.Popen[bytes]) -> bytes:
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    return output


def test_frames_come_back_in_order_and_only_once(spool, directory):
    assert spool.write([b"one", b"two"])
    assert spool.write([b""])
    assert spool.write([])
    assert drained(spool) == [b"one", b"two", b""]
    assert drained(spool) == []
    assert segments(directory) == []
    assert spool.waiting_bytes == 0
    assert spool.oldest is None


def test_nothing_is_on_the_disk_before_the_first_write(spool, directory):
    assert segments(directory) == []
    spool.write([b"x"], durable=True)
    (segment,) = segments(directory)
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert spool.waiting_bytes == segment.stat().st_size == HEADER_BYTES + 1


def test_a_segment_stays_until_it_is_discarded(spool, directory):
    spool.write([b"x"])
    (segment,) = spool.closed()
    assert list(segment.frames()) == list(segment.frames()) == [b"x"]
    assert [again.path for again in spool.closed()] == [segment.path]
    segment.release()
    with pytest.raises(SpoolError, match="no longer held"):
        list(segment.frames())
    (reopened,) = spool.closed()
    reopened.discard()
    reopened.discard()
    assert segments(directory) == []


def test_a_full_segment_is_followed_by_another_and_the_oldest_comes_first(directory):
    clock = iter(range(NOW_NS, NOW_NS + 1000))
    spool = Spool(directory, segment_bytes=100, clock=lambda: next(clock))
    written = [bytes([number]) * 60 for number in range(10)]
    for frame in written:
        assert spool.write([frame])
    assert spool.oldest == datetime.fromtimestamp(NOW_NS / 1e9, UTC)
    assert len(segments(directory)) == 5
    assert drained(spool) == written


def test_a_backlog_makes_no_more_files_and_is_returned_in_parts(directory):
    spool = Spool(directory, segment_bytes=1)
    written = [b"%d" % number for number in range(80)]
    for frame in written:
        spool.write([frame])
    spool.sync()
    spool.rotate()
    assert len(segments(directory)) == 80
    assert len(spool.closed()) == 64
    assert sorted(drained(spool)) == sorted(written)


def test_a_segment_that_another_process_writes_is_left_to_it(directory):
    writer, reader = Spool(directory), Spool(directory)
    writer.write([b"x"])
    assert reader.closed() == []
    writer.rotate()
    assert drained(reader) == [b"x"]
    writer.write([b"y"])
    writer.close()
    assert drained(reader) == [b"y"]
    assert writer.write([b"z"])
    assert drained(writer) == [b"z"]


def test_other_files_in_the_directory_are_left_alone(spool, directory):
    (directory / "notes.txt").write_text("mine")
    (directory / "00000000000000000001-0011223344556677.spool2").write_bytes(b"newer")
    spool.write([b"x"])
    assert drained(spool) == [b"x"]
    assert {path.name for path in directory.iterdir()} == {
        "drain.lock",
        "notes.txt",
        "00000000000000000001-0011223344556677.spool2",
    }


WRITE_UNTIL_KILLED = """
import os, sys
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1], segment_bytes=20_000)
number = 0
while True:
    frames = [b"%s/%d" % (sys.argv[2].encode(), number + part) + bytes(200) for part in range(2)]
    if spool.write(frames):
        os.write(1, b"%s/%d\\n" * 2 % (sys.argv[2].encode(), number, sys.argv[2].encode(), number + 1))
    number += 2
    if number % 50 == 0:
        spool.rotate()
"""


def test_sigkill_at_random_moments_loses_nothing_acknowledged_and_doubles_nothing(directory):
    reader = Spool(directory)
    chance = random.Random(4)
    acknowledged: list[bytes] = []
    frames: list[bytes] = []
    with ThreadPoolExecutor(3) as threads:
        for turn in range(2):
            workers = [start(WRITE_UNTIL_KILLED, directory, f"{turn}.{name}") for name in range(3)]
            outputs = [threads.submit(worker.communicate) for worker in workers]
            for worker in workers:
                while not segments(directory) and not frames:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0.1, 0.3))
                frames += drained(reader)
                worker.send_signal(signal.SIGKILL)
            acknowledged += [line for output in outputs for line in output.result()[0].split(b"\n")[:-1]]
            frames += drained(reader)
    names = [frame.rstrip(b"\0") for frame in frames]
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(names)
    assert len(names) == len(set(names))
    # A writer killed between making its file and its first frame leaves an empty one, which is left alone for a second.
    assert all(path.stat().st_size == 0 for path in segments(directory))
    time.sleep(1.1)
    assert drained(reader) == []
    assert segments(directory) == []


def test_both_sides_of_a_fork_write_segments_of_their_own(directory):
    program = """
import os, sys
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
spool.write([b"before"])
spool.lose(3)
with spool.lease() as mine:
    assert mine
    child = os.fork()
    if child == 0:
        assert spool.take_gap() is None
        with spool.lease() as second:
            assert not second
    for number in range(500):
        assert spool.write([b"%s %d" % (b"child" if child == 0 else b"parent", number)])
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert spool.take_gap().frames == 3
"""
    finish(start(program, directory))
    assert len(segments(directory)) == 2
    expected = {b"before"} | {b"%s %d" % (side, number) for side in (b"child", b"parent") for number in range(500)}
    frames = drained(Spool(directory))
    assert len(frames) == 1001
    assert set(frames) == expected


def test_a_child_that_lives_on_does_not_keep_a_dead_parents_segment_and_lease(directory):
    program = """
import os, signal, sys, time
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
spool.write([b"parent"])
with spool.lease():
    if (child := os.fork()) == 0:
        os.write(1, b"%d" % os.getpid())

        time.sleep(60)
    os.read(0, 1)
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdout
    assert worker.stdin
    child = int(os.read(worker.stdout.fileno(), 20))
    try:
        reader = Spool(directory)
        with reader.lease() as mine:
            assert not mine
        worker.kill()
        worker.wait()
        with reader.lease() as mine:
            assert mine
            assert drained(reader) == [b"parent"]
    finally:
        os.kill(child, signal.SIGKILL)
        worker.stdin.close()
        worker.stdout.close()


def test_threads_share_a_segment(spool):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: spool.write([b"%d" % number]), range(2000)))
    assert sorted(map(int, drained(spool))) == list(range(2000))


def test_a_torn_tail_is_cut_at_every_byte(spool, directory):
    spool.write([b"first", b"second"])
    spool.rotate()
    (path,) = segments(directory)
    size = path.stat().st_size
    boundary = HEADER_BYTES + 5
    for cut in range(size - 1, 0, -1):
        os.truncate(path, cut)
        (segment,) = spool.closed()
        assert list(segment.frames()) == ([b"first"] if cut >= boundary else [])
        assert segment.damaged_bytes == (cut - boundary if cut >= boundary else cut)
        segment.release()
    os.truncate(path, 0)
    assert spool.closed() == []  # it might be new
    os.utime(path, (0, 0))
    (segment,) = spool.closed()
    assert list(segment.frames()) == []
    assert segment.gaps[0].reason == "damaged"  # at least one frame was in it
    segment.discard()
    assert segments(directory) == []


PAYLOADS = st.lists(
    st.binary(max_size=40) | st.just(MARKER) | st.just(pack(bytes(8), [b"inner"])), min_size=1, max_size=8
)


@given(PAYLOADS, st.data())
def test_damage_at_any_byte_loses_only_the_frame_it_hit(payloads, data):
    blob = bytearray(pack(MARKER, payloads))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    ends = [len(pack(MARKER, payloads[: count + 1])) for count in range(len(payloads))]
    hit = next(number for number, end in enumerate(ends) if position < end)
    pieces = list(unpack(MARKER, bytes(blob)))
    assert [piece for piece in pieces if isinstance(piece, bytes)] == payloads[:hit] + payloads[hit + 1 :]
    assert [piece for piece in pieces if isinstance(piece, int)] == [HEADER_BYTES + len(payloads[hit])]


@given(PAYLOADS, st.integers(0, 400), st.binary(max_size=60), st.integers(0, 60))
def test_whatever_happened_to_a_segment_reading_it_invents_nothing(payloads, position, noise, removed):
    blob = pack(MARKER, payloads)
    position = min(position, len(blob))
    broken = blob[:position] + noise + blob[position + removed :]
    pieces = list(unpack(MARKER, broken))
    frames = [piece for piece in pieces if isinstance(piece, bytes)]
    remaining = iter(payloads)
    assert all(any(frame == payload for payload in remaining) for frame in frames)
    gone = sum(piece for piece in pieces if isinstance(piece, int))
    assert gone + len(pack(MARKER, frames)) == len(broken)


@given(PAYLOADS, st.integers(0, 400), st.binary(max_size=60), st.integers(0, 60), st.integers(16, 100), st.data())
def test_read_in_pieces_a_segment_is_what_it_is_at_once_also_where_its_file_ends_early(
    payloads, position, noise, removed, piece, data
):
    blob = pack(MARKER, payloads)
    broken = blob[:position] + noise + blob[position + removed :]
    there = broken[: data.draw(st.integers(0, len(broken)))]
    pieces = list(unpack_from(MARKER, lambda at, length: there[at : at + length], len(broken), piece))
    assert pieces == list(unpack(MARKER, there))


def test_memory_follows_the_longest_frame_and_not_the_segment():
    blob = pack(MARKER, [bytes(100)] * 1_000 + [bytes(3_000)] + [bytes(100)] * 1_000)
    asked: list[int] = []

    def read(at: int, length: int) -> bytes:
        asked.append(length)
        return blob[at : at + length]

    assert len(list(unpack_from(MARKER, read, len(blob), 1_024))) == 2_001
    assert max(asked) == 3_000 + HEADER_BYTES
    assert sum(asked) < 1.2 * len(blob)


@given(st.binary(max_size=300))
def test_noise_holds_no_frame(noise):
    assert not [piece for piece in unpack(MARKER, noise) if isinstance(piece, bytes)]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_segment_file_damaged_at_any_byte_still_yields_every_other_frame(tmp_path_factory, position, flip):
    spool = Spool(tmp_path_factory.mktemp("spool"))
    payloads = [b"%03d" % number * 10 for number in range(40)]
    spool.write(payloads)
    spool.rotate()
    (path,) = segments(spool.directory)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position] ^= flip
    path.write_bytes(content)
    (segment,) = spool.closed()
    del payloads[position // (HEADER_BYTES + 30)]
    assert list(segment.frames()) == payloads
    assert segment.damaged_bytes == HEADER_BYTES + 30
    segment.discard()


def test_a_full_disk_cuts_back_to_the_last_whole_frame_and_opens_the_breaker(directory):
    # RLIMIT_FSIZE stands for the full disk: the kernel shortens the write that crosses it, and refuses the next.
    program = """
import resource, sys, time
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
assert spool.write([b"a" * 400])
before = time.time_ns()
assert not spool.write([b"b" * 400, b"c" * 400])
assert not spool.write([b"d" * 400], durable=True)
gap = spool.take_gap()
assert gap.frames == 2, gap
assert before <= gap.first_ns <= gap.last_ns <= time.time_ns()
time.sleep(1.05)
assert spool.write([b"e" * 400])
assert spool.take_gap() is None
"""
    finish(start(program, directory))
    assert [path.stat().st_size for path in segments(directory)] == [832, 416]
    assert [frame[:1] for frame in drained(Spool(directory))] == [b"a", b"b", b"e"]


def test_a_disk_that_takes_nothing_loses_and_counts_but_never_raises(directory):
    program = """
import resource, sys
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
assert not any(spool.write([b"x", b"y"], durable=durable, reserved=True) for durable in (True, False) * 10)
assert spool.take_gap().frames == 40
"""
    finish(start(program, directory))
    assert drained(Spool(directory)) == []


def test_without_descriptors_nothing_is_acknowledged_that_is_not_kept(directory):
    program = """
import resource, sys
from consent_mw.spool.spool import Spool
spool, unopened = Spool(sys.argv[1]), Spool(sys.argv[1])
assert spool.write([b"x"])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
assert not spool.write([b"on the disk?"], durable=True)
assert not spool.sync()
assert spool.write([b"y"])
assert spool.take_gap() is None
assert not unopened.write([b"z"])
assert unopened.take_gap().frames == 1
"""
    finish(start(program, directory))
    assert drained(Spool(directory)) == [b"x", b"on the disk?", b"y"]


def test_a_directory_that_vanishes_loses_and_counts_but_never_raises(spool, directory):
    spool.write([b"x"])
    spool.rotate()
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    assert not spool.write([b"y"])
    assert spool.take_gap().frames == 1
    for ask in (spool.closed, spool.rotate, lambda: spool.waiting_bytes, lambda: spool.lease().__enter__()):
        with pytest.raises(SpoolError, match="see that the directory is there"):
            ask()


def test_a_segment_that_somebody_removes_is_counted_as_lost(directory):
    program = """
import os, sys
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
assert spool.write([b"x", b"y"])
for entry in os.scandir(sys.argv[1]):
    os.unlink(entry)
spool.rotate()  # as the drain does each second
assert spool.write([b"z"])
assert spool.take_gap().frames == 2
"""
    finish(start(program, directory))
    assert drained(Spool(directory)) == [b"z"]


@pytest.mark.parametrize("spoil", [os.unlink, lambda path: os.truncate(path, 0)], ids=["removed", "cut"])
def test_a_durable_frame_in_a_segment_that_somebody_removed_or_cut_is_not_acknowledged(spoil, spool, directory):
    assert spool.write([b"x"])
    for path in directory.iterdir():
        spoil(path)
    assert not spool.write([b"a receipt"], durable=True)
    assert spool.take_gap().frames == 2
    assert spool.write([b"a receipt"], durable=True)
    assert set(drained(spool)) == {b"a receipt"}


def test_a_segment_that_got_no_frame_leaves_no_file(directory):
    program = """
import resource, sys
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
assert not spool.write([b"x" * 400])
assert spool.take_gap().frames == 1
spool.rotate()
"""
    finish(start(program, directory))
    assert segments(directory) == []


def test_a_full_budget_drops_ordinary_frames_and_leaves_the_reserve(directory):
    size = 100 + HEADER_BYTES
    spool = Spool(directory, budget_bytes=8 * size, reserve_bytes=4 * size, clock=lambda: NOW_NS)
    assert [spool.write([bytes(100)]) for _ in range(5)] == [True, True, True, True, False]
    assert [spool.write([bytes(100)], reserved=True) for _ in range(2)] == [True, False]
    assert [spool.write([bytes(100)], reserved=True, right=True) for _ in range(4)] == [True, True, True, False]
    assert spool.take_gap() == Gap(3, NOW_NS, NOW_NS, "full")
    assert spool.waiting_bytes == 8 * size
    assert spool.is_tight
    assert len(drained(spool)) == 8
    assert spool.waiting_bytes == 0
    assert not spool.is_tight
    assert spool.write([bytes(100)])


def test_the_budget_counts_what_other_processes_wrote(directory):
    other = Spool(directory)
    other.write([bytes(1000)])
    spool = Spool(directory, budget_bytes=1000, reserve_bytes=0)
    assert not spool.write([b"x"])
    other.close()
    drained(other)
    assert spool.waiting_bytes == 0
    assert spool.write([b"x"])


def test_a_gap_is_taken_once_and_can_be_given_back(directory):
    times = iter([10, 20, 30])
    spool = Spool(directory, clock=lambda: next(times))
    spool.lose(2)
    spool.lose(1)
    gap = spool.take_gap()
    assert gap == Gap(3, 10, 20, "key")
    assert spool.take_gap() is None
    spool.lose(1)
    spool.give_back(gap)
    assert spool.take_gap() == Gap(4, 10, 30, "key")
    spool.give_back(gap)
    assert spool.take_gap() == gap


def test_a_clock_that_steps_back_loses_nothing(directory):
    times = iter([NOW_NS, NOW_NS - 10**15, NOW_NS - 10**15, 0])
    spool = Spool(directory, segment_bytes=1, clock=lambda: next(times))
    for number in range(4):
        assert spool.write([b"%d" % number])
    assert sorted(drained(spool)) == [b"0", b"1", b"2", b"3"]


def test_one_process_at_a_time_has_the_lease_and_leaves_what_it_did_not_finish(directory):
    first, second = Spool(directory), Spool(directory)
    first.write([b"x"])
    with first.lease() as mine:
        assert mine
        assert len(first.closed()) == 1
        with second.lease() as also:
            assert not also
        assert second.closed() == []
    with second.lease() as mine:
        assert mine
        assert drained(second) == [b"x"]


def test_drainers_side_by_side_read_each_frame_once(directory):
    program = """
import os, sys, time
from consent_mw.spool.spool import Spool
spool = Spool(sys.argv[1])
sys.stdin.readline()
for _ in range(200):
    for segment in spool.closed():
        lines = b"".join(frame + b"\\n" for frame in segment.frames())
        segment.discard()
        os.write(1, lines)
"""
    command = [sys.executable, "-c", program, str(directory)]
    drainers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    spool = Spool(directory, segment_bytes=500)
    for drainer in drainers:
        assert drainer.stdin
        drainer.stdin.write(b"\n")
        drainer.stdin.flush()
    for number in range(20_000):
        spool.write([b"%d" % number])
        if number % 100 == 0:
            spool.rotate()
    spool.close()
    numbers = b"".join(finish(drainer) for drainer in drainers).split() + drained(spool)
    assert sorted(map(int, numbers)) == list(range(20_000))


def test_a_segment_drained_between_open_and_lock_is_not_read_again(spool, directory):
    spool.write([b"x"])
    spool.rotate()
    (path,) = segments(directory)
    name = SegmentName.parse(path.name)
    assert name
    fd = os.open(path, os.O_RDONLY)
    assert drained(spool) == [b"x"]
    # Opening the descriptor's own link gives what a slower drain has in hand: the unlinked file.
    assert Segment.adopt(Path(f"/proc/self/fd/{fd}"), name) is None
    os.close(fd)


def test_a_reserve_that_leaves_nothing_is_refused(directory):
    with pytest.raises(ConfigurationError, match="budget_bytes=10"):
        Spool(directory, budget_bytes=10, reserve_bytes=10)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "spool").write_text("mine")
    with pytest.raises(SpoolError, match=r"spool: .*; give a directory that this user may write"):
        Spool(tmp_path / "spool")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; others meet the mode directly")
def test_an_unwritable_directory_is_refused_as_another_user():
    program = """
import os, sys
from consent_mw.exceptions import SpoolError
from consent_mw.spool.spool import Spool
os.setuid(65534)
try:
    Spool(sys.argv[1])
except SpoolError as error:
    print(error)
"""
    directory = Path(tempfile.mkdtemp())  # a tmp_path lies under directories that only their owner may enter
    directory.chmod(0o755)
    (directory / "drain.lock").touch(mode=0o666)
    try:
        assert b"not writable" in finish(start(program, directory))
    finally:
        (directory / "drain.lock").unlink()
        directory.rmdir()


def test_a_network_file_system_is_refused(tmp_path, directory, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(f"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:9 / {tmp_path} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    with pytest.raises(SpoolError, match=r"network file system \(nfs4\); give a directory on a local disk"):
        Spool(directory)


def test_who_asks_for_a_lease_that_the_same_process_holds_takes_nothing_from_it(spool, directory):
    with spool.lease() as mine:
        assert mine
        with spool.lease() as also:
            assert not also
    with Spool(directory).lease() as next_one:
        assert next_one, "or nobody drains until this process ends"
