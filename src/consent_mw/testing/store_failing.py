"""What a store does when its place fails, as tests: an error of the contract, nothing half-done, never an answer."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import pytest

from consent_mw.records import Record
from consent_mw.stores.base import Store
from consent_mw.testing.crash_points import WithEnvironment, process_of
from consent_mw.testing.sample_records import VISITS, NewStore, everything, make_record, opened
from consent_mw.testing.store_faults import FAULTS, Outcome, attempt, fill_up, open_where_nothing_opens, outcome_of
from consent_mw.testing.store_place import StorePlace

_KEPT: Final = tuple(make_record(n) for n in range(20))
_ADDED: Final = tuple(make_record(100 + n, sealed=bytes(2_000), purpose=f"purpose {n % 3}") for n in range(300))
#: How large a file may become at most, in bytes: somewhere on the way the last batch no longer fits.
_SIZES: Final = tuple(100_000 * step for step in range(20))


class StoreFailing(StorePlace):
    """The tests of a place that fails, in processes of their own and, with `break_it`, in this one."""

    @pytest.fixture
    def break_it(self) -> Callable[[], object]:
        """
        Return a callable that lets the place of `new_store` fail under an open store: the server is stopped, the table
        renamed, the directory moved away. If it returns a callable, that one mends the place.
        """
        pytest.skip(
            "without a fixture `break_it` it is not tested that every verb raises when the place fails; "
            "see docs/write-a-store.md"
        )

    def test_a_place_that_fails_is_an_error_and_no_answer(
        self, new_store: NewStore, break_it: Callable[[], object]
    ) -> None:
        async def scenario() -> None:
            async with opened(new_store) as store:
                await store.append(_KEPT, durable=True)
                await store.fetch(VISITS)
                mend = break_it()
                for name, verb in (
                    ("fetch", lambda: store.fetch(VISITS)),
                    ("fetch, newest first,", lambda: store.fetch(VISITS, newest_first=True)),
                    ("append", lambda: store.append(_ADDED)),
                    ("append, durable,", lambda: store.append(_ADDED, durable=True)),
                    ("delete", lambda: store.delete(VISITS)),
                ):
                    outcome = await outcome_of(verb())
                    assert outcome.error, f"{name} returned {outcome.result!r} of a place that fails"
                    _check(name, outcome)
            if callable(mend):
                mend()
                await store.open()
                assert await everything(store) == list(_KEPT), "a verb raised, and did something nevertheless"
                await store.append(_ADDED)
                assert await everything(store) == [*_KEPT, *_ADDED]
                await store.close()

        asyncio.run(scenario())

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("verb", ["append", "append durably", "fetch", "delete"])
    def test_what_the_system_refuses_is_an_error_and_no_answer(
        self, new_store: NewStore, verb: str, fault: str
    ) -> None:
        asyncio.run(_stored(new_store, *_KEPT))
        with process_of(attempt, WithEnvironment(new_store), fault, _warm_up, partial(_act, verb)) as calls:
            assert calls.recv() is None
            # From another process, so that nothing that it remembers is still right.
            kept = asyncio.run(_stored(new_store, *_ADDED[:100]))
            calls.send(None)
            outcome = calls.recv()
        _check(verb, outcome)
        left = asyncio.run(_stored(new_store))
        if verb == "fetch":
            assert outcome.error or outcome.result == len(kept), "fetch swallowed an error"
            assert left == kept
        else:
            whole = [] if verb == "delete" else [*_KEPT, *_ADDED]
            assert len(left) in ((len(kept), len(whole)) if outcome.error else (len(whole),)), (
                f"{verb} {f'raised {outcome.error}' if outcome.error else 'returned'}, and {len(left)} are there"
            )
            assert outcome.error or outcome.result in (None, len(kept))

    def test_a_batch_for_which_there_is_no_room_leaves_nothing(self, new_store: NewStore) -> None:
        asyncio.run(_stored(new_store, *_KEPT))
        with process_of(fill_up, WithEnvironment(new_store), _SIZES, partial(_act, "append")) as calls:
            while (outcome := calls.recv()) is not None:
                _check("append", outcome)
                left = len(asyncio.run(_stored(new_store)))
                expected = len(_KEPT) if outcome.error else len(_KEPT) + len(_ADDED)
                assert left == expected, f"append {outcome.error or 'returned'}, and {left} are there"
                calls.send(None)

    def test_a_place_that_cannot_be_opened_is_an_error(self, new_store: NewStore) -> None:
        with process_of(open_where_nothing_opens, WithEnvironment(new_store)) as calls:
            _check("open", calls.recv())


async def _act(verb: str, store: Store) -> int | None:
    """Do a verb, and return how many it is about. For another process: what is returned is small."""
    if verb == "fetch":
        return len(await store.fetch(VISITS, limit=10_000))
    if verb == "delete":
        return await store.delete(VISITS)
    await store.append(_ADDED, durable=verb == "append durably")
    return None


async def _warm_up(store: Store) -> None:
    """Let everything be loaded that is loaded at the first use."""
    await store.append(_KEPT)
    await store.fetch(VISITS)
    await store.delete(VISITS)
    await store.append(_KEPT)


async def _stored(new_store: NewStore, *records: Record) -> Sequence[Record]:
    """Append to the place, and return all that is there."""
    async with opened(new_store) as store:
        await store.append(records)
        return await everything(store)


def _check(verb: str, outcome: Outcome) -> None:
    assert outcome.is_ours, f"{verb}: {outcome.error} reached the caller; raise StoreUnavailable from it, in one line"
