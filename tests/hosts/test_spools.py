"""An erasure is certified when no host can still hold what was written before it: whatever its clock or its spool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.one_host import OneHost, settle, start

from consent_mw.hosts.messages import messages, of_hosts
from consent_mw.records import Record
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import instant_of

_SECOND = 10**9


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def waiting(host: OneHost, asked: float) -> Coroutine[Any, Any, list[str]]:
    """Return for whom an erasure waits that somebody asked for so many seconds ago, by the clock of `host`."""

    async def names() -> list[str]:
        spools = await host.hosts.spools(instant_of(host.now_ns) - timedelta(seconds=asked))
        return [spool.name for spool in spools.waiting]

    return names()


async def pass_by(seconds: int, *hosts: OneHost) -> None:
    for host in hosts:
        host.now_ns += seconds * _SECOND
    await settle(*hosts, times=1)


def test_a_host_alone_waits_for_nobody(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        assert await waiting(one, 0) == []

    run(work())


def test_an_erasure_waits_until_each_host_has_said_that_it_is_past_it(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        assert await waiting(one, 0) == ["one", "two"]
        await pass_by(11, one)
        two.now_ns = one.now_ns
        assert await waiting(one, 11) == ["two"]
        two.oldest = two.now_ns / 1e9 - 60  # what it wrote a minute ago is still there
        await pass_by(11, one, two)
        assert await waiting(one, 22) == ["two"]
        two.oldest = None
        await pass_by(11, one, two)
        assert await waiting(one, 33) == []

    run(work())


def test_a_host_that_is_retired_is_not_waited_for_and_stands_in_the_certificate(
    tmp_path: Path, store: MemoryStore
) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await pass_by(11, one)
        (gone,) = (await one.hosts.spools(instant_of(one.now_ns - 5 * _SECOND))).waiting
        await one.register.retire(gone, "its disk is wiped", one.now_ns)
        spools = await one.hosts.spools(instant_of(one.now_ns - 5 * _SECOND))
        assert not spools.waiting
        assert spools.names.endswith("retired")

    run(work())


def test_a_host_that_ended_with_an_empty_spool_is_not_waited_for(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(two)
        await two.hosts.close()
        await pass_by(60, one)
        assert await waiting(one, 5) == []

    run(work())


@pytest.mark.parametrize(("is_asked_before", "is_new"), [(True, False), (False, False), (False, True)])
def test_an_old_beat_that_somebody_puts_back_into_the_store_says_nothing(
    tmp_path: Path, store: MemoryStore, is_asked_before: bool, is_new: bool
) -> None:
    async def beats(host: OneHost) -> list[Record]:
        records = await store.fetch(of_hosts())
        return [record for record in records if host.keyring.identity.key in record.sealed]

    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(two)
        await two.hosts.close()
        (left,) = await beats(two)
        two.begin()
        two.oldest = two.now_ns / 1e9
        await pass_by(60, two, one)
        if is_asked_before:
            assert await waiting(one, 5) == ["two"]
        await store.delete(messages(*(record.id for record in await beats(two))))
        await store.append([left], durable=True)
        if is_new:
            one.keyring.book.compact()
            one.begin()
        await pass_by(60, one)
        assert await waiting(one, 5) == ["two"]

    run(work())


def test_one_that_ended_with_something_in_its_spool_is(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(two)
        two.oldest = two.now_ns / 1e9 - 30
        await two.hosts.close()
        await pass_by(60, one)
        assert await waiting(one, 5) == ["two"]

    run(work())


class _Timed(MemoryStore):
    """With a clock, as PostgreSQL has one."""

    at_ns = 0

    async def now(self) -> datetime:
        return instant_of(self.at_ns)


def test_a_clock_that_is_ahead_says_nothing_too_early(tmp_path: Path) -> None:
    async def work() -> None:
        store = _Timed()
        one, two = (OneHost(tmp_path / name, store, invented=False) for name in ("one", "two"))
        store.at_ns = one.now_ns
        two.now_ns += 40 * _SECOND
        await start(one, two)
        store.at_ns += 11 * _SECOND
        await pass_by(11, one)
        assert await waiting(one, 5) == ["two"]  # by its own clock it spoke half a minute later
        await pass_by(11, two)
        assert await waiting(one, 5) == []

    run(work())


class _Leased(MemoryStore):
    """In which another client has each lease, until it is `free`."""

    free = False

    def lease(self, _: str) -> AbstractAsyncContextManager[bool]:
        return nullcontext(self.free)


def test_one_that_has_keys_which_others_lack_is_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        store = _Leased()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        two.seal()  # one was chosen, whose key two has not got: this is sealed under its own
        await pass_by(11, one, two)
        assert "two" in await waiting(one, 5)
        store.free = True
        await settle(two, one)
        await pass_by(11, one, two)
        assert await waiting(one, 5) == []

    run(work())


def test_one_whose_archive_is_still_on_its_disk_is_waited_for(tmp_path: Path, store: MemoryStore) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        two.places.archive.touch()
        await pass_by(11, one, two)
        assert await waiting(one, 5) == ["two"]
        two.places.archive.unlink()
        await pass_by(11, one, two)
        assert await waiting(one, 5) == []

    run(work())
