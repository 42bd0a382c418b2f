"""The bytes of a key file: a header of one page, then slots of one size that never move. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

__all__ = ["GENERATION", "PAGE", "SLOT_BYTES", "KeySlots", "empty_slots", "header", "identity", "offset", "slot"]

PAGE = 4096  # bytes: the header's room
GENERATION = slice(64, 72)  # little-endian; the one part of the header that changes, not under its checksum

_HEADER = struct.Struct("<16sHH4x8s")  # magic, version, bytes a slot, random id
_MAGIC = b"consent-mw keys\n"
_VERSION = 1

_SLOT = struct.Struct("<BB2xi32s80s")  # state, bytes of the purpose, day, key, purpose
_LIVE, _TOMBSTONE = 1, 2
_PURPOSE_BYTES = 80
_CHECK_BYTES = 8

SLOT_BYTES = _SLOT.size + _CHECK_BYTES  # 128: a slot never crosses a disk sector, so it is written whole or not
_SLOTS_A_PAGE = PAGE // SLOT_BYTES
_FREE = bytes(SLOT_BYTES)


@dataclass(frozen=True, slots=True)
class KeySlots:
    """
    What a key file held at one moment.

    Attributes:
        blob: All of it.
        keys: By day and purpose: the slot's number and the key, or None for a tombstone.
        free: Numbers of the slots that are all zeros.
        damaged: Numbers of the slots that fail their checksum.
        size: How many slots there are.
    """

    blob: bytes
    keys: dict[tuple[int, str], tuple[int, bytes | None]]
    free: set[int]
    damaged: set[int]
    size: int

    @classmethod
    def read(cls, blob: bytes, before: KeySlots | None = None) -> KeySlots:
        """
        Read a whole file. Never raises: a damaged slot loses that slot only.

        Args:
            before: What it held earlier: only what is different is read anew. A file has thousands of slots, and every
                process looks at it whenever one of them changes.
        """
        if before is None or len(blob) < len(before.blob):
            before = cls(b"", {}, set(), set(), 0)
        # An interrupted growth may leave less than a slot at the end; the next one overwrites it.
        size = max(0, len(blob) - PAGE) // SLOT_BYTES
        now = cls(blob, dict(before.keys), set(before.free), set(before.damaged), size)
        for first in range(0, size, _SLOTS_A_PAGE):
            page = slice(offset(first), offset(min(first + _SLOTS_A_PAGE, size)))
            if blob[page] != before.blob[page]:
                now._forget(first, before)
                now._take(first, blob[page])
        return now

    @property
    def generation(self) -> bytes:
        """The counter as it stands in the file."""
        return self.blob[GENERATION]

    def _forget(self, first: int, before: KeySlots) -> None:
        """Forget what the page of slots that begins with `first` held before."""
        for number in range(first, min(first + _SLOTS_A_PAGE, before.size)):
            self.free.discard(number)
            self.damaged.discard(number)
            gone = _slot_read(before.blob[offset(number) : offset(number + 1)])
            if gone and self.keys.get(gone[0], (-1, None))[0] == number:
                del self.keys[gone[0]]

    def _take(self, first: int, page: bytes) -> None:
        for number, at in enumerate(range(0, len(page), SLOT_BYTES), first):
            raw = page[at : at + SLOT_BYTES]
            if raw == _FREE:
                self.free.add(number)
            elif (found := _slot_read(raw)) is None:
                self.damaged.add(number)
            else:
                self.keys[found[0]] = number, found[1]


def offset(number: int) -> int:
    """Return where slot `number` begins."""
    return PAGE + number * SLOT_BYTES


def empty_slots(count: int) -> bytes:
    """Return `count` free slots; one of them also wipes a slot."""
    return _FREE * count


def header(identity: bytes) -> bytes:
    """Return the first page of a new file with this id (8 bytes)."""
    body = _HEADER.pack(_MAGIC, _VERSION, SLOT_BYTES, identity)
    return (body + _check(body)).ljust(PAGE, b"\0")


def identity(page: bytes) -> bytes:
    """
    Return the id (8 bytes) in a header.

    Raises:
        ValueError: It is foreign, damaged or newer; the text completes "the key file ...".
    """
    if not page.startswith(_MAGIC):
        raise ValueError("is not one of consent-mw")
    body = page[: _HEADER.size]
    if len(page) < PAGE or page[_HEADER.size : _HEADER.size + _CHECK_BYTES] != _check(body):
        raise ValueError("is damaged in its header")
    _, version, slot_bytes, found = _HEADER.unpack(body)
    if (version, slot_bytes) != (_VERSION, SLOT_BYTES):
        raise ValueError(f"has format {version}, which a newer consent-mw wrote")
    return bytes(found)


def slot(day: int, purpose: str, key: bytes | None) -> bytes:
    """
    Return the slot that holds `key` (32 bytes), or with None the tombstone of that day and purpose.

    Raises:
        ValueError: The purpose's name has more than 80 bytes.
    """
    encoded = purpose.encode()
    if len(encoded) > _PURPOSE_BYTES:
        raise ValueError(f'purpose "{purpose}": the name has more than {_PURPOSE_BYTES} bytes; shorten it')
    body = _SLOT.pack(_LIVE if key else _TOMBSTONE, len(encoded), day, key or b"", encoded)
    return body + _check(body)


def _slot_read(raw: bytes) -> tuple[tuple[int, str], bytes | None] | None:
    body = raw[: _SLOT.size]
    if _check(body) != raw[_SLOT.size :]:
        return None
    state, length, day, key, purpose = _SLOT.unpack(body)
    return (day, purpose[:length].decode()), key if state == _LIVE else None


def _check(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES).digest()
