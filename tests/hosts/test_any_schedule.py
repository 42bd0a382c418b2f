"""Hosts that join, crash, stall, retire and destroy in any order, over a store that loses things: a state machine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.one_host import DAY, LABELS, OneHost, settle

from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.messages import Place, Retired, chosen_id, messages, written
from consent_mw.records import Query, Record
from consent_mw.stores.memory import MemoryStore

PLACE = Place(DAY, "analytics")


class Crash(BaseException):
    """The process dies here. No `except Exception` sees it."""


class Fragile:
    """The store as one host has it: its process may die before or after any verb, and what it sent may land later."""

    def __init__(self, store: MemoryStore, late: list[Record]) -> None:
        self._store = store
        self._late = late
        self.left: int | None = None  # verbs until the crash

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        try:
            self._step()
        except Crash:
            self._late += records
            raise
        await self._store.append(records, durable=durable)
        self._step()

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self._step()
        return await self._store.fetch(query, after=after, limit=limit, newest_first=newest_first)

    async def delete(self, query: Query) -> int:
        self._step()
        return await self._store.delete(query)


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(work)


class Schedules(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hosts-"))
        self.store = MemoryStore()
        self.late: list[Record] = []
        self.saved: dict[UUID, Record] = {}
        self.hosts: list[OneHost] = []
        self.retired: set[bytes] = set()
        self.sealed: list[tuple[OneHost, Record]] = []
        self.join()
        self.join()

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            try:
                self.in_the_end_all_read_all()
            finally:
                shutil.rmtree(self.directory)

    # -- what happens -------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.hosts) < 4)
    @rule()
    def join(self) -> None:
        host = OneHost(self.directory / str(len(self.hosts)), Fragile(self.store, self.late))
        host.hosts._joining.wanted = frozenset(Place(DAY, label) for label in LABELS)
        self.hosts.append(host)

    @rule(which=st.integers(0, 3))
    def sync(self, which: int) -> None:
        run(self._host(which).hosts.sync())

    @rule(which=st.integers(0, 3), left=st.integers(0, 12))
    def crash(self, which: int, left: int) -> None:
        host = self._host(which)
        assert isinstance(host.store, Fragile)
        host.store.left = left
        with suppress(Crash):
            run(host.hosts.sync())
        host.store.left = None
        host.begin()
        host.hosts._joining.wanted = frozenset(Place(DAY, label) for label in LABELS)

    @rule(which=st.integers(0, 3))
    def seal(self, which: int) -> None:
        host = self._host(which)
        try:
            self.sealed.append((host, host.seal()))
        except KeyDestroyed:
            assert PLACE in host.keyring.destroyed()

    @rule(which=st.integers(0, 3))
    def destroy(self, which: int) -> None:
        self._host(which).keyring.destroy(*PLACE)

    @rule()
    def save(self) -> None:
        self.saved = dict(self.store._records)

    @rule()
    def restore(self) -> None:
        """A backup of the store is put back; every host learns of that, since its connection broke."""
        self.store._records = dict(self.saved)
        for host in self.hosts:
            host.hosts._hearing._heard_ns = 0

    @rule()
    def land(self) -> None:
        run(self.store.append(self.late))
        self.late.clear()

    @precondition(lambda self: len(self.hosts) - len(self.retired) > 1)
    @rule(which=st.integers(0, 3))
    def retire(self, which: int) -> None:
        gone, other = self._host(which), self._host(which + 1)
        if gone is other:
            return
        self.retired.add(gone.keyring.identity.id)
        said = written(Retired(host=gone.keyring.identity.id, reason="x"), other.keyring.identity, other.signing, 1)
        run(self.store.append([said]))
        other.hosts._hearing.take([said])

    @rule()
    def meddle(self) -> None:
        """Somebody without the secret stands in the way, and takes something away."""
        squat = Record(chosen_id(PLACE), "sharing", "hosts", None, "", {}, b"x" * 200)
        run(self.store.append([squat]))

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def nobody_can_open_what_may_be_certified(self) -> None:
        for host in getattr(self, "hosts", ()):
            view = host.keyring.view
            if PLACE not in host.keyring.destroyed() or PLACE not in view.places:
                continue
            if host.keyring.waits_for(*PLACE):
                continue
            known = view.holders(PLACE)
            for other in self.hosts:
                if other.keyring.identity.id in self.retired or not other.keyring.identity.ids.isdisjoint(self.retired):
                    continue
                try:
                    secret = other.keyring.file.key(*PLACE, create=False)
                except KeyDestroyed:
                    continue
                opens = {owner for owner in known if other.keyring.key_of(PLACE, owner, secret)}
                assert not opens, "certified, and a host opens it that nobody asked"

    def in_the_end_all_read_all(self) -> None:
        run(self.store.append(self.late))
        run(self.store.delete(Query(kinds=frozenset(("sharing",)), ids=frozenset((chosen_id(PLACE),)))))
        for _ in range(2):  # one hears all, whatever it missed
            for host in self.hosts:
                host.hosts._hearing._heard_ns = 0
            run(settle(*self.hosts, times=3))
        living = [host for host in self.hosts if PLACE not in host.keyring.destroyed()]
        if len(living) == len(self.hosts):
            for host in self.hosts:
                for _, record in self.sealed:
                    assert host.sealer.open(record) == b"x"
        elif not living:
            for host in self.hosts:
                assert host.keyring.waits_for(*PLACE) == [] or self.retired
        self.no_key_lies_anywhere()

    def no_key_lies_anywhere(self) -> None:
        stored = b"".join(record.sealed for record in run_and_return(self.store))
        for host in self.hosts:
            for place in host.keyring.live():
                assert host.keyring.file.key(*place, create=False) not in stored

    def _host(self, which: int) -> OneHost:
        return self.hosts[which % len(self.hosts)]


def run_and_return(store: MemoryStore) -> Sequence[Record]:
    return asyncio.run(store.fetch(messages()))


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
