"""The newest records of any store, read through its ascending `fetch`."""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from datetime import datetime, timedelta

from consent_mw.records import Query, Record
from consent_mw.stores.base import Store
from consent_mw.system.days import EPOCH

__all__ = ["latest"]

_NARROWEST = timedelta(milliseconds=1)  # ids do not tell instants apart below it


async def latest(
    store: Store,
    kinds: Set[str],
    *,
    purposes: Set[str] | None = None,
    since: datetime | None = None,
    limit: int,
    now: datetime,
) -> list[Record]:
    """
    Return the newest records of `kinds`, the newest first, at most `limit` of them.

    Steps back in time from `now` by windows, wider after one that held little and narrower after one that held
    too much. So the cost follows `limit` and the logarithm of the silence before `now`, not what is stored.
    Records from after `now`, by another host's clock, are found too.

    Args:
        since: Aware; nothing older is wanted.
        now: Aware; where the search starts.
    """
    newest: list[Record] = []
    oldest = since or EPOCH
    enough = 2 * limit
    width = timedelta(minutes=1)
    end: datetime | None = None  # the first window has no end, for clocks that are ahead
    while len(newest) < limit and (end is None or end > oldest):
        begin = max((end or now) - width, oldest)
        window = Query(kinds=frozenset(kinds), purposes=_frozen(purposes), since=begin, until=end)
        page = await store.fetch(window, limit=enough)
        if len(page) == enough and width > _NARROWEST:
            width = max(width / 32, _NARROWEST)
            continue
        newest.extend(reversed(page if len(page) < enough else await _last(store, window, limit)))
        end, width = begin, width * 4
    return newest[:limit]


async def _last(store: Store, window: Query, limit: int) -> list[Record]:
    """Return the last `limit` records of a window that cannot be made narrower, by reading all of it."""
    last: deque[Record] = deque(maxlen=limit)
    page = await store.fetch(window)
    while page:
        last.extend(page)
        page = await store.fetch(window, after=page[-1].id)
    return list(last)


def _frozen(names: Set[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
