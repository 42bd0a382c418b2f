"""Frames of a spool segment: bytes in, bytes out. A frame is marker, length, checksum and payload. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

__all__ = ["HEADER_BYTES", "MARKER_BYTES", "pack", "unpack", "whole"]

# The marker is random for each segment and kept in its file's name, so that no payload can contain a frame that a
# reader would take for a real one after damage.
MARKER_BYTES = 8
_HEADER = struct.Struct(f"<{MARKER_BYTES}sII")  # marker, bytes of the payload, checksum
HEADER_BYTES = _HEADER.size


def pack(marker: bytes, payloads: Sequence[bytes]) -> bytes:
    """Return the frames of `payloads`, ready for one write."""
    if len(payloads) == 1:
        payload = payloads[0]
        return _HEADER.pack(marker, len(payload), crc32(payload, len(payload))) + payload
    parts: list[bytes] = []
    for payload in payloads:
        # The checksum starts from the length, so that a damaged length does not fit an undamaged payload.
        parts.append(_HEADER.pack(marker, len(payload), crc32(payload, len(payload))))
        parts.append(payload)
    return b"".join(parts)


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
    start = position = 0
    while (position := blob.find(marker, position)) >= 0:
        payload = _payload_at(blob, position)
        if payload is None:
            position += 1
            continue
        if position > start:
            yield position - start
        yield payload
        start = position = position + HEADER_BYTES + len(payload)
    if start < len(blob):
        yield len(blob) - start


def _payload_at(blob: bytes, position: int) -> bytes | None:
    if position + HEADER_BYTES > len(blob):
        return None
    _, length, checksum = _HEADER.unpack_from(blob, position)
    payload = blob[position + HEADER_BYTES : position + HEADER_BYTES + length]
    return payload if len(payload) == length and crc32(payload, length) == checksum else None
