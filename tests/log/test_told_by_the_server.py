"""What a record says of a request is what the server and `proxies=` told, whatever inner layers do to the scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.support.asgi import drive, scope, set_cookies
from tests.support.exchanges import KEY, cookie_for, records
from tests.support.policies import POLICY
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from consent_mw import Choice, ConsentMiddleware, Proxies, get_consent
from consent_mw._asgi import ASGIApp, Receive, Scope, Send
from consent_mw.log.access_line import Console

FULL = POLICY.replace(
    '[log.necessary]\n"client.address" = "masked"',
    '[log.necessary]\n"client.address" = "full"\n"url.query" = "full"\n"user_agent.original" = "full"\n'
    '"http.request.header.referer" = "full"',
)
FORGED = (b"x-forwarded-for", b"198.51.100.66, 203.0.113.9")  # the visitor wrote the first, our proxy the second
RECORDED = {
    "client.address": "192.0.2.7",
    "url.path": "/ko/books",
    "url.query": "q=1",
    "user_agent.original": "told",
    "http.request.header.referer": "https://told.example/",
}


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"mystery=1")]})
    await send({"type": "http.response.body", "body": b"x"})


def changing(change: Callable[[Scope], object]) -> ASGIApp:
    """Return an application that changes its scope first, and again when it has answered."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        change(scope)
        await plain(scope, receive, send)
        change(scope)

    return app


def in_place(scope: Any) -> None:
    for line in scope["headers"]:
        if isinstance(line, list):
            line[:] = [b"x-forwarded-for", b"6.6.6.6"]
    scope["headers"].append((b"x-forwarded-for", b"6.6.6.6"))
    scope["headers"].reverse()
    if isinstance(scope["client"], list):
        scope["client"][0] = "6.6.6.6"


def everything(scope: Any) -> None:
    in_place(scope)
    scope |= {"client": ("6.6.6.6", 6), "path": "/inner", "raw_path": b"/inner", "query_string": b"inner=1",
              "method": "DELETE", "scheme": "ftp", "root_path": "/below", "headers": []}  # fmt: skip


LAYERS: dict[str, ASGIApp] = {
    "none": plain,
    "uvicorn's ProxyHeadersMiddleware": ProxyHeadersMiddleware(plain, "*"),  # type: ignore[arg-type,dict-item]
    "a mount": Mount("/ko", app=plain),
    "changes in place": changing(in_place),
    "all that can be written": changing(everything),
    "a scope that is emptied": changing(lambda scope: scope.pop("client", scope.pop("path", None))),
}
#: As servers hand headers over, and as ASGI allows them to.
FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "a list": list,
    "lists": lambda lines: [list(line) for line in lines],
    "an iterator": iter,
    "a generator": lambda lines: (line for line in lines),
    "a tuple": tuple,
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "policy.toml").write_text(FULL)

    def wrap(app: Any, **options: Any) -> Any:
        return ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY], **options)

    return wrap


def visited(app: Any, asked: Scope, incoming: Iterable[Any] = ()) -> Any:
    async def run() -> Any:
        try:
            return await drive(app, asked, incoming)
        finally:
            await app.runtime.drain.stop()

    return asyncio.run(run())


def asked(form: str = "a list", client: Any = ("192.0.2.7", 5000), headers: Iterable[Any] = (), **more: Any) -> Any:
    lines = [(b"host", b"x"), (b"user-agent", b"told"), (b"referer", b"https://told.example/"), *headers]
    return {**scope("/ko/books", query_string=b"q=1", client=client, **more), "headers": FORMS[form](lines)}


def all_forms(app: Any, **more: Any) -> None:
    async def run() -> None:
        for form in FORMS:
            await drive(app, asked(form, **more))
        await app.runtime.drain.stop()

    asyncio.run(run())


@pytest.mark.parametrize("layer", LAYERS)
def test_a_record_says_what_the_server_told_whatever_an_inner_layer_writes(site, tmp_path, layer):
    all_forms(site(LAYERS[layer]), method="POST", headers=[FORGED])
    kept = records(tmp_path / "consent-data", "visit")
    assert [sealed for _, _, sealed in kept] == [RECORDED] * len(FORMS)
    assert {clear["http.request.method"] for _, clear, _ in kept} == {"POST"}
    ((_, _, place),) = records(tmp_path / "consent-data", "undeclared")
    assert place == {"url.path": "/ko/books"}


@pytest.mark.parametrize("layer", LAYERS)
def test_behind_a_proxy_of_ours_the_address_is_the_one_that_it_wrote(site, tmp_path, layer):
    app = site(LAYERS[layer], proxies=Proxies(["10.0.0.0/8"]))
    all_forms(app, client=["10.0.0.5", 1], headers=[FORGED, (b"x-forwarded-for", b"10.0.0.9")])
    kept = records(tmp_path / "consent-data", "visit")
    assert [sealed["client.address"] for _, _, sealed in kept] == ["203.0.113.9"] * len(FORMS)


def test_a_client_is_read_once_whatever_it_comes_in(site, tmp_path):
    clients: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(scope["client"])
        await plain(scope, receive, send)

    visited(site(app), asked(client=iter(["192.0.2.7", 5000])))
    ((_, _, sealed),) = records(tmp_path / "consent-data", "visit")
    assert (sealed["client.address"], clients) == ("192.0.2.7", [("192.0.2.7", 5000)])


def test_events_abuse_and_what_is_noted_later_say_what_the_server_told(site, tmp_path):
    def later(request: Request) -> None:
        everything(request.scope)
        get_consent(request).report_abuse("later")

    async def page(request: Request) -> Response:
        get_consent(request).report_abuse("now")
        everything(request.scope)
        return PlainTextResponse("x", background=BackgroundTask(later, request))

    async def talk(websocket: WebSocket) -> None:
        everything(websocket.scope)
        get_consent(websocket).report_abuse("talk")
        await websocket.accept()
        await websocket.close()

    routes = [Route("/ko/books", page), WebSocketRoute("/ko/books", talk)]
    visited(site(Starlette(routes=routes)), asked())
    visited(site(Starlette(routes=routes)), asked(kind="websocket"), [{"type": "websocket.connect"}])
    kept = records(tmp_path / "consent-data", "abuse")
    assert sorted(sealed["abuse.reason"] for _, _, sealed in kept) == ["later", "now", "talk"]
    assert {sealed["client.address"] for _, _, sealed in kept} == {"192.0.2.7"}
    assert {clear["http.request.method"] for _, clear, _ in kept} == {"GET"}
    assert {clear["http.route"] for _, clear, _ in kept} == {"/ko/books"}  # the application's own, from its scope


def test_an_access_line_says_what_the_server_told(site):
    lines: list[str] = []
    app = site(changing(everything))

    class Shown(Console):
        def show(self, exchange: Any) -> None:
            lines.append(self.line(exchange))

    app.runtime.console = Shown(app.runtime.policy, Proxies())
    visited(app, asked())
    assert lines == ['INFO:     192.0.2.0 - "GET /ko/books?q=1 HTTP/1.1" 200 OK']


def test_the_banner_leads_back_to_where_the_browser_is(site):
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        everything(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<html><body>x</body></html>"})

    sent = visited(site(page), asked(headers=[(b"accept-language", b"en")]))
    page_sent = b"".join(part.get("body", b"") for part in sent).decode()
    assert 'name="next" value="/ko/books?q=1"' in page_sent
    assert "/below/consent" not in page_sent


# -- on the way in ------------------------------------------------------------------------------------------------


def seen(app_options: Any, headers: Any, **more: Any) -> tuple[list[Any], list[Any]]:
    """Return the headers that an application sees, and what left."""
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"ad=1")]})
        await send({"type": "http.response.body", "body": b""})

    sent = visited(app_options(app), {**scope(**more), "headers": headers})
    return got, sent


COOKIES = b"session=1; theme=dark; mystery=2"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Cookie", COOKIES)],
        [(b"COOKIE", b"session=1"), (b"cookie", b"theme=dark"), (b"Cookie", b"mystery=2")],
        [(b"cookie ", COOKIES)],
        [("cookie", COOKIES.decode())],
        [(bytearray(b"cookie"), bytearray(COOKIES))],
        [(b"cookie", memoryview(COOKIES))],
        [(b"cookie", bytearray(COOKIES))],
        ((b"cookie", part) for part in COOKIES.split(b"; ")),
        ([b"Cookie", COOKIES],),
    ],
)
def test_no_spelling_of_a_cookie_header_brings_a_refused_cookie_to_the_application(site, headers):
    got, _ = seen(site, headers)
    assert [line for line in got if b"cookie" in line[0].lower()] == [(b"cookie", b"session=1")]


@pytest.mark.parametrize("signal", [(b"Sec-GPC", b"1"), ("sec-gpc", "1"), (b"sec-gpc", "1"), [b"sec-gpc ", b"1"]])
def test_no_spelling_of_a_signal_is_missed(site, signal):
    name, value = cookie_for(Choice.ACCEPT)
    _, sent = seen(site, [signal, (name, value)])
    assert set_cookies(sent) == []
    _, sent = seen(site, [(name, value)])
    assert set_cookies(sent) == [b"ad=1"]


def test_no_spelling_of_an_origin_lets_another_site_choose(site):
    form = [{"type": "http.request", "body": b"choice=accept", "more_body": False}]
    lines = [(b"content-type", b"application/x-www-form-urlencoded"), (b"Origin", b"https://evil.example")]
    sent = visited(site(plain), scope("/consent/choice", method="POST", headers=lines), form)
    assert (sent[0]["status"], set_cookies(sent)) == (403, [])


def test_no_spelling_of_a_validator_brings_a_page_that_is_not_whole(site):
    lines = [(b"ACCEPT", b"text/html"), (b"If-None-Match", b'"1"'), (b"Range", b"bytes=0-1"), (b"x-a", b"1")]
    got, _ = seen(site, lines)
    assert got == [(b"accept", b"text/html"), (b"x-a", b"1")]
