"""A server that takes connections and never answers, as on a suspended machine: real processes that stand still."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.postgres import PostgresServer

from consent_mw.exceptions import StoreUnavailable
from consent_mw.stores import postgres as postgres_store
from consent_mw.stores.postgres import PostgresStore
from consent_mw.testing.sample_records import VISITS, make_record


def test_who_reads_while_the_server_is_frozen_is_asked_to_come_back(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "_ANSWER_SECONDS", 0.5)

    async def scenario() -> None:
        store = PostgresStore(postgres.database())
        await store.open()
        await store.append([make_record(1)])
        with postgres.frozen():
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="see that the server runs"):
                async with asyncio.timeout(60):
                    await store.fetch(VISITS)
            assert time.monotonic() - began < 45
        assert await store.fetch(VISITS) == [make_record(1)]
        await store.close()

    asyncio.run(scenario())
