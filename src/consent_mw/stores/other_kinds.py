"""Records of kinds that no query asks for, which a store may be able to count."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from consent_mw.stores.base import Store


@runtime_checkable
class Counting(Protocol):
    """What a store may offer besides the five verbs, so that a check misses nothing."""

    async def count_others(self, kinds: Set[str]) -> int:
        """Return how many records have none of these kinds. Raises as `Store.fetch`."""
        ...


async def others(store: Store, kinds: Set[str]) -> int:
    """Return how many records of `store` have none of these kinds; 0 if it cannot count them. Raises StoreError."""
    return await store.count_others(kinds) if isinstance(store, Counting) else 0
