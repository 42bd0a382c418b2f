"""What comes from visitors is remembered by the byte: no header, however it is made, fills a process."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY
from tests.support.repository import ROOT

from consent_mw.consent.permissions import Verdict
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.cookie_lines import pairs
from consent_mw.cookies.request_cookies import RequestCookies
from consent_mw.policy.loader import loads
from consent_mw.system.bounded_cache import Budget, Memory, remembering

DAY_NS = 86_400_000_000_000
MIB = 1 << 20


def cookies(policy: str = POLICY, *, report_only: bool = False) -> RequestCookies:
    return RequestCookies(loads(policy), ConsentCookie(["the secret key of the tests"]), report_only=report_only)


def test_mebibytes_of_hostile_headers_of_every_shape_leave_less_than_20(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "bench.hostile", "--mebibytes", "1"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    grown = [float(line.rpartition(": ")[2].split()[0]) for line in said.splitlines()]
    assert len(grown) == 10
    assert max(grown) < 20, said


def test_memories_of_one_budget_hold_no_more_together_and_forget_together() -> None:
    budget = Budget(MIB)
    numbers: Memory[int, bytes] = Memory(budget)
    texts: Memory[str, bytes] = Memory(budget)
    tracemalloc.start()
    for number in range(20_000):
        numbers.remember(number, bytes(400), 460)
        texts.remember(str(number), bytes(400), 500)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1.1 * MIB
    assert numbers.seen.keys() == {int(text) for text in texts.seen}


def test_a_memory_keeps_nothing_that_takes_the_room_of_hundreds() -> None:
    memory: Memory[str, int] = Memory(Budget(MIB))
    memory.remember("large", 1, 100_000)
    assert memory.seen == {}


def test_a_memory_of_somebody_who_is_gone_is_gone_too() -> None:
    budget = Budget(MIB)
    memories = [Memory[str, str](budget) for _ in range(100)]
    memories.clear()
    gc.collect()
    assert len(budget._shared_by) == 0


def test_what_is_remembered_is_what_was_found_out() -> None:
    asked: list[str] = []

    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    remembered = remembering(length, MIB)
    assert [remembered(text) for text in ("a", "bb", "a", "bb")] == [1, 2, 1, 2]
    assert asked == ["a", "bb"]


def test_permissions_of_all_answers_share_one_budget() -> None:
    read = cookies()
    tracemalloc.start()
    for number in range(3_000):
        signals = frozenset({f"signal {number % 500}"})
        permissions = read.read(None, signals, DAY_NS, secure=False).permissions
        for n in range(20):
            line = b"%d=%d; Path=/%s" % (n, number, b"x" * 300)
            permissions.remember(line, permissions.cookie(f"{n}-{number}"))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 12 * MIB


@given(st.lists(st.sampled_from(["theme", " ad", "_ga_x ", "session", "x", "y", "", "consent", "themes", "Theme"])))
def test_of_a_crowd_of_cookies_the_same_are_kept_and_expired_as_one_by_one(names: list[str]) -> None:
    crowd = "; ".join(f"n{number}=1" for number in range(300))
    header = "; ".join([crowd, *(f"{name}=v" for name in names), "lonely"]).encode("latin-1")
    read = cookies()
    reading = read.read(header, frozenset(), DAY_NS, secure=False)
    judge = read.permissions(reading.consent, frozenset()).cookie
    decided = [(judge(name.decode()), pair) for name, pair in pairs(header)]
    kept = [pair for decision, pair in decided if decision.verdict is Verdict.KEPT or decision.name in read.reserved]
    assert (reading.header or b"") == b"; ".join(kept)
    assert reading.changed
    expired = {decision.name for decision, _ in decided if decision.declared and decision.verdict is Verdict.BLOCKED}
    assert {line.partition(b"=")[0].decode() for line in reading.expired} == expired
    assert {decision.name for decision in reading.removed if decision.declared} == expired


def test_where_undeclared_cookies_pass_a_crowd_of_them_does() -> None:
    header = b"; ".join(b"n%d=1" % number for number in range(5_000))
    reading = cookies(report_only=True).read(header, frozenset(), DAY_NS, secure=False)
    assert (reading.header, reading.changed) == (header, False)
