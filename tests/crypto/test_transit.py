"""Keys in a real cluster of three OpenBao servers, which is killed, sealed, stopped, and given wrong tokens."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.commands import run
from tests.support.openbao import OpenBaoCluster
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.cli import main
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.transit import POLL_SECONDS, TransitKeyring
from consent_mw.crypto.transit_client import Address
from consent_mw.exceptions import ConfigurationError, KeyDestroyed, KeyringUnreachable
from consent_mw.testing.keyring_suite import KeyringSuite, NewKeyring

_PURPOSE = "marketing"
_sites = count()


def _today() -> int:
    return int(time.time() // 86_400)


@pytest.fixture(scope="module")
def cluster() -> Generator[OpenBaoCluster]:
    with OpenBaoCluster() as cluster:
        yield cluster


@pytest.fixture
def url(cluster: OpenBaoCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place where no key is yet."""
    monkeypatch.setenv("BAO_TOKEN", cluster.token)
    return cluster.url_of(f"shop{next(_sites)}")


@pytest.fixture
def ring(url: str) -> Generator[TransitKeyring]:
    ring = TransitKeyring(url)
    yield ring
    ring.close()


class TestTransitKeyring(KeyringSuite):
    lag_seconds = 4 * POLL_SECONDS

    @pytest.fixture
    def new_keyring(self, url: str) -> NewKeyring:
        return partial(TransitKeyring, url)

    @pytest.fixture
    def break_it(self, cluster: OpenBaoCluster) -> Generator[Callable[[], object]]:
        yield cluster.seal
        cluster.unseal_all()


def _soon(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def _reachable(ring: TransitKeyring, place: tuple[int, str]) -> bool:
    try:
        ring.key(*place, create=True)
    except KeyringUnreachable:
        return False
    return True


def test_after_its_leader_was_killed_sealing_goes_on_and_keys_are_made_again(
    cluster: OpenBaoCluster, ring: TransitKeyring
) -> None:
    key = ring.key(_today(), _PURPOSE, create=True)
    old = ring.key(_today() - 9, _PURPOSE, create=True)
    leader = cluster.wait_for_leader()
    cluster.kill(leader)
    try:
        assert ring.key(_today(), _PURPOSE, create=True) == key
        _soon(lambda: _reachable(ring, (_today() + 1, _PURPOSE)))
        assert ring.destroy(_today() - 9, _PURPOSE)
        assert old != key
    finally:
        cluster.start(leader)
        cluster.unseal(leader)
        cluster.wait_until_whole()


def test_a_sealed_cluster_is_told_once_and_asked_by_no_request(
    cluster: OpenBaoCluster, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = TransitKeyring(url, kept=tmp_path / "name")
    key = ring.key(_today(), _PURPOSE, create=True)
    _ = ring.generation  # from now on its thread asks
    cluster.seal()
    try:
        with caplog.at_level(logging.ERROR):
            _soon(lambda: "sealed" in caplog.text)
            for _ in range(200):
                assert ring.key(_today(), _PURPOSE, create=True) == key
                with pytest.raises(KeyringUnreachable, match="sealed"):
                    ring.key(_today() + 5, _PURPOSE, create=True)
        assert caplog.text.count("keys cannot be reached") == 1
        with pytest.raises(KeyringUnreachable):
            ring.destroy(_today(), _PURPOSE)
        late = TransitKeyring(url, kept=tmp_path / "name")
        assert late.name == ring.name
        late.close()
        with pytest.raises(ConfigurationError, match="for the first time"):
            TransitKeyring(url)
    finally:
        cluster.unseal_all()
    _soon(lambda: _reachable(ring, (_today() + 5, _PURPOSE)))
    ring.close()


def test_the_name_is_kept_once_by_workers_that_begin_together(url: str, tmp_path: Path) -> None:
    kept = tmp_path / "name"
    with ThreadPoolExecutor(8) as threads:
        rings = [started.result() for started in [threads.submit(TransitKeyring, url, kept=kept) for _ in range(8)]]
    assert kept.read_text() == f"{rings[0].name}\n"
    for ring in rings:
        ring.close()


def test_a_cluster_that_hangs_is_given_up_after_seconds(cluster: OpenBaoCluster, ring: TransitKeyring) -> None:
    key = ring.key(_today(), _PURPOSE, create=True)
    for number in range(3):
        cluster.pause(number)
    try:
        with pytest.raises(KeyringUnreachable, match="timed out"):
            ring.live()
        with ThreadPoolExecutor(1) as one, pytest.raises(KeyringUnreachable):  # at once: nobody is asked again
            one.submit(ring.key, _today() - 7, _PURPOSE, create=False).result(timeout=0.1)
        assert ring.key(_today(), _PURPOSE, create=True) == key
    finally:
        for number in range(3):
            cluster.pause(number, paused=False)
        cluster.wait_until_whole()


def test_a_wrong_token_is_named_with_what_to_do_and_never_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cluster: OpenBaoCluster
) -> None:
    monkeypatch.setenv("BAO_TOKEN", "s.wrongwrongwrong")
    with pytest.raises(ConfigurationError, match="give a token") as refused:
        TransitKeyring(url)
    assert "wrongwrong" not in str(refused.value)
    monkeypatch.delenv("BAO_TOKEN")
    with pytest.raises(ConfigurationError, match="set BAO_TOKEN"):
        TransitKeyring(url)
    file = tmp_path / "token"
    file.write_text(f"{cluster.token}\n")
    ring = TransitKeyring(f"{url}&token_file={file}")
    file.write_text("s.anotherwrongone")
    with pytest.raises(KeyringUnreachable, match="give a token"):
        ring.live()
    ring.close()


def test_a_token_may_touch_the_keys_of_its_own_site_alone(cluster: OpenBaoCluster, url: str) -> None:
    with pytest.raises(ConfigurationError, match="permission denied"):
        TransitKeyring(cluster.url_of("other"))


def test_after_some_time_without_the_service_past_days_are_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = TransitKeyring(url, patience_seconds=0.0)
    today = ring.key(_today(), _PURPOSE, create=True)
    ring.key(_today() - 1, _PURPOSE, create=True)
    before = ring.generation
    monkeypatch.setenv("BAO_TOKEN", "s.wrong")
    _soon(lambda: ring.generation != before)
    assert ring.key(_today(), _PURPOSE, create=True) == today
    with pytest.raises(KeyringUnreachable):
        ring.key(_today() - 1, _PURPOSE, create=False)
    ring.close()


def test_other_processes_fetch_a_coming_key_before_a_request_needs_it(url: str) -> None:
    ring, other = TransitKeyring(url), TransitKeyring(url)
    before = other.generation
    key = ring.key(_today() + 2, _PURPOSE, create=True)
    _soon(lambda: other.generation != before)
    _soon(lambda: (_today() + 2, _PURPOSE) in other.at_hand)
    assert other.key(_today() + 2, _PURPOSE, create=False) == key
    ring.close()
    other.close()


def test_a_key_that_somebody_deleted_is_missed(
    cluster: OpenBaoCluster, url: str, ring: TransitKeyring, caplog: pytest.LogCaptureFixture
) -> None:
    ring.key(_today(), _PURPOSE, create=True)
    keys = cluster.admin("GET", "transit/keys?list=true")["data"]["keys"]
    (name,) = (key for key in keys if key.startswith(f"{url.partition('site=')[2].partition('&')[0]}.2"))
    cluster.admin("DELETE", f"transit/keys/{name}")
    assert ring.live() == []
    assert "keys vanished that nobody destroyed" in caplog.text


def test_the_mark_of_a_destroyed_key_goes_when_it_is_old(cluster: OpenBaoCluster, url: str) -> None:
    def names() -> list[str]:
        keys: list[str] = cluster.admin("GET", "transit/keys?list=true")["data"]["keys"]
        return [key for key in keys if key.startswith(f"{Address.parse(url).site}.gone.")]

    ring, late = TransitKeyring(url), TransitKeyring(url, remembered=timedelta(seconds=1))
    places = [(_today() - 1, _PURPOSE), (_today() + 2, _PURPOSE)]
    for day, purpose in places:
        ring.key(day, purpose, create=True)
        ring.destroy(day, purpose)
    ring.poll()
    assert len(names()) == 2
    assert ring.destroyed().keys() == set(places)
    time.sleep(2)  # by the service's clock
    late.poll()
    assert len(names()) == 1, "that of a day to come stays"
    assert ring.destroyed().keys() == {places[1]}
    ring.close()
    late.close()


def test_a_name_that_we_would_not_give_is_no_key_of_ours(
    cluster: OpenBaoCluster, url: str, ring: TransitKeyring
) -> None:
    for name in ("2026-02-30.x", "notes"):
        cluster.admin("POST", f"transit/keys/{Address.parse(url).site}.{name}", {})
    assert ring.live() == []


def test_a_host_that_makes_a_key_while_another_destroys_it_gets_none(url: str) -> None:
    for day in range(10):
        rings = [TransitKeyring(url) for _ in range(3)]
        rings[0].key(day, _PURPOSE, create=True)
        with ThreadPoolExecutor(3) as threads:
            futures = [threads.submit(ring.key, day, _PURPOSE, create=True) for ring in rings[1:]]
            assert threads.submit(rings[0].destroy, day, _PURPOSE).result()
            for future in futures:
                future.exception()  # a key or KeyDestroyed: both were at it
        rings[0].destroy(day, _PURPOSE)  # what one of them may have made meanwhile
        assert rings[0].live() == []
        for ring in rings:
            ring.live()
            with pytest.raises(KeyDestroyed):
                ring.key(day, _PURPOSE, create=True)
            ring.close()


async def visit(keyring: str | None, path: str) -> None:
    """Visit a page of the site in the working directory, which starts and ends."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    site = ConsentMiddleware(application, policy="policy.toml", secret_keys=["k" * 32], keyring=keyring)
    await drive(site, scope(path))
    await site.runtime.drain.stop()
    site.runtime.storage.keyring.close()


def test_a_site_that_had_its_keys_in_a_file_opens_and_destroys_what_they_sealed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text(POLICY)
    asyncio.run(visit(None, "/before"))
    file = FileKeyring("consent-data/keys")
    asyncio.run(visit(url, "/after"))
    for _ in range(2):  # now too that it knows both keyrings
        asyncio.run(visit(url, "/later"))
    assert "was used here before" not in caplog.text
    read = run("log", "--json", "--kind", "visit", "--purpose", "necessary", "--reason", "x", "--keyring", url)
    paths = [json.loads(line)["url.path"] for line in read.stdout.splitlines()]
    assert paths == ["/before", "/after", "/later", "/later"]
    today = (_today(), "necessary")
    assert today in {(day, of_label(label)[0]) for day, label in file.live()}
    ahead = timedelta(days=91).total_seconds()
    done = run("purge", "--keyring", url, "--json", ahead=ahead)
    assert json.loads(done.stdout)["done"]["records"] >= 4, done.stderr
    assert today not in {(day, of_label(label)[0]) for day, label in file.live()}


def test_a_site_seals_under_keys_of_the_cluster_and_staff_open_them_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text(POLICY)
    asyncio.run(visit(url, "/books"))
    assert not Path("consent-data/keys").exists()
    opened = ["log", "--json", "--kind", "visit", "--purpose", "necessary", "--reason", "x"]
    assert main([*opened, "--keyring", url]) == 0
    assert json.loads(capsys.readouterr().out)["url.path"] == "/books"
    assert main(["purge", "--dry-run", "--keyring", url]) == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("vault://bao.example/transit", "scheme"),
        ("openbao://s.secret@bao.example/transit", "does not belong in a URL"),
        ("openbao://bao.example/transit?token=s.secret", "does not belong in a URL"),
        ("openbao://bao.example/transit?tls=no", "tls=no is only"),
        ("openbao://bao.example/transit?cacert=x", "'cacert' is none of"),
        ("openbao:///transit", "cannot be read"),
        ("openbao://bao.example:x/transit", "cannot be read"),
        ("openbao://bao.example/transit?site=a.b", "site="),
        ("openbao://bao.example/transit?ca=/nowhere/ca.pem", "name a file of PEM"),
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        TransitKeyring(url)
    assert "s.secret" not in str(refused.value)


def test_an_address_has_what_most_sites_need() -> None:
    address = Address.parse("openbao://a.example,[::1]:1234")
    assert address.servers == (("a.example", 8200), ("::1", 1234))
    assert (address.mount, address.site) == ("transit", "consent")
