"""What no query finds: records of kinds that nobody asks for, which a store may be able to count."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from consent_mw.stores.base import Store

__all__ = ["Counting", "others"]


@runtime_checkable
class Counting(Protocol):
    """What a store may have beside the five verbs, so that a check misses nothing."""

    async def count_others(self, kinds: Set[str]) -> int:
        """Return how many records are of none of these kinds. Raises as `Store.fetch`."""
        ...


async def others(store: Store, kinds: Set[str]) -> int:
    """Return how many records of `store` are of none of these kinds; 0 where it cannot tell. Raises StoreError."""
    return await store.count_others(kinds) if isinstance(store, Counting) else 0
