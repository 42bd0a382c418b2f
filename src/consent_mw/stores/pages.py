"""The records of a query, page by page, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from consent_mw.records import Query, Record
from consent_mw.stores.base import Store

__all__ = ["every", "pages"]

_PAGE: Final = 1_000
#: Of what is held whole anyway. The search for a person begins again with each page: through a table for each day.
_LARGE_PAGE: Final = 10_000


async def pages(
    store: Store, query: Query, *, newest_first: bool = False, size: int = _PAGE
) -> AsyncIterator[Sequence[Record]]:
    """Yield the records that match, in order of id or its reverse, `size` at a time. Raises as `Store.fetch`."""
    page = await store.fetch(query, limit=size, newest_first=newest_first)
    while page:
        yield page
        if len(page) < size:  # the contract says that there are no more
            return
        page = await store.fetch(query, after=page[-1].id, limit=size, newest_first=newest_first)


async def every(store: Store, query: Query) -> list[Record]:
    """Return all records that match, in order of id. For one person or a queue only. Raises as `Store.fetch`."""
    return [record async for page in pages(store, query, size=_LARGE_PAGE) for record in page]
