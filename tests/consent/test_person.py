"""Who somebody is does not hang on receipts: one name leads to all of theirs, and a sign-in to every name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.consent.choice import Choice, Consent
from consent_mw.consent.data_subject import Person, tokens
from consent_mw.consent.receipt_name import born_on, new_name
from consent_mw.consent.receipts import CLOCK_DAYS, MOST, Receipts
from consent_mw.consent.request_consent import Shown
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.log.recorder import Recorder
from consent_mw.policy.loader import loads
from consent_mw.proxies import Proxies
from consent_mw.records import Query, Record, decode_record
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.people import People, links
from consent_mw.rights.request import Request
from consent_mw.rights.restriction import is_restricted, restricted
from consent_mw.spool.spool import Spool
from consent_mw.stores.memory import MemoryStore

TODAY = 20_000
DAY_NS = 86_400_000_000_000
PURPOSES = ("abuse", "analytics", "functional", "links", "marketing", "receipts", "requests")


class CountingStore(MemoryStore):
    """Counts the questions, and the subjects that they name."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches = self.subjects = 0

    async def fetch(
        self, query: Query, *, after: UUID | None = None, limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Record]:
        self.fetches += 1
        self.subjects += len(query.subjects or ())
        return await super().fetch(query, after=after, limit=limit, newest_first=newest_first)


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

    def give(self, name: str, day: int, *, refused: bool = False) -> None:
        """Choose under `name`, or refuse everything, which ends it."""
        self._number += 1
        now_ns = day * DAY_NS + self._number * 1_000_000
        before = Consent(choice=Choice.ACCEPT, revision=1, given_on=on(day), receipt=name, changes=self._number - 1)
        after = msgspec.structs.replace(before, changes=self._number)
        if refused:
            after = Consent(choice=Choice.REJECT, revision=1, given_on=on(day))
        receipt = self._recorder.receipt(before, after, Shown(), now_ns, registered=True)
        assert receipt is not None
        assert self._recorder.keep(receipt)

    def taken(self) -> list[Record]:
        """Return what was given since the last call."""
        segments = self._spool.closed()
        records = [decode_record(frame) for segment in segments for frame in segment.frames()]
        for segment in segments:
            segment.discard()
        self._spool.close()
        return records


@pytest.fixture(scope="module")
def proofs_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sealer], Proofs]:
    return lambda sealer: Proofs(sealer, tmp_path_factory.mktemp("spool"))


def on(day: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()


def test_a_name_says_the_day_on_which_it_was_made_and_is_unlike_every_other() -> None:
    for day in (20_000, TODAY, 63_000):
        names = {new_name(on(day)) for _ in range(100)}
        assert len(names) == 100
        assert {born_on(name) for name in names} == {day}
        assert all(len(name) == 22 and not name.startswith("-") for name in names)


@given(st.text(max_size=30))
def test_a_name_that_is_none_was_made_on_some_day(text: str) -> None:
    assert 0 <= born_on(text) < 1 << 16


def test_tokens_of_a_person_are_made_of_one_name_however_often_they_chose_and_of_no_receipt() -> None:
    _, keyring, sealer = a_year()
    keyring.reads = 0
    by_day = tokens(sealer, Person((new_name(on(TODAY - 300)),)))
    assert {day for day, _ in by_day} == set(range(TODAY - 300 - CLOCK_DAYS, TODAY + 1)), "none from before it was made"
    assert {len(day_tokens) for day_tokens in by_day.values()} == {1}
    assert keyring.reads <= len(by_day)


def test_three_hundred_links_of_a_sign_in_take_a_few_questions_and_what_is_not_followed_is_said() -> None:
    async def work() -> None:
        store, keyring, sealer = a_year()
        names = [f"name {n:03}" for n in range(300)]
        await store.append([link for name in names for link in links(sealer, name, "kim", TODAY * DAY_NS)])
        keyring.reads = 0
        people = People(store, sealer)
        person = await people.of(Person((), "kim"))
        assert len(person.names) == MOST
        assert person.is_cut
        assert store.fetches <= 4
        assert keyring.reads <= 366 + 4
        whole = await people.of(person, most=None)
        assert set(whole.names) == set(names)  # whoever is erased is erased whole
        assert not whole.is_cut

    asyncio.run(work())


def test_the_newest_links_are_followed_first() -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        for day in range(TODAY - 360, TODAY + 1):
            await store.append(links(sealer, f"of {day}", "kim", day * DAY_NS))
        person = await People(store, sealer).of(Person((), "kim"))
        assert set(person.names) == {f"of {day}" for day in range(TODAY - MOST + 1, TODAY + 1)}

    asyncio.run(work())


def test_a_sign_in_is_led_to_its_own_browsers_and_to_nobody_who_shares_one_of_them() -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        for name, sign_in in (("shared", "kim"), ("kim's", "kim"), ("shared", "lee"), ("lee's", "lee")):
            await store.append(links(sealer, name, sign_in, TODAY * DAY_NS))
        people = People(store, sealer)
        assert set((await people.of(Person(("lee's",), "lee"))).names) == {"lee's", "shared"}
        assert (await people.of(Person(("shared",)))).names == ("shared",), "a browser leads to no sign-in"
        around = {value.rpartition("\0")[2] for value in await people.around(Person(("kim's",), "kim"))}
        assert around == {"kim", "kim's", "shared"}
        around = {value.rpartition("\0")[2] for value in await people.around(Person(("kim's",)))}
        assert around == {"kim", "kim's", "shared"}, "who was not signed in, and is known by their other browsers since"

    asyncio.run(work())


NAMES, SIGN_INS = ("a", "b", "c", "d"), ("kim", "lee", "pak")


@settings(max_examples=100, deadline=None)
@given(
    linked=st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(SIGN_INS)), max_size=8),
    asked=st.lists(
        st.tuples(st.sets(st.sampled_from(NAMES), max_size=1), st.none() | st.sampled_from(SIGN_INS)), max_size=3
    ),
    person=st.tuples(st.sets(st.sampled_from(NAMES), max_size=1), st.none() | st.sampled_from(SIGN_INS)),
)
def test_a_person_is_told_to_be_under_restriction_where_staff_may_not_read_something_of_theirs(
    linked: set[tuple[str, str]],
    asked: list[tuple[set[str], str | None]],
    person: tuple[set[str], str | None],
) -> None:
    async def work() -> None:
        keyring = MemoryKeyring()
        for purpose in PURPOSES:
            keyring.key(TODAY, purpose, create=True)
        store, sealer = MemoryStore(), Sealer(keyring, SiteKeys.random())
        for browser, member in linked:
            await store.append(links(sealer, browser, member, TODAY * DAY_NS))
        desk, people = Desk(store, sealer, kept_by_store(store)), People(store, sealer)
        for number, (names, sign_in) in enumerate(asked):
            who = Person(tuple(names), sign_in)
            if who.is_known:
                await desk.register(Request.new("restriction", "site", TODAY * DAY_NS + number, person=who))
        whole = await people.of(Person(tuple(person[0]), person[1]))
        of_everybody = (await restricted(desk, people, sealer)).is_under(whole)
        assert await is_restricted(whole, await desk.of(whole), desk, people, sealer) == of_everybody

    asyncio.run(work())


def test_the_receipts_of_a_page_are_the_newest(proofs_of: Callable[[Sealer], Proofs]) -> None:
    async def work() -> None:
        store, _, sealer = a_year()
        proofs, name = proofs_of(sealer), "name"
        for n in range(MOST + 5):
            proofs.give(name, TODAY - MOST - 5 + n)
        proofs.give(name, TODAY, refused=True)
        await store.append(proofs.taken())
        receipts = await Receipts(store, sealer).of(name)
        assert len(receipts) == MOST
        assert (receipts[0].name, receipts[1].changes, receipts[-1].changes) == (None, MOST + 5, 7)
        assert [receipt.given_at for receipt in receipts] == sorted(
            (receipt.given_at for receipt in receipts), reverse=True
        )
        since = await Receipts(store, sealer).since([name, "other"], receipts[3].given_at)
        assert [receipt.id for receipt in since] == [receipt.id for receipt in receipts[:3]]
        assert await Receipts(store, sealer).of("other") == []

    asyncio.run(work())
