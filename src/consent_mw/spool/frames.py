"""Frames of a spool segment: bytes in, bytes out. A frame is marker, length, checksum and payload. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias
from zlib import crc32

__all__ = ["HEADER_BYTES", "MARKER_BYTES", "PIECE_BYTES", "pack", "pack_one", "unpack", "unpack_from", "whole"]

# The marker is random for each segment and kept in its file's name, so that no payload can contain a frame that a
# reader would take for a real one after damage.
MARKER_BYTES = 8
_HEADER = struct.Struct(f"<{MARKER_BYTES}sII")  # marker, bytes of the payload, checksum
HEADER_BYTES = _HEADER.size
_pack = _HEADER.pack

#: So many are read at a time: some hundreds of frames, and too little to show in what the process takes.
PIECE_BYTES = 128 << 10

#: Returns so many bytes from a place on.
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
    Yield each payload in order, and the number of bytes wherever some are damaged or torn off. Never raises.

    After damage, reading goes on at the next marker whose frame is whole: damage loses only the frames that it hit.
    """
    return unpack_from(marker, lambda at, length: blob[at : at + length], len(blob))


def unpack_from(marker: bytes, read: Read, size: int, piece: int = PIECE_BYTES) -> Iterator[bytes | int]:
    """
    As `unpack`, of `size` bytes that are read `piece` at a time: memory follows the longest frame, not the size.

    Only a length that was damaged into a smaller one than what is left may have more read at once.

    Args:
        read: Returns so many bytes from that place on; fewer only at the end. What it raises is passed on.
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
    The part of the bytes that is in memory, from `base` on. It only moves forward.

    Attributes:
        size: Bytes in all; less than was said where they end before.
    """

    __slots__ = ("_base", "_blob", "_piece", "_read", "size")

    def __init__(self, read: Read, size: int, piece: int) -> None:
        self._read = read
        self._piece = max(piece, HEADER_BYTES)
        self._base = 0
        self._blob = b""
        self.size = size

    def find(self, marker: bytes, position: int) -> int:
        """Return where the next marker begins, from `position` on, or -1."""
        while (found := self._blob.find(marker, position - self._base)) < 0:
            end = self._base + len(self._blob)
            # The end of a piece may hold the beginning of a marker.
            position = max(position, end - len(marker) + 1)
            if end >= self.size:
                return -1
            self._move(position, self._piece)
        return self._base + found

    def payload(self, position: int) -> bytes | None:
        """Return the payload of the frame at `position`, or None where there is no whole one."""
        if not self._holds(position, HEADER_BYTES):
            return None
        _, length, checksum = _HEADER.unpack_from(self._blob, position - self._base)
        if not self._holds(position, HEADER_BYTES + length):
            return None
        begin = position - self._base + HEADER_BYTES
        payload = self._blob[begin : begin + length]
        return payload if crc32(payload, length) == checksum else None

    def _holds(self, position: int, length: int) -> bool:
        """Have so many bytes from `position` on in memory; return whether there are so many."""
        end = position + length
        if self._base + len(self._blob) < end <= self.size:
            self._move(position, max(self._piece, length))
        return end <= self.size

    def _move(self, position: int, length: int) -> None:
        length = min(length, self.size - position)
        self._blob = b""  # the old one goes before the new one comes
        self._base, self._blob = position, self._read(position, length)
        if len(self._blob) < length:
            self.size = position + len(self._blob)
