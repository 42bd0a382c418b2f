"""One of many at a time: a lease that a store may have for its clients on several hosts."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, runtime_checkable

from consent_mw.stores.base import Store

__all__ = ["Leasing", "lease"]


@runtime_checkable
class Leasing(Protocol):
    """What a store may have beside the five verbs, if several hosts share its place."""

    def lease(self, name: str) -> AbstractAsyncContextManager[bool]:
        """
        Give True to one holder of `name` among all clients of the place, and False at once to every other.

        It ends with the block, and with the client. Its loss is not told: what is done under it must be harmless
        when done twice.
        """
        ...


def lease(store: Store, name: str) -> AbstractAsyncContextManager[bool]:
    """Return the lease of `name`; always True from a store without leases, which is one machine's own."""
    return store.lease(name) if isinstance(store, Leasing) else nullcontext(True)
