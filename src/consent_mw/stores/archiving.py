"""The archive beside a shared store: apart from the log, and reached by all hosts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from consent_mw.stores.base import Store

__all__ = ["Archiving"]


@runtime_checkable
class Archiving(Protocol):
    """What a store may offer besides the five verbs if several hosts share its place."""

    def archive(self) -> Store | None:
        """Return the store of the archive beside it, not yet opened; None if it has none."""
        ...


def archive_beside(store: Store) -> Store | None:
    """Return the archive beside `store`, not yet opened. A store that belongs to one machine has none."""
    return store.archive() if isinstance(store, Archiving) else None
