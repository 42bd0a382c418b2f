"""Who receives something is one answer: what one page, document or command names, each of the others names too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.cli import main
from consent_mw.consent.choice import Choice
from consent_mw.consent.receipts import Receipt
from consent_mw.policy.amendments import amendments
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.records import new_id
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.site.markdown import markdown_of
from consent_mw.site.receipt_document import Addresses, receipt_document
from consent_mw.site.surfaces import SURFACES, Surfaces, choices, shown_text

NAMES = ("Reading-Night", "Counter-Ltd", "Post-Office", "Ad-House")
ASKED = ("functional", "analytics", "marketing")
PURPOSES = ("necessary", *ASKED, "abuse")
NOBODY = {"en": "There is no such recipient at present", "ko": "현재 제공받는 곳은 없습니다"}


class Drawn(NamedTuple):
    """A declaration, and who it says receives something, by purpose."""

    policy: Policy
    expected: dict[str, set[str]]

    def of(self, purposes: Sequence[str]) -> set[str]:
        return set().union(*(self.expected.get(purpose, set()) for purpose in purposes))


@st.composite
def declarations(draw: st.DrawFn) -> Drawn:
    """Recipients and providers, of the same names, in texts by language or not; the site's own name among them."""
    text, expected = POLICY, dict[str, set[str]]()
    for number in range(draw(st.integers(0, 3))):
        name, purpose = draw(st.sampled_from(NAMES)), draw(st.sampled_from(PURPOSES))
        shown = draw(st.sampled_from([f'"{name}"', f'{{ ko = "{name}", en = "{name}" }}', f'{{ en = "{name}" }}']))
        text += f'[[recipients]]\nname = {shown}\npurpose = "{purpose}"\nitems = "Item {number}"\nretention = "1 day"\n'
        expected.setdefault(purpose, set()).add(name)
    for number in range(draw(st.integers(0, 3))):
        name, purpose = draw(st.sampled_from([*NAMES, "Example Inc."])), draw(st.sampled_from(PURPOSES))
        text += f'[[cookies.declared]]\nname = "c{number}"\npurpose = "{purpose}"\nprovider = "{name}"\n'
        text += 'expires = "1 day"\n'
        if name != "Example Inc.":
            expected.setdefault(purpose, set()).add(name)
    return Drawn(loads(text), expected)


def named(text: str) -> set[str]:
    return {name for name in NAMES if name in text}


def unescaped(markdown: str) -> str:
    return markdown.replace("\\", "")


def section(html: str, name: str) -> str:
    return html.partition(f'<section id="section-{name}">')[2].partition("</section>")[0]


@pytest.mark.parametrize("language", ["en", "ko"])
@given(drawn=declarations())
@settings(max_examples=40, deadline=None)
def test_what_one_place_names_as_a_receiver_each_of_the_others_names(language: str, drawn: Drawn) -> None:
    policy, surfaces = drawn.policy, Surfaces(drawn.policy)
    everybody, asked = drawn.of(PURPOSES), drawn.of(ASKED)
    article = surfaces.render("_article.html", language, "", suffix="", own_cookies=OwnCookies())
    third = section(article, "recipients")
    assert named(third) == everybody
    assert (NOBODY[language] in third) is (not everybody)
    assert named(unescaped(markdown_of(third))) == everybody
    for surface in SURFACES:
        if surface != "waiting":
            assert named(shown_text(policy, language, surface)) == asked
    always = {"waiting": [], "signals": frozenset(), "token": "", "has_receipt": False, "has_my_data": False}
    page = surfaces.render("_settings.html", language, "", suffix="", **choices(None), **always)
    assert named(page) == everybody


@given(drawn=declarations())
@settings(max_examples=40, deadline=None)
def test_the_documents_name_each_receiver_under_its_purpose(drawn: Drawn) -> None:
    policy = drawn.policy
    document: Any = policy_document(policy, "en", OwnCookies(), [1])
    by_purpose = {purpose["name"]: {name["text"] for name in purpose["receivers"]} for purpose in document["purposes"]}
    listed: dict[str, set[str]] = {}
    for recipient in document["recipients"]:
        listed.setdefault(recipient["purpose"], set()).add(recipient["name"]["text"])
    assert {name: names for name, names in by_purpose.items() if names} == listed == drawn.expected
    receipt = Receipt(new_id(0), "n", Choice.ACCEPT, 1, policy.digest, "banner", "en", "", {}, {}, [], "")
    receipt_json: Any = receipt_document(receipt, policy, Addresses(""), words=None)
    answered = {purpose["purpose_id"]: set(purpose["recipient_third_parties"]) for purpose in receipt_json["purposes"]}
    assert answered == {purpose: drawn.expected.get(purpose, set()) for purpose in ASKED}
    parties = [party for party in receipt_json["party_identification"] if party["party_role"] == "recipient"]
    assert {party["party_name"] for party in parties} == drawn.of(PURPOSES)


def test_the_question_about_a_waiting_cookie_names_who_receives_what_its_purpose_collects() -> None:
    recipient = '[[recipients]]\nname = "Post-Office"\npurpose = "marketing"\nitems = "x"\nretention = "1 day"\n'
    assert named(shown_text(loads(POLICY + recipient), "en", "waiting")) == {"Post-Office"}


RECIPIENT = '[[recipients]]\nname = "Ad-House"\npurpose = "marketing"\nitems = "x"\nretention = "1 day"\n'


def test_check_names_who_receives_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.replace('name = "ad"', 'name = "ad"\nprovider = "Ad-House"') + RECIPIENT, "utf-8")
    assert main(["check", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {name: names for name, names in answer["receivers"].items() if names} == {"marketing": ["Ad-House"]}


COOKIE = '[[cookies.declared]]\nname = "new"\npurpose = "{}"\nprovider = "Ad-House"\nexpires = "1 day"\n'


@pytest.mark.parametrize("purpose", ["necessary", "analytics"])
def test_a_new_cookie_of_somebody_new_is_announced_as_a_new_recipient(purpose: str) -> None:
    old, new = loads(POLICY), loads((POLICY + COOKIE.format(purpose)).replace("revision = 1", "revision = 2"))
    reasons = {amendment.what: amendment.reason for amendment in amendments(old, new)}
    assert reasons["recipient.new"] == "received"


def test_a_new_cookie_of_a_known_receiver_makes_no_new_recipient() -> None:
    known = POLICY + '[[recipients]]\nname = "Ad-House"\npurpose = "analytics"\nitems = "x"\nretention = "1 day"\n'
    new = loads((known + COOKIE.format("analytics")).replace("revision = 1", "revision = 2"))
    assert "recipient.new" not in {amendment.what for amendment in amendments(loads(known), new)}


HELD = '[purposes.functional.archive]\nretention = "5 years"\nlaw = { ko = "법 제6조", en = "article 6" }\n'


def test_what_is_kept_longer_in_an_archive_is_told_wherever_the_retention_is() -> None:
    policy = loads(POLICY + HELD)
    for surface in SURFACES:
        assert "5 years in all (article 6)" in shown_text(policy, "en", surface)
    own = OwnCookies()
    cookies = Surfaces(policy).render("_cookies.html", "ko", "", suffix="", own_cookies=own)
    assert "총 5년입니다(근거: 법 제6조)" in cookies
