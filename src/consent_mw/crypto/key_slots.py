"""The bytes of a key file: a header of one page, then slots of one size that never move. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

PAGE = 4096  # bytes: the header's room
GENERATION = slice(64, 72)  # little-endian; the one part of the header that changes, not under its checksum

_HEADER = struct.Struct("<16sHH4x8s")  # magic, version, bytes a slot, random id
_MAGIC = b"consent-mw keys\n"
_VERSION = 1

_SLOT = struct.Struct("<BB2xi32s80s")  # state, bytes of the purpose, day, key, purpose
_PARTS = struct.Struct(f"{_SLOT.size}s8s")  # a slot without its checksum, and that
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
        numbers: By purpose and day the number of the slot that holds the key, or its tombstone. Numbers alone: a start
            reads thousands of slots, and an object for each costs more than the rest of it.
        free: Numbers of the slots that are all zeros.
        damaged: Numbers of the slots that fail their checksum.
        size: How many slots there are.
    """

    blob: bytes
    numbers: dict[str, dict[int, int]]
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
        numbers = {purpose: dict(days) for purpose, days in before.numbers.items()}
        now = cls(blob, numbers, set(before.free), set(before.damaged), size)
        for first in range(0, size, _SLOTS_A_PAGE):
            page = slice(offset(first), offset(min(first + _SLOTS_A_PAGE, size)))
            if blob[page] != before.blob[page]:
                now._forget(first, before)
                now._take(first, blob[page])
        return now

    @property
    def generation(self) -> bytes:
        """The counter in the file."""
        return self.blob[GENERATION]

    @property
    def live(self) -> list[tuple[int, str]]:
        """The day and purpose of each slot that holds a key, sorted."""
        states = self.blob[PAGE::SLOT_BYTES]  # with which each slot begins
        of_keys = [
            (day, name) for name, days in self.numbers.items() for day, at in days.items() if states[at] == _LIVE
        ]
        return sorted(of_keys)

    @property
    def destroyed(self) -> dict[tuple[int, str], int]:
        """The numbers of the slots that are tombstones, by day and purpose."""
        states = self.blob[PAGE::SLOT_BYTES]
        return {
            (day, name): at for name, days in self.numbers.items() for day, at in days.items() if states[at] != _LIVE
        }

    def number(self, day: int, purpose: str) -> int | None:
        """Return the number of the slot of that day and purpose, or None where there is none."""
        return self.numbers.get(purpose, {}).get(day)

    def key(self, number: int) -> bytes | None:
        """Return the key in a slot, or None for a tombstone."""
        state, _, _, key, _ = _SLOT.unpack_from(self.blob, offset(number))
        return bytes(key) if state == _LIVE else None

    def is_live(self, number: int) -> bool:
        """Whether a slot holds a key."""
        return self.blob[offset(number)] == _LIVE

    def _forget(self, first: int, before: KeySlots) -> None:
        """Forget what the page of slots that begins with `first` held before."""
        for number in range(first, min(first + _SLOTS_A_PAGE, before.size)):
            self.free.discard(number)
            self.damaged.discard(number)
            gone = _place(before.blob[offset(number) : offset(number + 1)])
            if gone and self.number(*gone) == number:
                day, purpose = gone
                del self.numbers[purpose][day]
                if not self.numbers[purpose]:
                    del self.numbers[purpose]

    def _take(self, first: int, page: bytes) -> None:
        # A start reads thousands: each is unpacked once.
        for number, (body, check) in enumerate(_PARTS.iter_unpack(page), first):
            if _check(body) == check:
                _, length, day, _, purpose = _SLOT.unpack(body)
                self.numbers.setdefault(_text(purpose[:length]), {})[day] = number
            elif body + check == _FREE:
                self.free.add(number)
            else:
                self.damaged.add(number)


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
    _, version, slot_bytes, created = _HEADER.unpack(body)
    if (version, slot_bytes) != (_VERSION, SLOT_BYTES):
        raise ValueError(f"has format {version}, which a newer consent-mw wrote")
    return bytes(created)


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


def _place(raw: bytes) -> tuple[int, str] | None:
    """Return the day and the purpose of a slot; None where it is damaged."""
    body = raw[: _SLOT.size]
    if _check(body) != raw[_SLOT.size :]:
        return None
    _, length, day, _, purpose = _SLOT.unpack(body)
    return day, _text(purpose[:length])


@lru_cache(maxsize=256)
def _text(purpose: bytes) -> str:
    return purpose.decode()


def _check(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES).digest()
