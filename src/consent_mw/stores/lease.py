"""A lease that one client holds at a time: a store that several hosts share may offer it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, runtime_checkable

from consent_mw.stores.base import Store


@runtime_checkable
class Leasing(Protocol):
    """What a store may offer besides the five verbs if several hosts share its place."""

    def lease(self, name: str) -> AbstractAsyncContextManager[bool]:
        """
        Give True to one holder of `name` among all clients of the place, and False at once to every other.

        It ends with the block, and with the client. The holder does not learn that it lost the lease, so its work must
        be harmless when it is done twice.
        """
        ...


def lease(store: Store, name: str) -> AbstractAsyncContextManager[bool]:
    """Return the lease of `name`. A store without leases belongs to one machine, and always gives True."""
    return store.lease(name) if isinstance(store, Leasing) else nullcontext(True)
