"""The records of a query, page by page, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from consent_mw.records import Query, Record
from consent_mw.stores.base import Store

__all__ = ["every", "pages"]

_PAGE: Final = 1_000


async def pages(store: Store, query: Query, *, newest_first: bool = False) -> AsyncIterator[Sequence[Record]]:
    """Yield the records that match, in order of id or its reverse, a page at a time. Raises as `Store.fetch`."""
    page = await store.fetch(query, limit=_PAGE, newest_first=newest_first)
    while page:
        yield page
        if len(page) < _PAGE:  # the contract says that there are no more
            return
        page = await store.fetch(query, after=page[-1].id, limit=_PAGE, newest_first=newest_first)


async def every(store: Store, query: Query) -> list[Record]:
    """Return all records that match, in order of id. For one person or a queue only. Raises as `Store.fetch`."""
    return [record async for page in pages(store, query) for record in page]
