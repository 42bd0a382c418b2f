"""No secret stands in what is kept of a query or a referrer, however it is written; the rest stays as it was."""

from __future__ import annotations

import base64
import json
import secrets
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.exceptions import PolicyError
from consent_mw.log.redaction import clean, origin, redact_query, redact_url
from consent_mw.policy.loader import loads
from consent_mw.policy.model import FIELDS

MARK = "[redacted]"

ORDINARY = [
    "",
    "q=shoes&page=2&sort=price",
    "q=%ED%95%9C%EA%B8%80+%EA%B2%80%EC%83%89",
    "keyword=a+red+bag&size=XL;colour=blue",
    "utm_source=newsletter&utm_campaign=2026-11-spring",
    "flag&empty=&a=b=c&&",
    "at=2026-11-23T12:30:00&t=1795521600000",
    "next=/books/7?page=2",
    "id=4711&v=1.2.3",
    "percent=100%&broken=%zz",
]


@pytest.mark.parametrize("query", ORDINARY)
def test_an_ordinary_query_stays_as_it_is(query: str) -> None:
    assert redact_query(query) == query


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("a=1&token=abc&b=2", f"a=1&token={MARK}&b=2"),
        ("%74oken=abc", f"%74oken={MARK}"),
        ("%2574oken=abc", f"%2574oken={MARK}"),
        ("token%3Dabc", MARK),
        ("a%26token%3Dabc", MARK),
        ("ｔｏｋｅｎ=abc", f"ｔｏｋｅｎ={MARK}"),
        ("to%00ken=abc&p.a.s.s=x", f"to%00ken={MARK}&p.a.s.s={MARK}"),
        ("a=1&amp;token=abc", f"a=1&amp;token={MARK}"),
        ("next=%2Flogin%3Fpassword%3Dhunter2", f"next={MARK}"),
        ('data={"user":{"api-key" : "hunter2"}}', f"data={MARK}"),
        ("user[password]=hunter2", f"user[password]={MARK}"),
        ("비밀번호=hunter2&%EC%9D%B4%EB%A9%94%EC%9D%BC=x", f"비밀번호={MARK}&%EC%9D%B4%EB%A9%94%EC%9D%BC={MARK}"),
        ("q=kim%2540example.com", f"q={MARK}"),
        ("kim@example.com=1", f"{MARK}={MARK}"),
        ("q=010-1234-5678&r=900101-1234567&c=4111+1111+1111+1111", f"q={MARK}&r={MARK}&c={MARK}"),
        ("q=%2B82-10-1234-5678&a=Basic+a2ltOmh1bnRlcjI=&pw=x", f"q={MARK}&a={MARK}&pw={MARK}"),
        ('q={"to":"kim\\u0040example.com"}&r=kim%u0040example.com', f"q={MARK}&r={MARK}"),
        (f"q=kim%{'25' * 7}40example.com", f"q={MARK}"),
        ("x==password=hunter2&state=a:b:token:abc", f"x={MARK}&state={MARK}"),
        ("X-Amz-Signature=abc&apiKey=def&PHPSESSID=g", f"X-Amz-Signature={MARK}&apiKey={MARK}&PHPSESSID={MARK}"),
    ],
)
def test_a_secret_goes_and_its_place_is_marked(query: str, kept: str) -> None:
    assert redact_query(query) == kept


def test_a_referrer_keeps_its_path_without_what_is_random_in_it() -> None:
    title = "a-very-long-title-of-an-article-about-the-year-2026"
    assert redact_url(f"https://u:p@News.example:8443/{title}?q=1#token=x") == f"https://news.example:8443/{title}?q=1"
    for word in (secrets.token_urlsafe(24) + "aB1", secrets.token_hex(16), "kim@example.com", "kim%40example.com",
                 "3f2b8c1e-9d4a-4e6f-8a7b-1c2d3e4f5a6b", "eyJhbGciOiJub25lIn0.eyJhIjoxfQ."):  # fmt: skip
        assert redact_url(f"https://a.example/reset/{word}/done") == f"https://a.example/reset/{MARK}/done"
    assert redact_url("http://a.example/token=abc/x") == f"http://a.example/token={MARK}/x"
    assert redact_url("http://a.example/x;jsessionid=7?y") == f"http://a.example/x;jsessionid={MARK}?y"
    assert origin("https://u:p@A.example/secret") == "https://a.example"
    assert redact_url("javascript:alert(1)") == redact_url("android-app://x/") == origin("data:x") == ""


# -- laws ----------------------------------------------------------------------------------------------------------


def unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEX = st.binary(min_size=16, max_size=32).map(bytes.hex)
TOKENS = st.binary(min_size=24, max_size=48).map(unpadded)
JWTS = st.binary(min_size=6, max_size=24).map(
    lambda raw: ".".join(unpadded(part) for part in (b'{"alg":"none"}', b'{"sub":"%s"}' % raw.hex().encode(), raw))
)
SMALL = "abcdefghijklmnopqrstuvwxyz"
MAILS = st.builds("{}.{}@{}.example".format, *[st.text(SMALL, min_size=4, max_size=9)] * 3)
MARKS = st.sampled_from(["AKIAX", "ghp_", "sk_live_", "xoxb-"])
MARKED = st.builds("{}{}".format, MARKS, st.text("ABCDEFGH0123456789", min_size=16, max_size=16))
#: Secrets by their looks: they go under whatever name.
LOOKS = HEX | TOKENS | JWTS | MAILS | MARKED
#: Secrets by their name only.
WORDS = st.from_regex(r"[a-z]{4,8}[0-9]{2}", fullmatch=True)
NAMES = st.sampled_from(
    ["token", "access_token", "password", "passwd", "client-secret", "apiKey", "Authorization", "sessionid", "sig",
     "otp", "csrf", "e-mail", "phone", "card_number", "비밀번호"]
)  # fmt: skip


def capitals(word: str, mask: int) -> str:
    return "".join(char.upper() if mask >> place & 1 else char for place, char in enumerate(word))


SPELT = st.builds(capitals, NAMES, st.integers(0, 2**16))


def encoded(text: str, times: int, whole: bool) -> str:
    """Percent-encode so often, every character or only those that must be."""
    for _ in range(times):
        text = "".join(f"%{byte:02X}" for byte in text.encode()) if whole else quote(text, safe="")
    return text


def nested(name: str, value: str, how: int) -> str:
    """Return a value that holds the pair inside."""
    return (
        f"/login?{urlencode({name: value})}",
        f"https://a.example/x?a=1&{name}={value}&b=2",
        json.dumps({"a": [{name: value}]}, ensure_ascii=False),
        f"a:1,{name}:{value}",
        f"#{name}={value}",
    )[how]


ENCODINGS = st.tuples(st.integers(0, 3), st.booleans())


@settings(max_examples=300, deadline=None)
@given(
    secret=LOOKS, name=st.sampled_from(["q", "x", "id", "next"]), encoding=ENCODINGS, before=st.sampled_from(ORDINARY)
)
def test_what_looks_like_a_secret_goes_under_whatever_name(
    secret: str, name: str, encoding: tuple[int, bool], before: str
) -> None:
    written = encoded(secret, *encoding)
    for query in (f"{before}&{name}={written}", f"{written}&{before}", f"{name}=x;{name}={written}"):
        assert_gone(redact_query(query), secret, written)
    assert_gone(redact_url(f"https://a.example/p?{before}&{name}={written}"), secret, written)


@settings(max_examples=300, deadline=None)
@given(name=SPELT, value=WORDS, encoding=ENCODINGS, value_encoding=ENCODINGS, before=st.sampled_from(ORDINARY))
@example(name="TOKEN", value="hunter22", encoding=(3, True), value_encoding=(0, False), before="")
def test_what_is_named_like_a_secret_goes_however_the_name_is_spelt(
    name: str, value: str, encoding: tuple[int, bool], value_encoding: tuple[int, bool], before: str
) -> None:
    written = encoded(value, *value_encoding)
    assert_gone(redact_query(f"{before}&{encoded(name, *encoding)}={written}&z=1"), value, written)


@settings(max_examples=300, deadline=None)
@given(name=SPELT, value=WORDS, how=st.integers(0, 4), times=st.integers(1, 3), whole=st.booleans())
def test_a_pair_inside_a_value_goes(name: str, value: str, how: int, times: int, whole: bool) -> None:
    inside = encoded(nested(name, value, how), times, whole)
    assert_gone(redact_query(f"next={inside}"), value, encoded(value, times, whole))


def assert_gone(kept: str, secret: str, written: str) -> None:
    assert MARK in kept
    assert secret not in kept
    assert written not in kept


@settings(max_examples=300, deadline=None)
@given(query=st.text(st.characters(codec=None), max_size=80))
def test_whatever_it_is_it_is_taken_and_names_and_order_stay(query: str) -> None:
    kept = redact_query(query)
    kept.encode()
    assert kept.count("&") == clean(query).count("&")
    assert redact_query(kept) == kept
    redact_url("https://a.example/" + query).encode()
    origin(query)


def test_of_many_pairs_the_first_are_read_and_the_rest_goes_as_a_whole() -> None:
    kept = redact_query("&".join(f"a{number}={number}" for number in range(200)))
    assert kept == "&".join([*(f"a{number}={number}" for number in range(64)), MARK])


@pytest.mark.parametrize(
    "text", [part * 5_000 for part in ("a", "%25", " ", "a=", "@", "a:", "1 ", "eyJ", "[", "%", "%20%3D%20", "&;")]
)
def test_of_a_long_text_the_beginning_is_read_but_for_the_pair_that_is_cut(text: str) -> None:
    assert redact_query(f"a={text}") == _but_for_the_last(f"a={text}"[:2_048])
    begins = "https://a.example/?"
    assert redact_url(begins + text) == begins + _but_for_the_last((begins + text)[len(begins) : 2_048])


def _but_for_the_last(query: str) -> str:
    kept, separator, _ = redact_query(query).rpartition("&")
    return kept + separator + MARK if ";" not in query else redact_query(query)


@pytest.mark.parametrize(
    "secret", ["q=alice.long.name@example.com", "d=9f86d081884c7d659a2feaa0c55ad015", "t=eyJhbGciOi.eyJzdWIiOiIx"]
)
def test_no_part_of_a_secret_is_left_where_the_cap_cuts_it(secret: str) -> None:
    for left in range(len(secret)):
        before = "a=" + "b" * (2_048 - left - 3)
        assert redact_query(f"{before}&{secret}") == f"a={MARK}&{MARK}"
        place = f"https://a.example/{'p/' * 1_000}"
        path = place + "p" * (2_048 - len(place) - left - 1) + "/" + secret
        assert redact_url(path).rpartition("/")[2] == MARK
        assert redact_url(path + "#part").rpartition("/")[2] == MARK


# -- what cannot even be declared --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    ["http.request.header.cookie", "http.request.header.authorization", "http.request.body", "http.response.body",
     "http.request.header.proxy-authorization", "http.response.header.set-cookie", "http.request.header.x-api-key",
     "cookie", "authorization", "body"],
)  # fmt: skip
def test_cookies_credentials_and_bodies_cannot_be_declared(field: str) -> None:
    assert field not in FIELDS
    with pytest.raises(PolicyError, match="is no known key"):
        loads(POLICY.replace("[log.necessary]", f'[log.necessary]\n"{field}" = "full"'))


def test_the_list_of_fields_is_closed() -> None:
    assert set(FIELDS) == {
        "client.address", "url.path", "url.query", "user_agent.original", "http.request.header.referer"
    }  # fmt: skip
