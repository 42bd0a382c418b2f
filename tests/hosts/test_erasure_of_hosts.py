"""A certificate says how many records an erasure deleted, whichever hosts did it and wherever one of them died."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.support.one_host import DAY, OneHost, settle, start
from tests.support.policies import POLICY

from consent_mw.consent.data_subject import Person
from consent_mw.policy.loader import loads
from consent_mw.records import Query, Record, new_id
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.rights.request import Request
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import instant_of

KIM = "A" * 22


class Killed(BaseException):
    """The process of a host ends where this is raised."""


class Mortal(Ledger):
    """A ledger whose host dies when it is about to write the entry of this number; 0 is none."""

    def __init__(self, deadly: int, path: Path) -> None:
        super().__init__(path)
        self._left = deadly

    def append(self, entry: Entry) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed
        super().append(entry)


def of_kim(host: OneHost) -> Record:
    subject = host.sealer.token(DAY, "analytics", KIM.encode())
    return host.sealer.record(new_id(host.now_ns), "visit", "analytics", subject=subject, plain=b"x")


def erasure(host: OneHost) -> Erasure:
    return Erasure.of_site(
        [loads(POLICY)],
        host.places,
        host.store,
        host.sealer,
        spools=host.hosts.spools,
        publish=partial(host.hosts.publish, LedgerShelf.label),
    )


async def certified(one: OneHost, two: OneHost, deadly: int, *, runs: bool) -> int:
    """
    Erase three records on one host, which may die, and what is left, or comes late, on the other, which may run already
    or only start then. Return what that certifies.
    """
    await start(one, two)
    await settle(one, two)
    await one.store.append([of_kim(one), of_kim(two), of_kim(one)], durable=True)
    second = erasure(two)
    if runs:
        await second.once(instant_of(two.now_ns))
    request = Request.new("erasure", "site", one.now_ns, person=Person((KIM,)))
    await Desk(one.store, one.sealer, kept_by_store(one.store)).register(request)
    with suppress(Killed), pytest.MonkeyPatch.context() as patch:
        patch.setattr("consent_mw.rights.erasure.Ledger", partial(Mortal, deadly))
        await erasure(one).once(instant_of(one.now_ns))
    await one.store.append([of_kim(two)], durable=True)  # it was on its way
    for host in (one, two):
        host.now_ns += 20 * 10**9
    await settle(one, two)
    outcome = await second.once(instant_of(two.now_ns))
    assert not outcome.troubles, outcome
    (certificate,) = outcome.done
    assert certificate.unreadable is not None
    assert not await two.store.fetch(Query(kinds=frozenset(("visit",))))
    return certificate.records


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("deadly", [0, 1, 2])
def test_a_certificate_counts_what_another_host_deleted(tmp_path: Path, deadly: int, runs: bool) -> None:
    store = MemoryStore()
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
    assert asyncio.run(certified(one, two, deadly, runs=runs)) == 4
