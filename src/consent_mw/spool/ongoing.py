"""Exchanges that go on at this moment (WebSockets, streams), kept apart until they end: a crash loses none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from consent_mw.spool.frames import pack_one, unpack
from consent_mw.spool.segment import SegmentName, created
from consent_mw.system.locks import taken, unlock
from consent_mw.system.ownership import content, regular

#: The suffix of its file, instead of a segment's.
SUFFIX: Final = ".open1"
_ID_BYTES: Final = 16
#: A file is rewritten when it has this size, and is this many times as large as what still goes on.
_LEAST_BYTES: Final = 256 << 10
_TIMES: Final = 4


class Ongoing:
    """
    What a process has begun and not ended, in a file of its own. A beginning is a frame. An end is a frame with the
    same id and nothing else. The process holds the file's lock while it lives, so a process that gets the lock knows
    that the other is dead. What is then left in the file has no end.

    Not thread-safe: the spool calls it under its own lock.

    Attributes:
        dirty: Whether something was written since `copy` was last taken.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._frames: dict[bytes, bytes] = {}
        self._fd = -1
        self._marker = b""
        self._path = directory
        self._size = 0
        self.dirty: bool = False

    def begin(self, id_bytes: bytes, frame: bytes, now_ns: int) -> None:
        """Keep `frame` until the same id ends. Raises OSError."""
        if self._fd < 0:
            self._fd, self._marker, self._path = created(self._directory, now_ns, SUFFIX)
        self._frames[id_bytes] = frame
        self._write(id_bytes + frame)

    def end(self, id_bytes: bytes, now_ns: int) -> None:
        """Forget what began under this id: its complete record is in the spool. Raises OSError."""
        if self._frames.pop(id_bytes, None) is None:
            return
        self._write(id_bytes)
        live = sum(map(len, self._frames.values()))
        if self._size > max(_LEAST_BYTES, _TIMES * live):
            self._write_anew(now_ns)

    def copy(self) -> int:
        """Return a second descriptor of the file, with which to sync it to the disk. Raises OSError."""
        self.dirty = False
        return os.dup(self._fd)

    def close(self) -> None:
        """Remove the file if everything has ended. Otherwise it stays locked until the process ends."""
        if self._fd >= 0 and not self._frames:
            self._remove()

    def forget(self) -> None:
        """Close the file that a forked child inherited. The parent's lock stays."""
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, payload: bytes) -> None:
        blob = pack_one(self._marker, payload)
        self.dirty = True
        self._size += os.write(self._fd, blob)

    def _write_anew(self, now_ns: int) -> None:
        """Start another file with what still goes on. A crash in between leaves both files, with the same ids."""
        frames, fresh = self._frames, Ongoing(self._directory)
        for id_bytes, frame in frames.items():
            fresh.begin(id_bytes, frame, now_ns)
        self._remove()
        if frames:
            self._fd, self._marker, self._path = fresh._fd, fresh._marker, fresh._path
            self._size, self.dirty = fresh._size, True

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        unlock(self._fd)
        os.close(self._fd)
        self._fd, self._size, self.dirty = -1, 0, False


def left_by_the_dead(path: Path) -> Iterator[bytes]:
    """
    Yield what a dead process has begun and not ended. Remove its file when all of it was taken.

    A caller that stops in between, or dies, gets all of it again. Nothing of a living process is yielded. Raises
    OSError.
    """
    name = SegmentName.parse(path.name.replace(SUFFIX, ".spool1"))
    if name is None:
        return
    try:
        fd = regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        if not taken(fd) or not os.fstat(fd).st_nlink:
            return
        try:
            begun: dict[bytes, bytes] = {}
            for payload in unpack(name.marker, content(path)):
                if not isinstance(payload, bytes):
                    continue  # torn when its process was killed
                if len(payload) == _ID_BYTES:
                    begun.pop(payload, None)
                else:
                    begun[payload[:_ID_BYTES]] = payload[_ID_BYTES:]
            yield from begun.values()
            with suppress(FileNotFoundError):
                path.unlink()
        finally:
            unlock(fd)
    finally:
        os.close(fd)
