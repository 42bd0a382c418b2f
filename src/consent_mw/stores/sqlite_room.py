"""
Room for the memory that SQLite shares between processes, on file systems of small blocks.

SQLite writes one byte into each 4,096 of its `-shm` file, and then writes into its mapping. Smaller blocks in between
are holes, and a write into a hole that the disk has no room for ends the process (SIGBUS). So they are given room
beforehand, where a full disk is an error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

_PAGE: Final = 4_096
#: A region of that file: enough for a log of 4,062 pages. Ours is brought into the file at 1,000.
_REGION: Final = 32_768
_PAGES_OF_A_REGION: Final = 4_062
_OPEN_FILES: Final = "/proc/self/fd"


def has_holes(path: Path) -> bool:
    """Whether the file system of a database has blocks that leave holes. Raises OSError."""
    return os.statvfs(path.parent).f_frsize < _PAGE and os.path.isdir(_OPEN_FILES)


def check_room(path: Path) -> None:
    """Raise OSError unless there is room for the memory of a database that is to be opened."""
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    with TemporaryFile(dir=path.parent) as file:
        os.posix_fallocate(file.fileno(), 0, _REGION * (1 + size // (_PAGE * _PAGES_OF_A_REGION)))


def take_room(path: Path) -> None:
    """
    Fill the holes of an open database's memory. Raises OSError.

    By the descriptors that SQLite has: if we opened the file and closed it again, this process would lose its locks.
    """
    memory = path.with_name(f"{path.name}-shm").stat()
    for name in os.listdir(_OPEN_FILES):
        with suppress(FileNotFoundError):  # another file, which another thread closed: ours stays open
            if os.path.samestat(os.stat(f"{_OPEN_FILES}/{name}"), memory):
                os.posix_fallocate(int(name), 0, _REGION)
