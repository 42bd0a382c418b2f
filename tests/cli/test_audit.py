"""The chain of accesses: what was done to it is found, and what a killed writer leaves is no lie."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_mw.audit import Anchor, Audit
from consent_mw.exceptions import ConfigurationError, StoreError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def chain(directory: Path, entries: int = 0) -> Audit:
    audit = Audit(directory / "audit.jsonl", directory / "audit.head")
    for number in range(1, entries + 1):
        audit.append({"command": "log", "reason": f"a question of visitor {number}"}, now=NOW)
    return audit


def link(broken: str) -> int:
    assert broken.startswith("entry "), broken
    return int(broken.removeprefix("entry ").partition(":")[0])


def test_what_was_appended_is_told_in_order_and_holds(tmp_path: Path) -> None:
    audit = chain(tmp_path)
    assert audit.verify().anchor.number == 0
    assert audit.append({"who": "root", "purposes": ["analytics"]}, now=NOW) == 1
    assert audit.append({"reason": "\ud800" + "x" * 5_000}, now=NOW.astimezone(timezone(timedelta(hours=9)))) == 2
    first, second = audit.entries()
    assert first.facts == {"time": "2026-11-23T12:00:00.000+00:00", "who": "root", "purposes": ["analytics"]}
    assert second.facts["reason"] == "?" + "x" * 999
    assert second.facts["time"] == first.facts["time"]
    verdict = audit.verify()
    assert (verdict.anchor.number, verdict.broken, verdict.note) == (2, "", "")
    assert stat.S_IMODE(audit.path.stat().st_mode) == stat.S_IMODE(audit.head.stat().st_mode) == 0o600


def test_a_chain_that_never_began_holds(tmp_path: Path) -> None:
    assert list(chain(tmp_path).entries()) == []
    assert chain(tmp_path).verify().broken == ""
    assert os.listdir(tmp_path) == []


def test_an_older_chain_that_was_put_back_is_noticed_also_after_it_went_on(tmp_path: Path) -> None:
    audit = chain(tmp_path, 3)
    backup = [(file, file.read_bytes()) for file in (audit.path, audit.head)]
    chain(tmp_path, 2)
    assert audit.verify().broken == ""
    for file, content in backup:
        file.write_bytes(content)
    broken = audit.verify().broken
    assert broken.startswith("entry 4: missing; the anchor says that there were 5 (as ")
    assert "audit.seen has seen it, so an older chain was put here" in broken
    for number in range(10):
        audit.append({"reason": f"read later {number}"}, now=NOW)
        assert audit.verify().broken != ""
    audit.path.unlink()
    audit.head.unlink()
    assert audit.verify().broken != ""


# -- what others do to it ------------------------------------------------------------------------------------------


def tampered(change: int, data: st.DataObject, lines: list[bytes]) -> tuple[bytes, int]:
    """Return the file after one change, and the number of the first link that it breaks."""
    at = data.draw(st.integers(0, len(lines) - 1))
    if change == 0:  # one byte
        where = data.draw(st.integers(0, len(lines[at]) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[at][where]))
        changed = lines[at][:where] + bytes([byte]) + lines[at][where + 1 :]
        return b"".join([*lines[:at], changed, *lines[at + 1 :]]), at + 1
    if change == 1:  # a line less
        return b"".join(lines[:at] + lines[at + 1 :]), at + 1
    if change == 2:  # two lines swapped
        other = data.draw(st.integers(0, len(lines) - 1).filter(lambda other: other != at))
        lines[at], lines[other] = lines[other], lines[at]
        return b"".join(lines), min(at, other) + 1
    if change == 3:  # a line twice
        other = data.draw(st.integers(0, len(lines)))
        return b"".join([*lines[:other], lines[at], *lines[other:]]), other + 2 if other == at else other + 1
    # Cut off at any byte but the end of a line: that one the next entry writes again, and nothing is missing.
    whole = b"".join(lines)
    left = data.draw(st.integers(0, len(whole) - 1).filter(lambda left: whole[left] != ord("\n")))
    return whole[:left], whole[:left].count(b"\n") + 1


@pytest.mark.parametrize("change", range(5), ids=["byte", "removed", "swapped", "doubled", "cut"])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_whatever_was_done_to_the_file_the_first_broken_link_is_named(change: int, data: st.DataObject) -> None:
    with TemporaryDirectory() as directory:
        audit = chain(Path(directory), 5)
        anchor = audit.verify().anchor
        lines = audit.path.read_bytes().splitlines(keepends=True)
        content, first = tampered(change, data, lines)
        audit.path.write_bytes(content)
        assert link(audit.verify().broken) == first
        # Later entries neither fix nor hide it.
        audit.append({"reason": "later"}, now=NOW)
        assert list(audit.entries())[-1].facts["reason"] == "later"
        assert link(audit.verify().broken) == first
        assert link(audit.verify(anchor).broken) == first


@given(where=st.integers(0, 102), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_of_the_head_is_found(where: int, byte: int) -> None:
    with TemporaryDirectory() as directory:
        audit = chain(Path(directory), 3)
        head = bytearray(audit.head.read_bytes())
        assert len(head) == 103
        if head[where] == byte:
            return
        head[where] = byte
        audit.head.write_bytes(head)
        assert audit.verify().broken


def test_a_lost_head_is_found_also_after_further_entries(tmp_path: Path) -> None:
    audit = chain(tmp_path, 3)
    audit.head.unlink()
    assert audit.verify().broken == "entry 4: the head is lost; entries from here on may be missing"
    audit.append({}, now=NOW)
    audit.append({}, now=NOW)
    assert link(audit.verify().broken) == 4


def test_a_chain_made_anew_holds_and_only_an_anchor_tells(tmp_path: Path) -> None:
    (tmp_path / "forged").mkdir()
    audit = chain(tmp_path, 4)
    anchor = audit.verify().anchor
    assert audit.verify(anchor).broken == ""
    forged = chain(tmp_path / "forged", 3)
    forged.path.replace(audit.path)
    forged.head.replace(audit.head)
    forged.seen.replace(audit.seen)
    assert audit.verify().broken == ""
    assert audit.verify(anchor).broken == "entry 4: missing; the anchor says that there were 4"
    audit.append({"reason": "another"}, now=NOW)
    assert link(audit.verify(anchor).broken) == 4
    assert Anchor.parse(str(anchor)) == anchor
    with pytest.raises(ConfigurationError, match="is no anchor"):
        Anchor.parse("42")


def test_a_text_that_looks_like_our_own_words_breaks_nothing(tmp_path: Path) -> None:
    audit = chain(tmp_path)
    audit.append({"reason": '","lost":"x","hash":"' + "0" * 64 + '"}\n{"n":7'}, now=NOW)
    audit.append({"reason": "\x1b[2J\u2028"}, now=NOW)
    assert audit.verify().broken == ""
    assert len(audit.path.read_bytes().splitlines()) == 2


# -- writers -------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from consent_mw.audit import Audit
audit = Audit(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
for turn in range(int(sys.argv[3])):
    print(audit.append({"writer": sys.argv[4], "turn": turn, "reason": "r" * 300}, now=datetime.now(UTC)), flush=True)
"""


def writer(audit: Audit, turns: int, name: str) -> subprocess.Popen[str]:
    arguments = [str(audit.path), str(audit.head), str(turns), name]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def test_writers_at_the_same_time_make_one_chain(tmp_path: Path) -> None:
    audit = chain(tmp_path)
    writers = [writer(audit, 40, str(number)) for number in range(3)]
    numbers = [int(line) for process in writers for line in process.communicate(timeout=60)[0].split()[1:]]
    assert sorted(numbers) == list(range(1, 121))
    assert audit.verify()[1:] == ("", "")
    assert audit.verify().anchor.number == 120


def test_a_killed_writer_leaves_a_chain_that_holds_with_all_that_it_was_told(tmp_path: Path) -> None:
    audit = chain(tmp_path)
    for turn in range(4):
        process = writer(audit, 100_000, str(turn))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.01, 0.1))
        process.send_signal(signal.SIGKILL)
        numbers = [int(line) for line in process.communicate()[0].split("\n") if line.strip()]
        verdict = audit.verify()
        assert verdict.broken == ""
        assert verdict.anchor.number >= max(numbers, default=0)


@pytest.mark.parametrize("left", [0.3, 0.99])
def test_an_entry_that_was_torn_in_the_middle_is_told_then_cut(tmp_path: Path, left: float) -> None:
    audit = chain(tmp_path, 2)
    whole, head, seen = audit.path.read_bytes(), audit.head.read_bytes(), audit.seen.read_bytes()
    audit.append({"reason": "torn"}, now=NOW)
    audit.seen.write_bytes(seen)
    torn = audit.path.read_bytes()[len(whole) :]
    kept = int(len(torn) * left)
    audit.path.write_bytes(whole + torn[:kept])
    audit.head.write_bytes(head)  # as SIGKILL leaves it: the head is written after the entry
    verdict = audit.verify()
    assert verdict.broken == ""
    assert verdict.note == f"the last {kept} bytes are a torn entry: its writer was stopped"
    assert audit.append({}, now=NOW) == 3
    assert audit.verify()[1:] == ("", "")
    assert list(audit.entries())[-1].facts["cut_bytes"] == kept


def test_an_entry_whose_writer_died_before_the_head_counts(tmp_path: Path) -> None:
    audit = chain(tmp_path, 2)
    head = audit.head.read_bytes()
    audit.append({}, now=NOW)
    audit.head.write_bytes(head)
    assert audit.verify().broken == ""
    assert audit.append({}, now=NOW) == 4
    assert audit.verify().anchor.number == 4


def test_a_head_is_caught_up_before_the_next_entry_is_written(tmp_path: Path) -> None:
    audit = chain(tmp_path, 2)
    head = audit.head.read_bytes()
    audit.append({}, now=NOW)
    caught_up = audit.head.read_bytes()
    audit.head.write_bytes(head)
    size = audit.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # the next entry fails, as it would for a writer that is killed at it
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        with pytest.raises(StoreError):
            audit.append({}, now=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert audit.head.read_bytes() == caught_up


def test_where_nothing_can_be_written_the_error_says_that_nothing_is_shown(tmp_path: Path) -> None:
    audit = chain(tmp_path / "missing")
    with pytest.raises(StoreError, match=r"cannot be recorded \(No such file or directory\), so nothing is shown"):
        audit.append({}, now=NOW)


def test_a_full_disk_adds_nothing(tmp_path: Path) -> None:
    audit = chain(tmp_path, 2)
    before = audit.path.read_bytes()
    program = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 20},) * 2)\n" + WRITER
    program = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + program
    done = subprocess.run(
        [sys.executable, "-c", program, str(audit.path), str(audit.head), "1", "x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "cannot be recorded (" in done.stderr
    assert audit.path.read_bytes() == before
    assert audit.verify().broken == ""


def test_each_line_is_json(tmp_path: Path) -> None:
    audit = chain(tmp_path, 2)
    assert [json.loads(line)["n"] for line in audit.path.read_text().splitlines()] == [1, 2]
