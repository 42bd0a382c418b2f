"""How often something may be done: counted in memory, for a bounded number of names. The clock is an argument."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

__all__ = ["Throttle"]

_NS: float = 1e9


class Throttle:
    """
    Admits so many in any such time, by name and over all.

    A process counts for itself. What it remembers is gone when it ends; of the names, the ones that it has not heard of
    for longest go first.

    Args:
        each: Most of one name.
        together: Most of all names together.
        within: In any time of this length.
        names: Most names that are remembered.
    """

    def __init__(self, *, each: int, together: int, within: timedelta, names: int = 10_000) -> None:
        self._each = each
        self._within_ns = int(within.total_seconds() * _NS)
        self._names = names
        self._by_name: dict[str, deque[int]] = {}
        self._all: deque[int] = deque(maxlen=together)
        self._most = together

    def admit(self, name: str, now_ns: int) -> int:
        """
        Count one more and return 0, or count nothing and return after how many seconds it may be tried again.

        Args:
            now_ns: Nanoseconds since 1970.
        """
        own = self._by_name.pop(name, None) or deque[int](maxlen=self._each)
        self._by_name[name] = own  # the last one that was heard of stands last
        while len(self._by_name) > self._names:
            del self._by_name[next(iter(self._by_name))]
        wait_ns = max(self._wait_ns(own, self._each, now_ns), self._wait_ns(self._all, self._most, now_ns))
        if wait_ns > 0:
            return -(-wait_ns // int(_NS))
        own.append(now_ns)
        self._all.append(now_ns)
        return 0

    def _wait_ns(self, times: deque[int], most: int, now_ns: int) -> int:
        """Until the oldest that counts is old enough. A clock that stepped back makes nobody wait longer than once."""
        if len(times) < most:
            return 0
        return min(times[0] + self._within_ns - now_ns, self._within_ns)
