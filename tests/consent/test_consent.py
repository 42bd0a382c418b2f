"""The choice as a value, on the wire and back."""

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.consent.choice import LIFETIME, NO_CONSENT, Choice, Consent, dumps, loads
from consent_mw.consent.permissions import Permissions
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.exceptions import BadConsentCookie, ConfigurationError
from consent_mw.policy import loader

TODAY = date(2026, 11, 23)
KEY = "a key that nobody guesses"

purposes = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True), st.booleans(), max_size=5)
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)


@st.composite
def consents(draw: st.DrawFn) -> Consent:
    return Consent(
        choice=draw(st.sampled_from(Choice)),
        revision=draw(st.integers(1, 999_999)),
        given_on=draw(st.dates(date(2020, 1, 1), date(2100, 1, 1))),
        purposes=draw(purposes),
        cookies=draw(st.dictionaries(names, st.booleans(), max_size=4)),
        signals=tuple(sorted(draw(st.sets(st.sampled_from(["gpc", "dnt"]))))),
        receipt=draw(st.none() | st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True)),
    )


@given(consents())
def test_a_consent_is_read_back_as_it_was_written(consent):
    assert loads(dumps(consent)) == consent


@given(consents())
def test_a_signed_consent_is_read_back_as_it_was_written(consent):
    cookie = ConsentCookie([KEY])
    assert consent.given_on is not None
    assert cookie.read(cookie.sign(consent).encode(), consent.given_on) == consent


@given(consents())
def test_the_cookie_is_made_of_cookie_octets_only(consent):
    value = ConsentCookie([KEY]).sign(consent)
    assert all("!" <= letter <= "~" and letter not in '",;\\' for letter in value)


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
def test_reading_anything_else_is_refused_and_never_raises_otherwise(value):
    with pytest.raises(BadConsentCookie):
        ConsentCookie([KEY]).read(value, TODAY)


@given(consents(), st.data())
def test_a_forged_byte_is_noticed(consent, data):
    cookie = ConsentCookie([KEY])
    value = bytearray(cookie.sign(consent).encode())
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 127))
    # The last letter of a base64 signature carries unused bits: itsdangerous compares what it decodes.
    if place < len(value) - 1:
        with pytest.raises(BadConsentCookie):
            cookie.read(bytes(value), consent.given_on or TODAY)


def test_two_visitors_who_refuse_on_one_day_hold_the_same_bytes():
    refusal = Consent(choice=Choice.REJECT, revision=1, given_on=TODAY)
    assert ConsentCookie([KEY]).line(refusal, TODAY, secure=True) == ConsentCookie([KEY]).line(
        Consent(choice=Choice.REJECT, revision=1, given_on=TODAY), TODAY, secure=True
    )


def test_a_key_that_was_replaced_is_still_believed_and_the_newest_signs():
    consent = Consent(choice=Choice.ACCEPT, revision=1, given_on=TODAY)
    old, both = ConsentCookie(["the older secret key"]), ConsentCookie(["the older secret key", "the newer secret key"])
    assert both.read(old.sign(consent).encode(), TODAY) == consent
    with pytest.raises(BadConsentCookie):
        old.read(both.sign(consent).encode(), TODAY)


@pytest.mark.parametrize("choice", [Choice.ACCEPT, Choice.REJECT])
def test_a_yes_and_a_no_hold_equally_long(choice):
    cookie = ConsentCookie([KEY])
    value = cookie.sign(Consent(choice=choice, revision=1, given_on=TODAY)).encode()
    assert cookie.read(value, TODAY + LIFETIME).choice is choice
    with pytest.raises(BadConsentCookie):
        cookie.read(value, TODAY + LIFETIME + timedelta(days=1))


def test_a_consent_from_the_future_is_refused_but_for_the_midnight_of_two_workers():
    cookie = ConsentCookie([KEY])
    value = cookie.sign(Consent(choice=Choice.ACCEPT, revision=1, given_on=TODAY)).encode()
    assert cookie.read(value, TODAY - timedelta(days=1)).choice is Choice.ACCEPT
    with pytest.raises(BadConsentCookie):
        cookie.read(value, TODAY - timedelta(days=2))


def test_five_answers_fit_into_two_hundred_bytes():
    consent = Consent(
        choice=Choice.PROMPT,
        revision=12,
        given_on=TODAY,
        purposes={"functional": True, "analytics": False, "marketing": False},
        cookies={"theme": True, "_ga*": False},
        signals=("gpc",),
        receipt="A" * 22,
    )
    cookie = ConsentCookie([KEY])
    assert len(cookie.name(secure=True)) + 1 + len(cookie.sign(consent)) <= 200


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ([], "is empty"),
        (["short"], "secret_keys[1]"),
        ("a single long text, no list", "is one text"),
        ([""], "0 bytes"),
    ],
)
def test_unusable_secret_keys_are_refused_with_the_mend(keys, place):
    with pytest.raises(ConfigurationError, match="secret_keys") as caught:
        ConsentCookie(keys)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_cookie_is_prefixed_on_https_only_and_not_for_subdomains():
    consent = Consent(choice=Choice.REJECT, revision=1, given_on=TODAY)
    line = ConsentCookie([KEY]).line(consent, TODAY, secure=True)
    assert line.startswith(b"__Host-consent=")
    assert line.endswith(b"; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert ConsentCookie([KEY]).line(consent, TODAY, secure=False).startswith(b"consent=")
    shared = ConsentCookie([KEY], domain="example.com").line(consent, TODAY, secure=True)
    assert shared.startswith(b"consent=")
    assert b"; Domain=example.com" in shared


def test_the_name_of_no_receipt_looks_like_an_option():
    policy = loader.loads(POLICY)
    permissions = Permissions(policy, NO_CONSENT)
    names = set()
    for _ in range(2_000):
        consent = RequestConsent(NO_CONSENT, permissions, lambda consent, signals: permissions, TODAY)
        consent.choose(Choice.ACCEPT)
        names.add(consent.consent.receipt or "-")
    assert len(names) == 2_000
    assert not any(name.startswith("-") for name in names)


def test_many_single_answers_fit_the_cookie_of_a_browser() -> None:
    cookies = {f"partner_tracking_{number:03}": bool(number % 3) for number in range(200)}
    consent = Consent(choice=Choice.PROMPT, revision=1, given_on=date(2026, 1, 1), cookies=cookies)
    assert len(dumps(consent)) < 3_800
    assert re.fullmatch(r"[!#-+\--:<-\[\]-~]*", dumps(consent))
    assert loads(dumps(consent)) == consent
    with pytest.raises(BadConsentCookie):
        loads("2|" + "x" * 41)
