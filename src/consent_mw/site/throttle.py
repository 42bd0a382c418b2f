"""Limit how often something may be done: counted in memory, for a bounded number of names. The clock is an argument."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from consent_mw.proxies import IPAddress

_NS: float = 1e9
#: The bits of an address that count. The owner of an IPv4 address may have its neighbours too. An IPv6 household gets
#: 56 bits, and any address below them.
_BITS = {4: 24, 6: 56}


def network_of(address: IPAddress | None) -> str:
    """Return the network that an address counts for: IPv4 /24, IPv6 /56; "" if the address is not known."""
    if address is None:
        return ""
    network = IPv4Network if address.version == 4 else IPv6Network
    return str(network((address, _BITS[address.version]), strict=False))


class Throttle:
    """
    Admits a limited number of actions of one name within a time. There is no limit over all names: strangers could use
    it up for others.

    Each process counts on its own, and forgets its counts when it ends. If there are too many names, it forgets those
    that it has not seen for longest.

    Args:
        most: The most actions of one name.
        within: The time within which they count.
        names: The most names that are remembered.
    """

    def __init__(self, *, most: int, within: timedelta, names: int = 10_000) -> None:
        self._most = most
        self._within_ns = int(within.total_seconds() * _NS)
        self._names = names
        self._by_name: dict[str, deque[int]] = {}

    def admit(self, name: str, now_ns: int) -> int:
        """
        Count one more action and return 0, or count nothing and return the seconds until another try may succeed.

        Args:
            now_ns: Nanoseconds since 1970.
        """
        own = self._by_name.pop(name, None) or deque[int](maxlen=self._most)
        self._by_name[name] = own  # the name seen last is the last one
        while len(self._by_name) > self._names:
            del self._by_name[next(iter(self._by_name))]
        wait_ns = self._wait_ns(own, now_ns)
        if wait_ns > 0:
            return -(-wait_ns // int(_NS))
        own.append(now_ns)
        return 0

    def give_back(self, name: str, now_ns: int) -> None:
        """Take back the action that was admitted at `now_ns`, because it was not carried out."""
        own = self._by_name.get(name)
        if own is not None and now_ns in own:
            own.remove(now_ns)

    def _wait_ns(self, times: deque[int], now_ns: int) -> int:
        """Return the time until the oldest count expires: never more than `within`, even if the clock stepped back."""
        if len(times) < self._most:
            return 0
        return min(times[0] + self._within_ns - now_ns, self._within_ns)
