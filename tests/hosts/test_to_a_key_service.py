"""Hosts that go over to a key service one by one, and one that is new then: each opens what any of them sealed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.one_host import DAY, LABELS, OneHost, settle, start
from tests.support.policies import POLICY

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.hosts.hosts import Hosts
from consent_mw.hosts.succession import after_own_keys
from consent_mw.policy.loader import loads
from consent_mw.records import Record, new_id
from consent_mw.retention.calendar import Retention
from consent_mw.retention.tier import LIVE, Stage
from consent_mw.rights.reach import Reach
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import DAY_NS, instant_of


class MovedHost(OneHost):
    """A host whose keys are in a service: here one file for all hosts."""

    def begin(self) -> None:
        super().begin()
        service = FileKeyring(self.places.directory.parent / "service", name="service")
        both = after_own_keys(service, self.places, self.site_keys, among_hosts=True)
        self.sealer = Sealer(both, self.site_keys)
        hosts = Hosts.of_site(
            self.places, self.store, both, self.site_keys, revision=lambda: 1, oldest=lambda: None, clock=self.clock
        )
        assert hosts is not None
        self.hosts = hosts


def sealed(host: OneHost, days: int = 0, purpose: str = "analytics") -> Record:
    return host.sealer.record(new_id(host.now_ns + days * DAY_NS), "visit", purpose, plain=b"x")


def test_one_that_went_over_and_one_that_did_not_open_what_either_seals(tmp_path: Path) -> None:
    store = MemoryStore()
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    asyncio.run(start(one, two))
    asyncio.run(settle(one, two))
    one = MovedHost(tmp_path / "one", store)
    asyncio.run(settle(one, two))
    assert two.sealer.open(sealed(one)) == one.sealer.open(sealed(two)) == b"x"
    # As long as a host has its keys on its disk, days that begin get keys that it has too.
    both = [(DAY + 2, label) for label in LABELS]
    asyncio.run(two.hosts.agree(both))
    asyncio.run(settle(one, two))
    assert two.sealer.open(sealed(one, 2)) == one.sealer.open(sealed(two, 2)) == b"x"
    assert one.sealer.token(DAY + 2, "analytics", b"kim") == two.sealer.token(DAY + 2, "analytics", b"kim")
    only_there = sealed(one, purpose="new")
    assert one.sealer.open(only_there) == b"x"
    with pytest.raises(ConfigurationError, match="sealed by keyring service"):
        two.sealer.open(only_there)


def test_one_that_did_not_go_over_says_at_once_that_it_cannot_open_everything(tmp_path: Path) -> None:
    store = MemoryStore()
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    asyncio.run(start(one, two))
    asyncio.run(settle(one, two))
    reach, now = (
        Reach([Stage(LIVE, store, two.sealer, Retention([loads(POLICY)]), frozenset())]),
        instant_of(two.now_ns),
    )
    assert asyncio.run(reach.beyond(now)) == frozenset()
    one = MovedHost(tmp_path / "one", store)
    asyncio.run(settle(one, two))
    assert asyncio.run(reach.beyond(now)) == frozenset()
    asyncio.run(store.append([sealed(one, purpose="abuse")], durable=True))
    assert asyncio.run(reach.beyond(now)) == {one.sealer.keyring.name}


def test_a_host_that_is_new_after_the_change_opens_what_is_older(tmp_path: Path) -> None:
    store = MemoryStore()
    one = OneHost(tmp_path / "one", store)
    asyncio.run(start(one))
    older = one.seal()
    one = MovedHost(tmp_path / "one", store)
    asyncio.run(settle(one))
    fresh = MovedHost(tmp_path / "fresh", store)
    asyncio.run(settle(one, fresh))
    assert fresh.sealer.open(older) == fresh.sealer.open(sealed(one, 3)) == b"x"
    assert fresh.sealer.token(DAY, "analytics", b"kim") == one.sealer.token(DAY, "analytics", b"kim")
