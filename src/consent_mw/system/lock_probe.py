"""Tell by trying whether the locks and the shared memory of a directory hold between two processes."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

#: What the other process does: it ends with 64 and the sum of what it could do, and should not have. With less ends
#: what could not be run, or was another program.
_OTHER: Final = """
import fcntl, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
found = 0
for bit, lock in ((1, fcntl.lockf), (2, fcntl.flock)):
    try:
        lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found += bit
    except OSError:
        pass
mmap.mmap(fd, 1)[0] = 1
sys.exit(64 + found)
"""
#: Of SQLite and the key file (fcntl), and of the spool and the leases (flock).
_LET_IN: Final = {
    65: "two processes have the same lock at once (fcntl)",
    66: "two processes have the same lock at once (flock)",
    67: "two processes have the same lock at once (fcntl and flock)",
}
_RAN: Final = 64
_SECONDS: Final = 20
_LEFT_SECONDS: Final = 3 * _SECONDS
_PREFIX: Final = ".lock-probe-"
#: By device: what lies on one file system behaves alike.
_known: dict[int, str] = {}


def lock_fault(directory: Path) -> str:
    """
    Return what is wrong with the locks of a directory, or "". Each file system is tried once in a process: 30 ms.

    Where no other process can be begun, or nothing can be written, nothing is known to be wrong.
    """
    try:
        device = directory.stat().st_dev
        if device not in _known:
            _known[device] = _tried(directory)
        return _known[device]
    except (OSError, subprocess.SubprocessError):
        return ""


def _tried(directory: Path) -> str:
    with NamedTemporaryFile(prefix=_PREFIX, dir=directory) as file:
        file.write(b"\0")
        file.flush()
        _remove_left(directory, os.fstat(file.fileno()).st_mtime)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"it takes no locks ({error.strerror})"
        with mmap.mmap(file.fileno(), 1) as memory:
            if not os.access(sys.executable or "", os.X_OK):  # inside another program
                return ""
            command = [sys.executable, "-I", "-S", "-c", _OTHER, file.name]
            code = subprocess.run(command, check=False, stderr=subprocess.DEVNULL, timeout=_SECONDS).returncode  # noqa: S603 - our own words
            if code in _LET_IN:
                return _LET_IN[code]
            is_unseen = code == _RAN and not memory[0]
            return "what one process writes into shared memory another does not see" if is_unseen else ""


def _remove_left(directory: Path, now: float) -> None:
    """Remove what a killed process left; others are at it at this moment, by the clock of the file system."""
    for path in directory.glob(f"{_PREFIX}*"):
        if now - path.stat().st_mtime > _LEFT_SECONDS:
            path.unlink(missing_ok=True)
