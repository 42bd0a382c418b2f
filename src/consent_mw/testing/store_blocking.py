"""That no verb of a store keeps the event loop from other work, as tests."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product
from typing import Final, TypeAlias

from consent_mw.records import Query
from consent_mw.testing.loop_watch import LONGEST_SECONDS, least_standstill, watched
from consent_mw.testing.sample_records import VISITS, NewStore, make_record, opened
from consent_mw.testing.store_place import StorePlace

_Call: TypeAlias = Callable[[], Awaitable[object]]

#: Enough that a verb takes some milliseconds, in which a loop that is free turns hundreds of times.
_MANY: Final = 3_000
_FEWEST_TURNS: Final = 3
#: Few enough that a store may turn them into rows on the loop.
_FEW: Final = 50


class StoreStandstill(StorePlace):
    """The test of small calls: a store in memory passes it, too."""

    def test_the_loop_never_stands_still(self, new_store: NewStore) -> None:
        asyncio.run(_seen(new_store))


class StoreBlocking(StorePlace):
    """The test of large calls, which a store works on elsewhere."""

    def test_no_verb_blocks_the_loop(self, new_store: NewStore) -> None:
        batch = [make_record(n, sealed=bytes(500)) for n in range(_MANY)]

        async def scenario() -> None:
            async with opened(new_store) as store:
                for name, verb in (
                    ("append", lambda: store.append(batch, durable=True)),
                    ("fetch", lambda: store.fetch(VISITS, limit=_MANY)),
                    ("delete", lambda: store.delete(VISITS)),
                ):
                    turns = (await watched(verb)).turns
                    assert turns >= _FEWEST_TURNS, f"{name} lets nobody else run: do its work in a thread"

        asyncio.run(scenario())


async def _seen(new_store: NewStore) -> None:
    """Call each verb in each of its forms, and raise where the loop stood still each time."""
    store = new_store()
    batch = [make_record(n, subject=b"somebody", sealed=bytes(500)) for n in range(_FEW)]

    async def filled() -> None:
        # Opened anew, since some work is done at the first use alone.
        await store.close()
        await store.open()
        await store.append(batch)

    async def emptied() -> None:
        await filled()
        await store.delete(VISITS)

    calls: list[tuple[str, _Call, _Call]] = [("open", store.open, store.close)]
    for number, durable in product((1, _FEW), (False, True)):
        append = partial(store.append, batch[:number], durable=durable)
        calls.append((f"append of {number} records, {durable=},", append, emptied))
    for query in (
        VISITS,
        Query(kinds=VISITS.kinds, ids=frozenset(record.id for record in batch)),
        Query(kinds=VISITS.kinds, subjects=frozenset({b"somebody"})),
    ):
        for newest_first in (False, True):
            fetch = partial(store.fetch, query, limit=_FEW, newest_first=newest_first)
            calls.append((f"fetch({query}, {newest_first=})", fetch, filled))
        calls.append((f"delete({query})", partial(store.delete, query), filled))
    calls.append(("close", store.close, store.open))
    for name, call, before in calls:
        longest = await least_standstill(call, before)
        assert longest < LONGEST_SECONDS, f"{name} stops the loop for {longest:.3f} s: do its work in a thread"
