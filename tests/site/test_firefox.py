"""The banner in a real Firefox, where cookies, frames and the way back differ from Chromium's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.support.browser_site import DECLARATION, KEY, site
from tests.support.certificate import certificate
from tests.support.firefox import ENTER, ESCAPE, TAB, Firefox, Tab, firefox
from tests.support.scripted_pages import Server, server  # noqa: F401 - a fixture
from tests.support.serving import served

from consent_mw import ConsentMiddleware

SHOWN = "(e => !!e && e.checkVisibility())(document.querySelector('#consent-mw'))"
PAGE = "<!doctype html><html lang=en><title>Shop</title><body><main><h1>{}</h1></main>"
LINK = '<a href="/consent/" data-consent="settings">Cookie settings</a>'


async def home(request: Request) -> Response:
    """A page; with `?rules` it has these rules of its own, with `?sets` it sets this cookie."""
    rules = f"<style>{request.query_params.get('rules', '')}</style>"
    response = HTMLResponse(PAGE.format("home") + rules + LINK)
    if "sets" in request.query_params:
        response.set_cookie(request.query_params["sets"], "1")
    return response


async def returned(request: Request) -> Response:
    """Where the bank sends the visitor: to a page, or, with `?away`, on to one."""
    if "away" in request.query_params:
        return RedirectResponse("/", 303)
    return HTMLResponse(PAGE.format(f"paid, theme {request.cookies.get('theme', 'none')}"))


async def bank(request: Request) -> Response:
    return HTMLResponse(f'<form id=pay method=post action="{request.query_params["to"]}"></form>')


@pytest.fixture(scope="module")
def program() -> str:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("no Firefox: scripts/setup browser")
    return program


@pytest.fixture(scope="module")
def browser(program: str) -> Iterator[Firefox]:
    with firefox(program) as started:
        yield started


@pytest.fixture
def tab(browser: Firefox) -> Tab:
    return Tab(browser)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("shop") / "policy.toml"
    file.write_text(DECLARATION, "utf-8")
    worker = Response("fetch('/?sets=ad_id').then(() => postMessage(''))", media_type="text/javascript")
    routes = [
        Route("/", home),
        Route("/worker.js", worker),
        Route("/return", returned, methods=["POST"]),
        Route("/bank", bank),
    ]
    with served(ConsentMiddleware(Starlette(routes=routes), policy=file, secret_keys=[KEY])) as port:
        yield f"http://localhost:{port}/"


def answer(tab: Tab, choice: str = "accept", frame: str = "") -> None:
    tab.until(SHOWN, frame)
    tab.until("!!window.consent", frame)
    tab.js(f"document.querySelector('#consent-mw button[value={choice}]').click()", frame)
    tab.until(f"!{SHOWN}", frame)


def test_a_choice_is_made_and_changed_by_keyboard(tab: Tab, shop: str) -> None:
    tab.goto(shop)
    tab.until("!!window.consent")
    for _ in range(5):
        tab.press(TAB)
        if tab.js("document.activeElement.value") == "reject":
            break
    tab.press(ENTER)
    tab.until(f"!{SHOWN} && document.activeElement.localName === 'main'")
    tab.until("document.querySelector('[role=status]').textContent === 'Your choice is saved.'")
    tab.js("document.querySelector('main ~ a').focus()")
    tab.press(ENTER)
    tab.until("document.querySelector('dialog[open]')?.contains(document.activeElement)")
    tab.press(ESCAPE)
    tab.until("!document.querySelector('dialog')")
    assert tab.js("consent.allows('analytics')") is False


@pytest.mark.parametrize("way", ["return", "return?away"])
def test_a_return_by_post_from_another_site_expires_and_asks_nothing(tab: Tab, shop: str, way: str) -> None:
    tab.goto(shop)
    answer(tab)
    # Firefox sends a cookie that says no SameSite along with such a POST, and not the consent cookie, which says Lax.
    tab.js("document.cookie = 'theme=dark; path=/; max-age=999'")
    tab.goto(f"{shop.replace('localhost', '127.0.0.1')}bank?to={shop}{way}".replace("?away", "%3Faway"))
    tab.js("document.querySelector('#pay').submit()")
    tab.until("!!document.querySelector('main h1')")
    assert tab.js("document.querySelector('h1').textContent") == ("home" if "away" in way else "paid, theme dark")
    assert tab.js("document.cookie") == "theme=dark"
    tab.until("!!window.consent")
    assert tab.js("consent.refresh().then(() => " + SHOWN + ")") is False


def test_a_banner_that_was_answered_elsewhere_is_gone_on_the_way_back(tab: Tab, shop: str) -> None:
    tab.goto(shop)
    tab.js("window.kept = true")
    tab.goto(shop + "?second")
    answer(tab)
    tab.back()
    tab.until("location.search === '' && window.kept")  # from the bfcache
    tab.until(f"!{SHOWN}")


def test_what_a_page_or_its_worker_leaves_waiting_is_asked_about_and_delivered(tab: Tab, shop: str) -> None:
    tab.goto(shop)
    answer(tab, "prompt")
    tab.js("Promise.all([fetch('/?sets=theme'), new Promise(done => new Worker('/worker.js').onmessage = done)])")
    question = "document.querySelector('[data-consent=waiting].consent-mw-pinned')"
    tab.until(f"{question}?.querySelectorAll('.consent-mw-name').length === 2")
    tab.js(f"{question}.querySelector('button[value=allow]').click()")  # about all of them
    tab.until(f"!{question}?.checkVisibility()")
    assert {"ad_id=1", "theme=1"} < set(tab.js("document.cookie").split("; "))


@pytest.mark.parametrize(
    "rules",
    [
        "body > * { position: relative !important } [hidden] { display: block !important }",
        "button { display: none !important; position: absolute !important; width: 100% !important }",
        ":not(:defined) { visibility: hidden }",
        "body { transform: translateZ(0); height: 300vh }",
    ],
    ids=["position", "button", "undefined", "transform"],
)
def test_a_site_s_own_rules_leave_the_banner_in_view_and_in_use(tab: Tab, shop: str, rules: str) -> None:
    tab.goto(f"{shop}?{urlencode({'rules': rules})}")
    bottom = "Math.abs(document.querySelector('#consent-mw').getBoundingClientRect().bottom - innerHeight) < 2"
    tab.until(f"{SHOWN} && {bottom}")
    seen = """[...document.querySelectorAll('#consent-mw button')].map((button) => {
        const box = button.getBoundingClientRect();
        const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return [button.contains(there), Math.round(box.width), Math.round(box.height)].join();
    })"""
    tab.until(f"(seen => seen.length === 3 && new Set(seen).size === 1 && seen[0].startsWith('true'))({seen})")
    answer(tab, "reject")


def test_another_tab_follows(tab: Tab, shop: str) -> None:
    tab.goto(shop)
    tab.until("!!window.consent")
    tab.js("(window.other = open('/?other'), null)")
    tab.until("!!other.consent && !!other.document.querySelector('#consent-mw')")
    tab.js("other.document.querySelector('#consent-mw button[value=reject]').click()")
    tab.until(f"!{SHOWN}")
    tab.js("(other.close(), null)")


MAP = '<iframe title="Map" data-src="/map" data-purpose="analytics"></iframe><main>text</main>'


def test_a_frame_waits_behind_its_placeholder_and_is_gone_with_the_consent(tab: Tab, server: Server) -> None:  # noqa: F811 - a fixture
    server.pages["/"] = MAP
    tab.goto(server.origin + "/")
    box = "document.querySelector('.consent-mw-placeholder')"
    tab.until(f"!!{box}")
    tab.js(f"{box}.querySelector('button').click()")  # once
    tab.until("document.querySelector('iframe').getAttribute('src') === '/map'")
    tab.goto(server.origin + "/")
    tab.until(f"!!{box}")
    tab.js(f"{box}.querySelector('button:last-of-type').click()")  # always
    tab.until("document.querySelector('iframe').getAttribute('src') === '/map' && consent.allows('analytics')")
    server.take({"choice": ["reject"]})
    tab.js("consent.refresh()")
    tab.until(f"!!{box} && !document.querySelector('iframe').hasAttribute('src')")


def test_a_service_worker_that_keeps_everything_keeps_no_answer(tab: Tab, server: Server) -> None:  # noqa: F811 - a fixture
    server.take({"choice": ["accept"]})
    server.pages["/"] = MAP
    tab.goto(server.origin + "/")
    tab.js("navigator.serviceWorker.register('/keeper.js').then(() => navigator.serviceWorker.ready).then(String)")
    tab.until("!!navigator.serviceWorker.controller")
    tab.js("consent.refresh()")
    server.take({"choice": ["reject"]})
    tab.goto(server.origin + "/")
    tab.until("!!document.querySelector('.consent-mw-placeholder')")
    assert tab.js("consent.refresh().then(() => consent.allows('analytics'))") is False


def test_where_cookies_are_blocked_the_page_lives_and_says_so(program: str, shop: str) -> None:
    with firefox(program, network_cookie_cookieBehavior=2) as blocking:
        tab = Tab(blocking)
        tab.goto(shop)
        answer(tab)
        tab.until("document.querySelector('[role=status]').textContent.includes('did not keep your choice')")
        assert tab.js("consent.allows('analytics')") is True  # for this page


def test_in_a_frame_of_another_site_the_answer_holds_there_and_there_alone(tab: Tab, tmp_path: Path) -> None:
    tls = certificate(tmp_path)

    async def around(request: Request) -> Response:
        return HTMLResponse(f'<title>Portal</title><iframe src="{shop}" width=900 height=700></iframe>')

    portal = Starlette(routes=[Route("/", around)])
    with served(site(tmp_path / "shop", embedded=True), **tls) as inner, served(portal, **tls) as outer:
        shop = f"https://shop.localhost:{inner}/?fetch"
        for name in ("first", "again"):
            tab.goto(f"https://portal.localhost:{outer}/")
            tab.until("!!window.consent", tab.frame())
            if name == "first":
                answer(tab, "accept", tab.frame())
        assert tab.js(SHOWN, tab.frame()) is False
        tab.goto(shop)  # no portal around it: another jar
        tab.until(SHOWN)
