"""A store for as long as a command needs it: opened on a loop of the command's own, closed whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consent_mw.stores.base import Store

_T = TypeVar("_T")


def with_store(store: Store, work: Callable[[Store], Awaitable[_T]]) -> _T:
    """Return what `work` makes of the open store. Raises as `Store.open`, and what `work` raises."""

    async def run() -> _T:
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())
