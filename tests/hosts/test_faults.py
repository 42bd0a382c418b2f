"""Two hosts, and what may go wrong between them and their store: real processes, a wire that stops passing."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.support.commands import Ran, refused, run
from tests.support.fleet import SECRET, Host, Visitor, another, fleet, purging, until
from tests.support.key_search import keys_of
from tests.support.one_host import OneHost
from tests.support.postgres import PostgresServer
from tests.support.preloaded import Process
from tests.support.wire import wire

from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.wrapping import key_id, public_part
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Place, Pub, written
from consent_mw.paths import Places
from consent_mw.stores.postgres import PostgresStore

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Generator[list[Host]]:
    place = tmp_path_factory.mktemp("faults")
    (place / "ahead").write_text("0")
    with fleet(place, postgres, "one", "two") as members:
        yield members


@pytest.fixture
def kim() -> Generator[Visitor]:
    with closing(Visitor()) as visitor:
        yield visitor


def held(visitor: Visitor, host: Host) -> int:
    return sum(part["count"] for part in visitor.held(host)["held"] if part["purpose"] == "analytics")


def test_a_host_that_is_cut_off_serves_on_and_hands_over_later(
    hosts: list[Host], kim: Visitor, postgres: PostgresServer
) -> None:
    kim.accept(hosts[0])
    with wire(postgres.port) as cable, another(hosts[0], "far") as far:
        far.store = postgres.tcp_url(database=hosts[0].store.rpartition("/")[2].partition("?")[0])
        far.store = far.store.replace(f":{postgres.port}/", f":{cable.port}/")
        far.begin()
        far.wait()
        until(lambda: bool(keys_of(far)[1]))  # it has the keys of the others
        cable.stop()
        for _ in range(5):
            assert kim.get(far, "/search").text == "found"
        assert kim.get(hosts[0], "/search").text == "found"
        until(lambda: held(kim, hosts[0]) == 2)
        cable.go_on()
        until(lambda: held(kim, hosts[0]) == 12)
        far.end()
    retire(hosts[0], far.id)


def test_a_host_with_another_secret_gets_no_key_and_is_logged(hosts: list[Host]) -> None:
    with another(hosts[0], "stranger") as stranger:
        stranger.secret = "another secret of 16 bytes"
        stranger.begin()
        stranger.wait()
        until(lambda: all("is not signed with its secret_keys" in host.said for host in hosts))
        assert keys_of(stranger)[0], "it has keys of its own"
        assert keys_of(stranger)[1] == set()
        listed = run("hosts", "--json", "--store", hosts[0].store, cwd=hosts[0].directory, ahead=0).stdout
        assert stranger.id[:8] not in listed


def test_a_holder_that_is_written_into_the_store_without_the_secret_gets_nothing(
    hosts: list[Host], tmp_path: Path
) -> None:
    store = PostgresStore(hosts[0].store)
    thief = OneHost(tmp_path / "thief", store, (b"some other secret",))
    friend = OneHost(tmp_path / "friend", store, (SECRET.encode(),))  # the control: the same with the site's secret
    place = next(iter(keys_of(hosts[0])[0]))
    parts = {place.label: (public_part(bytes(range(32))), key_id(bytes(range(32))))}

    async def put() -> None:
        await store.open()
        for one in (thief, friend):
            claim = Pub(name="one", day=place.day, parts=parts)
            await store.append([written(claim, one.keyring.identity, one.signing, time.time_ns())], durable=True)
        await store.close()

    asyncio.run(put())
    names = {name: one.keyring.identity.id for name, one in (("thief", thief), ("friend", friend))}
    until(lambda: any(names["friend"] in bytes(sealed) for sealed in sharing(hosts[0])))
    for host in hosts:
        until(partial(is_holder, names["friend"], host, place))
        assert not is_holder(names["thief"], host, place)
    assert not any(names["thief"] in bytes(sealed) for sealed in sharing(hosts[0]))
    retire(hosts[0], names["friend"].hex())


def is_holder(one: bytes, host: Host, place: Place) -> bool:
    """Whether `host` knows that one has a key of a place."""
    keyring = SharedKeyring.of_site(Places(host.data), SiteKeys.read(Places(host.data).site_keys))
    with closing(keyring):
        return one in keyring.view.holders(place)


def sharing(host: Host) -> list[bytes]:
    """What hosts told each other about keys: a name in it is that of a recipient or an owner."""
    with closing(psycopg.connect(host.store, autocommit=True)) as connection:
        rows = connection.execute("SELECT sealed FROM consent_mw.records WHERE kind = 'sharing'").fetchall()
    return [sealed for (sealed,) in rows]


def retire(host: Host, name: str) -> None:
    done = run("hosts", "retire", name, "--reason", "gone", "--although-at-work", "--store", host.store,
               cwd=host.directory, ahead=0)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_list_and_the_retirement_of_a_host_say_in_each_state_what_to_do(hosts: list[Host]) -> None:
    one, two = hosts

    def command(*words: str, on: Host = one) -> Ran:
        return run("hosts", *words, "--store", on.store, cwd=on.directory, ahead=0)

    def row(of: Host) -> dict[str, object]:
        rows = json.loads(command("--json").stdout)["hosts"]
        return next(known for known in rows if known["id"] == of.id)

    for name, why in (
        ("", "no host is named"),
        ("nobody", "is not known"),
        (one.id, "is the host of this directory"),
        (two.id, "so it runs; stop it first"),
        (two.id[0] + "?", "is not known"),
    ):
        said = refused(command("retire", name, "--reason", "gone"))
        assert why in said, said
    assert row(one)["here"]
    assert (row(two)["here"], row(two)["left"], row(two)["retired"]) == (False, False, None)
    with another(one, "short") as short:
        short.begin()
        short.wait()
        until(lambda: bool(keys_of(short)[1]))
        short.end()
        assert row(short)["left"]
        assert "ended" in command().stdout
        assert command("retire", short.id, "--reason", "disk wiped", "--although-at-work").returncode == 0
        until(lambda: row(short)["retired"] == "disk wiped")
        assert "retired: disk wiped" in command(on=two).stdout
        assert "is retired already" in refused(command("retire", short.id, "--reason", "again"))


def test_two_that_destroy_at_once_while_the_server_dies_leave_nothing_and_certify_once(
    hosts: list[Host], kim: Visitor, postgres: PostgresServer
) -> None:
    kim.accept(hosts[0])
    kim.get(hosts[0], "/search")
    kim.get(hosts[1], "/search")
    until(lambda: held(kim, hosts[1]) >= 4)
    ahead = int(timedelta(days=450).total_seconds())
    (hosts[0].directory.parent / "ahead").write_text(str(ahead))

    def purges() -> list[Process]:
        return [purging(host, ahead) for host in hosts]

    at_it = purges()
    postgres.kill()
    for process in at_it:
        process.wait(120)
    postgres.start()

    def is_done() -> bool:
        for process in purges():
            process.wait(120)
        return "certificate.holders" in certificates(hosts[0])

    until(is_done)
    rows = [json.loads(line) for line in certificates(hosts[0]).splitlines()]
    keys = [row for row in rows if "certificate.holders" in row]
    names = Counter((row["certificate.day"], row["certificate.purpose"], row["certificate.where"]) for row in keys)
    assert set(names.values()) == {1}
    assert all(host.id[:8] in row["certificate.holders"] for row in keys for host in hosts)
    with closing(psycopg.connect(hosts[0].store, autocommit=True)) as connection:
        left = "SELECT count(*) FROM consent_mw.records WHERE purpose = 'analytics' AND kind IN ('event', 'visit')"
        assert connection.execute(left).fetchone() == (0,)


def certificates(host: Host) -> str:
    ahead = int((host.directory.parent / "ahead").read_text())
    words = ("log", "-n", "1000", "--kind", "certificate", "--json", "--store", host.store)
    return run(*words, cwd=host.directory, ahead=ahead).stdout
