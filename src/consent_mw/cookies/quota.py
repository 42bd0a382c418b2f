"""How much may be kept for visitors at once: counted in memory, by network and over all. The clock is an argument."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Final

__all__ = ["Room"]

#: Time is counted in so many parts: what was taken is forgotten one part after it is gone.
_PARTS: Final = 10


class Room:
    """
    Room for so many things and bytes, which a thing takes for a fixed time.

    A network has a small part of it, so that no stranger can take the room of all others. A process counts for itself.

    Args:
        things, size: Most things and bytes together.
        share: The part of both that one network may take.
        within: How long what was taken counts.
    """

    def __init__(self, *, things: int, size: int, share: int, within: timedelta) -> None:
        self._most = things, size
        self._share = things // share, size // share
        self._part_ns = int(within.total_seconds() * 1e9) // _PARTS
        #: For each part of the time, what each network took: things and bytes. The same of all together.
        self._taken: dict[int, tuple[Counter[str], Counter[str]]] = {}
        self._together: dict[int, list[int]] = {}

    def take(self, network: str, things: int, size: int, now_ns: int) -> bool:
        """Take room and return True, or take nothing where there is too little. What takes nothing fits always."""
        part = now_ns // self._part_ns
        for old in [each for each in self._taken if not part - _PARTS <= each <= part]:
            del self._taken[old], self._together[old]
        wanted = max(things, 0), max(size, 0)
        for kind in (0, 1):
            own = sum(taken[kind][network] for taken in self._taken.values())
            together = sum(sizes[kind] for sizes in self._together.values())
            if wanted[kind] and (own + wanted[kind] > self._share[kind] or together + wanted[kind] > self._most[kind]):
                return False
        taken, sizes = self._taken.setdefault(part, (Counter(), Counter())), self._together.setdefault(part, [0, 0])
        for kind in (0, 1):
            taken[kind][network] += wanted[kind]
            sizes[kind] += wanted[kind]
        return True
