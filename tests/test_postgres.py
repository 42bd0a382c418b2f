"""The PostgreSQL store against a real server: the store suite, then what it alone promises."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest
from tests.postgres import PostgresServer

from consent_mw.stores.postgres import PostgresStore
from consent_mw.testing.store_suite import NewStore, StoreSuite


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    def new_store(self, postgres: PostgresServer) -> NewStore:
        return partial(PostgresStore, postgres.url(), schema=f"test_{uuid4().hex[:12]}")
