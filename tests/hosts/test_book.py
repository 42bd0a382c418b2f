"""What a host keeps of others: a start reads an index of it, whatever the site's age, and knows the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.support.one_host import DAY, LABELS, OneHost, beside, settle

from consent_mw.crypto.keyring import FileKeyring, _Listing
from consent_mw.crypto.sealer import Sealer
from consent_mw.hosts import book
from consent_mw.hosts.brief import Brief
from consent_mw.hosts.messages import (
    Body,
    Chosen,
    Message,
    Pub,
    Published,
    digest_of_public,
    messages,
    remembered,
    written,
)
from consent_mw.hosts.view import View
from consent_mw.records import Query, Record, new_id
from consent_mw.rights.ledger import Entry
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.pages import every
from consent_mw.system.days import DAY_NS, instant_of

YOUNG, OLD = 20, 200
_HOUR_NS = 3_600 * 10**9


class Counting(MemoryStore):
    """Counts the records that it gives."""

    given = 0

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1_000, newest_first: bool = False
    ) -> Sequence[Record]:
        page = await super().fetch(query, after=after, limit=limit, newest_first=newest_first)
        self.given += len(page)
        return page


@pytest.fixture
def store() -> Counting:
    return Counting()


async def lived(host: OneHost, days: int) -> None:
    """Let a host live so many days: each with keys, and an erasure of somebody."""
    for day in range(DAY - days + 1, DAY + 1):
        host.now_ns = day * DAY_NS + DAY_NS // 2
        await host.agree(day)
        for label in LABELS:
            host.keyring.key(day, label, create=True)
        host.ledger.append(erasure(host, day))
        await settle(host, times=2)
        host.now_ns += _HOUR_NS
        await settle(host, times=1)


def erasure(host: OneHost, day: int) -> Entry:
    at = instant_of(host.now_ns)
    return Entry(
        at=at, request=new_id(host.now_ns), deletes=bytes(8), until=at + timedelta(days=500), tokens=("ab",),
        days=(day,), purposes={"analytics": 1},
    )  # fmt: skip


def known(view: View) -> dict[str, object]:
    """Return all that a host knows, with digests in place of what the index has digests of."""
    published = {
        (shelf, name): replace(said, text="") if said.until_ns else said
        for shelf, by_name in view.published.items()
        for name, said in by_name.items()
    }
    pubs = {
        place: {host: (digest_of_public(public), own) for host, (public, own) in parts.items()}
        for place, parts in view.pubs.items()
    }
    names = ("labels", "wraps", "owners", "recipients", "chosen", "confirms", "retired", "names", "used", "shared")
    same = {name: getattr(view, name) for name in (*names, "over")}
    return same | {"published": published, "pubs": pubs, "ids": view.living(), "places": view.places}


def whole(host: OneHost) -> View:
    """Return what the lines of the file say, message by message."""
    view = View()
    plain = OneHost(host.places.directory, host.store).keyring.book
    for _, message in plain._lines():
        view.take(message)
    return view


def parsing(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Return a list that takes each record that a book reads from its lines."""
    parsed: list[Record] = []

    def counted(record: Record, sealer: Sealer) -> Message | None:
        parsed.append(record)
        return remembered(record, sealer)

    monkeypatch.setattr(book, "remembered", counted)
    return parsed


@pytest.mark.parametrize("age", [YOUNG, OLD])
def test_a_start_reads_as_much_of_an_old_site_as_of_a_young_one(
    tmp_path: Path, store: Counting, monkeypatch: pytest.MonkeyPatch, age: int
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, age)
        one.keyring.book.compact()
        before, there = known(one.keyring.view), len(await every(store, messages()))
        assert there > age * (2 + len(LABELS))
        parsed = parsing(monkeypatch)
        store.given = 0
        one.begin()
        await one.hosts.catch_up()
        await one.agree(DAY)
        assert store.given <= 30
        assert len(parsed) <= 30
        assert known(one.keyring.view) == before
        await settle(one, times=1)
        assert store.given > there, "then it reads everything"

    asyncio.run(work())


def test_a_sync_in_which_nothing_has_changed_goes_through_no_slots(
    tmp_path: Path, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, 4)
        one.keyring.destroy(DAY - 3, "analytics")
        await settle(one)
        asked: list[object] = []
        listing = FileKeyring._listing

        def counted(self: FileKeyring) -> _Listing:
            asked.append(self)
            return listing(self)

        monkeypatch.setattr(FileKeyring, "_listing", counted)
        await settle(one, times=3)
        assert asked == []
        one.keyring.destroy(DAY - 3, "receipts")
        await settle(one, times=1)
        assert asked
        assert one.keyring.waits_for(DAY - 3, "receipts") == []

    asyncio.run(work())


def test_the_index_says_what_the_lines_say_and_what_comes_behind_it_counts_too(tmp_path: Path, store: Counting) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await beside(lived(one, 3), two)
        two.now_ns = one.now_ns
        await settle(one, two)
        for host in (one, two):
            before = known(host.keyring.view)
            host.keyring.book.compact()
            host.begin()
            assert len(host.keyring.view.briefs) > 6
            assert known(host.keyring.view) == before
        one.now_ns = two.now_ns = one.now_ns + DAY_NS
        await beside(one.agree(DAY + 1), two)
        await settle(one, two)
        before = known(one.keyring.view)
        one.begin()
        assert known(one.keyring.view) == before
        assert whole(one).chosen == one.keyring.view.chosen

    asyncio.run(work())


@pytest.mark.parametrize("damage", ["index", "end", "line"])
def test_an_index_that_is_not_ours_or_of_a_file_that_was_cut_is_passed_over(
    tmp_path: Path, store: Counting, damage: str
) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, 3)
        one.keyring.book.compact()
        path = one.places.host_book
        _, first, *rest = path.read_bytes().split(b"\n")
        if damage == "index":
            forged = first[:60] + (b"A" if first[60:61] != b"A" else b"B") + first[61:]
            path.write_bytes(b"\n".join((b"", forged, *rest)))
        elif damage == "end":
            path.write_bytes(b"\n".join((b"", first, *rest[:2])) + b"\n")
        else:
            path.write_bytes(b"\n".join((b"", first, *rest[1:])))
        one.begin()
        assert not one.keyring.view.briefs
        assert len(one.keyring.view.messages) == len(whole(one).messages) >= 2

    asyncio.run(work())


def test_what_the_index_has_is_put_back_as_it_was(tmp_path: Path, store: Counting) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, 4)
        there = [record for record in await every(store, messages()) if record.kind != "host"]
        one.keyring.book.compact()
        one.store = restored = Counting()
        one.begin()
        await one.agree(DAY)
        await settle(one, times=1)
        assert [record for record in await every(restored, messages()) if record.kind != "host"] == there

    asyncio.run(work())


def test_a_host_of_which_only_the_index_knows_gets_the_keys(tmp_path: Path, store: Counting) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await one.agree()
        record = one.seal()
        await two.hosts.sync()
        await one.hosts._hearing.hear(everything=True)
        one.keyring.book.compact()
        one.begin()
        assert two.keyring.identity.id in one.keyring.view.names
        await settle(one, two)
        assert two.sealer.open(record) == b"x"

    asyncio.run(work())


def test_what_another_host_erased_is_taken_again_from_the_book_which_is_read_once(
    tmp_path: Path, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        for _ in range(20):
            one.ledger.append(erasure(one, DAY))
        await settle(one, two)
        said = two.ledger_of_others.entries()
        assert len(said) == 20
        two.keyring.book.compact()
        two.places.erasures_of_hosts.unlink()
        two.begin()
        parsed = parsing(monkeypatch)
        two.hosts._shelves.take()
        assert two.ledger_of_others.entries() == said
        assert len(parsed) <= len(said) + 10
        two.hosts._shelves.take()
        assert len(parsed) <= len(said) + 10, "and not again"

    asyncio.run(work())


def test_what_is_over_leaves_the_index_and_the_store(tmp_path: Path, store: Counting) -> None:
    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, 3)
        one.keyring.book.compact()
        one.begin()
        gone = DAY - 2
        for label in LABELS:
            one.keyring.destroy(gone, label)
        await settle(one, times=1)
        for label in LABELS:
            one.keyring.settle(label, {gone})
        await settle(one, times=2)
        for days in (one.keyring.view.labels, whole(one).labels):
            assert days.keys() == {DAY - 1, DAY}
        left = {record.id for record in await every(store, messages()) if record.kind != "host"}
        assert left == one.keyring.view.living()

    asyncio.run(work())


def test_one_that_was_away_hears_at_its_start_what_was_said_meanwhile(tmp_path: Path, store: Counting) -> None:
    async def work() -> None:
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await settle(one, two)
        await two.hosts.close()
        for day in range(DAY, DAY + 5):
            one.now_ns = day * DAY_NS + DAY_NS // 2
            await one.agree(day)
            one.ledger.append(erasure(one, day))
            await settle(one)
        record = one.sealer.record(new_id(one.now_ns), "visit", "analytics", plain=b"x")
        two.now_ns = one.now_ns
        two.begin()
        await beside(two.agree(DAY + 4), one)
        await settle(two, one)
        assert two.sealer.open(record) == b"x"
        assert two.ledger_of_others.entries() == one.ledger.entries()

    asyncio.run(work())


def bodies() -> Sequence[Body]:
    return (
        Pub(name="one", day=DAY, parts={"analytics": (b"p" * 1_216, b"i" * 16)}),
        Chosen(day=DAY, label="analytics", owner=b"o"),
        Published(shelf="erasure", name="n", text="t", at_ns=1, until_ns=2),
    )


@pytest.mark.parametrize("number", range(3))
def test_two_records_of_one_id_are_told_apart_in_brief(tmp_path: Path, store: Counting, number: int) -> None:
    one, body = OneHost(tmp_path / "one", store), bodies()[number]
    record = written(body, one.keyring.identity, one.signing, one.now_ns)
    other = replace(record, sealed=record.sealed[:-1] + bytes([record.sealed[-1] ^ 1]))
    brief, view = Brief.of(Message(one.keyring.identity.id, body, record)), View()
    assert brief is not None
    view.take_brief(brief)
    assert view.has(record)
    assert not view.has(other)


def test_no_second_copy_is_kept_of_a_key_of_the_host_itself(tmp_path: Path, store: Counting) -> None:
    """Of a host alone these are all that live, and each is in the key file that it has in memory."""

    async def work() -> None:
        one = OneHost(tmp_path / "one", store)
        await lived(one, 3)
        assert one.keyring.lacking() == frozenset()
        assert one.sealer.open(one.seal()) == b"x"
        assert not one.keyring._opened

    asyncio.run(work())


def test_a_start_looks_at_the_places_of_its_day_alone(
    tmp_path: Path, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old site has ten thousand living places. All of them are looked at seconds later."""

    async def started(days: int) -> tuple[int, int]:
        one = OneHost(tmp_path / str(days), Counting())
        await lived(one, days)
        one.keyring.book.compact()
        one.begin()
        listed: list[object] = []
        live = FileKeyring.live

        def counted(keyring: FileKeyring) -> list[tuple[int, str]]:
            listed.extend(live(keyring))
            return live(keyring)

        with monkeypatch.context() as patch:
            patch.setattr(FileKeyring, "live", counted)
            await one.agree(DAY)
            at_start = len(listed)
            await settle(one, times=1)
        return at_start, len(listed)

    (young, _), (old, later) = [asyncio.run(started(days)) for days in (3, 12)]
    assert young == old == 0
    assert later >= 12 * len(LABELS)
