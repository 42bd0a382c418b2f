"""Two visitors behind one shared cache, a real nginx: what it may keep, and what 304, HEAD and Range say of a page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from tests.support.asgi import drive, scope
from tests.support.nginx import shared_cache
from tests.support.policies import POLICY
from tests.support.serving import served

from consent_mw import ConsentMiddleware, get_consent
from consent_mw.site.insertion import unconditional

PAGE = "<!doctype html><html lang=en><head><title>t</title></head><body><main>{}</main></body></html>"
NAVIGATES = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "en"}
PUBLIC = {"cache-control": "public, s-maxage=60"}
BANNER, ITS_BANNER = 'data-consent="banner"', 'data-consent="banner" data-prefix="/consent"'
# What two answers to one request need not share: when, over which connection, and how long a body that HEAD lacks is.
OF_THE_MOMENT = {"date", "x-cache", "connection", "transfer-encoding", "content-length"}


async def public(request: Request) -> Response:
    return HTMLResponse(PAGE.format("for all"), headers=PUBLIC)


async def korean(request: Request) -> Response:
    return HTMLResponse(PAGE.format("모두"), headers={**PUBLIC, "content-language": "ko-KR"})


async def private(request: Request) -> Response:
    return HTMLResponse(PAGE.format(request.cookies.get("session", "nobody")))


async def themed(request: Request) -> Response:
    response = HTMLResponse(PAGE.format("themed"), headers=PUBLIC)
    response.set_cookie("theme", request.query_params.get("theme", "dark"), max_age=3600)
    return response


async def surprise(request: Request) -> Response:
    response = JSONResponse({"for": "all"}, headers=PUBLIC)
    response.set_cookie("surprise", "1")
    return response


async def moved(request: Request) -> Response:
    response = RedirectResponse("/public", 301, headers=PUBLIC)
    response.set_cookie("theme", "moved")
    return response


async def numbers(request: Request) -> Response:
    return JSONResponse([1, 2, 3])


async def brief(request: Request) -> Response:
    headers = {"cache-control": "public, s-maxage=1", "etag": '"1"', "last-modified": "Mon, 23 Nov 2026 00:00:00 GMT"}
    return HTMLResponse(PAGE.format("for a second"), headers=headers)


async def granted(request: Request) -> Response:
    get_consent(request).grant("functional")
    return HTMLResponse(PAGE.format("granted"), headers=PUBLIC)


def application(directory: Path) -> ConsentMiddleware:
    files = directory / "files"
    files.mkdir(exist_ok=True)
    (files / "index.html").write_text(PAGE.format("from a file " + "x" * 4_000))
    (files / "style.css").write_text("body {}" * 200)
    (directory / "policy.toml").write_text(POLICY)

    async def file(request: Request) -> Response:
        return FileResponse(files / "index.html")

    pages = (public, korean, private, themed, surprise, moved, numbers, brief, granted, file)
    routes = [Route(f"/{page.__name__}", page) for page in pages]
    app = Starlette(routes=[*routes, Mount("/files", StaticFiles(directory=files, html=True))])
    return ConsentMiddleware(app, policy=directory / "policy.toml", secret_keys=["a key of these tests only"])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(application(tmp_path_factory.mktemp("site"))) as port:
        yield port


@pytest.fixture
def cache(port: int, tmp_path: Path) -> Iterator[str]:
    """The address of a cache that holds nothing yet."""
    with shared_cache(port, tmp_path) as address:
        yield address


@pytest.fixture
def visitors(cache: str) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two browsers without JavaScript, in front of one cache."""
    with (
        httpx.Client(base_url=cache, headers=NAVIGATES, timeout=60) as one,
        httpx.Client(base_url=cache, headers=NAVIGATES, timeout=60) as other,
    ):
        yield one, other


def picks(visitor: httpx.Client, choice: str) -> None:
    answer = visitor.post("/consent/choice", data={"choice": choice}, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 303
    assert "consent" in visitor.cookies


def kept(answer: httpx.Response) -> str:
    """What the cache says of this answer: HIT came from it."""
    return answer.headers["x-cache"]


# -- what a shared cache may keep ------------------------------------------------------------------------------------


def test_a_public_page_stays_in_the_cache_with_one_body_for_whoever_answered_what(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = visitors
    first = one.get("/public")
    picks(one, "accept")
    picks(other, "reject")
    answers = [one.get("/public"), other.get("/public"), httpx.get(f"{one.base_url}/public", headers=NAVIGATES)]
    assert kept(first) == "MISS"
    assert [kept(answer) for answer in answers] == ["HIT"] * 3
    assert {answer.text for answer in answers} == {first.text}
    assert first.headers["cache-control"] == "public, s-maxage=60"
    assert "set-cookie" not in first.headers
    assert " data-shared hidden>" in first.text  # shown by our script, after it asked /consent/state


def test_what_the_script_of_a_public_page_asks_for_is_never_in_the_cache(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = visitors
    picks(other, "reject")
    states = [visitor.get("/consent/state") for visitor in (one, other, one)]
    assert [state.json()["show"] for state in states] == [True, False, True]
    assert "HIT" not in [kept(state) for state in states]


def test_the_banner_of_a_public_page_speaks_the_language_of_the_page_and_not_of_the_first_visitor(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, _ = visitors
    english = {"Accept-Language": "en"}
    assert 'lang="ko"' in one.get("/korean", headers=english).text
    assert 'lang="ko"' in one.get("/public", headers=english).text  # says nothing: the policy's first language
    assert 'lang="en"' in one.get("/private", headers=english).text


def test_a_page_that_does_not_call_itself_public_is_kept_for_nobody_else(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = visitors
    picks(other, "reject")
    one.cookies.set("session", "one")
    other.cookies.set("session", "other")
    mine, theirs, again = one.get("/private"), other.get("/private"), one.get("/private")
    assert [kept(answer) for answer in (mine, theirs, again)] == ["MISS"] * 3
    assert BANNER in mine.text
    assert BANNER not in theirs.text
    assert "<main>one<" in again.text
    assert "<main>other<" in theirs.text
    assert {answer.headers["cache-control"] for answer in (mine, theirs)} == {"private"}
    assert "Cookie" in mine.headers["vary"]


@pytest.mark.parametrize("path", ["/themed", "/moved"])
def test_a_cookie_that_one_visitor_allowed_reaches_no_other_through_the_cache(
    path: str, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    one, other = visitors
    picks(one, "accept")
    picks(other, "reject")
    answers = [visitor.get(path) for visitor in (one, other, one, other)]
    assert "HIT" not in [kept(answer) for answer in answers]
    assert ["set-cookie" in answer.headers for answer in answers] == [True, False, True, False]
    assert "theme" not in other.cookies


def test_a_cookie_that_waits_for_one_visitor_is_known_to_no_other(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = visitors
    picks(one, "prompt")
    picks(other, "prompt")
    asked = one.get("/themed", params={"theme": "mine-alone"})
    assert "consent-pending" in one.cookies
    assert "theme" not in one.cookies
    assert kept(other.get("/private")) == "MISS"
    assert 'data-consent="waiting"' in one.get("/private").text
    assert 'data-consent="waiting"' not in other.get("/private").text
    assert other.cookies["consent-pending"] != one.cookies["consent-pending"]
    assert kept(one.get("/themed", params={"theme": "mine-alone"})) == kept(asked) == "MISS"


def test_the_answer_that_carries_a_choice_is_kept_for_nobody(visitors: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = visitors
    mine, theirs = one.get("/granted"), other.get("/granted")
    assert kept(mine) == kept(theirs) == "MISS"
    assert mine.headers["set-cookie"].startswith("consent=")
    assert mine.headers["set-cookie"] != theirs.headers["set-cookie"]


def test_what_nobody_s_choice_could_change_stays_in_the_cache(visitors: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = visitors
    picks(other, "accept")
    for path in ("/surprise", "/numbers", "/files/style.css"):
        answers = [one.get(path), other.get(path)]
        assert [kept(answer) for answer in answers] == ["MISS", "HIT"], path
        assert "vary" not in answers[0].headers
    assert "surprise" not in other.cookies


# -- 304, HEAD, Range and ETag ---------------------------------------------------------------------------------------

FILES = ["/file", "/files/", "/files/index.html"]


def validators(directory: Path) -> dict[str, str]:
    """What a browser holds of the file from before the banner was there: the bare application's own."""
    response = FileResponse(directory / "files/index.html", stat_result=(directory / "files/index.html").stat())
    return {"If-None-Match": response.headers["etag"], "If-Modified-Since": response.headers["last-modified"]}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[ConsentMiddleware, Path]:
    directory = tmp_path_factory.mktemp("bare")
    return application(directory), directory


def test_a_file_s_own_validator_would_bring_a_304_without_us(bare: tuple[ConsentMiddleware, Path]) -> None:
    app, directory = bare
    headers = [(name.lower().encode(), value.encode()) for name, value in validators(directory).items()]
    assert asyncio.run(drive(app.app, scope("/files/", headers=headers)))[0]["status"] == 304


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("name", ["If-None-Match", "If-Modified-Since"])
def test_a_validator_from_before_us_brings_the_page_with_its_banner(
    path: str, name: str, bare: tuple[ConsentMiddleware, Path]
) -> None:
    app, directory = bare
    with served(app) as port:
        headers = {**NAVIGATES, name: validators(directory)[name]}
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers)
    assert answer.status_code == 200
    assert ITS_BANNER in answer.text


@pytest.mark.parametrize("path", FILES)
def test_no_page_gives_a_validator_or_offers_ranges_whether_it_asks_or_not(
    path: str, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    one, other = visitors
    picks(other, "reject")
    for answer in (one.get(path), other.get(path)):
        assert {"etag", "last-modified", "accept-ranges"}.isdisjoint(answer.headers)
        assert int(answer.headers.get("content-length", len(answer.content))) == len(answer.content)


@pytest.mark.parametrize("path", [*FILES, "/public", "/private", "/korean", "/themed", "/files/style.css"])
@pytest.mark.parametrize("choice", [None, "accept", "reject"])
def test_head_says_what_get_says(path: str, choice: str | None, port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=NAVIGATES, timeout=60) as visitor:
        if choice:
            picks(visitor, choice)
        get, head = visitor.get(path), visitor.head(path)
    assert said(head) == said(get)
    assert head.headers.get("content-length", get.headers.get("content-length")) == get.headers.get("content-length")
    assert head.content == b""


def said(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.multi_items() if name not in OF_THE_MOMENT]


@pytest.mark.parametrize("path", FILES)
def test_a_range_of_a_page_is_answered_with_the_whole_page(
    path: str, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    one, _ = visitors
    whole = one.get(path)
    part = one.get(path, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.text) == (200, whole.text)
    assert BANNER in part.text


def test_what_is_no_page_keeps_its_304_its_ranges_and_its_validators(
    visitors: tuple[httpx.Client, httpx.Client],
) -> None:
    one, _ = visitors
    style = {"Accept": "text/css,*/*;q=0.1"}
    whole = one.get("/files/style.css", headers=style)
    part = one.get("/files/style.css", headers={**style, "Range": "bytes=0-3"})
    again = one.get("/files/style.css", headers={**style, "If-None-Match": whole.headers["etag"]})
    assert (part.status_code, part.text) == (206, "body")
    assert again.status_code == 304
    assert again.headers["etag"] == whole.headers["etag"]


def test_a_page_is_asked_about_again_after_each_choice_and_never_answered_304(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=NAVIGATES, timeout=60) as visitor:
        old = {"If-None-Match": "*", "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}
        asked = visitor.get("/files/", headers=old)
        picks(visitor, "reject")
        answered = visitor.get("/files/", headers=old)
        visitor.cookies.clear()
        forgotten = visitor.get("/files/", headers=old)
    assert [answer.status_code for answer in (asked, answered, forgotten)] == [200] * 3
    assert [BANNER in answer.text for answer in (asked, answered, forgotten)] == [True, False, True]


def test_an_expired_public_page_is_fetched_whole_by_the_cache_and_not_revalidated(
    cache: str,
) -> None:
    with httpx.Client(base_url=cache, headers=NAVIGATES, timeout=60) as visitor:
        first = visitor.get("/brief")
        while kept(again := visitor.get("/brief")) == "HIT":
            time.sleep(0.1)
    assert kept(again) == "EXPIRED"  # and not REVALIDATED: the page had no validator to ask with
    assert again.text == first.text
    assert BANNER in again.text


@pytest.mark.parametrize(
    ("method", "accept", "name", "kept"),
    [
        ("GET", b"text/html", b"if-none-match", False),
        ("HEAD", b"text/html,*/*", b"if-modified-since", False),
        ("GET", b"text/html, application/xhtml+xml", b"range", False),
        ("GET", b"text/html", b"if-range", False),
        ("GET", b"text/html", b"if-match", True),  # whoever asks so wants a 412
        ("PUT", b"text/html", b"if-none-match", True),
        ("GET", b"*/*", b"if-none-match", True),
        ("GET", b"image/webp,*/*", b"range", True),
        ("GET", b"", b"if-none-match", True),
    ],
)
def test_only_who_asks_for_a_page_is_sent_a_whole_one(method: str, accept: bytes, name: bytes, kept: bool) -> None:
    headers = [(b"accept", accept), (name, b'"1"'), (b"host", b"a")]
    received = scope(headers=headers, method=method)
    inner = unconditional(received, dict(headers))
    assert (inner is received) is kept
    assert inner["headers"] == [line for line in headers if kept or line[0] != name]
    assert received["headers"] == headers
