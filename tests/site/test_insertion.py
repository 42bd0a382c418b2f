"""Where the banner goes into a page, which pages it leaves alone, and what the headers then say."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw._asgi import HeaderList, Message
from consent_mw.site.body_start import Opening, usual_place
from consent_mw.site.insertion import Insertion, altered_head, insertable, is_public, personal
from consent_mw.site.usual_page import TARGET, Words, with_words

HEAD = "<link>"
BODY = "<section>동의</section>"
PAGE = b"<!doctype html><html><head><title>x</title></head><body><p>y</p></body></html>"


def start(*headers: tuple[str, str], status: int = 200, kind: str = "text/html; charset=utf-8") -> Message:
    lines = [(name.encode(), value.encode()) for name, value in (("Content-Type", kind), *headers)]
    return {"type": "http.response.start", "status": status, "headers": lines}


def messages(page: bytes, cuts: list[int] | None = None) -> Iterator[Message]:
    edges = [0, *sorted(cut % (len(page) + 1) for cut in cuts or ()), len(page)]
    for number, (begin, end) in enumerate(pairwise(edges), start=2):
        yield {"type": "http.response.body", "body": page[begin:end], "more_body": number < len(edges)}


def send(insertion: Insertion, page: bytes, cuts: list[int] | None = None) -> list[Message]:
    return [out for message in messages(page, cuts) for out in insertion.feed(message)]


def body(sent: list[Message]) -> bytes:
    assert sent[0]["type"] == "http.response.start"
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return b"".join(message["body"] for message in sent[1:])


def inserted(page: bytes, cuts: list[int] | None = None) -> bytes:
    return body(send(Insertion(start(), HEAD, BODY), page, cuts))


def header(message: Message, name: bytes) -> list[bytes]:
    headers: HeaderList = message["headers"]
    return [value for key, value in headers if key.lower() == name]


# « marks where the head's part comes to stand, » the body's.
PLACES = {
    "an ordinary page": "<!doctype html><html><head><title>x</title>«</head><body class=a>»<p>",
    "upper case": "<!DOCTYPE HTML><HTML><HEAD>«</HEAD><BODY ID=a>»<P>",
    "no doctype": "<html>«<body>»",
    "a body alone": "«<body>»<p>y",
    "a body that ends at once": "<!doctype html>«<body/>»",
    "no head tag": "<!doctype html><meta charset=utf-8><title>x</title>«<body>»<p>",
    "no body tag": "<!doctype html><head><title>x</title>«</head>»<p>y",
    "neither tag": "<!doctype html><title>x</title>«»<p>y",
    "text begins the body": "<!doctype html><title>x</title>\n «»text <body>",
    "nothing after the head": "<!doctype html><title>x</title>«»",
    "an end tag opens the body": "<html><head>«</head>»</body></html>",
    "a stray end tag does not": "<html></p></3></>«<body>»",
    "a body in a comment": "<!doctype html><!-- <body> --><head>«</head><!--<body>--><body>»",
    "a comment that ends early": "<html><!-->«<body>»--><body>",
    "a comment that ends with a bang": "<html><!-- a --!>«<body>»-->",
    "a bang does not end an empty comment": "<html><!--!><body>-->«<body>»",
    "a body in a script": "<html><script>'<body></head>'</script>«<body>»",
    "a body in a style": "<html><style>/*<body>*/</STYLE >«<body>»",
    "a body in the title": "<html><title></titles><body></title>«<body>»",
    "a body in a noscript": "<html><noscript><link><body></noscript>«<body>»",
    "a body in a template": "<html><template><body></template>«<body>»",
    "a template in a template": "<html><template><template></template><body></template>«<body>»",
    "a body in an attribute": "<html title='<body>' lang=\"><body>\"><meta a= b content = '>'>«<body>»",
    "a sign in an attribute of the body": "<!doctype html>«<body title=\"a>b\" data-x = '>' b='>'>»",
    "quotes inside an unquoted value": '<html><meta a=b"c=\'d>«<body>»">',
    "a quote that opens nothing": "<html><meta it's>«<body>»'>",
    "a script behind the head": "<html><head>«</head><script><body></script><body>»",
    "two heads' ends": "<html><head>«</head></head><body>»",
    "an element whose name only begins alike": "<!doctype html><html>«»<bodyguard><body>",
    "a header, not a head": "<!doctype html>«»<header></head><body>",
    "an XML declaration": "<?xml version='1.0'?><!DOCTYPE html><html>«<body>»",
    "a byte order mark": "\ufeff<!doctype html>«<body>»",
    "a less-than sign alone": "<!doctype html>«»< body>",
}
LEFT_ALONE = {
    "nothing": "",
    "a fragment": "<p>some rows</p>",
    "a row": "<tr><td>1</td></tr>",
    "text": "plain",
    "a fragment with a title": "<title>new</title><p>rows</p>",
    "a fragment with a script": "<script>1</script><div><body></div>",
    "a frameset": "<!doctype html><html><head></head><frameset><frame></frameset>",
    "an unclosed comment": "<!doctype html><!-- <body><p>",
    "an unclosed script": "<!doctype html><script><body>",
    "an unclosed body tag": "<!doctype html><body class='>",
    "a tag's name cut off": "<!doctype html><bod",
    "other charsets' bytes": "\ufffe<\0b\0o\0d\0y\0>",
}


@pytest.mark.parametrize("marked", PLACES.values(), ids=PLACES)
def test_the_head_s_part_ends_the_head_and_the_body_s_part_begins_the_body(marked: str) -> None:
    page = marked.replace("«", "").replace("»", "").encode()
    assert inserted(page) == marked.replace("«", HEAD).replace("»", BODY).encode()


@pytest.mark.parametrize("page", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_a_page_without_a_place_for_it_leaves_as_it_came(page: str) -> None:
    first = start(("ETag", '"1"'), ("Content-Length", str(len(page.encode()))))
    sent = send(Insertion(first, HEAD, BODY), page.encode(), [1, 2, 3])
    assert sent[0] is first
    assert sent[1:] == list(messages(page.encode(), [1, 2, 3]))


PIECES = ["<!doctype html>", "<html>", "<head>", "</head>", "<body a='>'>", "<body>", "<!--", "-->", "--!>", "<script>",
          "</script>", "<template>", "</template>", "<meta a=",
          "'", '"', ">", "<", "</", "\ufeff", " ", "<p>", "é"]  # fmt: skip
PAGES = st.lists(st.sampled_from(PIECES), max_size=20).map(lambda pieces: "".join(pieces).encode())


@given(page=PAGES | st.binary(), cuts=st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_the_page_is_cut_into_chunks(page: bytes, cuts: list[int]) -> None:
    assert inserted(page, cuts) == inserted(page)


#: What a usual head is made of, and what is nearly that.
HEADS = [
    b"<!doctype html>", b"<!DOCTYPE html PUBLIC 'x>'>", b"<HTML lang=en>", b"<head class='a>b'>", b"</head>",
    b"</HEAD >",
    b"<meta a = 'x' b=c>", b'<meta content="a>b"/>', b'<meta a=b">', b"<meta =a>", b"<meta a==>", b"<metax>", b"<meta",
    b"<link href=a/b>", b"<base href=>", b"<title>a<b</title>", b"<title></b></title>", b"<TITLE>x</title x='>'>",
    b"<title>", b"</title>", b"<script>a<b</script>", b"<script><!-- <script> --></script>", b"<script>", b"</SCRIPT>",
    b"<style>a{}</style>", b"<!-- a -->", b"<!-->", b"<!--->", b"<!-- a--!>", b"<!-- -- -->", b" ", b"\n", b"x",
    b"<div>",
    b"\xef\xbb\xbf", b"<noscript><p></noscript>", b"<template><body></template>", b"</body>", b"<body>", b"<bodyx>",
    b"<BODY class='a>b'>", b"<body\n>",
]  # fmt: skip


@given(st.lists(st.sampled_from(HEADS), max_size=9), st.sampled_from([b"<body>", b"<body a='>'>x", b""]))
@settings(max_examples=500)
def test_a_usual_head_is_read_at_once_as_it_is_read_byte_by_byte(pieces: list[bytes], end: bytes) -> None:
    page = b"".join(pieces) + end
    at_once, slowly = Opening(), Opening()
    place = at_once.read(page, last=True)
    steps = (slowly.read(page[at : at + 1], last=at == len(page) - 1) for at in range(len(page)))
    assert place == next((step for step in steps if step is not None), None)
    assert place is not None or not page or (at_once.ended == slowly.ended)


@given(page=PAGES, cuts=st.lists(st.integers(0, 200)), limit=st.integers(1, 60))
def test_nor_where_the_limit_falls(page: bytes, cuts: list[int], limit: int) -> None:
    whole = body(send(Insertion(start(), HEAD, BODY, limit_bytes=limit), page))
    assert body(send(Insertion(start(), HEAD, BODY, limit_bytes=limit), page, cuts)) == whole


@given(page=PAGES | st.binary(), cuts=st.lists(st.integers(0, 200)))
def test_taking_it_out_again_gives_the_page_and_the_length_is_right(page: bytes, cuts: list[int]) -> None:
    sent = send(Insertion(start(("Content-Length", str(len(page)))), "\1", "\2\3"), page, cuts)
    out = body(sent)
    assert header(sent[0], b"content-length") == [b"%d" % len(out)]
    if len(out) != len(page):
        before, _, after = out.partition(b"\1") if out.count(b"\1") == 1 else (out, b"", b"")
        assert not after or before + after.replace(b"\2\3", b"", 1) == page


def test_a_long_page_in_single_bytes_is_read_once() -> None:
    page = b"<!doctype html><!--" + b"-" * 300_000 + b" --><body " + b"a='b' " * 10_000 + b">"
    insertion = Insertion(start(), HEAD, BODY)
    sent = send(insertion, page, list(range(len(page))))
    assert body(sent) == page.replace(b"<body", HEAD.encode() + b"<body") + BODY.encode()


def test_what_follows_the_body_tag_streams_on_as_it_comes() -> None:
    insertion = Insertion(start(("Content-Length", "1000")), HEAD, BODY)
    assert insertion.feed({"type": "http.response.body", "body": PAGE[:30], "more_body": True}) == []
    first = insertion.feed({"type": "http.response.body", "body": PAGE[30:], "more_body": True})
    assert [message["type"] for message in first] == ["http.response.start", "http.response.body"]
    assert first[1]["more_body"] is True
    for later in messages(b"<body>more", [3]):
        assert insertion.feed(later) == [later]


AT_END = PAGE.replace(b"<body>", b"<body class=a data-consent-mw='end'>")


@given(st.lists(st.integers(0, 200)))
def test_a_body_that_says_so_gets_it_behind_all_that_it_contains(cuts: list[int]) -> None:
    form = "<section><form a><button></form></section>"
    sent = body(send(Insertion(start(), HEAD, form), AT_END, cuts))
    page, _, rest = sent.partition(b"</html>")
    assert page + b"</html>" == AT_END.replace(b"</head>", b"<link></head>")
    assert rest.index(b"<section>") < rest.index(b"</form><form id=")
    assert with_words(AT_END, Words.of(HEAD, BODY), b"/") is None


@pytest.mark.parametrize("kept", [len(AT_END), len(AT_END) - 1, len(AT_END) - 7])
def test_one_that_is_too_long_or_does_not_end_gets_it_at_its_beginning(kept: int) -> None:
    insertion = Insertion(start(), HEAD, BODY, limit_bytes=AT_END.index(b"</p>"))
    sent = body(send(insertion, AT_END[:kept], [AT_END.index(b"y"), AT_END.index(b"</html>")]))
    assert sent == AT_END[:kept].replace(b"</head>", b"<link></head>").replace(b"<p>", BODY.encode() + b"<p>")


def test_what_was_received_is_not_changed() -> None:
    first = start(("Content-Length", str(len(PAGE))), ("Vary", "Accept"), ("Cache-Control", "max-age=5"))
    before = [*first["headers"]]
    received = list(messages(PAGE, [40]))
    insertion = Insertion(first, HEAD, BODY)
    for message in received:
        insertion.feed(message)
    assert first["headers"] == before
    assert received == list(messages(PAGE, [40]))


def test_a_page_whose_body_begins_beyond_the_limit_leaves_chunk_by_chunk() -> None:
    page = b"<!doctype html><!--" + b"x" * 100 + b"--><body>"
    first = start()
    sent = send(Insertion(first, HEAD, BODY, limit_bytes=64), page, [10, 60, 70])
    assert sent == [first, *messages(page, [10, 60, 70])]


def test_a_file_sent_past_us_and_an_application_that_stops_leave_what_was_held_unchanged() -> None:
    first, file = start(), {"type": "http.response.pathsend", "path": "/a.html"}
    assert Insertion(first, HEAD, BODY).feed(file) == [first, file]
    insertion = Insertion(first, HEAD, BODY)
    part = {"type": "http.response.body", "body": b"<!doc", "more_body": True}
    assert insertion.feed(part) == []
    assert insertion.close() == [first, part]
    assert insertion.close() == []


@pytest.mark.parametrize(
    "kind",
    ["text/html", 'Text/HTML ;charset="shift_jis"']
    + [f"text/html; charset={name}" for name in ("EUC-KR", "windows-31j", "x-sjis", "iso-8859-8-i", "utf8mb4")],
)
def test_a_page_not_said_to_be_utf_8_gets_character_references(kind: str) -> None:
    first = start(kind=kind)
    assert insertable("GET", first)
    assert b"<section>&#46041;&#51032;</section>" in body(send(Insertion(first, HEAD, BODY), PAGE))


@pytest.mark.parametrize(
    "answer",
    [
        *(start(status=status) for status in (103, 204, 205, 206, 302, 304)),
        *(start(kind=kind) for kind in ("text/plain", "text/event-stream", "application/xhtml+xml", "text/htmlx", "")),
        *(start(kind=f"text/html; charset={name}") for name in ("utf-16", "utf-32le", "iso-2022-jp", "hz", "Unicode")),
        start(("Content-Encoding", "gzip")),
        start(("Content-Range", "bytes 0-5/10")),
        start(("Content-Disposition", "Attachment; filename=a.html")),
        start(("Cache-Control", "max-age=3"), ("cache-control", "No-Transform")),
        start(("Content-Type", "text/html")),
        start(("Content-Length", "many")),
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.start", "status": 200, "headers": []},
    ],
    ids=lambda answer: f"{answer['status']} {answer.get('headers')}",
)
def test_what_is_no_complete_readable_page_is_left_alone(answer: Message) -> None:
    assert not insertable("GET", answer)
    assert altered_head(answer) is answer


@pytest.mark.parametrize("status", [200, 201, 403, 404, 422, 500])
def test_a_page_that_says_what_went_wrong_is_one(status: int) -> None:
    assert insertable("GET", start(status=status))


def test_a_page_is_taken_for_every_method_but_head() -> None:
    page = start(("Content-Encoding", "identity"), ("Content-Disposition", "inline"), ("Content-Length", "5"))
    assert insertable("GET", page)
    assert insertable("POST", page)
    assert not insertable("HEAD", page)


@pytest.mark.parametrize("coding", ["utf-8", "none", "identity, UTF-8", ""])
def test_what_is_no_coding_of_a_browser_is_shown_as_it_comes_and_gets_one(coding: str) -> None:
    assert insertable("GET", start(("Content-Encoding", coding)))
    assert not insertable("GET", start(("Content-Encoding", coding), ("Content-Encoding", "x-gzip")))


DESCRIBED = [
    ("ETag", '"1"'), ("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT"), ("Digest", "a"), ("Content-Digest", "a"),
    ("Repr-Digest", "a"), ("Content-MD5", "a"), ("Accept-Ranges", "bytes"), ("X-Mine", "é"),
]  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
def test_head_agrees_with_get_and_what_described_the_old_bytes_is_gone(shared: bool) -> None:
    first = start(*DESCRIBED, ("Content-Length", str(len(PAGE))), ("Cache-Control", "public, max-age=60"))
    got = send(Insertion(first, HEAD, BODY, shared=shared), PAGE)[0]
    lines: HeaderList = got["headers"]
    assert altered_head(first, shared=shared)["headers"] == [line for line in lines if line[0] != b"Content-Length"]
    names = {name.lower() for name, _ in lines}
    assert names - {b"vary"} == {b"content-type", b"content-length", b"x-mine", b"cache-control"}
    assert header(got, b"cache-control") == [b"public, max-age=60" if shared else b"private, max-age=60"]
    assert header(got, b"vary") == ([] if shared else [b"Cookie"])


@pytest.mark.parametrize(
    ("control", "vary", "private", "varied"),
    [
        ([], [], b"private", b"Cookie"),
        (["public, s-maxage=9", "Max-Age=5"], ["Accept", "cookie"], b"private, Max-Age=5", b"Accept, cookie"),
        (["no-store"], ["*"], b"no-store", b"*"),
        (['private="set-cookie, x", no-cache="a, b"'], [""], b'private, no-cache="a, b"', b"Cookie"),
    ],
)
def test_a_personal_page_is_for_no_shared_cache(
    control: list[str], vary: list[str], private: bytes, varied: bytes
) -> None:
    targeted = [("CDN-Cache-Control", "max-age=9"), ("Surrogate-Control", "a"), ("X-Accel-Expires", "60")]
    lines = [("Cache-Control", value) for value in control] + [("Vary", value) for value in vary]
    page = personal(start(*targeted, *lines))
    assert header(page, b"cache-control") == [private]
    assert header(page, b"vary") == [varied]
    assert len(page["headers"]) == 3


@pytest.mark.parametrize(
    ("control", "public"),
    [("public", True), ("S-MaxAge=5", True), ("max-age=5", False), ("public, no-store", False), ('x="public"', False)],
)
def test_a_page_is_public_where_it_says_so(control: str, public: bool) -> None:
    assert is_public(start(("Cache-Control", control))) is public


@pytest.mark.parametrize(
    "script",
    [
        b"<script><!-- var t = '<script src=x></script>'; //--></script>",
        b"<script><!-- <script> <script> </script> x</script>",
        b"<script><!--><script></script>",
        b"<script>var t = '<script>'</script>",
    ],
)
def test_a_script_ends_where_a_browser_ends_it(script: bytes) -> None:
    page = b"<!doctype html><html><head>" + script + b"</head><body><p>x</p></body></html>"
    assert script + HEAD.encode() in body(send(Insertion(start(), HEAD, BODY), page))


def test_below_a_base_of_the_page_our_addresses_are_whole() -> None:
    ours = '<a href="/consent/policy">p</a>'
    absolute = ("/consent", "https://shop.example/consent")
    for head, expected in (
        (b'<BASE href="//cdn.example/">', b'"https://shop.example/consent/policy"'),
        (b"", b'"/consent/policy"'),
    ):
        page = b"<!doctype html><head>" + head + b"</head><body></body>"
        assert expected in body(send(Insertion(start(), "", ours, absolute=absolute), page))


@pytest.mark.parametrize("page", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("target", ["/books?a=1&b=2", "/책"])
def test_the_usual_page_becomes_in_one_step_what_it_becomes_in_several(page: str, target: str) -> None:
    plain = page.replace("«", "").replace("»", "").encode()
    words, address = Words.of(HEAD, f"<a href='{TARGET}'>동의</a><b>{TARGET}</b>"), escape(target).encode()
    usual = with_words(plain, words, address)
    slow = body(send(Insertion(start(), *words.texts(address)), plain))
    assert usual in (None, slow)
    assert (usual is None) == ("body" not in page.lower() or usual_place(plain) is None)


def test_the_usual_way_is_taken_by_ordinary_pages_and_left_for_those_with_a_base() -> None:
    words = Words.of(HEAD, BODY)
    assert with_words(b"<!doctype html><head><title>x</title></head><body>", words, b"/") is not None
    assert with_words(b"<!doctype html><head><BASE href=/x></head><body>", words, b"/") is None
