"""What a submission may hold, who may send it, and where it leads."""

from __future__ import annotations

import json
from urllib.parse import urlencode, urljoin, urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_mw.consent.choice import Choice
from consent_mw.policy.loader import loads
from consent_mw.site.forms import (
    Answers,
    BadForm,
    Sender,
    WaitingAnswer,
    fields_of,
    read,
    safe_next,
    sender,
)

POLICY = loads(
    """
schema = 1
revision = 1
published = 2026-01-01
effective = 2026-01-01
languages = ["en"]
[controller]
name = "Shop"
officer = { name = "Kim", email = "kim@example.com" }
[purposes.necessary]
basis = "necessary"
retention = "90 days"
[purposes.functional]
basis = "consent"
retention = "180 days"
[purposes.analytics]
basis = "consent"
retention = "13 months"
[[cookies.declared]]
name = "session"
purpose = "necessary"
expires = "session"
[[cookies.declared]]
name = "theme"
purpose = "functional"
expires = "1 year"
"""
)
FORM = "application/x-www-form-urlencoded"
OURS = "https://shop.example"


def answers(**fields: str) -> Answers | WaitingAnswer:
    return read({name: [value] for name, value in fields.items()}, POLICY)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-site": "same-origin"}, Sender.OURS),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, Sender.OURS),
        ({"sec-fetch-site": "same-site", "origin": "https://blog.shop.example"}, Sender.FOREIGN),
        ({"sec-fetch-site": "same-site", "origin": OURS}, Sender.FOREIGN),
        ({"sec-fetch-site": "cross-site"}, Sender.FOREIGN),
        ({"sec-fetch-site": "none"}, Sender.UNKNOWN),
        ({"origin": OURS}, Sender.OURS),
        ({"origin": "http://shop.example"}, Sender.FOREIGN),
        ({"origin": "https://shop.example:8443"}, Sender.FOREIGN),
        ({"origin": "https://shop.example.evil.example"}, Sender.FOREIGN),
        ({"origin": "https://evil.example", "sec-fetch-site": "none"}, Sender.FOREIGN),
        ({"origin": "https://evil.example", "referer": f"{OURS}/consent"}, Sender.FOREIGN),
        ({"origin": "null"}, Sender.UNKNOWN),
        ({}, Sender.UNKNOWN),
        # Without an Origin that says something the Referer can only speak against a form.
        ({"referer": f"{OURS}/consent?a=b"}, Sender.UNKNOWN),
        ({"referer": OURS, "origin": "null"}, Sender.UNKNOWN),
        ({"referer": "https://evil.example/", "origin": "null"}, Sender.FOREIGN),
        ({"referer": "https://evil.example", "origin": ""}, Sender.FOREIGN),
        ({"referer": f"https://evil.example/{OURS}/"}, Sender.FOREIGN),
        ({"referer": f"https://evil.example\\@{OURS.partition('//')[2]}/"}, Sender.FOREIGN),
        ({"referer": "HTTP://shop.example/"}, Sender.FOREIGN),
        ({"referer": "android-app://com.example.mail"}, Sender.UNKNOWN),
        ({"referer": "about:client"}, Sender.UNKNOWN),
    ],
)
def test_only_a_page_of_this_very_origin_is_ours(headers: dict[str, str], expected: Sender) -> None:
    assert sender(headers, OURS) is expected


@pytest.mark.parametrize(
    "target",
    [
        *(
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/a\\b",
            "javascript:alert(1)",
        ),
        *("", " /a", "/a b", "/a\r\nset-cookie: x=y", "/a\n", "/\t/evil.example", "/é", "/" + "a" * 3_000),
    ],
)
def test_a_target_that_is_no_path_of_ours_leads_to_the_fallback(target: str) -> None:
    assert safe_next(target, "/consent") == "/consent"


@pytest.mark.parametrize("target", ["/", "/a", "/a?b=c&d=%20#e", "/a//b", "/consent?lang=ko"])
def test_a_path_of_ours_is_kept(target: str) -> None:
    assert safe_next(target, "/consent") == target


@given(st.text(alphabet=st.sampled_from("/\\.:@?#abc%\t\r\n é"), max_size=30))
def test_no_target_ever_leaves_the_host(target: str) -> None:
    # Browsers take a backslash for a slash and drop tabs and line breaks (WHATWG URL, section 4.4).
    followed = safe_next(target, "/consent").replace("\\", "/").translate({9: None, 10: None, 13: None})
    assert urlsplit(urljoin("https://shop.example/page", followed)).netloc == "shop.example"


@pytest.mark.parametrize("choice", ["accept", "prompt", "reject"])
def test_each_of_the_three_choices_is_taken_whole(choice: str) -> None:
    assert answers(choice=choice, **{"purpose.analytics": "yes"}) == Answers(Choice(choice), {}, {})


def test_saving_takes_exactly_what_was_answered() -> None:
    said = answers(choice="save", **{"purpose.analytics": "yes", "purpose.functional": "ask", "cookie.theme": "no"})
    assert said == Answers(Choice.PROMPT, {"analytics": True}, {"theme": False})


def test_saving_nothing_accepts_nothing() -> None:
    assert answers(choice="save") == Answers(Choice.PROMPT, {}, {})


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"choice": ["maybe"]}, "choice", ("accept", "prompt", "reject", "save")),
        ({}, "choice", ("accept", "prompt", "reject", "save")),
        (
            {"choice": ["save"], "purpose.spying": ["yes"]},
            "purpose.spying",
            ("purpose.analytics", "purpose.functional"),
        ),
        (
            {"choice": ["save"], "purpose.necessary": ["no"]},
            "purpose.necessary",
            ("purpose.analytics", "purpose.functional"),
        ),
        ({"choice": ["accept"], "cookie.session": ["no"]}, "cookie.session", ("cookie.theme",)),
        ({"choice": ["save"], "purpose.analytics": ["on"]}, "purpose.analytics", ("yes", "no", "ask")),
        ({"waiting": ["all"], "answer": ["perhaps"]}, "answer", ("allow", "refuse", "purpose", "never")),
        ({"waiting": ["7"], "answer": ["allow"]}, "waiting", ("all",)),
        ({"answer": ["allow"]}, "waiting", ("all",)),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_can(
    fields: dict[str, list[str]], field: str, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(BadForm) as caught:
        read(fields, POLICY)
    assert (caught.value.status, caught.value.field, caught.value.allowed) == (422, field, allowed)


def test_two_answers_to_one_question_are_none() -> None:
    with pytest.raises(BadForm) as caught:
        read({"choice": ["accept", "reject"]}, POLICY)
    assert (caught.value.status, caught.value.field) == (400, "choice")


def test_waiting_cookies_are_named_one_by_one_or_all_together() -> None:
    ids = [uuid4(), uuid4()]
    named = read({"waiting": [str(uuid) for uuid in ids], "answer": ["refuse"]}, POLICY)
    assert named == WaitingAnswer("refuse", frozenset(ids))
    assert read({"waiting": ["all"], "answer": ["purpose"]}, POLICY) == WaitingAnswer("purpose", None)


@given(st.dictionaries(st.text(max_size=9), st.lists(st.text(max_size=9), min_size=1, max_size=2), max_size=5))
def test_a_form_and_its_json_say_the_same(fields: dict[str, list[str]]) -> None:
    assert fields_of(FORM, urlencode(fields, doseq=True).encode()) == fields
    assert fields_of("application/json; charset=utf-8", json.dumps(fields).encode()) == fields


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (FORM, b"\xff\xfe", 400),
        (FORM, b"&".join(b"a=%d" % number for number in range(500)), 400),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"choice": 1}', 400),
        ("application/json", b'{"choice": "reject", "choice": "accept"}', 400),
        (FORM, b"message=%ff", 400),
        ("application/json", b"[" * 16_000, 400),
        ("text/plain", b"choice=accept", 415),
        ("multipart/form-data; boundary=x", b"choice=accept", 415),
        ("", b"choice=accept", 415),
    ],
)
def test_a_body_that_is_no_form_is_refused(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(BadForm) as caught:
        fields_of(content_type, body)
    assert caught.value.status == status


NAMES = st.sampled_from(["choice", "waiting", "answer", "purpose.analytics", "cookie.theme", "next", "purpose.x"])
VALUES = st.one_of(st.sampled_from(["accept", "save", "yes", "no", "ask", "all", "allow"]), st.text(max_size=40))


@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3)))
def test_any_fields_are_answers_or_a_bad_form_and_answers_are_about_asked_purposes(
    fields: dict[str, list[str]],
) -> None:
    try:
        said = read(fields, POLICY)
    except BadForm:
        return
    if isinstance(said, Answers):
        assert said.purposes.keys() <= {"functional", "analytics"}
        assert said.cookies.keys() <= {"theme"}
    else:
        assert said.ids is None or all(isinstance(uuid, UUID) for uuid in said.ids)


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://shop.example", "http://shop.example:80"),
        ("https://shop.example", "https://Shop.EXAMPLE:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_origin_is_the_same_in_each_spelling_of_its_host(origin: str, own: str) -> None:
    assert sender({"origin": origin}, own) is Sender.OURS


@pytest.mark.parametrize("own", ["https://shop.example:8080", "http://shop.example", "https://shop.example:80"])
def test_another_port_or_scheme_is_another_origin(own: str) -> None:
    assert sender({"origin": "https://shop.example"}, own) is Sender.FOREIGN


@pytest.mark.parametrize("own", ["http://127.0.0.1:8000", "http://app:8000", "http://[::1]:8000", "http://localhost"])
def test_a_server_that_knows_only_its_inner_name_leaves_it_to_the_token(own: str) -> None:
    assert sender({"origin": "http://shop.example"}, own) is Sender.UNKNOWN
    assert sender({"origin": "null", "referer": "http://shop.example/page"}, own) is Sender.UNKNOWN
    assert sender({"origin": "http://shop.example", "sec-fetch-site": "cross-site"}, own) is Sender.FOREIGN
    assert sender({"origin": "https://shop.example"}, own) is Sender.FOREIGN
    assert sender({"origin": "http://shop.example"}, own.replace("http:", "https:")) is Sender.FOREIGN
    assert sender({"origin": own}, own) is Sender.OURS


@pytest.mark.parametrize("own", ["http://[", "http://[::1", "http://:8000", "http://", "http://a:b:c", "http://\u2603"])
def test_a_host_that_is_none_is_answered_too(own: str) -> None:
    assert sender({"origin": "http://shop.example"}, own) is not Sender.OURS


@pytest.mark.parametrize("own", ["http://shop.example", "http://shop.example:8080", "http://1.shop.example"])
@pytest.mark.parametrize("other", ["http://evil.example", "http://blog.shop.example", "http://shop.example:8001"])
def test_another_site_is_foreign_over_plain_http_too(own: str, other: str) -> None:
    assert sender({"origin": other}, own) is Sender.FOREIGN
    assert sender({"origin": "null", "referer": f"{other}/page"}, own) is Sender.FOREIGN
    assert sender({"origin": own}, own) is Sender.OURS
