"""How often something may be done: counted in memory, for a bounded number of names. The clock is an argument."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from consent_mw.proxies import IPAddress

__all__ = ["Throttle", "network_of"]

_NS: float = 1e9
#: Who gets an IPv4 address may have its neighbours too; of IPv6 a household gets 56 bits, and any address below them.
_BITS = {4: 24, 6: 56}


def network_of(address: IPAddress | None) -> str:
    """Return the network that an address is counted by: IPv4 /24, IPv6 /56; "" where nobody vouches for an address."""
    if address is None:
        return ""
    network = IPv4Network if address.version == 4 else IPv6Network
    return str(network((address, _BITS[address.version]), strict=False))


class Throttle:
    """
    Admits so many of one name in any such time. There is no count over all names: strangers could use it up for others.

    A process counts for itself. What it remembers is gone when it ends; of the names, the ones that it has not heard of
    for longest go first.

    Args:
        each: Most of one name.
        within: In any time of this length.
        names: Most names that are remembered.
    """

    def __init__(self, *, each: int, within: timedelta, names: int = 10_000) -> None:
        self._each = each
        self._within_ns = int(within.total_seconds() * _NS)
        self._names = names
        self._by_name: dict[str, deque[int]] = {}

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
        wait_ns = self._wait_ns(own, now_ns)
        if wait_ns > 0:
            return -(-wait_ns // int(_NS))
        own.append(now_ns)
        return 0

    def give_back(self, name: str, now_ns: int) -> None:
        """Count one less, which was admitted at `now_ns`: nothing came of it."""
        own = self._by_name.get(name)
        if own is not None and now_ns in own:
            own.remove(now_ns)

    def _wait_ns(self, times: deque[int], now_ns: int) -> int:
        """Until the oldest that counts is old enough. A clock that stepped back makes nobody wait longer than once."""
        if len(times) < self._each:
            return 0
        return min(times[0] + self._within_ns - now_ns, self._within_ns)
