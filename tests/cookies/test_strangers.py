"""A visitor who is met for the first time: what others' headers of the same names have taught changes no answer."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.consent.choice import Choice, Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.request_cookies import Reading, RequestCookies
from consent_mw.policy.loader import loads

COOKIE = ConsentCookie(["the secret key of the tests"])
PLAIN = loads(POLICY)
TODAY = date(2026, 11, 29)
NOW_NS = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp()) * 10**9


#: What the visitors of an earlier revision are asked about again.
REOPENED = {2: (frozenset({"functional"}), frozenset[str]())}


def _signed(choice: Choice, receipt: str | None, day: date, theme: bool, changes: int = 0, revision: int = 1) -> bytes:
    purposes = {"functional": theme, "analytics": True, "marketing": False} if choice is Choice.PROMPT else {}
    consent = Consent(
        choice=choice, revision=revision, given_on=day, purposes=purposes, receipt=receipt, changes=changes
    )
    return COOKIE.sign(consent).encode()


_VALUES = st.one_of(
    st.builds(
        _signed,
        st.sampled_from(Choice),
        st.sampled_from(["A" * 22, "B" * 22, None]),
        st.sampled_from([TODAY, date(2026, 1, 1)]),
        st.booleans(),
        st.sampled_from([0, 3]),
        st.sampled_from([1, 2, 3]),
    ),
    st.sampled_from(
        [b"", b"forged.signature", b"=", b" x", COOKIE._signer.sign(b"1|accept|1|2026-11-29||||no name|0")]
    ),
)
_PIECES = st.one_of(
    st.tuples(st.sampled_from([b"consent=", b" consent =", b"theme=", b"__Host-consent="]), _VALUES).map(b"".join),
    st.sampled_from([b"", b"session=1", b"nobody=1", b"lonely", b"ad=1", b"consent-pending=x.y", b"consent"]),
)


def _said(reading: Reading) -> object:
    """All that a reading says; permissions of another reader are others, of the same answers."""
    request = {name: getattr(reading.request, name) for name in reading.request.__struct_fields__ if name[0] != "_"}
    return (
        msgspec.structs.replace(reading, permissions=reading.permissions.answers, request=None),
        request | {"permissions": reading.permissions.answers},
    )


@given(st.lists(st.tuples(st.lists(_PIECES, max_size=3).map(b"; ".join), st.booleans(), st.booleans()), max_size=8))
def test_a_header_reads_the_same_whoever_came_before(headers: list[tuple[bytes, bool, bool]]) -> None:
    experienced = RequestCookies(PLAIN, COOKIE, reopened=REOPENED)
    for header, secure, alone in headers * 2:
        experienced._readings.clear()
        fresh = RequestCookies(PLAIN, COOKIE, reopened=REOPENED)
        readings = [reader.read(header, frozenset(), NOW_NS, secure, alone) for reader in (experienced, fresh)]
        assert _said(readings[0]) == _said(readings[1])


def test_the_second_of_two_strangers_is_read_the_usual_way() -> None:
    cookies = RequestCookies(PLAIN, COOKIE)
    first, second = (b"session=1; consent=" + _signed(Choice.ACCEPT, who * 22, TODAY, True) for who in "AB")
    assert cookies._read_usual(first, frozenset(), False, True) is None
    cookies.read(first, frozenset(), NOW_NS, False)
    usual = cookies._read_usual(second, frozenset(), False, True)
    assert usual is not None
    assert usual.consent.receipt == "B" * 22


def test_a_choice_that_many_made_is_none_any_more_when_it_has_become_too_old() -> None:
    cookies = RequestCookies(PLAIN, COOKIE)
    first, second = (b"session=1; consent=" + _signed(Choice.ACCEPT, who * 22, TODAY, True) for who in "AB")
    assert cookies.read(first, frozenset(), NOW_NS, False).consent.choice is Choice.ACCEPT
    later_ns = NOW_NS + 181 * 86_400 * 10**9
    assert cookies.read(second, frozenset(), later_ns, False).consent.choice is None


@pytest.mark.parametrize("choice", [Choice.REJECT, Choice.PROMPT])
def test_what_the_first_of_two_strangers_allowed_is_not_allowed_by_the_second(choice: Choice) -> None:
    cookies = RequestCookies(PLAIN, COOKIE)
    first, second = (
        b"theme=dark; consent=" + _signed(said, who * 22, TODAY, False)
        for said, who in ((Choice.ACCEPT, "A"), (choice, "B"))
    )
    assert cookies.read(first, frozenset(), NOW_NS, False).header == first
    reading = cookies.read(second, frozenset(), NOW_NS, False)
    assert b"theme" not in (reading.header or b"")
    assert [decision.name for decision in reading.removed] == ["theme"]


def test_each_of_two_strangers_has_their_own_waiting_cookies() -> None:
    cookies = RequestCookies(PLAIN, COOKIE)
    for who in "AB":
        consent = _signed(Choice.PROMPT, who * 22, TODAY, True)
        beside = cookies.read(b"consent=" + consent, frozenset(), NOW_NS, False).request
        waiting = cookies.pending_line(who * 22, beside, secure=False).partition(b";")[0]
        reading = cookies.read(waiting + b"; consent=" + consent, frozenset(), NOW_NS, False, True)
        assert reading.pending == who * 22
