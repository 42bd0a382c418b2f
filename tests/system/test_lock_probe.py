"""A directory whose file system only pretends to lock is refused by what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consent_mw.system import lock_probe

#: A C library whose locks always succeed, as on a file system that answers and does nothing.
PRETENDS = """
#include <errno.h>
int flock(int fd, int how) { return 0; }
int fcntl64(int fd, int command, ...) { return 0; }
int fcntl(int fd, int command, ...) { return 0; }
"""


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_probe, "_known", {})


def test_a_local_directory_locks(tmp_path: Path) -> None:
    assert lock_probe.lock_fault(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
    assert len(lock_probe._known) == 1


def test_what_a_killed_process_left_is_removed_and_nothing_of_one_at_work(tmp_path: Path) -> None:
    left, at_work = (tmp_path / f".lock-probe-{name}" for name in ("left", "at-work"))
    left.touch()
    at_work.touch()
    os.utime(left, (1_700_000_000, 1_700_000_000))
    assert lock_probe.lock_fault(tmp_path) == ""
    assert list(tmp_path.iterdir()) == [at_work]


def test_a_directory_that_is_not_there_is_not_said_to_be_wrong(tmp_path: Path) -> None:
    assert lock_probe.lock_fault(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_of_a_program_that_is_no_python_nothing_is_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    program = tmp_path / "uwsgi"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert lock_probe.lock_fault(tmp_path) == ""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_file_system_that_pretends_to_lock_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "pretends.c").write_text(PRETENDS)
    library = tmp_path / "pretends.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "pretends.c"], check=True)
    code = "import sys, pathlib, consent_mw.paths; consent_mw.paths.Places(pathlib.Path(sys.argv[1])).prepare()"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "data"],
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "two processes have the same lock at once" in done.stderr
    assert "directory=" in done.stderr
