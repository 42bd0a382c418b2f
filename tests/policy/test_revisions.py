"""Declarations that were in force: kept once, whole, and read again as they were."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from consent_mw.exceptions import ConfigurationError, PolicyError
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.startup_check import edited, refusals

NOW = datetime(2026, 11, 26, tzinfo=UTC)
FOUNDING = files("consent_mw.policy").joinpath("founding.toml").read_text("utf-8")


def declaration(revision: int, more: str = "") -> tuple[Policy, str]:
    text = FOUNDING.replace("revision = 1\n", f"revision = {revision}\n") + more
    return loads(text), text


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    return Revisions(tmp_path / "data" / "revisions")


def test_without_a_directory_nothing_was_in_force_and_none_is_made(revisions: Revisions) -> None:
    policy, _ = declaration(1)
    assert revisions.latest() is None
    assert revisions.check(policy, NOW) == edited(revisions, policy) == []
    assert not revisions.directory.exists()


def test_what_was_kept_is_read_again(revisions: Revisions) -> None:
    for number in (1, 3, 12345):
        policy, text = declaration(number)
        place = revisions.keep(policy, text)
        assert place.read_text(encoding="utf-8") == text
        assert place.name == f"{number:04}-{policy.digest[:12]}.toml"
        assert revisions.latest() == number
    assert revisions.read(3).digest == declaration(3)[0].digest


def test_only_the_owner_may_read_what_was_kept(revisions: Revisions) -> None:
    place = revisions.keep(*declaration(1))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(revisions.directory.stat().st_mode) == 0o700
    assert os.listdir(revisions.directory) == [place.name]


def test_a_revision_that_goes_backwards_is_a_fault(revisions: Revisions) -> None:
    revisions.keep(*declaration(3))
    (fault,) = revisions.check(declaration(1)[0], NOW)
    assert str(fault) == "policy.toml: revision: revision 1 is lower than 3, which is in force; write revision = 4"
    assert revisions.check(declaration(3)[0], NOW) == []


def test_a_revision_that_was_never_published_is_a_fault_that_names_the_command(revisions: Revisions) -> None:
    first, _ = declaration(4)
    assert revisions.check(first, NOW) == []  # nothing was promised before
    revisions.keep(*declaration(3))
    (fault,) = revisions.check(first, NOW)
    assert str(fault) == (
        "policy.toml: revision: revision 4 was never published, and 3 was; run: consent-mw publish policy.toml"
    )
    revisions.keep(*declaration(4))
    assert revisions.check(first, NOW) == []


def test_an_announced_revision_cannot_be_started_with_other_content(revisions: Revisions) -> None:
    revisions.keep(*declaration(1))
    policy, text = declaration(2)
    ahead = re.sub(r"effective = [\d-]+", "effective = 2026-12-20", text)
    revisions.keep(loads(ahead), ahead)
    assert revisions.check(loads(ahead), NOW) == []
    assert revisions.check(declaration(1)[0], NOW) == []  # what is in force until then
    (fault,) = revisions.check(policy, NOW)
    assert "revision 2 was announced with other content; write revision = 3" in str(fault)
    (fault,) = revisions.check(declaration(1, "# another comment\n")[0], NOW)
    assert "revision 1 is lower than 2, which is announced; write revision = 3" in str(fault)


def test_the_revision_in_force_cannot_be_put_off_by_another_date(revisions: Revisions) -> None:
    for number in (1, 2):
        revisions.keep(*declaration(number))
    later = re.sub(r"effective = [\d-]+", "effective = 2026-12-20", declaration(2)[1])
    (fault,) = revisions.check(loads(later), NOW)
    assert str(fault) == (
        "policy.toml: effective: revision 2 is in force, and this says that it begins on 2026-12-20; "
        "write revision = 3 and run: consent-mw publish policy.toml"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# ", "#  "),
        ('masked"\n"url.path', 'masked" # by the last octet\n"url.path'),
    ],
)
def test_another_comment_under_the_same_revision_may_stand_in_its_place(
    revisions: Revisions, old: str, new: str
) -> None:
    revisions.keep(*declaration(2))
    other = loads(declaration(2)[1].replace(old, new))
    assert other.digest != declaration(2)[0].digest
    assert edited(revisions, other) == []


#: What an edit does to the promise, and the name of the change.
EDITS = [
    ('"13 months"', '"5 years"', "retention.longer of analytics"),
    ('"13 months"', '"12 months"', "retention.shorter of analytics"),
    ('"client.address" = "masked"', '"client.address" = "full"', "field.more of"),
    ('undeclared = "block"', 'undeclared = "report"', "undeclared.passes"),
    ("effective = 2000-01-01", "effective = 2000-01-02", "its dates"),
]


@pytest.mark.parametrize(("old", "new", "named"), EDITS)
def test_another_promise_under_the_same_revision_is_a_fault_that_names_it(
    revisions: Revisions, old: str, new: str, named: str
) -> None:
    policy, text = declaration(2)
    if old not in text:
        text = text.replace("[policy]\n", f"[policy]\n{old}\n", 1)
        policy = loads(text)
    revisions.keep(policy, text)
    (fault,) = refusals(revisions, loads(text.replace(old, new, 1)), NOW)
    assert "revision 2 was published with other content" in fault.problem
    assert named in fault.problem
    assert fault.fix.startswith("write revision = 3 and run: consent-mw publish policy.toml")


def test_a_kept_file_that_was_changed_allows_no_other_content(revisions: Revisions) -> None:
    policy, text = declaration(1)
    longer = text.replace("13 months", "14 months")
    revisions.keep(policy, text).write_text(longer, encoding="utf-8")
    (fault,) = refusals(revisions, loads(longer), NOW)
    assert fault.problem == "was changed since it was kept"


def test_of_one_number_the_one_in_force_last_is_read(revisions: Revisions) -> None:
    first, second = declaration(1), declaration(1, "# another comment\n")
    for one in (first, second, first):
        place = revisions.keep(*one)
        # The order must not hang on how fast this test runs.
        for other in revisions.directory.iterdir():
            if other != place:
                os.utime(other, ns=(0, other.stat().st_mtime_ns - 10_000_000_000))
    assert revisions.read(1) == loads(first[1], file=str(place))
    assert len(list(revisions.directory.iterdir())) == 2


def test_a_text_that_is_not_the_policy_is_refused(revisions: Revisions) -> None:
    with pytest.raises(ValueError, match="not the one that revision 1 was read from"):
        revisions.keep(declaration(1)[0], "schema = 1")
    assert not revisions.directory.exists()


def test_a_file_that_was_changed_since_is_not_read(revisions: Revisions) -> None:
    policy, text = declaration(1)
    place = revisions.keep(policy, text)
    place.write_text(text.replace("13 months", "14 months"), encoding="utf-8")
    with pytest.raises(PolicyError, match="was changed since it was kept; restore it from a backup"):
        revisions.read(1)


def test_a_revision_that_was_never_kept_is_told(revisions: Revisions) -> None:
    with pytest.raises(PolicyError, match="revision 7 was never kept"):
        revisions.read(7)


def test_what_else_lies_there_counts_for_nothing(revisions: Revisions) -> None:
    revisions.keep(*declaration(1))
    for name in (".abc", "notes.txt", "9999-backup.toml", "0002-0123456789ab.toml~"):
        (revisions.directory / name).write_text("")
    assert revisions.latest() == 1


def test_a_place_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    revisions = Revisions(tmp_path / "file")
    with pytest.raises(ConfigurationError, match=r"file: the revisions failed .*; let this user read the directory"):
        revisions.latest()
    with pytest.raises(ConfigurationError, match=r"file: the revisions failed .*; give a directory"):
        revisions.keep(*declaration(1))


def test_processes_that_start_at_once_keep_one_file(revisions: Revisions, tmp_path: Path) -> None:
    policy, text = declaration(1)
    source = tmp_path / "policy.toml"
    source.write_text(text, encoding="utf-8")
    program = """
import sys
from pathlib import Path
from consent_mw.policy.loader import load
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.startup_check import edited, refusals
source, directory = map(Path, sys.argv[1:])
policy, revisions = load(source), Revisions(directory)
print("ready", flush=True)
sys.stdin.read()
for _ in range(50):
    revisions.keep(policy, source.read_text(encoding="utf-8"))
    assert revisions.read(1).digest == policy.digest
"""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, source, revisions.directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:  # all wait for this
        assert worker.stdin is not None
        worker.stdin.close()
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.close()
        assert worker.wait() == 0
    assert [place.name for place in revisions.directory.iterdir()] == [f"0001-{policy.digest[:12]}.toml"]
