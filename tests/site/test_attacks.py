"""Attacks on the choice, each with the refusal that the visitor reads."""

import json
import re
from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.asgi import set_cookies
from tests.support.attacked_site import KEY, makes, play
from tests.support.exchanges import records
from tests.support.policies import POLICY
from tests.support.visitors import HOST

from consent_mw import Choice, ConsentMiddleware
from consent_mw.site.forms import safe_next
from consent_mw.testing.clock import Clock


@pytest.fixture
def directory(tmp_path):
    return tmp_path


@pytest.fixture
def site(directory):
    return makes(directory)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def text(sent):
    return b"".join(m.get("body", b"") for m in sent).decode()


def header(sent, name):
    return dict(sent[0]["headers"]).get(name)


# -- who may choose -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [*Choice, "save"])
@pytest.mark.parametrize(
    "headers",
    [
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site")],  # a sibling: blog.example.com
        [(b"sec-fetch-site", b"same-site"), (b"origin", f"https://{HOST}".encode())],
        [(b"origin", b"https://evil.example")],
        [(b"origin", b"https://blog.example.com")],
        [(b"origin", f"http://{HOST}".encode())],  # another scheme is another origin
        [(b"origin", f"https://{HOST}:8443".encode())],
        [(b"origin", f"https://{HOST}.evil.example".encode())],
    ],
)
def test_no_other_site_chooses_for_the_visitor(site, directory, headers, choice):
    async def story(visitor):
        return await visitor.posts(("choice", choice), headers=headers)

    sent = play(site(), story)
    assert sent[0]["status"] == 403
    assert set_cookies(sent) == []
    assert "Nothing was changed" in text(sent)
    assert "Another site sent this answer. Only you can choose, and only here." in text(sent)
    assert records(directory / "consent-data", "receipt") == []


def test_no_other_site_releases_what_waits(site):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        sent = await visitor.posts(
            ("waiting", "all"), ("answer", "allow"), headers=[(b"sec-fetch-site", b"cross-site")]
        )
        assert sent[0]["status"] == 403
        assert visitor.cookies == {}

    play(site([b"theme=1; Path=/"]), story)


@pytest.mark.parametrize("headers", [[], [(b"origin", b"null")], [(b"sec-fetch-site", b"none")]])
def test_a_form_of_unknown_origin_needs_the_token_of_our_settings_page(site, headers):
    async def story(visitor):
        for token in ("", "form.forged", EVIL):
            sent = await visitor.posts(("choice", "accept"), ("token", token), headers=headers)
            assert (sent[0]["status"], header(sent, b"location")) == (303, b"/consent?again=unknown")
            assert set_cookies(sent) == []
        page = text(await visitor.gets("/consent", query_string=b"again=unknown"))
        match = re.search(r'name="token" value="([^"]+)"', page)
        assert match is not None
        token = match[1]
        sent = await visitor.posts(("choice", "accept"), ("token", token), headers=headers)
        assert set_cookies(sent)[0].startswith(b"__Host-consent=1|accept|")

    play(site(), story)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post"])
def test_only_a_post_is_a_choice(site, method):
    async def story(visitor):
        headers = [(b"sec-fetch-site", b"same-origin"), (b"x-http-method-override", b"POST")]
        body = [{"type": "http.request", "body": b"choice=accept"}]
        return await visitor.gets(
            "/consent/choice", method=method, headers=headers, incoming=body, query_string=b"choice=accept&_method=POST"
        )

    sent = play(site(), story)
    assert (sent[0]["status"], header(sent, b"allow")) == (405, b"POST")
    assert set_cookies(sent) == []


# -- where it leads -----------------------------------------------------------------------------------------------

OUTSIDE = [
    "https://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\nSet-Cookie: a=b",
    "/\x00",
    "/ok\\..\\x",
    " /x",
    "javascript:alert(1)",
    "/é",
    "",
    "?next=/x",
    "/" + "x" * 3_000,
]


@pytest.mark.parametrize("target", OUTSIDE)
def test_no_form_leads_to_another_site(site, target):
    async def story(visitor):
        return await visitor.posts(("choice", "reject"), ("next", target))

    assert header(play(site(), story), b"location") == b"/consent?saved=1"


def test_a_path_of_this_site_is_where_the_form_leads(site):
    async def story(visitor):
        return await visitor.posts(("choice", "reject"), ("next", "/books?page=2#top"))

    assert header(play(site(), story), b"location") == b"/books?page=2#top"


@given(st.text(st.sampled_from("/\\.:@?#\t\n\r\x00 aé%"), max_size=8))
def test_where_a_form_leads_is_a_path_whatever_was_sent(target):
    led = safe_next(target, "/fallback")
    assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", led)
    assert "\\" not in led


# -- what is injected ---------------------------------------------------------------------------------------------


def test_what_a_policy_says_is_text_in_every_page(site):
    hostile = POLICY.replace('en = "Example Inc."', f"en = '''{EVIL}'''")
    hostile += f"""
[[cookies.declared]]
name = "evil"
purpose = "functional"
expires = "1 year"
provider = '''{EVIL}'''
description = '''{EVIL}'''
"""

    async def story(visitor):
        pages = [await visitor.gets("/")]
        await visitor.picks("prompt")
        await visitor.gets("/")  # sets the cookie that waits
        paths = ("/", "/consent", "/consent/policy", "/consent/cookies", "/consent/missing")
        return pages + [await visitor.gets(path) for path in paths]

    pages = [text(sent) for sent in play(site([b"evil=1"], hostile), story)]
    assert any("&lt;script&gt;" in page for page in pages)
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page


@pytest.mark.parametrize(
    "name", ["_ga<script>alert(1)</script>", "_ga\"'><img", "_ga&amp", "_ga}}{{7*7}}", "_ga\u202e"]
)
def test_a_cookies_name_is_text_where_the_visitor_is_asked(site, name):
    line = name.encode() + b"=1; Path=/"

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        return [await visitor.gets("/"), await visitor.gets("/consent")], await visitor.gets("/consent/state")

    pages, state = play(site([line], debug=True), story)
    for page in map(text, pages):
        assert "_ga" in page
        assert "<script>alert" not in page
        assert "<img" not in page
    assert [cookie["name"] for cookie in json.loads(text(state))["waiting"]] == [name.encode().decode("latin-1")]


@pytest.mark.parametrize("path", [
    f"/{EVIL}",
    '/"onload="x',
    "/a\r\nSet-Cookie: x=1",
    "/a;Domain=evil.example",
    f"/consent/{EVIL}",
])  # fmt: skip
def test_an_address_is_text_in_pages_and_splits_no_header(site, path):
    async def story(visitor):
        visitor.browser.jar.clear()
        sent = await visitor.gets(path, cookie=b"theme=1")
        assert "<script>alert" not in text(sent)
        assert 'onload="' not in text(sent)
        for name, value in sent[0]["headers"]:
            assert not re.search(rb"[\r\n\0]", name + value)
            attributes = [part.strip().lower() for part in value.split(b";")] if name == b"set-cookie" else []
            assert not any(part.startswith((b"domain", b"onload")) for part in attributes)

    play(site(), story)


@pytest.mark.parametrize("field", ["choice", "purpose.x", "cookie.x", "answer", EVIL, "next", "language", "surface"])
def test_what_a_form_says_is_text_in_the_refusal_and_in_no_header(site, field):
    async def story(visitor):
        return await visitor.posts((field, EVIL + "\r\nX-Evil: 1"), *([] if field == "choice" else [("choice", "x")]))

    sent = play(site(), story)
    assert sent[0]["status"] in (400, 422)
    assert "Nothing was changed" in text(sent)
    assert "<script>alert" not in text(sent)
    assert not any(re.search(rb"[\r\n]", name + value) for name, value in sent[0]["headers"])


def test_the_language_of_a_query_is_one_of_ours_or_none(site):
    async def story(visitor):
        return await visitor.gets("/consent", query_string=b"lang=" + quote(EVIL).encode())

    sent = play(site(), story)
    assert header(sent, b"content-language") == b"en"
    assert "<script>alert" not in text(sent)


def test_cookie_names_split_no_debug_header(site):
    lines = [b"a\r\nX-Evil: 1=1", b"a\0b=1", b"\xff\xfe=1", b'q"=1', b"n" * 500 + b"=1"]

    async def story(visitor):
        return await visitor.gets()

    sent = play(site(lines, debug=True), story)
    assert set_cookies(sent) == []
    assert header(sent, b"consent-cookies")
    for name, value in sent[0]["headers"]:
        assert not re.search(rb"[\r\n\0]", name + value)


@pytest.mark.parametrize("path", ["/consent", "/consent/policy", "/consent/cookies", "/consent/state", "/consent/x"])
def test_nobody_frames_our_pages_and_nothing_inline_runs(site, path):
    async def story(visitor):
        return await visitor.gets(path)

    sent = play(site(), story)
    policy = header(sent, b"content-security-policy").decode()
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert header(sent, b"x-content-type-options") == b"nosniff"


# -- what is tossed in and played back ----------------------------------------------------------------------------


def consent_of(visitor):
    return next(held.value for key, held in visitor.browser.jar.items() if key.name.endswith(b"consent"))


def test_an_older_choice_played_back_beside_the_newer_is_no_choice(site):
    async def story(visitor):
        await visitor.picks("accept")
        older = consent_of(visitor)
        await visitor.picks("reject")
        newer = consent_of(visitor)
        for pair in ((older, newer), (newer, older), (older, older)):
            cookie = b"; ".join(b"__Host-consent=" + value for value in pair)
            assert set_cookies(await visitor.gets(cookie=cookie)) == []

    play(site([b"theme=1"]), story)


def test_a_choice_of_more_than_its_lifetime_ago_is_none(site):
    clock = Clock()

    async def story(visitor):
        await visitor.picks("accept")
        cookie = b"__Host-consent=" + consent_of(visitor)
        assert set_cookies(await visitor.gets(cookie=cookie)) == [b"theme=1"]
        clock.advance(timedelta(days=182))
        assert set_cookies(await visitor.gets(cookie=cookie)) == []

    play(site([b"theme=1"], clock=clock), story)


@pytest.mark.parametrize(
    "tossed",
    [
        b"consent=%s",  # without the prefix, from a sibling with Domain=example.com
        b"__host-consent=%s",
        b"__HOST-CONSENT=%s",
        b" __Host-consent =%s; __Host-consent=%s",
        b"=__Host-consent=%s",  # a cookie without a name that looks like ours
        b"__Host-consent=%s.x",
        b'__Host-consent="%s"',
        b"__Host-consent=%s,",
    ],
)
def test_on_https_only_the_prefixed_cookie_is_believed_and_only_one(site, tossed):
    async def story(visitor):
        await visitor.picks("accept")
        cookie = tossed.replace(b"%s", consent_of(visitor))
        assert set_cookies(await visitor.gets(cookie=cookie)) == []

    play(site([b"theme=1"]), story)


@pytest.mark.parametrize("line", [b"__Host-consent=1; Secure; Path=/", b"consent=1", b" consent =1; Max-Age=0",
                                  b"__Host-consent-pending=" + b"A" * 22, b"consent-pending=x"])  # fmt: skip
@pytest.mark.parametrize("choice", ["accept", "prompt", "reject"])
def test_an_application_cannot_write_or_delete_the_choice(site, line, choice):
    async def story(visitor):
        await visitor.picks(choice)
        return await visitor.gets()

    assert set_cookies(play(site([line]), story)) == []


def test_a_pending_session_that_was_tossed_in_twice_is_none(site):
    async def story(visitor):
        await visitor.picks("prompt")
        cookie = b"__Host-consent=" + consent_of(visitor) + b"; __Host-consent-pending=" + b"A" * 22
        lines = set_cookies(await visitor.gets(cookie=cookie + b"; __Host-consent-pending=" + b"B" * 22))
        assert lines[0].startswith(b"__Host-consent-pending=")
        assert not lines[0].startswith((b"__Host-consent-pending=" + b"A" * 22, b"__Host-consent-pending=" + b"B" * 22))

    play(site([b"theme=1"]), story)


# -- what is too much, or not a form ------------------------------------------------------------------------------


def test_a_body_that_no_form_has_is_refused_before_it_is_read_whole(site):
    async def story(visitor):
        incoming = [{"type": "http.request", "body": b"x" * 4_096, "more_body": True}] * 8
        headers = [(b"sec-fetch-site", b"same-origin"), (b"content-type", b"application/x-www-form-urlencoded")]
        return await visitor.gets("/consent/choice", method="POST", headers=headers, incoming=incoming)

    sent = play(site(), story)
    assert sent[0]["status"] == 413
    assert "Your answer is too large" in text(sent)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (b"text/plain", b"choice=accept", 415),
        (b"multipart/form-data; boundary=x", b"--x\r\n", 415),
        (b"", b"choice=accept", 415),
        (b"application/x-www-form-urlencoded", b"\xff\xfe=1", 400),
        (b"application/x-www-form-urlencoded", b"&".join([b"a=1"] * 500), 400),
        (b"application/x-www-form-urlencoded", b"choice=accept&choice=reject", 400),
        (b"application/x-www-form-urlencoded", b"", 422),
        (b"application/json", b"[" * 10_000, 400),
        (b"application/json", b'{"choice": {"a": 1}}', 400),
        (b"application/json", b'{"choice": ["accept", "reject"]}', 400),
        (b"application/json", b'["accept"]', 400),
        (b"application/json", b'"accept"', 400),
        (b"application/json", b"\xff", 400),
        (b"application/json", b'{"choice": "accept\\u0000"}', 422),
    ],
)
@pytest.mark.parametrize("json_", [False, True])
def test_what_is_no_answer_is_refused_and_never_an_error_of_ours(site, directory, kind, body, status, json_):
    async def story(visitor):
        headers = [(b"sec-fetch-site", b"same-origin"), (b"content-type", kind)]
        headers += [(b"accept", b"application/json")] if json_ else []
        incoming = [{"type": "http.request", "body": body}]
        return await visitor.gets("/consent/choice", method="POST", headers=headers, incoming=incoming)

    sent = play(site(), story)
    assert sent[0]["status"] == status
    assert set_cookies(sent) == []
    if json_:
        assert json.loads(text(sent))["error"] == "bad"
    else:
        assert "Nothing was changed" in text(sent)
    assert records(directory / "consent-data", "receipt") == []


@settings(max_examples=25, deadline=None)
@given(body=st.binary(max_size=60) | st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6))).map(
    lambda pairs: urlencode([("choice", "save"), *pairs], errors="replace").encode()))  # fmt: skip
def test_no_body_is_an_error_of_ours(tmp_path_factory, body):
    directory = tmp_path_factory.mktemp("site")
    (directory / "policy.toml").write_text(POLICY)

    async def app(scope, receive, send):
        raise AssertionError("the application sees no form of ours")

    async def story(visitor):
        headers = [(b"sec-fetch-site", b"same-origin"), (b"content-type", b"application/x-www-form-urlencoded")]
        incoming = [{"type": "http.request", "body": body}]
        return await visitor.gets("/consent/choice", method="POST", headers=headers, incoming=incoming)

    middleware = ConsentMiddleware(app, policy=directory / "policy.toml", secret_keys=[KEY], store="memory:")
    assert play(middleware, story)[0]["status"] in (303, 400, 422)
