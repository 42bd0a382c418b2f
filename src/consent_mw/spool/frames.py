"""Frames of a spool segment: bytes in, bytes out. A frame is marker, length, checksum and payload. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias
from zlib import crc32

# The marker is random for each segment and kept in the file's name. So no payload can contain bytes that a reader would
# take for a real frame after damage.
MARKER_BYTES = 8
_HEADER = struct.Struct(f"<{MARKER_BYTES}sII")  # marker, bytes of the payload, checksum
HEADER_BYTES = _HEADER.size
_pack = _HEADER.pack

#: How much is read at a time: some hundreds of frames, and too little to show in the memory of the process.
PIECE_BYTES = 128 << 10

#: Takes a position and a length, and returns so many bytes from there.
Read: TypeAlias = Callable[[int, int], bytes]


def pack(marker: bytes, payloads: Sequence[bytes]) -> bytes:
    """Return the frames of `payloads`, ready for one write."""
    return b"".join(pack_one(marker, payload) for payload in payloads)


def pack_one(marker: bytes, payload: bytes) -> bytes:
    """Return the frame of one payload."""
    length = len(payload)
    # The checksum starts from the length, so that a damaged length does not fit an undamaged payload.
    return _pack(marker, length, crc32(payload, length)) + payload


def whole(payloads: Sequence[bytes], written: int) -> tuple[int, int]:
    """Return how many frames, and how many bytes of them, are complete in the first `written` bytes."""
    size = 0
    for count, payload in enumerate(payloads):
        if size + HEADER_BYTES + len(payload) > written:
            return count, size
        size += HEADER_BYTES + len(payload)
    return len(payloads), size


def unpack(marker: bytes, blob: bytes) -> Iterator[bytes | int]:
    """
    Yield each payload in order, and a number of bytes wherever so many are damaged or torn off. Never raises.

    After damage, reading continues at the next marker with an intact frame. Damage loses only the frames that it hit.
    """
    return unpack_from(marker, lambda at, length: blob[at : at + length], len(blob))


def unpack_from(marker: bytes, read: Read, size: int, piece: int = PIECE_BYTES) -> Iterator[bytes | int]:
    """
    As `unpack`, for `size` bytes that are read `piece` at a time. Memory follows the longest frame, not the size.

    More is read at once only if a frame's length is damaged and still smaller than the rest of the file.

    Args:
        read: Returns so many bytes from that position on; fewer only at the end. Its exceptions are passed on.
    """
    window = _Window(read, size, piece)
    start = position = 0
    while (position := window.find(marker, position)) >= 0:
        payload = window.payload(position)
        if payload is None:
            position += 1
            continue
        if position > start:
            yield position - start
        yield payload
        start = position = position + HEADER_BYTES + len(payload)
    if start < window.size:
        yield window.size - start


class _Window:
    """
    The part of the bytes that is in memory, starting at `base`. It only moves forward.

    Attributes:
        size: Bytes in all; smaller than the given size if the bytes end before.
    """

    __slots__ = ("_base", "_blob", "_piece", "_read", "size")

    def __init__(self, read: Read, size: int, piece: int) -> None:
        self._read = read
        self._piece = max(piece, HEADER_BYTES)
        self._base = 0
        self._blob = b""
        self.size = size

    def find(self, marker: bytes, position: int) -> int:
        """Return the position of the next marker, from `position` on, or -1."""
        while (start := self._blob.find(marker, position - self._base)) < 0:
            end = self._base + len(self._blob)
            # The end of a piece may hold the beginning of a marker.
            position = max(position, end - len(marker) + 1)
            if end >= self.size:
                return -1
            self._move(position, self._piece)
        return self._base + start

    def payload(self, position: int) -> bytes | None:
        """Return the payload of the frame at `position`, or None if there is no intact frame."""
        if not self._holds(position, HEADER_BYTES):
            return None
        _, length, checksum = _HEADER.unpack_from(self._blob, position - self._base)
        if not self._holds(position, HEADER_BYTES + length):
            return None
        begin = position - self._base + HEADER_BYTES
        payload = self._blob[begin : begin + length]
        return payload if crc32(payload, length) == checksum else None

    def _holds(self, position: int, length: int) -> bool:
        """Load so many bytes from `position` on into memory. Return whether there are so many."""
        end = position + length
        if self._base + len(self._blob) < end <= self.size:
            self._move(position, max(self._piece, length))
        return end <= self.size

    def _move(self, position: int, length: int) -> None:
        length = min(length, self.size - position)
        self._blob = b""  # free the old bytes before reading the new ones
        self._base, self._blob = position, self._read(position, length)
        if len(self._blob) < length:
            self.size = position + len(self._blob)
