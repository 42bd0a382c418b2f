"""All receipts of a person are found in one pass: what it costs follows their receipts, and nobody's is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policies import POLICY

from consent_mw.client import Proxies
from consent_mw.consent import Choice, Consent
from consent_mw.declaration import loads
from consent_mw.keyring import MemoryKeyring
from consent_mw.receipts import MOST, Receipts
from consent_mw.recorder import Recorder
from consent_mw.records import Query, Record, decode_record
from consent_mw.request_consent import Shown
from consent_mw.rights.person import People, Person, link, tokens
from consent_mw.sealer import Sealer
from consent_mw.site_keys import SiteKeys
from consent_mw.spool import Spool
from consent_mw.stores.memory import MemoryStore

TODAY = 20_000
DAY_NS = 86_400_000_000_000
PURPOSES = ("abuse", "analytics", "functional", "marketing", "receipts", "requests")


class CountingStore(MemoryStore):
    """Counts the questions, and the subjects that they name."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches = self.subjects = 0

    async def fetch(self, query: Query, *, after: UUID | None = None, limit: int = 1000) -> Sequence[Record]:
        self.fetches += 1
        self.subjects += len(query.subjects or ())
        return await super().fetch(query, after=after, limit=limit)


class CountingKeyring(MemoryKeyring):
    """Counts how often a key is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        self.reads += 1
        return super().key(day, purpose, create=create)


def a_year() -> tuple[CountingStore, CountingKeyring, Sealer]:
    keyring = CountingKeyring()
    for day in range(TODAY - 365, TODAY + 1):
        for purpose in PURPOSES:
            keyring.key(day, purpose, create=True)
    return CountingStore(), keyring, Sealer(keyring, SiteKeys.random())


class Proofs:
    """Receipts as the recorder makes them, each at an instant of its own."""

    def __init__(self, sealer: Sealer, directory: Path) -> None:
        self._spool = Spool(directory)
        self._recorder = Recorder(loads(POLICY), sealer, self._spool, Proxies())
        self._number = 0

    def give(self, name: str | None, day: int, before: str | None = None) -> None:
        """Give the receipt `name`, or refuse, after the one called `before`."""
        self._number += 1
        now_ns = day * DAY_NS + self._number * 1_000_000
        kept = self._recorder.receipt(_consent(before, day), _consent(name, day), Shown(), now_ns, registered=True)
        assert kept

    def chain(self, names: Sequence[str], day: int, *, step: int = 0) -> None:
        """Give a receipt after the other, the first on `day` and each `step` days later."""
        for n, name in enumerate(names):
            self.give(name, day + step * n, names[n - 1] if n else None)

    def taken(self) -> list[Record]:
        """Return what was given since the last call."""
        segments = self._spool.closed()
        found = [decode_record(frame) for segment in segments for frame in segment.frames()]
        for segment in segments:
            segment.discard()
        self._spool.close()
        return found


@pytest.fixture(scope="module")
def proofs_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sealer], Proofs]:
    return lambda sealer: Proofs(sealer, tmp_path_factory.mktemp("spool"))


def _consent(name: str | None, day: int) -> Consent:
    if name is None:
        return Consent(choice=Choice.REJECT, revision=1, given_on=on(day))
    return Consent(choice=Choice.ACCEPT, revision=1, given_on=on(day), receipt=name)


def on(day: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()


def test_a_chain_of_sixty_receipts_and_a_year_of_keys_take_one_question_a_step_and_each_key_once(
    proofs_of: Callable[[Sealer], Proofs],
) -> None:
    async def work() -> None:
        store, keyring, sealer = a_year()
        names = [f"name {n:02}" for n in range(60)]
        proofs = proofs_of(sealer)
        proofs.chain(names, TODAY)
        await store.append(proofs.taken())
        keyring.reads = 0
        person = await People(store, sealer).of(names[-1], on(TODAY))
        assert person.names == tuple(names[::-1])
        assert not person.is_cut
        assert store.fetches <= 61
        assert store.subjects <= 60 * 185
        assert keyring.reads <= 366 + 2  # a key of each day makes the tokens of all names, and one opens the receipts
        keyring.reads = 0
        made = tokens(sealer, person)
        # Nothing is recorded under a receipt before it was given.
        assert sum(map(len, made.values())) <= 60 * 3 * len(PURPOSES)
        assert keyring.reads <= len(made)

    asyncio.run(work())


def test_three_hundred_links_of_a_sign_in_take_a_few_questions_and_what_is_not_followed_is_said(
    proofs_of: Callable[[Sealer], Proofs],
) -> None:
    async def work() -> None:
        store, keyring, sealer = a_year()
        names = [f"name {n:03}" for n in range(300)]
        proofs = proofs_of(sealer)
        for name in names:
            proofs.give(name, TODAY)
        await store.append(proofs.taken())
        links = [link(sealer, Person((name,), "kim"), TODAY * DAY_NS) for name in names]
        await store.append([each for each in links if each])
        keyring.reads = 0
        people = People(store, sealer)
        person = await people.of(None, None, "kim")
        assert len(person.names) == MOST
        assert person.is_cut
        assert store.fetches <= 4
        assert keyring.reads <= 2 * 366 + 4
        whole = await people.whole(person, on(TODAY))
        assert set(whole.names) == set(names)  # whoever is erased is erased whole
        assert not whole.is_cut

    asyncio.run(work())


def test_the_newest_links_are_followed_first() -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        for day in range(TODAY - 360, TODAY + 1):
            made = link(sealer, Person((f"of {day}",), "kim"), day * DAY_NS)
            assert made
            await store.append([made])
        person = await People(store, sealer).of(None, None, "kim")
        assert set(person.names) == {f"of {day}" for day in range(TODAY - MOST + 1, TODAY + 1)}

    asyncio.run(work())


def test_refusals_under_an_old_name_hide_no_receipt(proofs_of: Callable[[Sealer], Proofs]) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        proofs = proofs_of(sealer)
        for _ in range(1_100):
            proofs.give(None, TODAY - 1, before="second")
        proofs.chain(["first", "second"], TODAY)
        await store.append(proofs.taken())
        assert (await People(store, sealer).of("second", on(TODAY))).names == ("second", "first")

    asyncio.run(work())


def test_a_receipt_that_staff_look_for_may_be_older_than_a_consent_may_be(
    proofs_of: Callable[[Sealer], Proofs],
) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        proofs = proofs_of(sealer)
        proofs.chain(["first", "second"], TODAY - 300)
        await store.append(proofs.taken())
        person = await People(store, sealer).whole(Person(("second",)), on(TODAY))
        assert person.names == ("second", "first")

    asyncio.run(work())


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "destroyed"])
def test_a_superseded_receipt_is_known_by_name_also_after_it_is_gone(
    kept: bool, proofs_of: Callable[[Sealer], Proofs]
) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        proofs = proofs_of(sealer)
        proofs.chain(["first", "second"], TODAY - 100, step=50)
        records = proofs.taken()
        await store.append(records if kept else records[1:])
        person = await People(store, sealer).of("second", on(TODAY - 50))
        assert person.names == ("second", "first")
        (_, (first, last)) = person.days
        assert first <= TODAY - 100
        assert last >= TODAY - 100 + 180

    asyncio.run(work())


class _Browser:
    """Changes its mind, lets days pass, and is recorded under the receipt that it holds, as long as that is valid."""

    def __init__(self, sealer: Sealer, proofs: Proofs) -> None:
        self.sealer = sealer
        self.day = TODAY - 365
        self.proofs = proofs
        self.count = 0
        self.names: list[str] = []
        self.given: list[int] = []
        self.mine: set[bytes] = set()

    def chooses(self) -> None:
        self.count += 1
        name = f"name {self.count}"  # no two receipts have one name
        valid = self.names and self.day - self.given[-1] <= 180
        before = self.names[-1] if valid else None
        if not valid:
            self.names, self.given = [], []
        self.proofs.give(name, self.day, before)
        self.names.append(name)
        self.given.append(self.day)

    def visits(self, back: int) -> None:
        """With one of its receipts: an older one too, out of a copy of its cookies."""
        held = [(name, day) for name, day in zip(self.names, self.given, strict=True) if self.day - day <= 180]
        if held:
            name, _ = held[-1 - back % len(held)]
            self.mine.add(self.sealer.token(self.day, "analytics", name.encode()))


STEPS = st.lists(st.tuples(st.sampled_from(("choose", "visit", "wait")), st.integers(0, 90)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_was_recorded_under_a_receipt_is_found_by_the_last_of_them(
    proofs_of: Callable[[Sealer], Proofs], steps: list[tuple[str, int]]
) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        browser = _Browser(sealer, proofs_of(sealer))
        browser.chooses()
        for what, number in steps:
            if what == "choose":
                browser.chooses()
            elif what == "visit":
                browser.visits(number)
            else:
                browser.day = min(TODAY, browser.day + number)
        await store.append(browser.proofs.taken())
        people = People(store, sealer)
        person = await people.of(browser.names[-1], on(browser.given[-1]))
        found = frozenset[bytes]().union(*tokens(sealer, person, ("analytics",)).values())
        mine = {token for token in browser.mine if token in _of(sealer, browser.names)}
        assert mine <= found
        whole = await people.whole(Person((browser.names[-1],)), on(browser.day))
        assert mine <= frozenset[bytes]().union(*tokens(sealer, whole, ("analytics",)).values())

    asyncio.run(work())


def _of(sealer: Sealer, names: Sequence[str]) -> frozenset[bytes]:
    return frozenset[bytes]().union(*tokens(sealer, Person(tuple(names)), ("analytics",)).values())


def test_the_receipts_of_a_page_are_as_many_as_are_followed(proofs_of: Callable[[Sealer], Proofs]) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        names = [f"name {n:03}" for n in range(MOST + 5)]
        proofs = proofs_of(sealer)
        proofs.chain(names, TODAY)
        await store.append(proofs.taken())
        found = await Receipts(store, sealer).of(names[-1], on(TODAY))
        assert [each.name for each in found] == names[:4:-1]
        assert (await People(store, sealer).of(names[-1], on(TODAY))).is_cut

    asyncio.run(work())
