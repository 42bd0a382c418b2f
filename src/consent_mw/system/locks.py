"""One process of a machine at a time: a lock on a file, that a crash releases."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from consent_mw.system.ownership import unlinked

__all__ = ["alone"]


@contextmanager
def alone(lock: Path) -> Generator[bool]:
    """
    Give True to one holder of `lock` at a time, and False at once to every other. The file is made if it is missing.

    Raises:
        OSError: It cannot be made or locked.
    """
    fd = unlinked(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing does not unlock while a child forked meanwhile has a copy
        os.close(fd)
