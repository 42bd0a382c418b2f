"""Limit what is kept for visitors at once, per network and in total. Counted in memory; the clock is an argument."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Final

#: The time is divided into this many parts. What was taken is released at most one part after its time.
_PARTS: Final = 10


class Room:
    """
    Room for a limited number of things and bytes. Each thing takes its room for a fixed time.

    One network may take only a small share, so that a stranger cannot take the room of all others. Each process counts
    separately.

    Args:
        things, size: The most things and bytes in total.
        share: One network may take this fraction of both: 64 means one 64th.
        within: How long a thing takes its room.
    """

    def __init__(self, *, things: int, size: int, share: int, within: timedelta) -> None:
        self._most = things, size
        self._share = things // share, size // share
        self._part_ns = int(within.total_seconds() * 1e9) // _PARTS
        #: For each part of the time, the things and bytes that each network took, and the totals of all networks.
        self._taken: dict[int, tuple[Counter[str], Counter[str]]] = {}
        self._together: dict[int, list[int]] = {}

    def take(self, network: str, things: int, size: int, now_ns: int) -> bool:
        """Take room and return True. If there is too little, take nothing and return False. Zero always fits."""
        part = now_ns // self._part_ns
        for old in [other for other in self._taken if not part - _PARTS <= other <= part]:
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
