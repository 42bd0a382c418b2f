"""What the parts of the store suite ask of a subclass: a callable that makes stores of one place."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from consent_mw.stores.base import Store
from consent_mw.testing.sample_records import NewStore, opened


class StorePlace:
    """Gives the tests stores of one place, which is empty when a test starts."""

    @pytest.fixture
    def new_store(self) -> NewStore:
        """Return a callable that makes a store."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `new_store`: see docs/write-a-store.md")

    @asynccontextmanager
    async def several(self, new_store: NewStore, count: int) -> AsyncGenerator[list[Store]]:
        """Give `count` open stores of one place. Here: the same one, as nothing else would share its records."""
        async with opened(new_store) as store:
            yield [store] * count
