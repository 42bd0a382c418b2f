"""A certificate says how many records an erasure deleted, whichever hosts did it and wherever one of them died."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
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
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


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


def entry_of(number: int, until: datetime) -> Entry:
    return Entry(
        at=NOW, request=new_id(number), until=until, tokens=("00" * 16,), days=(DAY,), purposes={"analytics": 1}
    )


def as_another_version_writes(entry: Entry) -> str:
    """Without what this version writes although it is empty, and with a field that it does not know."""
    known = {key: value for key, value in json.loads(entry.text).items() if value}
    return json.dumps({"of a later version": 1, **known})


def test_an_entry_is_told_as_it_stands_so_another_form_does_not_make_another_entry(tmp_path: Path) -> None:
    async def live() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        text = as_another_version_writes(entry_of(1, instant_of(one.now_ns) + timedelta(days=9)))
        one.ledger.append_text(text)
        await settle(one, two)
        for host in (one, two):
            host.begin()  # it starts again
            await host.hosts.agree([])
        await settle(one, two)
        assert [line.decode() for _, line in two.ledger_of_others.added((0, 0))[0]] == [text]
        assert one.ledger_of_others.entries() == []

    asyncio.run(live())


def test_what_was_erased_is_read_once_however_often_hosts_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Ledger(tmp_path / "erasures.jsonl")
    shelf = LedgerShelf(own, Ledger(tmp_path / "others.jsonl"), lambda: 0)
    names = set[str]()
    for number in range(50):
        own.append(entry_of(number, NOW + number * timedelta(days=1)))
        names |= shelf.names()
    parsed: list[object] = []
    parse = Entry.parse

    def counted(line: bytes) -> Entry | None:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(Entry, "parse", counted)
    own.append(entry_of(50, NOW + timedelta(days=50)))
    (new,) = shelf.names() - names
    assert len(parsed) == 1
    assert Entry.parse(shelf.kept(new).text) == own.entries()[-1]
    assert own.prune(NOW + timedelta(days=20)) == 21
    assert len(shelf.names()) == 30
    assert {shelf.kept(name).text for name in shelf.names()} == {entry.text for entry in own.entries()}
