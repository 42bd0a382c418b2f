"""Locks between the processes of a machine, on files and directories. A crash releases them."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from consent_mw.system.ownership import unlinked

#: A holder that gave no sign of life for so long is stopped, or waits for a disk that does not answer.
_FROZEN_SECONDS: Final = 60.0
_BEAT_SECONDS: Final = 10.0


class Lease:
    """The lock of a file, held until `release`; meanwhile the time of the file tells others that its holder lives."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, lock: Path) -> Lease | None:
        """
        Take `lock` at once, or return None if another process has it. The file is made if it is missing.

        A holder that gave no sign of life for a minute loses it: another file replaces the lock. That holder may
            continue later, so work under a lease must be harmless when it is done twice.

        Raises:
            OSError: It cannot be made or locked.
        """
        fd = unlinked(lock, os.O_RDWR | os.O_CREAT)
        if not taken(fd):
            frozen = _is_frozen(os.fstat(fd))
            os.close(fd)
            if not frozen or (another := _another(lock)) is None:
                return None
            fd = another
        elif not os.fstat(fd).st_nlink:  # passed over between our opening and our taking it
            os.close(fd)
            return None
        lease = cls(fd)
        _heart.add(fd)
        return lease

    def release(self) -> None:
        """Give it back."""
        _heart.remove(self._fd)
        unlock(self._fd)
        os.close(self._fd)

    def forget(self) -> None:
        """Close what a forked child inherited. The parent's lock stays."""
        os.close(self._fd)


class _Heart:
    """Touches the files of all leases of this process, in a thread that begins with the first: a blocked loop lives."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Hold nothing and have no thread, as after a fork."""
        self._lock = threading.Lock()
        self._held = set[int]()
        self._thread: threading.Thread | None = None

    def add(self, fd: int) -> None:
        os.utime(fd)
        with self._lock:
            self._held.add(fd)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="consent-mw leases", daemon=True)
                self._thread.start()

    def remove(self, fd: int) -> None:
        with self._lock:
            self._held.discard(fd)

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_SECONDS)
            with self._lock:
                for fd in self._held:
                    with suppress(OSError):  # a failing disk: as if it were not alive
                        os.utime(fd)


_heart = _Heart()
os.register_at_fork(after_in_child=_heart.begin)


def _is_frozen(status: os.stat_result) -> bool:
    """Whether the holder of a lock has not touched its file for a minute. A time ahead is of before a step back."""
    return abs(time.time() - status.st_mtime) > _FROZEN_SECONDS


def _another(lock: Path) -> int | None:
    """Replace a lock file whose holder is frozen, and return the new one locked; None if another process did so
    first."""
    with in_turn(lock.parent):
        if not _is_frozen(lock.stat()):
            return None
        new = lock.with_name(f".{lock.name}-{os.getpid()}")
        fd = unlinked(new, os.O_RDWR | os.O_CREAT)
        if not taken(fd):
            os.close(fd)
            return None
        new.replace(lock)
        return fd


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


class Shared:
    """A lock held together with others until `close`, or until nothing refers to it any more."""

    def __init__(self, lock: Path) -> None:
        """
        Wait for a process that has it `alone`. The file is made if it is missing.

        Raises:
            OSError: It cannot be made or locked.
        """
        self._fd = -1
        self._fd = unlinked(lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def close(self) -> None:
        """Give it back. What a forked child inherited keeps it, until the child closes that too."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close


@contextmanager
def leased(lock: Path) -> Generator[bool]:
    """As `alone`, by a lease, whose holder is passed over when it is frozen: see `Lease.take`."""
    lease = Lease.take(lock)
    try:
        yield lease is not None
    finally:
        if lease is not None:
            lease.release()


@contextmanager
def in_turn(directory: Path, how: int = fcntl.LOCK_EX) -> Generator[None]:
    """
    Let one process at a time work in a directory, or several `fcntl.LOCK_SH`; the others wait.

    Raises OSError: it cannot be opened.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locked(fd, how):
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
