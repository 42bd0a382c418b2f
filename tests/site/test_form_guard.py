"""Where a browser does not say which page sent a form, the form proves that the page was shown to that browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import sync_playwright
from tests.support.asgi import set_cookies
from tests.support.browser_site import ARGUMENTS
from tests.support.my_data_site import ERASE, JSON, PAGE, asks, body, cases, header, signed_in, site
from tests.support.serving import served
from tests.support.visitors import Visitor, now

from consent_mw import ConsentMiddleware, Proxies
from consent_mw._asgi import ASGIApp, Header, Message, Receive, Scope, Send

HOUR_NS = 3_600_000_000_000
NULL = (b"origin", b"null")
#: What says nothing about the page that a form comes from.
SILENT: list[list[Header]] = [[], [NULL], [(b"origin", b"")], [(b"sec-fetch-site", b"none")]]


def play(app: ConsentMiddleware, story: Callable[..., Awaitable[None]], *, secure: bool = True) -> None:
    async def run() -> None:
        try:
            await story(Visitor(app, secure=secure), Visitor(app, secure=secure))
        finally:
            await app.runtime.drain.stop()

    asyncio.run(run())


async def token_of(visitor: Visitor, path: str = "/consent", **more: Any) -> str:
    page = body(await visitor.gets(path, **more))
    return page.partition('name="token" value="')[2].partition('"')[0]


async def chooses(visitor: Visitor, token: str, *headers: Header) -> tuple[str, list[bytes]]:
    sent = await visitor.posts(("choice", "accept"), ("token", token), headers=list(headers))
    return header(sent, "location"), set_cookies(sent)


@pytest.mark.parametrize("headers", SILENT)
@pytest.mark.parametrize("secure", [True, False])
def test_a_token_that_somebody_else_read_is_worth_nothing(tmp_path: Path, headers: list[Header], secure: bool) -> None:
    async def story(victim: Visitor, attacker: Visitor) -> None:
        stolen = await token_of(attacker)
        assert await chooses(victim, stolen, *headers) == ("/consent?again=cookies", [])
        await token_of(victim)  # the victim has read a page of ours too
        assert await chooses(victim, stolen, *headers) == ("/consent?again=unknown", [])
        assert (await chooses(attacker, stolen, *headers))[0] == "/consent?saved=1"

    play(site(tmp_path), story, secure=secure)


@pytest.mark.parametrize("headers", SILENT)
def test_every_form_of_ours_asks_for_the_same_proof(tmp_path: Path, headers: list[Header]) -> None:
    app = site(tmp_path, subject=signed_in)

    async def story(victim: Visitor, attacker: Visitor) -> None:
        stolen = await token_of(attacker, PAGE)
        signed = [*headers, (b"x-user", b"kim")]
        for path, fields in (
            (PAGE, [*ERASE]),
            (PAGE, [("action", "restrict"), ("message", "x")]),
            ("/consent/choice", [("waiting", "all"), ("answer", "allow")]),
            ("/consent/notice", [("announced", "1")]),
        ):
            form = [(b"content-type", b"application/x-www-form-urlencoded"), *signed]
            sent_body = "&".join(f"{name}={value}" for name, value in [*fields, ("token", stolen)]).encode()
            sent = await victim.gets(path, method="POST", headers=form, incoming=whole(sent_body))
            assert sent[0]["status"] == 303
            assert header(sent, "location").endswith("?again=cookies")
            assert set_cookies(sent) == []
        assert await cases(app) == []

    play(app, story)


def whole(content: bytes) -> list[Message]:
    return [{"type": "http.request", "body": content, "more_body": False}]


def test_the_cookie_is_for_the_session_and_host_alone_and_says_nothing(tmp_path: Path) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        (line,) = set_cookies(await visitor.gets("/consent"))
        pattern = rb"__Host-consent-form=[\w-]{22}; Path=/; HttpOnly; SameSite=Strict; Secure"
        assert re.fullmatch(pattern, line)
        for path in ("/", "/consent/policy", "/consent/cookies", "/consent/state", "/consent/receipt", "/consent/no"):
            assert set_cookies(await Visitor(visitor.app).gets(path)) == [], path
        plain = set_cookies(await Visitor(visitor.app, secure=False).gets(PAGE))
        assert re.fullmatch(rb"consent-form=[\w-]{22}; Path=/; HttpOnly; SameSite=Strict", plain[0])
        for page in ("policy", "cookies"):
            assert "__Host-consent-form" in body(await visitor.gets(f"/consent/{page}"))
        assert b"consent-form" in json.dumps(json.loads(body(await visitor.gets("/consent/cookies.json")))).encode()

    play(site(tmp_path), story)


def test_a_browser_that_says_where_its_forms_come_from_gets_neither_token_nor_cookie(tmp_path: Path) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        says = [(b"sec-fetch-site", b"none")]
        for path in ("/consent", PAGE):
            sent = await visitor.gets(path, headers=says)
            assert set_cookies(sent) == []
            assert 'name="token" value=""' in body(sent)
        # One that says so here and not with its form is turned away once, and then has what it needs.
        assert (await chooses(visitor, ""))[0] == "/consent?again=unknown"
        token = await token_of(visitor, query_string=b"again=unknown", headers=says)
        assert (await chooses(visitor, token))[0] == "/consent?saved=1"

    play(site(tmp_path), story)


def test_every_tab_that_is_open_can_answer_and_a_tab_that_was_left_for_an_hour_is_asked_again(tmp_path: Path) -> None:
    now = [1_800_000_000_000_000_000]
    app = site(tmp_path, clock=lambda: now[0])

    async def story(visitor: Visitor, _: Visitor) -> None:
        first, second = await token_of(visitor), await token_of(visitor, PAGE)
        now[0] += HOUR_NS - 1_000_000_000
        assert (await chooses(visitor, first))[0] == "/consent?saved=1"  # also after the way back to it
        assert (await chooses(visitor, second))[0] == "/consent?saved=1"
        now[0] += 3_000_000_000
        assert (await chooses(visitor, first))[0] == "/consent?again=unknown"

    play(app, story)


def test_without_cookies_the_visitor_reads_why_and_is_not_sent_in_a_circle(tmp_path: Path) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        token = await token_of(visitor)
        visitor.browser.jar.clear()
        sent = await visitor.posts(("choice", "accept"), ("token", token), headers=[])
        assert header(sent, "location") == "/consent?again=cookies"
        page = body(await visitor.gets("/consent", query_string=b"again=cookies&lang=en"))
        assert "Allow this site to set cookies" in page
        sent = await visitor.posts(("choice", "accept"), ("token", token), headers=[JSON], cookie=b"a=1")
        assert (sent[0]["status"], json.loads(body(sent))["error"]) == (403, "cookies")
        sent = await asks(visitor, *ERASE, ("token", token), headers=[], cookie=b"a=1")
        assert header(sent, "location") == f"{PAGE}?again=cookies"
        assert "Allow this site" in body(await visitor.gets(PAGE, query_string=b"again=cookies&lang=en"))

    play(site(tmp_path), story)


def test_of_two_form_cookies_neither_is_believed(tmp_path: Path) -> None:
    async def story(victim: Visitor, attacker: Visitor) -> None:
        stolen = await token_of(attacker)
        tossed = (attacker.browser.header(b"/", now()) or b"").strip()
        await token_of(victim)
        own = victim.browser.header(b"/", now()) or b""
        for cookie in (own + b"; " + tossed, tossed + b"; " + own):
            sent = await victim.posts(("choice", "accept"), ("token", stolen), headers=[NULL], cookie=cookie)
            assert header(sent, "location") == "/consent?again=cookies"

    play(site(tmp_path), story, secure=False)


def test_the_application_can_set_none_of_our_cookies(tmp_path: Path) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        assert set_cookies(await visitor.gets("/", query_string=b"")) == []

    names = [f"{prefix}consent{what}" for prefix in ("", "__Host-") for what in ("", "-form", "-host", "-pending")]

    async def sets(scope: object, receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
        lines = [(b"set-cookie", f"{name}=x; Path=/; Secure".encode()) for name in names]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b""})

    app = site(tmp_path, report_only=True)
    app.app = sets
    play(app, story)


@pytest.mark.parametrize("root", ["", "/mounted"])
def test_it_works_below_a_root_path_and_behind_a_proxy(tmp_path: Path, root: str) -> None:
    app = site(tmp_path, proxies=Proxies(trusted=["203.0.113.0/24"]))

    async def story(visitor: Visitor, _: Visitor) -> None:
        proxied = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"198.51.100.7")]
        sent = await visitor.gets(f"{root}/consent", root_path=root, headers=proxied)
        assert set_cookies(sent)[0].startswith(b"__Host-consent-form=")
        token = body(sent).partition('name="token" value="')[2].partition('"')[0]
        form = (b"content-type", b"application/x-www-form-urlencoded")
        content = f"choice=accept&token={token}".encode()
        sent = await visitor.gets(
            f"{root}/consent/choice", method="POST", root_path=root, headers=[form, *proxied], incoming=whole(content)
        )
        assert header(sent, "location") == f"{root}/consent?saved=1"

    play(app, story)


#: What a proxy says of the host, and from which network proxies are trusted.
NAMED = [(b"x-forwarded-host", b"shop.example"), (b"x-forwarded-proto", b"http")]
PEERS, OTHERS = "203.0.113.0/24", "198.51.100.0/24"


@pytest.mark.parametrize(
    ("said", "trusted", "status"),
    [
        ([(b"origin", b"http://evil.example")], "", 403),
        ([(b"origin", b"http://www.example.com:8001")], "", 403),  # two sites on one host
        ([(b"origin", b"http://blog.www.example.com")], "", 403),  # a neighbour, which can set the cookie
        ([(b"referer", b"http://evil.example/")], "", 403),
        ([NULL, (b"referer", b"http://evil.example/")], "", 403),
        ([NULL, (b"referer", b"http://www.example.com/page")], "", 303),
        ([(b"origin", b"http://www.example.com")], "", 303),
        ([NULL], "", 303),
        ([], "", 303),
        ([(b"origin", b"http://shop.example"), *NAMED], PEERS, 303),
        ([NULL, (b"referer", b"http://shop.example/"), *NAMED], PEERS, 303),
        ([(b"origin", b"http://www.example.com"), *NAMED], PEERS, 403),  # the name of the server inside
        ([(b"origin", b"http://evil.example"), *NAMED], PEERS, 403),
        ([(b"origin", b"http://evil.example"), (b"x-forwarded-host", b"evil.example")], "", 403),
        ([(b"origin", b"http://shop.example"), *NAMED], OTHERS, 403),
    ],
)
def test_over_plain_http_a_form_of_another_site_is_refused_whatever_it_carries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: list[Header], trusted: str, status: int
) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        proxied = [line for line in said if line[0].startswith(b"x-forwarded")]
        sent = await visitor.posts(
            ("choice", "accept"), ("token", await token_of(visitor, headers=proxied)), headers=said
        )
        assert sent[0]["status"] == status
        assert bool(set_cookies(sent)) is (status == 303)

    play(site(tmp_path, proxies=Proxies([trusted] if trusted else [])), story, secure=False)
    assert ("a proxy renames it" in caplog.text) is (status == 403)


# -- in a real browser ----------------------------------------------------------------------------------------------


@contextmanager
def evil(address: str) -> Iterator[int]:
    """Serve a page of another site that sends a form of ours by itself, with a token that it has read for itself."""

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = urlopen(f"http://127.0.0.1:{address.rpartition(':')[2]}/consent").read().decode()
            token = page.partition('name="token" value="')[2].partition('"')[0]
            content = (
                f'<meta name="referrer" content="no-referrer"><form method=post action="{address}/consent/choice">'
                f'<input name=choice value=accept><input name=token value="{token}"></form>'
                "<script>document.forms[0].submit()</script>"
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def quiet(app: ConsentMiddleware) -> ASGIApp:
    """A proxy that tells browsers to send no referrer: then `Origin` is "null" in forms of our own pages too."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async def without(message: Message) -> None:
            headers = [header for header in message.get("headers", ()) if header[0] != b"referrer-policy"]
            more = {"headers": [*headers, (b"referrer-policy", b"no-referrer")]} if "headers" in message else {}
            await send({**message, **more})

        await app(scope, receive, without)

    return outer


@pytest.mark.parametrize("scripts", [True, False])
def test_in_chromium_another_site_chooses_for_nobody_and_the_visitor_still_can(
    tmp_path: Path, chromium: str, scripts: bool
) -> None:
    with served(quiet(site(tmp_path))) as port, sync_playwright() as playwright:
        address = f"http://shop.test:{port}"  # over plain http browsers send no Sec-Fetch-Site
        mapped = [*ARGUMENTS, "--host-resolver-rules=MAP *.test 127.0.0.1"]
        browser = playwright.chromium.launch(
            executable_path=chromium, args=mapped, ignore_default_args=["--disable-back-forward-cache"]
        )
        with evil(address) as other:
            for read_before in (False, True):
                context = browser.new_context(locale="en")
                page = context.new_page()
                if read_before:
                    page.goto(f"{address}/consent")
                page.goto(f"http://evil.test:{other}/")
                page.wait_for_url("**/consent?again=*")
                assert "consent" not in [cookie.get("name") for cookie in context.cookies()]
        context = browser.new_context(locale="en", java_script_enabled=scripts)
        page, tab = context.new_page(), context.new_page()
        page.goto(f"{address}/consent")
        tab.goto(f"{address}/consent")
        for opened in (page, tab):
            opened.locator("main button[value=accept]").first.click()
            opened.wait_for_url("**/consent?saved=1")
        assert "consent" in [cookie.get("name") for cookie in context.cookies()]
        page.go_back()
        page.locator("main button[value=reject]").first.click()
        page.wait_for_url("**/consent?saved=1")
        assert "rejected" in page.locator(".consent-mw-lead").first.inner_text()
        browser.close()
