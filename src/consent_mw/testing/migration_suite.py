"""What a store does with a place that it did not make just so, as tests: older, newer, or somebody else's."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from consent_mw.exceptions import SchemaError
from consent_mw.records import Record
from consent_mw.testing.sample_records import NewStore, everything, make_record, opened

__all__ = ["OLD_RECORDS", "MigrationSuite"]

#: What the place of `older_store` holds.
OLD_RECORDS: Final[tuple[Record, ...]] = tuple(make_record(n, subject=b"somebody") for n in range(3))


class MigrationSuite:
    """
    Beside `StoreSuite`, for a store that lasts: `class TestMyStore(StoreSuite, MigrationSuite)`.

    Each fixture returns a callable that makes an unopened store, as `new_store` does, and has prepared its place.
    """

    @pytest.fixture
    def older_store(self, new_store: NewStore) -> NewStore:
        """
        Return stores of a place that an older version left with `OLD_RECORDS` in it.

        By default this version leaves it, which is right until an older version exists.
        """

        async def leave() -> None:
            async with opened(new_store) as store:
                await store.append(OLD_RECORDS)

        asyncio.run(leave())
        return new_store

    @pytest.fixture
    def newer_store(self) -> NewStore:
        """Return stores of a place that a version newer than any made."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `newer_store`: see docs/testing.md")

    @pytest.fixture
    def foreign_store(self) -> NewStore:
        """Return stores of a place that holds what is not ours, under the very names that we use."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `foreign_store`: see docs/testing.md")

    @pytest.fixture
    def contents(self) -> Callable[[], object]:
        """Return a callable that says what is at the place: anything, equal as long as nobody touched it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `contents`: see docs/testing.md")

    def test_an_older_place_is_migrated_by_one_of_many_and_keeps_its_records(self, older_store: NewStore) -> None:
        async def scenario() -> None:
            stores = [older_store() for _ in range(4)]
            await asyncio.gather(*(store.open() for store in stores))
            assert await everything(stores[0]) == list(OLD_RECORDS)
            await stores[1].append([OLD_RECORDS[0], make_record(7)])
            assert await everything(stores[2]) == [*OLD_RECORDS, make_record(7)]
            for store in stores:
                await store.close()
            async with opened(older_store) as store:
                assert await everything(store) == [*OLD_RECORDS, make_record(7)]

        asyncio.run(scenario())

    def test_a_newer_place_is_refused_and_left_alone(
        self, newer_store: NewStore, contents: Callable[[], object]
    ) -> None:
        _refused(newer_store, contents)

    def test_a_place_of_somebody_else_is_refused_and_left_alone(
        self, foreign_store: NewStore, contents: Callable[[], object]
    ) -> None:
        _refused(foreign_store, contents)


def _refused(new_store: NewStore, contents: Callable[[], object]) -> None:
    before = contents()
    store = new_store()
    with pytest.raises(SchemaError) as caught:
        asyncio.run(store.open())
    assert contents() == before
    assert "\n" not in str(caught.value), "one line: where, what, and how to fix it"
