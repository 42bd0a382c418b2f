"""One file of the spool. The process that holds its lock writes it; a process that takes the lock later reads it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from consent_mw.exceptions import SpoolError
from consent_mw.spool.frames import MARKER_BYTES, pack, pack_one, unpack_from, whole
from consent_mw.spool.gaps import Gap
from consent_mw.spool.lent import Lent
from consent_mw.system.days import EPOCH
from consent_mw.system.durable import sync_directory
from consent_mw.system.locks import taken, unlock
from consent_mw.system.ownership import give_to_owner, regular

_SUFFIX = ".spool1"
_NEW_NS = 10**9
_NAME = re.compile(rf"(\d{{20}})-([0-9a-f]{{{2 * MARKER_BYTES}}}){re.escape(_SUFFIX)}")


class SegmentName(NamedTuple):
    """The parts of a file's name: when the segment was begun, and the marker of its frames. Names sort by age."""

    created_ns: int
    marker: bytes

    def __str__(self) -> str:
        return f"{self.created_ns:020d}-{self.marker.hex()}{_SUFFIX}"

    @property
    def created(self) -> datetime:
        """When the segment was begun (aware, UTC), by the clock of its process."""
        return EPOCH + timedelta(microseconds=self.created_ns // 1000)

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        """Return the parts of a name, or None if the file is not a segment of this format."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), bytes.fromhex(match[2])) if match else None


class OpenSegment:
    """
    A segment that this process appends to. Its lock is held until it is closed or the process is dead.

    Attributes:
        size: Bytes in the file.
        frames: Frames in the file.
        dirty: Something was appended since the last `sync`.
    """

    def __init__(self, directory: Path, now_ns: int) -> None:
        """Create the file (mode 0600) and lock it. Raises OSError."""
        self._directory = directory
        self._fd, self._marker, self._path = created(directory, now_ns)
        self._listed = False  # the directory's entry is on the disk
        self._lent = False  # another process appends too
        self.size: int = 0
        self.frames: int = 0
        self.dirty: bool = False

    def append(self, payloads: Sequence[bytes]) -> int:
        """
        Append the frames in one `os.write`, and return how many of them are complete in the file.

        A short write is cut back to the last complete frame. After an OSError the tail may be torn: close the segment.
        """
        blob = pack(self._marker, payloads)
        kept, size = len(payloads), os.write(self._fd, blob)
        self.dirty = True
        if size < len(blob):
            kept, size = whole(payloads, size)
            self._cut(self.size + size)
        self.size += size
        self.frames += kept
        return kept

    def append_one(self, payload: bytes) -> bool:
        """As `append` of one frame. Return whether it is complete in the file."""
        blob = pack_one(self._marker, payload)
        self.dirty = True
        written = os.write(self._fd, blob)
        if written != len(blob):
            self._cut(self.size)
            return False
        self.size += written
        self.frames += 1
        return True

    def lend(self, lent: Lent) -> None:
        """Have the process that keeps the ring write into this file too. Raises OSError."""
        self._lent = True
        lent.follow(self._fd, self._marker)

    def _cut(self, size: int) -> None:
        """Cut off what was written in part. Where another process appends too, a reader does that."""
        if not self._lent:
            os.ftruncate(self._fd, size)

    def copy(self) -> int:
        """Return a second descriptor of the file, so that others can append during `sync`."""
        return os.dup(self._fd)

    def sync(self, copy: int) -> None:
        """Sync what was appended to the disk, the directory's entry included, and close `copy`. Raises OSError."""
        try:
            self.dirty = False
            os.fdatasync(copy)
        finally:
            os.close(copy)
        if not self._listed:
            sync_directory(self._directory)
            self._listed = True

    def is_gone(self) -> bool:
        """Whether somebody removed the file or cut it short, and with it what was appended."""
        now = os.fstat(self._fd)
        return now.st_nlink == 0 or now.st_size < self.size

    def close(self) -> None:
        """
        Close the file and release its lock, so that a drain can take it. Without a frame it is removed: an empty file
        that a drain finds is one that lost its frames.
        """
        with suppress(OSError):
            if not self.frames and not os.fstat(self._fd).st_size:
                self._path.unlink(missing_ok=True)
        _unlock(self._fd)

    def forget(self) -> None:
        """Close the file that a forked child inherited. The parent's lock stays."""
        os.close(self._fd)


class Segment:
    """
    A segment to which no process appends any more. This process holds its lock until it is discarded or released.

    Attributes:
        path: The path of its file.
        created: When it was begun (aware, UTC).
        size: Bytes in the file.
        damaged_bytes: Bytes that the last run of `frames` found outside of any intact frame.
        lost: Runs of such bytes, so at least as many frames. A reader adds the frames that it cannot understand.
        ended: The records, as a gap, that a reader can no longer open, since the key was destroyed while they waited.
        marker: Random, and unique to this segment.
    """

    def __init__(self, path: Path, name: SegmentName, fd: int) -> None:
        self.path = path
        self.created: datetime = name.created
        self.size: int = os.fstat(fd).st_size
        self.damaged_bytes: int = 0
        self.lost: int = 0
        self.ended: Gap | None = None
        self.created_ns: int = name.created_ns
        self.marker: bytes = name.marker
        self._fd: int | None = fd

    @classmethod
    def adopt(cls, path: Path, name: SegmentName) -> Segment | None:
        """
        Take the lock of a segment whose process released it or is dead. Return None if another has it, or it is gone.

        Raises OSError.
        """
        try:
            fd = regular(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if not taken(fd):
            os.close(fd)
            return None
        segment = cls(path, name, fd)
        # If another drain finished it between our open and our lock, it has unlinked it. Do not read it a second time.
        # A new one is empty until its process has locked it.
        if os.fstat(fd).st_nlink == 0 or (not segment.size and time.time_ns() - segment.written_ns < _NEW_NS):
            segment.release()
            return None
        return segment

    @property
    def written_ns(self) -> int:
        """When something was last written to it (nanoseconds since 1970), by the file system's clock."""
        return os.fstat(self._fd).st_mtime_ns if self._fd is not None else 0

    @property
    def is_held(self) -> bool:
        """Whether it was neither discarded nor released."""
        return self._fd is not None

    @property
    def gaps(self) -> list[Gap]:
        """What was lost of it, as far as it was read."""
        damaged = Gap(self.lost, self.created_ns, max(self.created_ns, self.written_ns), "damaged")
        return ([damaged] if self.lost else []) + ([self.ended] if self.ended else [])

    def lose(self, records: int, at_ns: int) -> None:
        """Count records of that instant as `ended`: a reader can no longer open them."""
        gap = Gap.at(records, at_ns, "ended")
        self.ended = self.ended + gap if self.ended else gap

    def frames(self) -> Iterator[bytes]:
        """
        Yield each payload in the order written. Every call starts again from the beginning.

        A torn tail is cut, and damage in the middle loses only the frames that it hit; `damaged_bytes` counts both. An
        empty file had at least one frame: a segment is begun for a frame, and one that got none is removed. The
        file is read in pieces, so that a drain's memory does not grow with the size of segments.

        Raises:
            SpoolError: The file cannot be read, or was discarded or released.
        """
        self.damaged_bytes, self.lost = 0, int(self.size == 0)
        self.ended = None
        for piece in unpack_from(self.marker, self._read, self.size):
            if isinstance(piece, bytes):
                yield piece
            else:
                self.damaged_bytes += piece
                self.lost += 1

    def _read(self, at: int, length: int) -> bytes:
        if self._fd is None:
            raise SpoolError(f"{self.path}: the segment is no longer held; ask the spool for its segments again")
        try:
            return os.pread(self._fd, length, at)
        except OSError as error:
            raise SpoolError(f"{self.path}: the segment cannot be read ({error.strerror}); check the disk") from error

    def discard(self) -> None:
        """Remove the file, once the store has committed its frames. Harmless when called twice. Raises OSError."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Close the file and leave it for the next drain. Harmless when called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            _unlock(fd)

    def forget(self) -> None:
        """Close the file that a forked child inherited. The parent's lock stays."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def created(directory: Path, now_ns: int, suffix: str = _SUFFIX) -> tuple[int, bytes, Path]:
    """Create a file (mode 0600), locked, and return its descriptor, its marker and its path. Raises OSError."""
    while True:
        name = SegmentName(now_ns, os.urandom(MARKER_BYTES))
        path = directory / str(name).replace(_SUFFIX, suffix)
        # For a file O_NONBLOCK changes nothing (open(2)). It tells a tool that watches the loop that this write never
        # waits.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags, 0o600)
        give_to_owner(fd, directory)
        if taken(fd) and os.fstat(fd).st_nlink:
            return fd, name.marker, path
        # A drain took the empty file before we could lock it, and finds nothing in it: start another.
        path.unlink(missing_ok=True)
        os.close(fd)


def _unlock(fd: int) -> None:
    unlock(fd)
    os.close(fd)
