"""
Somebody who may write to the store, and has no secret, alters, deletes, copies and brings back what hosts wrote there:
a host either opens everything or says what it lacks, and gets it as soon as one is up that has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from msgspec.structs import replace
from tests.support.one_host import DAY, LABELS, OneHost, beside, settle, start
from tests.support.postgres import PostgresServer

from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.hosts.hearing import MISSING_SECONDS
from consent_mw.hosts.messages import Again, Holds, Place, believed, days_of, of_hosts
from consent_mw.records import Record, new_id
from consent_mw.rights.ledger import Entry
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.postgres import PostgresStore
from consent_mw.system.days import DAY_NS, instant_of

DAYS = (DAY - 1, DAY, DAY + 1)
SEEDS = range(3)
_COLUMNS = "day, id, kind, purpose, subject, ring, data, sealed"
_Row = tuple[Any, ...]


class Meddler:
    """Who may do everything with the tables of a store, at random."""

    def __init__(self, connection: psycopg.Connection[_Row], chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance
        self._seen: dict[UUID, _Row] = {}
        self._states: list[list[_Row]] = []
        connection.execute("SELECT make_day('requests', -1)")
        self.did: list[str] = []

    def look(self) -> list[_Row]:
        rows = self._rows()
        self._seen |= {row[1]: row for row in rows}
        self._states.append(rows)
        return rows

    def meddle(self) -> None:
        rows = self.look()
        if rows:
            act: Callable[[list[_Row]], object] = self._chance.choice((
                self.delete, self.delete_many, self.alter, self.alter, self.alter_many, self.move, self.swap,
                self.replay, self.copy, self.bring_back, self.unshelve,
            ))  # fmt: skip
            self.did.append(act.__name__)
            act(rows)

    def delete(self, rows: list[_Row]) -> None:
        self._delete([self._chance.choice(rows)])

    def delete_many(self, rows: list[_Row]) -> None:
        self._delete(self._some(rows))

    def alter(self, rows: list[_Row]) -> None:
        self._alter(self._chance.choice(rows))

    def alter_many(self, rows: list[_Row]) -> None:
        for row in self._some(rows):
            self._alter(row)

    def move(self, rows: list[_Row]) -> None:
        """To where nobody looks for it, under its id."""
        row = self._chance.choice(rows)
        column, value = self._chance.choice((("kind", "visit"), ("subject", b"nobody"), ("purpose", "requests")))
        self._connection.execute(f"UPDATE records SET {column} = %s WHERE id = %s", [value, row[1]])

    def swap(self, rows: list[_Row]) -> None:
        one, other = self._chance.choice(rows), self._chance.choice(rows)
        self._put([(*one[:7], other[7]), (*other[:7], one[7])])

    def replay(self, _: list[_Row]) -> None:
        self._put(self._some(list(self._seen.values())))

    def copy(self, rows: list[_Row]) -> None:
        row = self._chance.choice(rows)
        self._put([(row[0], new_id(row[0] * DAY_NS + self._chance.randrange(DAY_NS)), *row[2:])])

    def bring_back(self, rows: list[_Row]) -> None:
        self._delete(rows)
        self._put(self._chance.choice(self._states))

    def unshelve(self, _: list[_Row]) -> None:
        self._connection.execute("DELETE FROM shelves WHERE purpose = 'hosts'")

    def _alter(self, row: _Row) -> None:
        sealed = bytes(row[7]) or b"x"  # it was cut down to nothing before
        where = self._chance.randrange(len(sealed))
        altered = self._chance.choice((
            sealed[:where] + bytes([sealed[where] ^ 1]) + sealed[where + 1 :], sealed[:where], sealed + b"x",
        ))  # fmt: skip
        self._put([(*row[:7], altered)])

    def _some(self, rows: list[_Row]) -> list[_Row]:
        return self._chance.sample(rows, self._chance.randrange(1, len(rows) + 1))

    def _rows(self) -> list[_Row]:
        return self._connection.execute(
            "SELECT day, id, kind, purpose, subject, ring, data::text, sealed FROM records WHERE purpose = 'hosts'"
        ).fetchall()

    def _delete(self, rows: Sequence[_Row]) -> None:
        self._connection.execute("DELETE FROM records WHERE id = ANY(%s)", [[row[1] for row in rows]])

    def _put(self, rows: Sequence[_Row]) -> None:
        self._delete(rows)
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO records ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", rows
            )


class Fleet:
    """Hosts that come, stall and destroy while somebody meddles; and what was sealed."""

    def __init__(self, directory: Path, store: PostgresStore, meddler: Meddler, chance: random.Random) -> None:
        self._directory = directory
        self._store = store
        self._meddler = meddler
        self._chance = chance
        self.hosts: list[OneHost] = []
        self.sealed: list[tuple[Place, Record]] = []

    async def join(self) -> OneHost:
        host = OneHost(self._directory / str(len(self.hosts)), self._store)
        host.hosts._joining.wanted = frozenset(Place(day, label) for day in DAYS for label in LABELS)
        self.hosts.append(host)
        await host.hosts.sync()
        return host

    async def step(self) -> None:
        host = self._chance.choice(self.hosts)
        what = self._chance.randrange(10)
        if what < 5:
            await host.hosts.sync()
        elif what < 8:
            self.seal(host)
        elif what == 8:
            host.ledger.append(_erasure(host))
        else:
            host.now_ns += self._chance.randrange(20) * 10**9
        if self._chance.random() < 0.5:
            self._meddler.meddle()

    def seal(self, host: OneHost) -> None:
        day, label = self._chance.choice(DAYS), self._chance.choice(LABELS)
        at = day * DAY_NS + self._chance.randrange(DAY_NS)
        try:
            record = host.sealer.record(new_id(at), "visit", label, plain=b"x")
        except KeyDestroyed:
            return
        self.sealed.append((Place(day, label), record))

    def lacks(self, host: OneHost) -> list[Place]:
        """What a host cannot open, of what it has not destroyed."""
        gone = host.keyring.file.destroyed()
        return [place for place, record in self.sealed if place not in gone and not _opens(host, record)]

    def over_claims(self) -> list[str]:
        """Certificates that hosts would write, of places that somebody opens."""
        claims: list[str] = []
        for host in self.hosts:
            for place in map(Place._make, host.keyring.file.destroyed()):
                if place in host.keyring.view.places and not host.keyring.waits_for(*place):
                    claims += [f"{place} {other.places.directory.name}" for other in self.hosts
                               if any(_opens(other, record) for at, record in self.sealed if at == place)]  # fmt: skip
        return claims


def _opens(host: OneHost, record: Record) -> bool:
    try:
        return host.sealer.open(record) == b"x"
    except ConsentError:
        return False


def _erasure(host: OneHost) -> Entry:
    at = instant_of(host.now_ns)
    return Entry(
        at=at, request=new_id(host.now_ns), deletes=bytes(8), until=instant_of(host.now_ns + 500 * DAY_NS),
        tokens=("ab",), days=(DAY,), purposes={"analytics": 1},
    )  # fmt: skip


async def trial(directory: Path, url: str, seed: int) -> list[str]:
    """Return what was not as it should be."""
    chance, wrong = random.Random(seed), list[str]()
    store = PostgresStore(url, schema=f"s{seed}")
    await store.open()
    with psycopg.connect(url, autocommit=True, options=f"-c search_path=s{seed}") as connection:
        meddler = Meddler(connection, chance)
        fleet = Fleet(directory, store, meddler, chance)
        for _ in range(2 + chance.randrange(2)):
            await fleet.join()
        await settle(*fleet.hosts)
        for _ in range(30):
            await fleet.step()
        late = await fleet.join()
        old = [host for host in fleet.hosts if host is not late]
        await settle(*old, late, times=2)
        if (lack := fleet.lacks(late)) and not late.keyring.lacking():
            wrong.append(f"the new host lacks {lack[:3]} and does not say so")
        for _ in range(5):
            await fleet.step()
        await _mend(fleet)
        for host in fleet.hosts:
            name = host.places.directory.name
            if lack := fleet.lacks(host):
                wrong.append(f"{name} lacks {lack[:3]} in the end, and says {set(host.keyring.lacking())}")
            elif host.keyring.lacking():
                wrong.append(f"{name} has all, and says that it lacks {set(host.keyring.lacking())}")
            entries = {entry.request for one in fleet.hosts for entry in one.ledger.entries() if one is not host}
            if entries - {entry.request for entry in host.ledger_of_others.entries()}:
                wrong.append(f"{name} has not every erasure")
        place = Place(DAY - 1, "analytics")
        for host in chance.sample(fleet.hosts, len(fleet.hosts)):
            host.keyring.destroy(*place)
            for one in chance.sample(fleet.hosts, len(fleet.hosts)):
                await one.hosts.sync()
                meddler.meddle()
            wrong += fleet.over_claims()
        await _mend(fleet)
        wrong += [f"{host.places.directory.name} waits for {host.keyring.waits_for(*place)}"
                  for host in fleet.hosts if host.keyring.waits_for(*place)]  # fmt: skip
    await store.close()
    return [f"seed {seed}: {what}; {meddler.did}" for what in wrong]


async def _mend(fleet: Fleet) -> None:
    """As if an hour passed: each host reads everything, twice."""
    for _ in range(3):
        for host in fleet.hosts:
            host.now_ns += 61 * 10**9
            host.hosts._hearing.read_all_next()
        await settle(*fleet.hosts, times=1)


def run(work: Coroutine[Any, Any, list[str]]) -> list[str]:
    return asyncio.run(work)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_host_has_everything_or_says_what_it_lacks_and_gets_it(
    tmp_path: Path, postgres: PostgresServer, seed: int
) -> None:
    assert run(trial(tmp_path, postgres.database(), seed)) == []


def altered(record: Record) -> Record:
    return replace(record, sealed=record.sealed[:-1] + bytes([record.sealed[-1] ^ 1]))


def everything(store: MemoryStore) -> list[Record]:
    return list(store._records.values())


async def read_all(*hosts: OneHost) -> None:
    for host in hosts:
        host.hosts._hearing.read_all_next()
    await settle(*hosts, times=1)


def test_what_stands_altered_under_its_id_is_written_again_under_another_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await one.agree()
        await beside(two.agree(), one)
        record = two.seal()
        store._records = {known.id: known if known.kind == "host" else altered(known) for known in everything(store)}
        for _ in range(3):
            await read_all(one, two)
        again = [message for known in everything(store) if (message := believed(known, one.signing))
                 if isinstance(message.body, Again)]  # fmt: skip
        assert len(again) == len({message.body for message in again}), "each by one host alone"
        late = OneHost(tmp_path / "late", store)
        await settle(late, one, two)
        assert late.sealer.open(record) == b"x"
        assert late.keyring.lacking() == frozenset()
        caplog.clear()
        for _ in range(3):
            await read_all(one, two, late)
        assert [line.message for line in caplog.records if line.levelname == "ERROR"] == []

    asyncio.run(work())


def test_a_new_host_says_of_whom_it_knows_that_one_holds_a_key_and_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await one.agree()
        await beside(two.agree(), one)
        record = two.seal()
        late = OneHost(tmp_path / "late", store)
        for known in everything(store):
            message = believed(known, late.signing)
            assert message is not None
            if not isinstance(message.body, Holds):
                del store._records[known.id]
        await settle(late, times=2)
        assert not _opens(late, record)
        assert {name.split()[-1][1:-1] for name in late.keyring.lacking()} == {one.keyring.identity.id[:4].hex()}
        late.keyring.destroy(DAY, "analytics")
        await settle(late, times=1)
        assert len(late.keyring.waits_for(DAY, "analytics")) == 2
        await store.delete(of_hosts())
        spools = await OneHost(tmp_path / "late", store).hosts.spools(instant_of(late.now_ns))
        waiting = {host.id for host in spools.waiting}
        assert waiting >= {one.keyring.identity.id.hex(), two.keyring.identity.id.hex()}

    asyncio.run(work())


@pytest.mark.parametrize("is_altered", [False, True])
def test_hosts_look_after_what_they_wrote_when_another_is_new(tmp_path: Path, is_altered: bool) -> None:
    async def work() -> None:
        store = MemoryStore()
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        await settle(one, times=1)
        record = one.seal()
        beat = {known.id for known in everything(store) if known.kind == "host"}
        store._records = {
            known.id: known if known.id in beat else altered(known)
            for known in everything(store) if is_altered or known.id in beat
        }  # fmt: skip
        late = OneHost(tmp_path / "late", store)
        await settle(late, one, times=1)
        assert late.keyring.lacking() or _opens(late, record), "until it has read everything again it says so"
        late.hosts._hearing._all_at -= MISSING_SECONDS
        late.hosts._hearing._whole_at -= MISSING_SECONDS
        await settle(late, one)
        assert late.sealer.open(record) == b"x"
        assert late.keyring.lacking() == frozenset()

    asyncio.run(work())


def test_of_many_that_are_new_at_once_one_look_at_what_a_host_wrote_is_for_all(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one = OneHost(tmp_path / "one", store)
        await one.agree()
        await settle(one, OneHost(tmp_path / "first", store), one, times=1)
        missing = one.hosts._losses.own()
        assert missing
        for number in missing:
            del store._records[number]
        second = OneHost(tmp_path / "second", store)
        await settle(second, one, times=1)
        assert not missing & store._records.keys()
        one.hosts._losses._looked_after_at -= MISSING_SECONDS
        await settle(one, times=1)
        assert missing <= store._records.keys()

    asyncio.run(work())


def test_a_statement_of_keys_that_is_brought_back_counts_for_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(one, two)
        former = {known.id: known for known in everything(store)}
        await beside(one.agree(DAY + 1), two)
        await settle(one, two)
        latest = two.keyring.view.holds(one.keyring.identity.id)
        assert DAY + 1 in days_of(latest.places["analytics"])
        store._records = former
        await read_all(two)
        assert two.keyring.view.holds(one.keyring.identity.id) == latest
        late = OneHost(tmp_path / "late", store)
        await settle(late, one, two)
        assert late.keyring.view.holds(one.keyring.identity.id) == latest

    asyncio.run(work())


def test_what_a_retired_host_held_brings_no_ended_day_back(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await start(one, two)
        await settle(one, two)
        (gone,) = (known for known in await one.register.hosts() if known.id == two.keyring.identity.id.hex())
        await one.register.retire(gone, "gone", one.now_ns)
        for label in LABELS:
            one.keyring.destroy(DAY, label)
        await settle(one)
        for label in LABELS:
            assert one.keyring.waits_for(DAY, label) == []
            one.keyring.settle(label, {DAY})
        await settle(one)
        one.begin()
        late = OneHost(tmp_path / "late", store)
        await settle(one, late)
        for host in (one, late):
            assert host.keyring.view.places == frozenset()
            assert host.keyring.file.live() == []

    asyncio.run(work())
