"""Bodies through the whole middleware: cut anywhere, in other charsets, compressed, without end."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.gzip import GZipMiddleware
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import ASGIApp, Message

# The trailing bytes of 表 and ソ in Shift_JIS are a backslash, of 궇 in CP949 a letter: what a careless search finds.
TEXTS = {
    "utf-8": "동의 é 表ソ 궇 😀",
    "euc-kr": "동의 없이",
    "cp949": "동의 궇뷁",
    "shift_jis": "表示ソフト",
    "gb18030": "表示 동의 😀",
    "big5": "功能許蓋",
    "iso-8859-1": "café ÿ",
    "koi8-r": "согласие",
}
UNREADABLE = ("utf-16", "utf-16-le", "utf-32", "iso-2022-kr", "iso-2022-jp", "hz")
DOCUMENT = "<!doctype html><html><head><title>{0}</title><!-- {0} <body> --></head><body class='{0}'><p>{0}</p>{1}"
CONTROLS = re.compile(rb'name="\w+" value="[^"]*"')
OURS = re.compile(
    rb'<link rel="stylesheet".*?</script>\s*|<consent-mw id="consent-mw".*?</consent-mw>\s*|'
    rb'</form><form id="consent-mw-.*\Z',
    re.DOTALL,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ConsentMiddleware:
    directory: Path = tmp_path_factory.mktemp("site")
    (directory / "policy.toml").write_text(POLICY)

    async def application(scope, receive, send):
        await scope["app"](scope, receive, send)

    return ConsentMiddleware(application, policy=directory / "policy.toml", secret_keys=["a key of these tests only"])


def sends(chunks: list[bytes], *headers: tuple[str, str]) -> ASGIApp:
    """An application that answers with `chunks`."""

    async def application(scope, receive, send):
        lines = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        for number, chunk in enumerate(chunks, 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})

    return application


def answer(site: ConsentMiddleware, chunks: list[bytes], *headers: tuple[str, str]) -> list[Message]:
    return asyncio.run(drive(site, scope(app=sends(chunks, *headers))))


def body(sent: list[Message]) -> bytes:
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return b"".join(message["body"] for message in sent[1:])


def length(sent: list[Message]) -> int | None:
    return next((int(value) for name, value in sent[0]["headers"] if name == b"content-length"), None)


def cut(page: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(page) + 1) for place in places), len(page)]
    return [page[start:end] for start, end in pairwise(edges)]


@given(charset=st.sampled_from(sorted(TEXTS)), places=st.lists(st.integers(0, 400), max_size=8), declared=st.booleans())
def test_a_page_in_any_readable_charset_cut_anywhere_gets_the_same_banner(
    site: ConsentMiddleware, charset: str, places: list[int], declared: bool
) -> None:
    page = DOCUMENT.format(TEXTS[charset], "</body></html>").encode(charset)
    headers = [("Content-Type", f"text/html; charset={charset}")] + [("Content-Length", str(len(page)))] * declared
    whole, pieces = answer(site, [page], *headers), answer(site, cut(page, places), *headers)
    for sent in (whole, pieces):  # but for where the form stands: at the end of what came whole
        assert length(sent) == (len(body(sent)) if declared else None)
        assert OURS.sub(b"", body(sent)) == page
        assert "data-consent" in body(sent).decode(charset)
    assert CONTROLS.findall(body(whole)) == CONTROLS.findall(body(pieces))
    assert TEXTS[charset] in body(whole).decode(charset)


@pytest.mark.parametrize("charset", UNREADABLE)
def test_a_page_in_which_tags_cannot_be_found_leaves_chunk_by_chunk(site: ConsentMiddleware, charset: str) -> None:
    chunks = cut(DOCUMENT.format("abc", "").encode(charset), [10, 50, 51])
    sent = answer(site, chunks, ("Content-Type", f"text/html; charset={charset}"))
    assert [message["body"] for message in sent[1:]] == chunks


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_application_that_compresses_is_asked_not_to(site: ConsentMiddleware, method: str) -> None:
    page = DOCUMENT.format("x", "</body></html>").encode()
    headers = [(b"host", b"shop.example"), (b"accept", b"text/html"), (b"accept-encoding", b"gzip")]
    app = GZipMiddleware(sends([page], ("Content-Type", "text/html")), minimum_size=1)
    sent = asyncio.run(drive(site, scope(app=app, method=method, headers=headers)))
    assert b"data-consent" in body(sent)


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("zstd", bytes)]
)
def test_a_compressed_page_leaves_as_it_came(site: ConsentMiddleware, coding: str, compress) -> None:
    page = compress(DOCUMENT.format("x", "").encode())
    headers = (("Content-Type", "text/html"), ("Content-Encoding", coding), ("Content-Length", str(len(page))))
    sent = answer(site, cut(page, [5, 9]), *headers)
    assert (body(sent), length(sent)) == (page, len(page))


@pytest.mark.parametrize(
    ("page", "header", "said"),
    [
        (gzip.compress(b"<!doctype html><body>x", mtime=0), ("Content-Encoding", "gzip"), "is compressed"),
        (b"<!doctype html><body>x", ("Cache-Control", "max-age=9, no-transform"), "no-transform"),
        (b"<!doctype html><body>x", ("Content-Type", "text/html; charset=utf-16"), "Send utf-8"),
        (b"<!doctype html><style>" + b"x" * 1_100_000 + b"</style><body>x", None, "first mebibyte"),
        (b"<!doctype html><frameset><frame src=a></frameset>", None, "frameset"),
        (b"<!DOCTYPE html><head><!-- <body>x", None, "never closed"),
        ("<!doctype html><body>x".encode("utf-16"), None, "Send utf-8"),
        ("<!doctype html><body>x".encode("utf-16"), ("Content-Type", "text/html; charset=utf-8"), "Send utf-8"),
        ('<?xml version="1.0"?><body>x'.encode("utf-16-be"), None, "Send utf-8"),
        (b"<!doctype html><body>x", ("Content-Type", "application/xhtml+xml"), "Send text/html"),
        (b"<!doctype html><body>x", ("X-Frame-Options", "DENY"), "no Content-Type"),
        (b"<!doctype html><body>x", ("Vary", "Accept"), "no Content-Type"),
        (b"<!doctype html><body>x", ("content-type", "text/html"), "more than one Content-Type"),
        (b"<!doctype html><body>x", ("content-type", "text/plain"), "more than one Content-Type"),
    ],
    ids=[
        *("compressed", "no-transform", "utf-16", "late", "frameset", "unclosed", "mark", "mark-beats-header"),
        *("xml", "xhtml", "untyped", "untyped-varies", "two-types", "two-other-types"),
    ],
)
def test_what_no_banner_can_be_put_into_is_said_once_with_the_fix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, page: bytes, header: tuple[str, str] | None, said: str
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    headers = [header] if header else []
    if "no Content-Type" not in said and (not header or header[0] != "Content-Type"):
        headers.append(("Content-Type", "text/html"))
    app = sends(cut(page, [5, 700_000]), *headers)
    site = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=["a key of these tests only"])
    browser = scope("/shelf", headers=[(b"accept", b"text/html"), (b"accept-encoding", b"gzip")])
    for asked in (scope("/part"), browser, browser):  # what asks for no page may get what it likes
        assert body(asyncio.run(drive(site, asked))) == page
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("nobody is asked on /shelf: ")
    assert said in line
    assert "place the banner in a template" in line


@pytest.mark.parametrize(
    ("page", "header"),
    [
        (b"<p>a part for a script</p>", ("Vary", "HX-Request")),
        (gzip.compress(b"<!doctype html><body>x", mtime=0), ("Content-Disposition", "attachment; filename=a.html.gz")),
        (b"<!doctype html><body>x", ("Vary", "Accept")),
        (b"{}", ("Content-Type", "application/json")),
    ],
    ids=["part", "attachment", "page", "data"],
)
def test_what_is_not_to_be_asked_on_is_not_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, page: bytes, header: tuple[str, str]
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    app = sends([page], *[("Content-Type", "text/html")] * (header[0] != "Content-Type"), header)
    site = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=["a key of these tests only"])
    asyncio.run(drive(site, scope("/", headers=[(b"accept", b"text/html")])))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_enormous_page_streams_and_is_never_gathered(site: ConsentMiddleware) -> None:
    chunk, count = b"<p>" + b"x" * 65_533, 2_000
    seen: list[int] = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<!doctype html><body>", "more_body": True})
        for number in range(count):
            before = len(seen)
            await send({"type": "http.response.body", "body": chunk, "more_body": number < count - 1})
            assert len(seen) == before + 1  # it left before the next one is made

    async def send(message: Message) -> None:
        seen.append(len(message.get("body", b"")))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(site(scope(app=application), receive, send))
    assert seen[2:] == [len(chunk)] * count


def test_a_page_whose_body_does_not_begin_is_held_for_a_mebibyte_and_no_more(site: ConsentMiddleware) -> None:
    chunks = [b"<!doctype html><!--", *[b"-" * 65_536] * 40, b"--><body>"]
    held: list[int] = []
    seen: list[bytes] = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        for number, chunk in enumerate(chunks, 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})
            held.append(sum(map(len, chunks[:number])) - sum(map(len, seen)))

    async def send(message: Message) -> None:
        seen.append(message.get("body", b""))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(site(scope(app=application), receive, send))
    assert seen[1:] == chunks
    assert 1 << 19 < max(held) <= 1 << 20
    assert held[-1] == 0


@pytest.mark.parametrize(
    "page",
    [
        "<!doctype html><script>'<body>'</script><template><body></template><body>{}",
        "<!doctype html><!-- <body> --><noscript><body></noscript><title><body></title><body>{}",
        "<!doctype html><html data-x='<body>'><style>/*<body>*/</style><body>{}",
    ],
)
def test_nothing_comes_to_stand_where_a_browser_would_not_show_it(site: ConsentMiddleware, page: str) -> None:
    sent = body(answer(site, [page.format("<p>").encode()], ("Content-Type", "text/html"))).decode()
    before, banner, after = sent.partition('<consent-mw id="consent-mw"')
    assert banner
    assert re.sub(r'<link rel="stylesheet".*?</script>\s*', "", before, flags=re.DOTALL) == page.format("")
    assert after.endswith("<p>")
