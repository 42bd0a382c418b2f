"""What restrictions cost follows the records that are looked at, not the people and keys that there are."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.records import Record, new_id
from consent_mw.rights.restriction import Restriction

DAY_NS = 86_400_000_000_000
PURPOSES = ("analytics", "marketing", "abuse")


class CountingKeyring(MemoryKeyring):
    """Counts how often a key is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        self.reads += 1
        return super().key(day, purpose, create=create)


def year(days: int = 400) -> Sealer:
    keyring = CountingKeyring()
    for day in range(days):
        for purpose in PURPOSES:
            keyring.key(day, purpose, create=True)
    keyring.reads = 0
    return Sealer(keyring, SiteKeys.random())


def record(sealer: Sealer, day: int, purpose: str, name: str | None) -> Record:
    subject = None if name is None else sealer.token(day, purpose, name.encode())
    return Record(new_id(day * DAY_NS), "visit", purpose, subject, "", {}, b"")


def test_a_look_at_one_record_reads_one_key_however_many_are_restricted() -> None:
    sealer = year()
    people = [f"name {number}" for number in range(950)]
    looked = record(sealer, 17, "analytics", "name 7")
    other = record(sealer, 17, "analytics", "somebody else")
    fresh = Sealer(sealer.keyring, sealer.site_keys)
    sealer.keyring.reads = 0  # type: ignore[attr-defined]
    restriction = Restriction(people, fresh)
    assert restriction.restricts(looked)
    assert not restriction.restricts(other)
    assert sealer.keyring.reads == 1  # type: ignore[attr-defined]


def test_what_restrictions_remember_is_bounded() -> None:
    sealer = year()
    restriction = Restriction([f"name {number}" for number in range(950)], sealer)
    for day in range(400):
        assert restriction.restricts(record(sealer, day, "analytics", "name 7"))
        assert sum(map(len, restriction._tokens_by_day.values())) <= 50_000


NAMES = st.sampled_from("abcdef")


@settings(max_examples=60)
@given(
    people=st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple), max_size=4),
    looked=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(PURPOSES), st.none() | NAMES), max_size=20),
    gone=st.sets(st.tuples(st.integers(0, 5), st.sampled_from(PURPOSES)), max_size=3),
)
def test_what_is_restricted_is_what_tokens_of_all_keys_would_say(
    people: Sequence[tuple[str, ...]], looked: Sequence[tuple[int, str, str | None]], gone: set[tuple[int, str]]
) -> None:
    sealer = Sealer(MemoryKeyring(), SiteKeys.random())
    for day in range(6):
        for purpose in PURPOSES:
            sealer.keyring.key(day, purpose, create=True)
    records = [record(sealer, *arguments) for arguments in looked]
    for day, purpose in gone:
        sealer.keyring.destroy(day, purpose)
    restriction = Restriction((name for names in people for name in names), sealer)
    every = frozenset(
        token for names in people for day_tokens in tokens(sealer, Person(names)).values() for token in day_tokens
    )
    for sealed in records:
        assert restriction.restricts(sealed) == (sealed.subject in every)
        assert restriction.closes(sealed) == (sealed.subject in every and sealed.purpose != "abuse")
