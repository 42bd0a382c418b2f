"""Frames in memory that two processes share, so that they outlive either of the two. No disk ever has them."""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from typing import Final

from consent_mw.spool.frames import HEADER_BYTES, MARKER_BYTES, pack_one, unpack

#: Some four thousand exchanges: what a busy worker answers in a second.
_ROOM_BYTES: Final = 2 << 20
_HEAD_BYTES: Final = 4096
#: The numbers at the start of the head, 8 bytes each.
_APPENDED, _KEEPER, _WORKER, _SEGMENT = range(4)
_NUMBERS: Final = slice(0, 32)
_MARKER: Final = slice(32, 32 + MARKER_BYTES)
_SECRET: Final = slice(64, 96)


class Ring:
    """
    One process, the worker, appends frames. It and one other, the keeper, take them. A position is the number of bytes
    that were ever appended before it, so it only grows.

    Each of the two says how far it has taken, and the larger number holds. If both take the same frames at the same
    time, they are taken twice, and each time with the same `noise`, from which their ids are made.

    Attributes:
        fd: The memory (memfd_create(2)).
        segment: The number of the worker's open segment, where the keeper writes what it takes; 0 while there is none.
    """

    def __init__(self, fd: int) -> None:
        """Map the memory of a ring that `create` made. Raises OSError and ValueError."""
        self.fd = fd
        self._memory = mmap.mmap(fd, _HEAD_BYTES + _ROOM_BYTES)
        self._numbers = memoryview(self._memory)[_NUMBERS].cast("Q")
        self._marker = self._memory[_MARKER]
        self._secret = self._memory[_SECRET]
        self._free_to = 0  # a frame that ends before this position fits

    @classmethod
    def create(cls) -> Ring:
        """Return a new, empty ring. Raises OSError, and AttributeError where the system has no such memory."""
        fd = os.memfd_create("consent-mw", os.MFD_CLOEXEC)
        try:
            os.truncate(fd, _HEAD_BYTES + _ROOM_BYTES)
            os.pwrite(fd, os.urandom(MARKER_BYTES), _MARKER.start)
            os.pwrite(fd, os.urandom(_SECRET.stop - _SECRET.start), _SECRET.start)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def segment(self) -> int:
        return self._numbers[_SEGMENT]

    @segment.setter
    def segment(self, number: int) -> None:
        self._numbers[_SEGMENT] = number

    @property
    def taken(self) -> int:
        """The position up to which frames are taken."""
        return max(self._numbers[_KEEPER], self._numbers[_WORKER])

    def append(self, payload: bytes) -> bool:
        """Append a frame; return False if there is no room for it. For the worker, and not for two threads at once."""
        frame = pack_one(self._marker, payload)
        numbers, size = self._numbers, len(frame)
        start = numbers[_APPENDED]
        end = start + size
        if end > self._free_to:
            self._free_to = self.taken + _ROOM_BYTES
            if end > self._free_to:
                return False
        place = _HEAD_BYTES + start % _ROOM_BYTES
        fitting = _HEAD_BYTES + _ROOM_BYTES - place
        if size <= fitting:
            self._memory[place : place + size] = frame
        else:
            self._memory[place:] = frame[:fitting]
            self._memory[_HEAD_BYTES : _HEAD_BYTES + size - fitting] = frame[fitting:]
        numbers[_APPENDED] = end
        return True

    def waiting(self) -> tuple[list[tuple[bytes, bytes]], int]:
        """Return the payloads that wait, each with its `noise`, and the position behind them."""
        start = position = self.taken
        blob = self._copy(start, self._numbers[_APPENDED])
        payloads: list[tuple[bytes, bytes]] = []
        if self.taken != start:
            return [], self.taken  # the other has taken some meanwhile, and they may be overwritten
        for payload in unpack(self._marker, blob):
            if isinstance(payload, int):
                break  # a processor may show what was written last first: the rest is there a moment later
            payloads.append((payload, self._noise(position)))
            position += HEADER_BYTES + len(payload)
        return payloads, position

    def take(self, position: int, *, keeper: bool) -> None:
        """Say that everything before `position` is taken."""
        number = _KEEPER if keeper else _WORKER
        self._numbers[number] = max(position, self._numbers[number])

    def close(self) -> None:
        """Unmap and close it. The memory lives on while another process has it."""
        self._numbers.release()
        self._memory.close()
        os.close(self.fd)

    def _copy(self, start: int, end: int) -> bytes:
        first, last = _HEAD_BYTES + start % _ROOM_BYTES, _HEAD_BYTES + end % _ROOM_BYTES
        if start == end:
            return b""
        if first < last:
            return self._memory[first:last]
        return self._memory[first:] + self._memory[_HEAD_BYTES:last]

    def _noise(self, position: int) -> bytes:
        """Return 16 bytes that are random to everybody else, and the same each time that this frame is read."""
        return blake2b(position.to_bytes(8), digest_size=16, key=self._secret).digest()
