"""
Write bytes to the disk so that a power cut loses nothing that was reported as kept.

A file is durable when its bytes are synchronised and the directory that names it is too (fsync(2)). Nothing else in the
package calls fsync, but for the key file and the segments of the spool, which are written in place.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from consent_mw.system.locks import locked
from consent_mw.system.ownership import unlinked


def replace(path: Path, content: bytes) -> None:
    """
    Replace a file by `content` (mode 0600), whole or not at all. On return it survives a power cut.

    For one writer at a time, which a lock has to see to. So the name aside is always the same: what a crash leaves
    there, keys or tokens, is gone with the next write.

    Raises:
        OSError: It could not; the file is as it was.
    """
    with _aside(content, path.with_name(f".{path.name}"), os.O_TRUNC) as aside:
        aside.replace(path)
    sync_directory(path.parent)


def keep(path: Path, content: bytes) -> None:
    """
    Make a file with `content` (mode 0600) unless there is one, whole or not at all. On return it survives a power cut.

    Unlike a rename, link(2) never replaces what another process kept meanwhile. Raises as `replace`.
    """
    with _aside(content, path.with_name(f".{path.name}.{secrets.token_hex(8)}"), os.O_EXCL) as aside:
        try:
            os.link(aside, path)
        except FileExistsError:
            return
        finally:
            aside.unlink()
    sync_directory(path.parent)


def append(path: Path, content: bytes) -> None:
    """
    Add `content` to a file, which is made (mode 0600) if it is missing, whole or not at all; who comes at the same time
    waits. On return it survives a power cut. Raises as `replace`.
    """
    fd = unlinked(path, os.O_WRONLY | os.O_CREAT)
    try:
        with locked(fd):
            size = os.fstat(fd).st_size
            write_at(fd, content, size)
    finally:
        os.close(fd)
    if not size:
        sync_directory(path.parent)


def overwrite(path: Path, content: bytes) -> None:
    """
    Replace a file's content by `content` in one write, without a second name on the disk: for less than a disk tears
    (512 bytes). On return it survives a power cut. Raises OSError.
    """
    fd = unlinked(path, os.O_WRONLY | os.O_CREAT)
    try:
        is_new = not os.fstat(fd).st_size
        os.ftruncate(fd, os.pwrite(fd, content, 0))
        os.fsync(fd)
    finally:
        os.close(fd)
    if is_new:
        sync_directory(path.parent)


def write_at(fd: int, content: bytes, at: int) -> None:
    """
    Write `content` at the end of an open file, which is at byte `at`, whole or not at all, and synchronise it.

    Raises:
        OSError: It could not; what was written of it is cut off again.
    """
    try:
        if os.pwrite(fd, content, at) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, at)
        raise


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _aside(content: bytes, aside: Path, flags: int) -> Generator[Path]:
    """Write `content`, synchronised, for the block to move; where it fails nothing is left. Raises OSError."""
    fd = unlinked(aside, os.O_WRONLY | os.O_CREAT | flags)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        yield aside
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
