"""What is published on one host holds on all: each has its revisions, and the words that visitors were shown."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.one_host import OneHost, settle
from tests.support.policies import POLICY

from consent_mw.exceptions import PolicyError
from consent_mw.hosts.messages import Published, publications, written
from consent_mw.policy.loader import loads
from consent_mw.policy.rollout import Publications
from consent_mw.records import new_id
from consent_mw.rights.ledger import Entry
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.pages import every
from consent_mw.system.days import DAY_NS, instant_of

SECOND = POLICY.replace("revision = 1", "revision = 2").replace("effective = 2026-11-23", "effective = 2026-12-29")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def publish(host: OneHost, text: str, at: int = 1_000) -> None:
    place = host.revisions.keep(loads(text), text)
    os.utime(place, (at, at))


def test_every_host_has_what_one_has_published(tmp_path: Path, store: MemoryStore) -> None:
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    publish(one, POLICY)
    shown = one.wordings.keep("Your choice\r\nabout cookies")
    asyncio.run(settle(one, two, times=1))
    publish(two, SECOND)
    asyncio.run(settle(two, one, times=1))
    for host in (one, two):
        assert host.revisions.numbers() == {1, 2}
        assert host.wordings.read(shown) == "Your choice\r\nabout cookies"


def test_of_several_texts_of_a_revision_all_hosts_take_the_latest(tmp_path: Path, store: MemoryStore) -> None:
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    publish(one, POLICY, at=2_000)
    publish(two, POLICY + "# earlier\n", at=1_000)
    asyncio.run(settle(one, two))
    assert {host.revisions.read(1).digest for host in (one, two)} == {loads(POLICY).digest}


def test_a_fresh_host_serves_by_what_was_announced_and_not_by_its_new_file(tmp_path: Path, store: MemoryStore) -> None:
    one = OneHost(tmp_path / "one", store)
    publish(one, POLICY)
    asyncio.run(settle(one, times=1))
    fresh = OneHost(tmp_path / "fresh", store)
    asyncio.run(fresh.hosts.catch_up())
    with pytest.raises(PolicyError, match="revision 2 was never published"):
        Publications(fresh.revisions, loads(SECOND), None, lambda: fresh.now_ns)
    publish(one, SECOND)
    asyncio.run(settle(one, times=1))
    asyncio.run(fresh.hosts.catch_up())
    plans = Publications(fresh.revisions, loads(SECOND), None, lambda: fresh.now_ns)
    assert plans.in_force.revision == 1
    announced = plans.plan(plans.in_force).announced
    assert announced is not None
    assert announced.revision == 2


def test_one_that_knows_nothing_and_cannot_ask_takes_no_later_revision(tmp_path: Path, store: MemoryStore) -> None:
    fresh = OneHost(tmp_path / "fresh", store)
    later = loads(POLICY.replace("revision = 1", "revision = 2"))
    with pytest.raises(PolicyError, match="what was on others is not known: the store is away"):
        Publications(fresh.revisions, later, None, lambda: fresh.now_ns, unknown="the store is away")
    Publications(fresh.revisions, loads(POLICY), None, lambda: fresh.now_ns, unknown="the store is away")


def test_what_is_another_text_than_it_says_is_kept_by_nobody(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    for shelf, name, text in (("revision", "../0002-000000000000.toml", SECOND), ("wording", "0" * 64, "other words")):
        said = Published(shelf=shelf, name=name, text=text, at_ns=0)
        asyncio.run(store.append([written(said, one.keyring.identity, one.signing, one.now_ns)]))
    with caplog.at_level(logging.ERROR):
        asyncio.run(settle(two))
    assert not two.revisions.numbers()
    assert not two.wordings.names()
    assert len(caplog.records) == 2, "told once each"


def test_a_store_that_went_back_is_told_again_what_was_published(tmp_path: Path, store: MemoryStore) -> None:
    one = OneHost(tmp_path / "one", store)
    publish(one, POLICY)
    asyncio.run(settle(one, times=1))
    restored = MemoryStore()
    one.store = restored
    one.begin()
    late = OneHost(tmp_path / "late", restored)
    asyncio.run(settle(one, late, times=1))
    assert late.revisions.numbers() == {1}


def erasure(host: OneHost, days: int) -> Entry:
    at = instant_of(host.now_ns)
    return Entry(
        at=at, request=new_id(host.now_ns), until=at + timedelta(days=days), tokens=("ab",),
        days=(20_000,), purposes={"analytics": 1},
    )  # fmt: skip


def test_what_one_host_erased_every_host_can_erase_again_also_a_fresh_one(tmp_path: Path, store: MemoryStore) -> None:
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    said = erasure(one, days=9)
    one.ledger.append(said)
    one.ledger.append(replace(said, tokens=(), days=(), purposes={}))  # says nothing about records
    asyncio.run(settle(one, two))
    fresh = OneHost(tmp_path / "fresh", store)
    asyncio.run(fresh.hosts.catch_up())
    for host in (two, fresh):
        assert host.ledger_of_others.entries() == [said]
        assert host.ledger.entries() == []
    assert one.ledger_of_others.entries() == []


def test_an_erasure_whose_keys_are_gone_is_forgotten_everywhere(tmp_path: Path, store: MemoryStore) -> None:
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    one.ledger.append(erasure(one, days=1))
    asyncio.run(settle(one, two))
    assert len(asyncio.run(every(store, publications()))) == 1
    for host in (one, two):
        host.now_ns += 3 * DAY_NS
        host.ledger.prune(instant_of(host.now_ns))
        host.ledger_of_others.prune(instant_of(host.now_ns))
    asyncio.run(settle(one, two))
    assert asyncio.run(every(store, publications())) == []
    assert two.ledger_of_others.entries() == []
    assert not one.keyring.view.published
