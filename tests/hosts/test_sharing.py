"""Several hosts share the keys of days through a store, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace
from tests.support.one_host import DAY, LABELS, OneHost, beside, settle, start

from consent_mw.exceptions import KeyDestroyed, StoreUnavailable
from consent_mw.hosts.messages import Message, Pub, messages, written
from consent_mw.records import Record
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import DAY_NS

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def three(tmp_path: Path, store: MemoryStore) -> list[OneHost]:
    return [OneHost(tmp_path / name, store) for name in ("one", "two", "three")]


def test_what_one_host_seals_all_others_open_and_a_visitor_has_one_token(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        hosts = three(tmp_path, store)
        await start(*hosts)
        records = [host.seal(host.places.directory.name.encode()) for host in hosts]
        await settle(*hosts)
        for host in hosts:
            assert [host.sealer.open(record) for record in records] == [b"one", b"two", b"three"]
        assert len({host.token() for host in hosts}) == 1
        assert not any(host.keyring.lacking() for host in hosts)

    run(work())


def test_one_who_joins_reads_what_is_older(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        record, token = one.seal(), one.token()
        late = OneHost(tmp_path / "late", store)
        await late.hosts.sync()
        with pytest.raises(KeyDestroyed):
            late.sealer.open(record)
        assert [name.split()[0] for name in late.keyring.lacking()] == ["one"]
        await settle(one, late)
        assert late.sealer.open(record) == b"x"
        assert late.token() == token
        assert not late.keyring.lacking()

    run(work())


def test_while_the_store_is_away_a_host_goes_on_and_the_others_read_it_later(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the store is away")

    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await one.agree()
        with monkeypatch.context() as patch:
            for verb in ("fetch", "append", "delete"):
                patch.setattr(store, verb, away)
            await two.agree()
            record, token = two.seal(), two.token()
        one_record = one.seal()
        await settle(two, one)
        assert [two.sealer.open(sealed) for sealed in (record, one_record)] == [b"x", b"x"]
        assert one.sealer.open(record) == b"x"
        tokens = {host.token() for host in (one, two)}
        assert len(tokens) == 1, "both go on under the one that was chosen"
        secrets = one.sealer.token_secrets(DAY, "analytics")
        assert len(secrets) == 2, "and what two sealed meanwhile is looked for as well"
        assert token not in tokens

    run(work())


def test_a_restart_opens_everything_without_the_store(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await one.agree()
        await beside(two.agree(), one)
        record = one.seal()
        two.begin()
        assert two.sealer.open(record) == b"x"

    run(work())


def test_a_destroyed_place_is_certified_when_all_have_overwritten_it(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        hosts = one, two, three_ = three(tmp_path, store)
        await start(*hosts)
        await settle(*hosts)
        record = three_.seal()
        one.keyring.destroy(DAY, "analytics")
        await settle(*hosts)
        with pytest.raises(KeyDestroyed):
            one.sealer.open(record)
        assert [name.split()[0] for name in one.keyring.waits_for(DAY, "analytics")] == ["three", "two"]
        two.keyring.destroy(DAY, "analytics")
        await settle(*hosts)
        assert [name.split()[0] for name in two.keyring.waits_for(DAY, "analytics")] == ["three"]
        three_.keyring.destroy(DAY, "analytics")
        await settle(*hosts)
        assert [host.keyring.waits_for(DAY, "analytics") for host in hosts] == [[], [], []]
        for host in hosts:
            host.begin()
            await host.agree()
            with pytest.raises(KeyDestroyed):
                host.sealer.open(record)
        assert one.keyring.holders(DAY, "analytics").count("(") == 3

    run(work())


def test_what_is_certified_leaves_no_message_behind(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(one, two)
        for host in (one, two):
            for label in LABELS:
                host.keyring.destroy(DAY, label)
        await settle(one, two)
        for host in (one, two):
            for label in LABELS:
                host.keyring.settle(label, {DAY})
        await settle(one, two)
        left = await store.fetch(messages())
        assert len(left) == 4, "a beat of each, and that it holds no key"
        kept = one.places.host_book.read_bytes()
        assert kept.count(b'"record"') == 3, "when the other one was last there, and that nobody holds a key"
        assert len(kept) < 1_600

    run(work())


def test_a_store_that_went_back_is_told_again_what_it_lost(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(one, two)
        record = one.seal()
        assert (one.hosts.restored, two.hosts.restored) == (0, 0)
        await store.delete(messages())
        await settle(one, two)
        assert (one.hosts.restored, two.hosts.restored) == (1, 1)
        late = OneHost(tmp_path / "late", store)
        await beside(late.agree(), one, two)
        assert late.sealer.open(record) == b"x"
        assert late.token() == one.token()

    run(work())


def test_what_was_sealed_is_read_although_the_store_forgot_whose_key_was_chosen(
    tmp_path: Path, store: MemoryStore
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        record = one.seal()
        await store.delete(messages())
        late = OneHost(tmp_path / "late", store)
        await late.agree()
        await settle(one, late)
        assert late.sealer.open(record) == one.sealer.open(record) == b"x"
        assert late.token() == one.token()

    run(work())


def test_who_has_not_the_secret_is_passed_over_and_logged(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        stranger = OneHost(tmp_path / "stranger", store, [b"another secret"])
        await one.agree()
        await stranger.agree()
        await settle(one, stranger)
        assert one.keyring.view.names.keys() == {one.keyring.identity.id}
        assert stranger.keyring.view.names.keys() == {stranger.keyring.identity.id}

    run(work())
    assert "is not signed with its secret_keys; it is passed over" in caplog.text


def test_nobody_speaks_for_another_host(tmp_path: Path, store: MemoryStore) -> None:
    """Its own name it may choose; whose it is tells the key that signed."""
    one, liar = OneHost(tmp_path / "one", store), OneHost(tmp_path / "liar", store)
    body = Pub(name="one", day=DAY, parts={"analytics": (b"", b"")})
    record = written(body, liar.keyring.identity, liar.signing, liar.now_ns)
    forged = liar.signing.statement(
        record.id, record.kind, record.purpose, one.keyring.identity.key + liar.signing.stated(record)[32:]
    )
    one.hosts._hearing.take([record, forged])
    assert one.keyring.view.pubs.keys() == {(DAY, "analytics")}
    assert one.keyring.view.pubs[DAY, "analytics"].keys() == {liar.keyring.identity.id}  # type: ignore[index]


class _Counted(MemoryStore):
    """Counts the records that it gives."""

    given = 0

    async def fetch(self, *words: Any, **more: Any) -> Sequence[Record]:
        records = await super().fetch(*words, **more)
        self.given += len(records)
        return records


@pytest.mark.parametrize("count", [2, 9])
def test_a_host_at_rest_reads_no_more_the_more_hosts_there_are(tmp_path: Path, count: int) -> None:
    async def work() -> None:
        store = _Counted()
        hosts = [OneHost(tmp_path / f"{number}", store) for number in range(count)]
        await start(*hosts)
        await settle(*hosts)
        for _ in range(6):
            for host in hosts:
                host.now_ns += 30 * 10**9
            await settle(*hosts, times=1)
        store.given = 0
        await settle(*hosts, times=1)
        # Each reads its own beat, and what was chosen for its places.
        assert store.given == count * (1 + len(LABELS))

    run(work())


def test_what_a_host_kept_of_others_is_read_back_unless_it_was_changed_on_the_disk(
    tmp_path: Path, store: MemoryStore
) -> None:
    one, other = OneHost(tmp_path / "one", store), OneHost(tmp_path / "other", store)
    body = Pub(name="other", day=DAY, parts={"analytics": (b"", b"")})
    record, second = (written(body, other.keyring.identity, other.signing, other.now_ns) for _ in range(2))
    one.hosts._hearing.take([record])
    changed = replace(second, sealed=second.sealed[:-1] + b"x")
    one.keyring.add([Message(other.keyring.identity.id, body, changed)])
    again = OneHost(tmp_path / "one", store)
    assert again.keyring.view.messages.keys() == {record.id}


def test_a_host_that_goes_on_as_a_new_one_stays_that_one(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        (gone,) = (known for known in await one.register.hosts() if known.id == two.keyring.identity.id.hex())
        await one.register.retire(gone, "it seemed to be gone", one.now_ns)
        for _ in range(6):
            for host in (one, two):
                host.now_ns += 11 * 10**9
            await settle(one, two)
        assert len(two.keyring.identity.ids) == 2
        assert len(await one.register.hosts()) == 3

    run(work())


@pytest.mark.parametrize("is_running", [False, True])
def test_a_copy_of_a_host_goes_on_as_another(tmp_path: Path, store: MemoryStore, is_running: bool) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        record = one.seal()
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
        copy = OneHost(tmp_path / "copy", store)
        if is_running:  # the memory of its processes was copied too
            for name in ("_run", "beat", "_beat_ns", "_sent"):
                setattr(copy.hosts._pulse, name, deepcopy(getattr(one.hosts._pulse, name)))
            for _ in range(14):
                one.now_ns += 10 * 10**9
                copy.now_ns = one.now_ns + 1_000
                await settle(one, copy, times=1)
        await settle(copy, one)
        assert one.keyring.identity.id != copy.keyring.identity.id
        assert (one.hosts.restored, copy.hosts.restored) == (0, 0), "a copy is no older store"
        assert copy.sealer.open(record) == one.sealer.open(record) == b"x"
        one.keyring.destroy(DAY, "analytics")
        await settle(one, copy)
        assert one.keyring.waits_for(DAY, "analytics"), "the copy holds it still"

    run(work())


@pytest.mark.parametrize("lives_on", [False, True])
def test_copies_of_a_host_open_what_any_of_them_seals_on_later_days(
    tmp_path: Path, store: MemoryStore, lives_on: bool
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        copies: list[OneHost] = []
        for name in ("two", "three"):
            shutil.copytree(tmp_path / "one", tmp_path / name)
            copies.append(OneHost(tmp_path / name, store))
        hosts = [*([one] if lives_on else []), *copies]
        await settle(*hosts)
        for day, first in enumerate(hosts, DAY + 1):  # whose key is chosen on it
            others = [host for host in hosts if host is not first]
            for host in hosts:
                host.now_ns += DAY_NS
            await beside(first.agree(day), *others)
            for host in others:
                await beside(host.agree(day), *hosts)
            await settle(*hosts)
            records = [host.seal() for host in hosts]
            await settle(*hosts)
            for host in hosts:
                assert [host.sealer.open(record) for record in records] == [b"x"] * len(hosts)
                assert host.keyring.lacking() == frozenset()
        assert len({host.keyring.identity.id for host in hosts}) == len(hosts)

    run(work())
