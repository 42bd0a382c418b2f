"""Hosts share keys, rows and certificates: whoever of them writes one, its number and its words are true."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.one_host import DAY, OneHost, settle, start
from tests.support.sites_with_records import UTC_POLICY

from consent_mw.kinds import CERTIFICATE, ENDING, GAP
from consent_mw.policy.loader import loads
from consent_mw.records import Query, new_id
from consent_mw.retention.calendar import Retention
from consent_mw.retention.destruction import Destruction
from consent_mw.retention.proofs import Proof, Proofs
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import DAY_NS

RETENTION = Retention([loads(UTC_POLICY.replace('"13 months"', '"2 days"'))])
SEALED, CLEAR = 3, 7


class Site:
    """Two hosts that share a day, whose records one sealed, or had nothing to seal; `late` comes when it has ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.store = MemoryStore()
        self.one, self.two = self.host("one"), self.host("two")

    def host(self, name: str) -> OneHost:
        return OneHost(self._directory / name, self.store)

    async def lives(self) -> None:
        await start(self.one, self.two)
        await settle(self.one, self.two)
        await self.store.append([self.one.seal() for _ in range(SEALED)], durable=True)
        await self.keeps_clear(CLEAR)
        await self.two.hosts.sync()

    async def keeps_clear(self, count: int) -> None:
        records = [self.two.sealer.record(new_id(self.two.now_ns), GAP, "analytics") for _ in range(count)]
        await self.store.append(records, durable=True)

    async def destroys(self, host: OneHost) -> int:
        """Destroy on a host, four days later, what has ended; return how many rows went."""
        now = self.one.now_ns + 4 * DAY_NS
        restrictions, lock = SiteRestrictions(self.store, host.sealer), host.places.destruction_lock
        destruction = Destruction(
            RETENTION, self.store, host.sealer, restrictions, lock, clock=lambda: now, hosts=host.hosts
        )
        done = await destruction.once(datetime.fromtimestamp(now / 1e9, UTC))
        assert done.troubles == []
        return done.records

    async def certificates(self) -> list[tuple[object, object, object]]:
        """Number, place of the key, and method of each."""
        records = await self.store.fetch(Query(kinds=frozenset((CERTIFICATE,))))
        of_purpose = [record.data for record in records if record.data["certificate.purpose"] == "analytics"]
        return [
            (data["certificate.records"], data["certificate.key"], data["certificate.method"]) for data in of_purpose
        ]

    async def proof(self) -> Proof:
        (proof,) = (await Proofs(self.store, self.two.sealer, lambda: self.one.now_ns).evidence()).proofs[
            "analytics", "live"
        ]
        return proof


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_what_was_not_sealed_stands_with_the_key_in_one_certificate_when_all_hosts_have_confirmed(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        await site.lives()
        assert await site.destroys(site.two) == SEALED + CLEAR
        assert await site.destroys(site.two) == 0
        assert await site.certificates() == [], "the other host may still open what it sealed"
        site.one.keyring.destroy(DAY, "analytics")
        await settle(site.one, site.two)
        for host in (site.two, site.one):
            assert await site.destroys(host) == 0
        ((number, key, method),) = await site.certificates()
        assert (number, method) == (SEALED + CLEAR, "key destroyed in place, then rows deleted")
        assert str(key).startswith("slot ")

    run(work())


def test_a_host_that_came_later_certifies_that_the_others_destroyed_the_key(tmp_path: Path) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        await site.lives()
        await site.destroys(site.two)
        late = site.host("late")
        await settle(late)
        site.one.keyring.destroy(DAY, "analytics")
        await settle(site.one, late)
        for host in (late, site.two, site.one):
            assert await site.destroys(host) == 0
        expected = (SEALED + CLEAR, "with its holders", "key destroyed in place, then rows deleted")
        assert await site.certificates() == [expected]
        assert (await site.proof()).method == "key"

    run(work())


@pytest.mark.parametrize("seed", range(8))
def test_in_any_order_of_hosts_and_latecomers_the_certificates_add_up_to_what_went(tmp_path: Path, seed: int) -> None:
    async def work() -> None:
        chance, site = random.Random(seed), Site(tmp_path)
        await site.lives()
        gone = await site.destroys(site.two)
        hosts = [site.one, site.two, site.host("late")]
        for host in [*chance.choices(hosts, k=6), *hosts, *hosts]:
            if chance.random() < 0.4:
                await site.keeps_clear(chance.randint(1, 5))
            gone += await site.destroys(host)
        gone += await site.destroys(site.one)
        certificates = await site.certificates()
        assert sum(int(str(number)) for number, _, _ in certificates) == gone
        assert not [method for _, _, method in certificates if "lost" in str(method)]
        assert await site.store.fetch(Query(kinds=ENDING, purposes=frozenset(("analytics",)))) == []

    run(work())
