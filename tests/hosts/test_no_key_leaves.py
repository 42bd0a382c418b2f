"""No key of a day lies anywhere but in the key file of its host: every byte that hosts and server wrote is searched."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.support.fleet import Host, Visitor, fleet, until
from tests.support.key_search import files_with, keys_of
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def hosts(tmp_path: Path, postgres: PostgresServer) -> Generator[list[Host]]:
    with fleet(tmp_path, postgres, "one", "two") as members:
        yield members


def test_no_unwrapped_key_reaches_the_store_its_log_or_another_disk(
    hosts: list[Host], postgres: PostgresServer
) -> None:
    kim = Visitor()
    kim.accept(hosts[0])
    for host in hosts:
        kim.get(host, "/search")
    until(lambda: len(kim.held(hosts[0])["held"]) == len(kim.held(hosts[1])["held"]) > 0)
    kim.close()

    def one_has_keys_of_the_other() -> bool:
        return any(keys_of(host)[1] for host in hosts)  # of both, only if each was the first somewhere

    until(one_has_keys_of_the_other)
    own = [set(keys_of(host)[0].values()) for host in hosts]
    everything = own[0] | own[1]
    assert keys_of(hosts[0])[1] <= own[1]
    with closing(psycopg.connect(hosts[0].store, autocommit=True)) as connection:
        connection.execute("CHECKPOINT")
    begun = (hosts[0].directory / "policy.toml").stat().st_mtime  # the server has databases of other tests
    assert files_with(everything, postgres.data, since=begun) == set()
    assert files_with(own[1], hosts[0].directory) == set()
    assert files_with(own[0], hosts[1].directory) == set()
    assert files_with(own[0], hosts[0].directory) == {"keys"}, "what is searched for is where it has to be"
    # The control: one that is put into a table is found, there and in the log that is written ahead.
    key = next(iter(own[0]))
    with closing(psycopg.connect(hosts[0].store, autocommit=True)) as connection:
        connection.execute("CREATE TABLE control (key bytea)")
        # Several times: where a page of the log ends within one, its bytes lie apart.
        connection.execute("INSERT INTO control SELECT %s FROM generate_series(1, 8)", [key])
        connection.execute("DELETE FROM control")
        connection.execute("CHECKPOINT")
    files = files_with({key}, postgres.data, since=begun)
    assert len(files) >= 2
    assert any(name in {path.name for path in (postgres.data / "pg_wal").iterdir()} for name in files)
