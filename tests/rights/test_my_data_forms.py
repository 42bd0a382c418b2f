"""What a form may ask for, how often, and the slip that comes of it: whatever is sent, it is one of ours or refused."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.crypto.signing import Signing
from consent_mw.policy.loader import loads
from consent_mw.rights.request import REQUEST_KINDS
from consent_mw.site.forms import BadForm
from consent_mw.site.my_data_forms import ACTIONS, Ask, read
from consent_mw.site.status_token import Slip, Slips
from consent_mw.site.throttle import Throttle, network_of

SECOND = 1_000_000_000
POLICY_READ = loads(POLICY)
VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from([*ACTIONS, *REQUEST_KINDS, "all", "yes", "analytics", "email", "a@example.com", str(UUID(int=1))]),
)
NAMES = st.sampled_from(
    ["action", "purpose", "confirm", "item", "value", "number", "record", "message", "email", "kind"]
)


@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=2), max_size=6))
def test_any_form_is_read_or_refused_by_the_name_of_a_field(fields: dict[str, list[str]]) -> None:
    refused: BadForm | None = None
    try:
        read(fields, POLICY_READ)
    except BadForm as error:
        refused = error
    assert refused is None or refused.status == 400 or (refused.status == 422 and refused.allowed)


@given(st.text())
def test_no_address_that_passes_can_begin_a_header_or_a_tag(text: str) -> None:
    for email in (text, f"{text}@example.com", f"a@{text}"):
        try:
            action = read({"action": ["ask"], "kind": ["access"], "email": [email]}, POLICY_READ)
        except BadForm:
            continue
        assert isinstance(action, Ask)
        assert not set(action.email) & set("\r\n\0<>\"'&, ;")
        assert action.email.isprintable()


@given(st.sampled_from(ACTIONS), st.uuids())
def test_a_slip_is_read_as_it_was_written_and_by_nobody_elses_key(action: str, number: UUID) -> None:
    slip = Slip(action, number)
    old, new = Signing((b"an old key of 16 bytes",)), Signing((b"a new key of 16 bytes",))
    written = Slips(old).write(slip)
    assert Slips(Signing(old.keys + new.keys)).read(written) == slip
    assert Slips(new).read(written) is None
    assert Slips(old._replace(site="staging")).read(written) is None
    assert len(written) == len(Slips(old).write(Slip(action, uuid4())))


def test_a_throttle_admits_so_many_of_each_and_nobody_uses_up_what_is_anothers() -> None:
    throttle = Throttle(most=2, within=timedelta(minutes=1))
    assert [throttle.admit("a", at * SECOND) for at in (0, 10, 20)] == [0, 0, 40]
    assert not any(throttle.admit(str(number), 20 * SECOND) for number in range(5_000))
    assert throttle.admit("a", 60 * SECOND) == 0


def test_what_is_given_back_to_a_throttle_did_not_count() -> None:
    throttle = Throttle(most=2, within=timedelta(minutes=1))
    for at in range(5):
        assert throttle.admit("a", at) == 0
        throttle.give_back("a", at)
    assert [throttle.admit("a", 9) for _ in range(3)] == [0, 0, 60]
    throttle.give_back("a", 8)  # of which nothing was counted
    throttle.give_back("b", 9)
    assert throttle.admit("a", 9) == 60


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.1", "203.0.113.254", True),
        ("203.0.113.1", "203.0.114.1", False),
        ("2001:db8:1:100::1", "2001:db8:1:1ff:2::", True),  # a household
        ("2001:db8:1:100::1", "2001:db8:1:200::1", False),
    ],
)
def test_people_are_counted_by_the_network_that_one_customer_gets(one: str, other: str, same: bool) -> None:
    assert (network_of(ip_address(one)) == network_of(ip_address(other))) is same
    assert network_of(None) == ""


def test_a_throttle_remembers_a_bounded_number_of_names_and_forgives_a_clock_that_steps_back() -> None:
    throttle = Throttle(most=1, within=timedelta(minutes=1), names=2)
    for name in ("a", "b", "c"):
        assert throttle.admit(name, 1_000 * SECOND) == 0
    assert throttle.admit("a", 1_000 * SECOND) == 0  # forgotten for "c", which is remembered
    assert throttle.admit("c", 0) == 60
