"""Locks between the processes of a machine, on files and directories. A crash releases them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from consent_mw.system.ownership import unlinked

__all__ = ["alone", "in_turn", "locked", "taken", "unlock"]


@contextmanager
def alone(lock: Path) -> Generator[bool]:
    """
    Give True to one holder of `lock` at a time, and False at once to every other. The file is made if it is missing.

    Raises:
        OSError: It cannot be made or locked.
    """
    fd = unlinked(lock, os.O_RDWR | os.O_CREAT)
    try:
        if not taken(fd):
            yield False
            return
        try:
            yield True
        finally:
            unlock(fd)
    finally:
        os.close(fd)


@contextmanager
def in_turn(directory: Path) -> Generator[None]:
    """Let one process at a time work in a directory; the others wait. Raises OSError: it cannot be opened."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locked(fd):
            yield
    finally:
        os.close(fd)


@contextmanager
def locked(fd: int, how: int = fcntl.LOCK_EX) -> Generator[None]:
    """Hold the lock of an open file, which is waited for. Raises OSError."""
    fcntl.flock(fd, how)
    try:
        yield
    finally:
        unlock(fd)


def taken(fd: int) -> bool:
    """Take the lock of an open file at once; return False where somebody else has it. Raises OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Give the lock of an open file back: to close it does not, while a child that was forked meanwhile has a copy."""
    fcntl.flock(fd, fcntl.LOCK_UN)
