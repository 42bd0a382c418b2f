"""What certificates say in public: read from the store that all hosts share, and only if it is as a host wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.records import Query, Record
from consent_mw.retention.certificates import Certificate
from consent_mw.retention.proofs import MOST, Evidence, Proofs
from consent_mw.stores.memory import MemoryStore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SITE = SiteKeys((b"k" * 32,))


def host(keys: SiteKeys = SITE) -> Sealer:
    return Sealer(MemoryKeyring(), keys)


def certificate(sealer: Sealer, number: int, *, records: int, key: str = "slot 7") -> Certificate:
    ended = NOW - timedelta(days=number)
    return Certificate(
        purpose="visits",
        day=20_000 - number,
        where="live",
        records=records,
        ring=sealer.keyring.name,
        key=key,
        revision=1,
        retention="2 days",
        ended=ended,
        destroyed=ended + timedelta(hours=1),
        holders="host-of-ours",
    )


def read(store: MemoryStore, sealer: Sealer, clock: Callable[[], datetime] = lambda: NOW) -> Evidence:
    return asyncio.run(Proofs(store, sealer, lambda: int(clock().timestamp()) * 10**9).evidence())


def kept(*records: tuple[Sealer, Certificate]) -> MemoryStore:
    store = MemoryStore()
    asyncio.run(store.append([issued.record(sealer) for sealer, issued in records]))
    return store


def test_any_host_tells_what_the_others_destroyed_and_names_none_of_them() -> None:
    one, other = host(), host()
    store = kept((one, certificate(one, 2, records=900)), (other, certificate(other, 1, records=12)))
    proofs = read(store, host()).proofs["visits", "live"]
    assert [(proof.records, proof.method) for proof in proofs] == [(12, "key"), (900, "key")]
    assert not {"ring", "key", "holders"}.intersection(proofs[0].__struct_fields__)


def test_what_another_site_wrote_proves_nothing() -> None:
    stranger = host(SiteKeys((b"another key of thirty-two bytes!",)))
    assert read(kept((stranger, certificate(stranger, 1, records=900))), host()).proofs == {}


def test_a_number_below_five_is_not_told_and_a_lost_key_is() -> None:
    one = host()
    store = kept((one, certificate(one, 2, records=4)), (one, certificate(one, 1, records=5, key="")))
    proofs = read(store, one).proofs["visits", "live"]
    assert [(proof.records, proof.method) for proof in proofs] == [(5, "lost"), (None, "key")]


def test_the_newest_of_many_are_told() -> None:
    one = host()
    proofs = read(kept(*((one, certificate(one, n, records=10 + n)) for n in range(40))), one).proofs["visits", "live"]
    assert [proof.records for proof in proofs] == [10 + n for n in range(MOST)]


def test_many_readers_cost_the_store_one_look_in_five_minutes() -> None:
    one, now = host(), [NOW]
    store = kept((one, certificate(one, 1, records=10)))
    proofs = Proofs(store, one, lambda: int(now[0].timestamp()) * 10**9)

    async def looks() -> list[int]:
        first = await proofs.evidence()
        await store.delete(Query(kinds=frozenset(("certificate",))))
        now[0] += timedelta(minutes=4)
        second = await proofs.evidence()
        now[0] += timedelta(minutes=2)
        return [len(evidence.proofs) for evidence in (first, second, await proofs.evidence())]

    assert asyncio.run(looks()) == [1, 1, 0]


def test_many_readers_at_once_cost_the_store_one_look() -> None:
    one, looks = host(), list[Query]()

    class Watched(MemoryStore):
        async def fetch(self, query: Query, **how: Any) -> list[Record]:
            looks.append(query)
            await asyncio.sleep(0)  # as a store does that is asked over a socket
            return list(await super().fetch(query, **how))

    async def read_at_once() -> list[int]:
        store = Watched()
        await store.append([certificate(one, 1, records=10).record(one)])
        proofs = Proofs(store, one, lambda: int(NOW.timestamp()) * 10**9)
        return [len(evidence.proofs) for evidence in await asyncio.gather(*(proofs.evidence() for _ in range(50)))]

    assert asyncio.run(read_at_once()) == [1] * 50
    assert sum("certificate" in query.kinds for query in looks) == 1
