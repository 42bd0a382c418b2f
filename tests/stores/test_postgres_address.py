"""Where a PostgreSQL server is, however libpq lets it be named: only one on this machine need not prove its name."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from tests.support.postgres import PostgresServer

from consent_mw.exceptions import StoreError
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.postgres_address import conninfo_of, place_of

SERVICES = """# of the company
[prod]
host=db.example
port=5432

[loose]
host=db.example
# sslmode=verify-full
sslmode=prefer

[authority]
host=db.example
sslrootcert=/etc/ca.pem
"""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE", "PGSYSCONFDIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "services.conf").write_text(SERVICES)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services.conf"))
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "variables", "mode"),
    [
        ("postgresql://?service=prod", {}, "verify-full"),
        ("postgresql:///site?service=prod", {}, "verify-full"),
        ("service=prod", {}, "verify-full"),
        ("dbname=site service='prod'", {}, "verify-full"),
        ("postgresql://localhost/site?service=prod", {}, "verify-full"),
        ("postgresql://?service=elsewhere", {}, "verify-full"),
        ("postgresql:///site", {"PGSERVICE": "prod"}, "verify-full"),
        ("postgresql://localhost/site", {"PGSERVICE": "prod"}, "verify-full"),
        ("postgresql://?service=prod&sslmode=require", {}, "require"),
        ("postgresql://?service=loose", {}, None),
        ("postgresql:///site", {"PGSERVICE": "loose"}, None),
        ("postgresql://?service=prod", {"PGSSLMODE": "require"}, None),
        ("postgresql:///site", {"PGHOST": "db.example"}, "verify-full"),
        ("postgresql:///site", {"PGHOST": "/run/postgresql"}, None),
        ("postgresql:///site", {"PGHOSTADDR": "10.0.0.5"}, "verify-full"),
        ("postgresql://localhost/site", {"PGHOSTADDR": "10.0.0.5"}, "verify-full"),
        ("postgresql://localhost/site?hostaddr=10.0.0.5", {}, "verify-full"),
        ("postgresql://db.example/site?hostaddr=127.0.0.1", {}, None),
        ("host=db.example hostaddr=::1", {}, None),
        ("postgresql://localhost,db.example:6432/site", {}, "verify-full"),
        ("host=localhost,db.example hostaddr=127.0.0.1,", {}, "verify-full"),
        ("host=/run/postgresql,10.0.0.5", {}, "verify-full"),
        ("host=@abstract", {}, None),
        ("postgresql://127.0.0.1,localhost/site", {}, None),
        ("postgresql://0.0.0.0/site", {}, "verify-full"),
    ],
)
def test_what_may_be_another_machine_has_to_prove_its_name_unless_somebody_says_otherwise(
    url: str, variables: dict[str, str], mode: str | None, environment: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert conninfo_to_dict(conninfo_of(url)).get("sslmode") == mode


def test_an_authority_that_the_service_names_is_the_one_that_counts(environment: pytest.MonkeyPatch) -> None:
    parameters = conninfo_to_dict(conninfo_of("postgresql://?service=authority"))
    assert (parameters["sslmode"], parameters.get("sslrootcert")) == ("verify-full", None)
    environment.setenv("PGSYSCONFDIR", str(Path("missing")))
    assert place_of("postgresql://me:secret@/site?service=prod") == "postgresql://me@/site?service=prod"


def test_a_server_behind_a_service_that_speaks_no_tls_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    given = conninfo_to_dict(postgres.tcp_url())
    lines = ["[here]", *(f"{name}={given[name]}" for name in ("host", "port", "user", "password", "dbname"))]
    (tmp_path / "services.conf").write_text("\n".join(lines))

    async def opened(url: str) -> None:
        store = PostgresStore(url, schema="of_a_service")
        try:
            await store.open()
        finally:
            await store.close()

    with pytest.raises(StoreError, match="does not support SSL"):
        asyncio.run(opened("postgresql://?service=here"))
    (tmp_path / "services.conf").write_text("\n".join([*lines, "sslmode=prefer"]))
    asyncio.run(opened("postgresql://?service=here"))


def test_a_connection_to_a_machine_that_is_gone_is_given_up_within_half_a_minute(postgres: PostgresServer) -> None:
    # Only a network of one's own, for which one must be root, can swallow packets. So the kernel is asked what it does.
    async def patience(url: str) -> list[int]:
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        async with await AsyncConnection.connect(conninfo_of(url)) as connection:
            with closing(socket.socket(fileno=os.dup(connection.fileno()))) as end:
                assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                return [end.getsockopt(socket.IPPROTO_TCP, name) for name in names]

    idle, interval, count, unheard = asyncio.run(patience(postgres.tcp_url()))
    assert (idle + interval * count, unheard) == (30, 30_000)
    assert asyncio.run(patience(f"{postgres.tcp_url()}?tcp_user_timeout=90000&keepalives_idle=60"))[0] == 60
