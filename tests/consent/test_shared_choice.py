"""A choice that subdomains share, and a neighbour among them who sets a consent cookie of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright
from tests.support.asgi import set_cookies
from tests.support.browser_site import ARGUMENTS
from tests.support.my_data_site import ERASE, PAGE, asks, body, cases, data, records, signed_in, site
from tests.support.repository import ROOT
from tests.support.serving import served
from tests.support.visitors import Visitor, now

from consent_mw import ConsentMiddleware
from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.consent.permissions import Permissions
from consent_mw.cookies.neighbours import stands_alone
from consent_mw.policy.loader import loads

WWW, SHOP = "www.example.com", "shop.example.com"
SHARED = {"cookie_domain": "example.com"}


def play(app: ConsentMiddleware, story: Callable[..., Awaitable[None]], *, secure: bool = True) -> None:
    async def run() -> None:
        try:
            await story(Visitor(app, secure=secure), Visitor(app, secure=secure))
        finally:
            await app.runtime.drain.stop()

    asyncio.run(run())


async def choice(visitor: Visitor, host: str = WWW) -> str | None:
    visitor.browser.host = host
    answer: str | None = json.loads(body(await visitor.gets("/consent/state")))["choice"]
    return answer


async def known(visitor: Visitor, host: str = WWW, **more: Any) -> list[str]:
    visitor.browser.host = host
    ways: list[str] = json.loads(body(await visitor.gets(f"{PAGE}.json", **more))).get("known_by", [])
    return ways


async def tosses(attacker: Visitor, victim: Visitor, picks: str = "accept") -> None:
    """Have a neighbour set every cookie of their own genuine choice for the whole domain."""
    attacker.browser.host = WWW
    lines = set_cookies(await attacker.picks(picks))
    victim.browser.host = "user-pages.example.com"
    for line in lines:
        pair = line.partition(b";")[0]
        if pair.endswith(b"="):
            continue  # the end of a cookie from before the choice was shared
        victim.browser.receive(pair + b"; Domain=example.com; Path=/; Max-Age=9999", b"/", now())
    victim.browser.host = WWW


# -- what was set before it was shared ------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [True, False])
def test_sharing_begins_on_a_running_site_without_asking_again_and_the_last_answer_holds(
    tmp_path: Path, secure: bool
) -> None:
    for name in ("alone", "shared"):
        (tmp_path / name).mkdir()
    alone, shared = site(tmp_path / "alone"), site(tmp_path / "shared", **SHARED)

    async def story(visitor: Visitor, _: Visitor) -> None:
        visitor.browser.host = WWW
        await visitor.picks("accept", app=alone)
        assert await choice(visitor, WWW) == "accept"
        for picked in ("reject", "accept", "prompt", "reject"):
            await visitor.picks(picked)
            assert await choice(visitor, WWW) == picked

    play(shared, story, secure=secure)


# -- what sharing is for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("picked", ["accept", "prompt", "reject"])
def test_a_choice_counts_on_every_host_without_being_asked_again(tmp_path: Path, picked: str, secure: bool) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        await visitor.picks(picked)
        assert await choice(visitor, SHOP) == picked
        assert 'data-consent="banner"' not in body(await visitor.gets("/"))
        for changed in ("reject", "accept", "reject", "prompt", "accept"):
            visitor.browser.host = SHOP
            await visitor.picks(changed)
            assert await choice(visitor, SHOP) == changed
            visitor.browser.host = WWW
            await visitor.picks(changed)
            assert await choice(visitor, SHOP) == changed, "and both hosts agree, whoever was asked last"

    play(site(tmp_path, **SHARED), story, secure=secure)


def test_what_is_taken_back_on_one_host_is_taken_back_on_all(tmp_path: Path) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        await visitor.picks("accept")
        visitor.browser.host = SHOP
        await visitor.posts(("choice", "save"), ("purpose.analytics", "yes"), ("purpose.marketing", "no"))
        visitor.browser.host = WWW
        state = json.loads(body(await visitor.gets("/consent/state")))
        assert state["purposes"] == {"functional": None, "analytics": True, "marketing": False}
        visitor.browser.host = SHOP
        await visitor.picks("reject")
        assert await choice(visitor, WWW) == "reject"

    play(site(tmp_path, **SHARED), story)


# -- the neighbour --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("picked", ["reject", "prompt"])
def test_a_tossed_choice_allows_nothing_that_was_not_allowed_on_this_host(
    tmp_path: Path, picked: str, secure: bool
) -> None:
    async def story(attacker: Visitor, victim: Visitor) -> None:
        await victim.picks(picked)
        await tosses(attacker, victim)
        assert await choice(victim) is None, "the victim is asked again"
        await victim.picks(picked)
        assert await choice(victim) in (picked, None)

    play(site(tmp_path, **SHARED), story, secure=secure)


@pytest.mark.parametrize("options", [SHARED, {}])
@pytest.mark.parametrize("secure", [True, False])
def test_under_a_tossed_choice_nothing_is_filed_that_its_owner_could_read(
    tmp_path: Path, options: dict[str, Any], secure: bool
) -> None:
    app = site(tmp_path, subject=signed_in, **options)

    async def story(attacker: Visitor, victim: Visitor) -> None:
        await tosses(attacker, victim)
        for path in ("/a", "/abuse"):
            await victim.gets(path)
        await asks(victim, ("action", "ask"), ("kind", "complaint"), ("email", "victim@example.org"))
        await asks(victim, ("action", "dispute"), ("message", "my secret"), headers=[OURS, (b"x-user", b"kim")])
        named = [record.subject for record in await records(app, "visit", "abuse") if record.subject is not None]
        assert len(named) <= 1, "only the attacker's own choice carries a mark"
        assert await records(app, "link") == [], "no sign-in is linked with somebody else's receipt"
        answer = json.dumps(await data(attacker))
        assert "secret" not in answer
        assert "victim@" not in answer

    play(app, story, secure=secure)


OURS = (b"sec-fetch-site", b"same-origin")


def test_a_consent_cookie_that_a_neighbour_read_opens_nothing_and_takes_over_nothing(tmp_path: Path) -> None:
    app = site(tmp_path, **SHARED)

    async def story(victim: Visitor, thief: Visitor) -> None:
        await victim.picks("accept")
        victim.browser.host = "user-pages.example.com"  # where the browser sends it too
        stolen = victim.browser.header(b"/", now()) or b""
        victim.browser.host = WWW
        assert stolen.startswith(b"consent=")
        assert b"host" not in stolen
        alone = stolen.partition(b";")[0]
        forged = b"; __Host-consent-host=" + alone.partition(b"=")[2]
        for cookie in (stolen, stolen + forged):
            assert "error" in json.loads(body(await thief.gets(f"{PAGE}.json", cookie=cookie)))
            assert (await thief.gets("/consent/receipt", cookie=cookie))[0]["status"] == 404
            sent = await asks(thief, *ERASE, cookie=cookie)
            assert sent[0]["status"] == 403
        assert await cases(app) == []
        # A choice that is made with it begins anew: its receipt leads to no earlier one.
        sent = await thief.posts(("choice", "save"), ("purpose.analytics", "yes"), cookie=alone)
        thief.takes(sent, "/")
        assert len((await data(thief))["receipts"]) == 1
        assert len((await data(victim))["receipts"]) == 1

    play(app, story)


def test_data_open_on_the_host_where_the_choice_was_made_and_after_choosing_on_another_there_too(
    tmp_path: Path,
) -> None:
    async def story(visitor: Visitor, _: Visitor) -> None:
        await visitor.picks("accept")
        assert await known(visitor, WWW) == ["receipt"]
        assert await known(visitor, SHOP) == []
        page = body(await visitor.gets(PAGE, query_string=b"lang=en"))
        assert "Open this page at the address where you chose, or sign in" in page
        assert "where you chose" in body(await visitor.gets("/consent/receipt", query_string=b"lang=en"))
        assert await known(visitor, SHOP, headers=[(b"x-user", b"kim")]) == ["sign-in"]
        await visitor.picks("accept")
        assert await known(visitor, SHOP) == ["receipt"]
        await visitor.picks("reject")
        assert await known(visitor, SHOP) == []
        assert await known(visitor, WWW) == ["receipt"], "what was collected here can still be seen and erased"

    play(site(tmp_path, subject=signed_in, **SHARED), story)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "localhost", "intranet:80", "intranet.", ""])
def test_a_host_without_neighbours_stands_alone(host: str) -> None:
    assert stands_alone(host.encode())


@pytest.mark.parametrize("host", ["www.example.com", "www.example.com:8000", "a.localhost", "1.2.3.4.example", "a.b."])
def test_a_name_with_a_dot_has_neighbours(host: str) -> None:
    assert not stands_alone(host.encode())


# -- which of two choices allows more -------------------------------------------------------------------------------

POLICY = loads((ROOT / "src/consent_mw/demo/policy.toml").read_text("utf-8"))
ASKED = [purpose.name for purpose in POLICY.asked]
COOKIES = [cookie.name for cookie in POLICY.cookies if POLICY.purposes[cookie.purpose].asked]
ANSWERS = st.builds(
    lambda choice, purposes, cookies: Consent(
        choice=choice, revision=1, purposes=purposes, cookies=cookies if choice is Choice.PROMPT else {}
    ),
    st.sampled_from(Choice),
    st.dictionaries(st.sampled_from(ASKED), st.booleans()),
    st.dictionaries(st.sampled_from(COOKIES), st.booleans()),
)


@given(ANSWERS, ANSWERS)
def test_what_does_not_go_beyond_another_choice_lets_nothing_pass_that_it_refuses(one: Consent, other: Consent) -> None:
    if one.goes_beyond(other):
        return
    allowed, refused = Permissions(POLICY, one), Permissions(POLICY, other)
    assert allowed.allowed <= refused.allowed
    for name in COOKIES:
        assert allowed.cookie(name).verdict != "kept" or refused.cookie(name).verdict == "kept"


@given(ANSWERS)
def test_no_choice_goes_beyond_itself_and_each_but_a_refusal_beyond_none(one: Consent) -> None:
    assert not one.goes_beyond(one)
    assert one.goes_beyond(NO_CONSENT) == (one.choice is not Choice.REJECT)


# -- what waits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [SHARED, {}])
def test_over_plain_http_nothing_waits_where_a_neighbour_could_take_it(tmp_path: Path, options: dict[str, Any]) -> None:
    app = site(tmp_path, debug=True, **options)

    async def sets(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"theme=of-victim")]})
        await send({"type": "http.response.body", "body": b"the page"})

    app.app = sets

    async def story(attacker: Visitor, victim: Visitor) -> None:
        await tosses(attacker, victim, "prompt")
        sent = await victim.gets("/")
        consent_cookies = dict(sent[0]["headers"])[b"consent-cookies"]
        assert consent_cookies == (
            b'theme; blocked; "the visitor wants to be asked, and over plain http a neighbour could take what waits"'
        )
        assert sent[1]["body"] == b"the page"
        assert await records(app, "pending") == []

    play(app, story, secure=False)


# -- in a real browser ----------------------------------------------------------------------------------------------


@contextmanager
def neighbour(lines: list[str]) -> Iterator[int]:
    class Neighbour(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for line in lines:
                self.send_header("set-cookie", line)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("options", [{"cookie_domain": "shop.test"}, {}])
def test_in_chromium_a_neighbour_reads_nothing_of_whom_they_tossed_their_choice(
    tmp_path: Path, shell: str, options: dict[str, Any]
) -> None:
    app = site(tmp_path, **options)
    with served(app) as port, sync_playwright() as playwright:
        mapped = [*ARGUMENTS, "--host-resolver-rules=MAP *.test 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=shell, args=mapped)
        address = f"http://www.shop.test:{port}"
        own = browser.new_context(locale="en").new_page()
        own.goto(f"{address}/consent")
        own.locator("main button[value=accept]").first.click()
        own.wait_for_url("**saved=1")
        cookies = [c for c in own.context.cookies() if str(c.get("name")).startswith("consent")]
        lines = [f"{c.get('name')}={c.get('value')}; Domain=shop.test; Path=/; Max-Age=999" for c in cookies]
        with neighbour(lines) as other:
            victim = browser.new_context().new_page()
            victim.goto(f"http://user-pages.shop.test:{other}/")
            for path in ("/a", "/abuse"):
                victim.goto(address + path)
        own.goto(f"{address}{PAGE}")
        assert "can't identify you from this browser" in own.content()
        answer = own.evaluate("fetch('/consent/my-data.json').then(answer => answer.text())")
        assert json.loads(answer) == {"error": "unknown", "kinds": json.loads(answer)["kinds"]}
        browser.close()
