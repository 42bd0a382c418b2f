"""What testers get: the clock, the driver, the client that answers the banner, and the plugin."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware
from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.clock import Clock
from consent_mw.testing.driver import Connection, body, drive, http_scope, lifespan, text, websocket_scope
from consent_mw.testing.running import RunningApp

pytest_plugins = ["consent_mw.testing.plugin"]

Guard = Callable[..., ConsentMiddleware]


async def home(request: Request) -> HTMLResponse:
    request.state.consent.record_event("search", results=2)
    response = HTMLResponse("<!doctype html><title>x</title><body><h1>x</h1></body>")
    for name in ("theme", "ad"):
        response.set_cookie(name, "1")
    return response


async def crash(request: Request) -> HTMLResponse:
    raise LookupError("a defect")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"set-cookie", b"theme=2")])
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await (websocket.send_text(message["text"]) if "text" in message else websocket.send_bytes(message["bytes"]))


async def closed(websocket: WebSocket) -> None:
    await websocket.close()


SITE = Starlette(
    routes=[
        Route("/", home),
        Route("/crash", crash),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/closed", closed),
    ]
)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def consent_app(consent_guard: Guard, policy: Path) -> ConsentMiddleware:
    return consent_guard(SITE, policy=policy)


# -- the clock ------------------------------------------------------------------------------------------------------


def test_a_clock_stands_where_it_was_set_but_for_a_microsecond_a_reading() -> None:
    clock = Clock(datetime(2026, 11, 23, tzinfo=UTC))
    first, second = clock(), clock()
    assert second - first == 1_000
    assert clock.now == datetime(2026, 11, 23, microsecond=2, tzinfo=UTC)
    clock.advance(timedelta(days=-1, microseconds=-2))
    assert clock.now == datetime(2026, 11, 22, tzinfo=UTC)


def test_a_clock_takes_no_instant_without_a_zone() -> None:
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        Clock(datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


def test_a_choice_ends_when_the_clock_says_so(consent_client: ConsentClient, consent_clock: Clock) -> None:
    consent_client.accept()
    consent_clock.advance(timedelta(days=179))
    assert consent_client.state()["choice"] == "accept"
    consent_clock.advance(timedelta(days=2))
    assert consent_client.state()["choice"] is None


def test_records_have_the_time_of_the_clock(consent_client: ConsentClient, consent_clock: Clock) -> None:
    consent_clock.set(datetime(2027, 3, 1, 12, tzinfo=UTC))
    consent_client.get("/")
    assert {kept.time for kept in consent_client.records("visit")} == {datetime(2027, 3, 1, 12, tzinfo=UTC)}


def test_a_cookie_that_waits_is_gone_after_ten_minutes(consent_client: ConsentClient, consent_clock: Clock) -> None:
    consent_client.ask()
    consent_client.get("/")
    assert {cookie["name"] for cookie in consent_client.state()["waiting"]} == {"theme", "ad"}
    consent_clock.advance(timedelta(minutes=11))
    assert consent_client.state()["waiting"] == []


# -- the client -----------------------------------------------------------------------------------------------------


def names(response: httpx.Response) -> set[str]:
    lines = response.headers.get_list("set-cookie")
    return {line.partition("=")[0] for line in lines} - {f"__Host-consent{use}" for use in ("", "-pending", "-waiting")}


def test_each_answer_is_one_call(consent_client: ConsentClient) -> None:
    visitor = consent_client
    assert names(visitor.get("/")) == set()
    assert visitor.accept().json()["choice"] == "accept"
    assert names(visitor.get("/")) == {"theme", "ad"}
    assert visitor.reject().json()["choice"] == "reject"
    assert names(visitor.get("/")) == set()
    assert visitor.ask().json()["choice"] == "prompt"
    assert names(visitor.get("/")) == set()
    assert names(visitor.allow("theme")) == {"theme"}
    assert names(visitor.refuse("ad")) == set()
    assert visitor.state()["waiting"] == []


def test_purposes_and_cookies_are_allowed_by_name(consent_client: ConsentClient) -> None:
    consent_client.allow("functional")
    consent_client.allow("ad")
    assert names(consent_client.get("/")) == {"theme", "ad"}
    consent_client.refuse("functional")
    assert names(consent_client.get("/")) == {"ad"}
    assert consent_client.state()["purposes"] == {"functional": False, "analytics": None, "marketing": None}


def test_what_the_policy_does_not_ask_about_is_an_error_that_names_what_it_does(consent_client: ConsentClient) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"cookie\.theme"):
        consent_client.allow("them")
    assert consent_client.state()["choice"] is None


def test_records_are_read_opened(consent_client: ConsentClient) -> None:
    consent_client.get("/")
    assert consent_client.records("event") == []
    consent_client.accept()
    consent_client.get(
        "/", headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}
    )
    (event,) = consent_client.records("event")
    assert (event.kind, event.purpose, event.data["event.results"]) == ("event", "analytics", 2)
    assert event.data["user_agent.name"] == "Firefox"
    (receipt,) = consent_client.records("receipt")
    assert receipt.purpose == "receipts"


def test_a_websocket_has_the_cookies_of_its_visitor_and_may_set_some(consent_client: ConsentClient) -> None:
    with consent_client.websocket("/echo") as socket:
        assert "set-cookie" not in socket.headers
    consent_client.accept()
    with consent_client.websocket("/echo") as socket:
        socket.send("one")
        socket.send(b"two")
        assert [socket.receive(), socket.receive()] == ["one", b"two"]
    assert consent_client.cookies["theme"] == "2"


def test_a_websocket_that_is_not_accepted_is_refused(consent_client: ConsentClient) -> None:
    with pytest.raises(ConnectionRefusedError, match="/closed"), consent_client.websocket("/closed"):
        pass


def test_the_error_of_the_application_is_raised_or_answered(consent_guard: Guard, policy: Path) -> None:
    app = consent_guard(SITE, policy=policy)
    with ConsentClient(app) as visitor, pytest.raises(LookupError, match="a defect"):
        visitor.get("/crash")
    with ConsentClient(app, raise_errors=False) as visitor:
        assert visitor.get("/crash").status_code == 500


def test_visitors_of_one_application_share_nothing_but_the_application(
    consent_client: ConsentClient, consent_app: ConsentMiddleware
) -> None:
    with consent_client.another(address="198.51.100.4", headers={"accept-language": "en"}) as other:
        consent_client.accept()
        assert other.state()["choice"] is None
        assert (consent_client.state()["language"], other.state()["language"]) == ("ko", "en")
        other.get("/")
        addresses = [
            kept.data["client.address"] for kept in consent_client.records("visit") if kept.data.get("http.route")
        ]
        assert addresses == ["198.51.100.0"]
    assert consent_client.get("/").cookies["theme"] == "1"  # the application lives on


def test_a_running_application_outlives_each_of_its_visitors(consent_app: ConsentMiddleware) -> None:
    with RunningApp(consent_app) as running:
        for address in ("203.0.113.7", None):
            with ConsentClient(running, address=address) as visitor:
                assert visitor.get("/").status_code == 200
                assert visitor.app is consent_app


def test_cookies_expire_by_the_clock_that_another_layer_is_given(
    consent_app: ConsentMiddleware, consent_clock: Clock
) -> None:
    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await consent_app(scope, receive, send)

    with ConsentClient(outer, clock=consent_clock) as visitor:
        visitor.accept()
        assert "__Host-consent" in visitor.cookies
        consent_clock.advance(timedelta(days=181))
        assert "__Host-consent" not in visitor.cookies


def test_cookies_that_a_visitor_begins_with_are_sent_and_followed_by_the_clock(
    consent_app: ConsentMiddleware, consent_clock: Clock
) -> None:
    with RunningApp(consent_app) as running, ConsentClient(running, cookies={"theme": "old"}) as visitor:
        visitor.accept()
        assert visitor.cookies["theme"] == "old"
        visitor.cookies = {"basket": "1"}  # another browser
        assert visitor.state()["choice"] is None
        visitor.accept()
        consent_clock.advance(timedelta(days=181))
        assert list(visitor.cookies) == ["basket"]
        visitor.cookies.jar.clear_session_cookies()
        assert list(visitor.cookies) == []


def test_a_visitor_exercises_rights_by_name(consent_client: ConsentClient) -> None:
    consent_client.accept()
    consent_client.get("/")
    assert "analytics" in [holding["purpose"] for holding in consent_client.my_data()["held"]]
    assert consent_client.exercise("restrict", message="leave it alone")["action"] == "restrict"
    assert consent_client.my_data()["restricted"]
    with pytest.raises(httpx.HTTPStatusError, match="confirm"):
        consent_client.exercise("erase")
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        consent_client.another().my_data()


def test_another_layer_may_stand_outside(consent_app: ConsentMiddleware) -> None:
    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await consent_app(scope, receive, send)

    with ConsentClient(outer) as visitor:
        assert visitor.accept().json()["choice"] == "accept"
        with pytest.raises(TypeError, match="ConsentMiddleware"):
            visitor.records("visit")


# -- the driver -----------------------------------------------------------------------------------------------------


def test_messages_of_any_shape_go_in_and_come_out_as_they_are() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen = [await receive() for _ in range(2)]
        await send({"type": "http.response.start", "status": 299, "headers": ((b"X-Odd", b"\xff"),), "odd": seen})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body"})
        assert (await receive())["type"] == "http.disconnect"

    odd: list[Message] = [{"type": "http.request"}, {"type": "http.request", "body": b"", "more_body": False, "odd": 1}]
    driven = asyncio.run(drive(app, http_scope("/", method="ODD", extensions={}), odd))
    assert driven.error is None
    assert driven.messages[0]["odd"] == odd
    assert (driven.status, driven.headers, driven.body) == (299, [(b"X-Odd", b"\xff")], b"a")


def test_an_error_is_part_of_what_came_out() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    driven = asyncio.run(drive(app, http_scope()))
    assert isinstance(driven.error, LookupError)
    assert driven.status == 200


def test_a_websocket_is_driven_to_its_end() -> None:
    driven = asyncio.run(drive(SITE, websocket_scope("/echo"), text("a", "b")))
    assert driven.texts == ["a", "b"]
    assert driven.set_cookies == [b"theme=2"]
    assert driven.status is None


def test_a_stream_without_an_end_is_read_as_far_as_wanted() -> None:
    async def numbers() -> AsyncIterator[str]:
        for number in itertools.count():
            yield f"{number}\n"
            await asyncio.sleep(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(numbers())(scope, receive, send)

    async def read() -> list[bytes]:
        async with Connection(app, http_scope(asgi={"version": "3.0", "spec_version": "2.3"})) as connection:
            for message in body():
                await connection.send(message)
            assert (await connection.receive())["type"] == "http.response.start"
            return [(await connection.receive())["body"] for _ in range(3)]

    assert asyncio.run(read()) == [b"0\n", b"1\n", b"2\n"]


def test_what_ended_sends_no_more_and_what_it_raised_is_raised() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async def read(app: ASGIApp) -> None:
        async with Connection(app, http_scope()) as connection:
            await connection.receive()

    with pytest.raises(EOFError):
        asyncio.run(read(silent))

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(read(broken))


def test_an_application_that_cannot_start_says_why() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def start() -> None:
        async with lifespan(app):
            pass

    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(start())


# -- the plugin -----------------------------------------------------------------------------------------------------


def test_the_plugin_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["consent_mw.testing.plugin"]\n')
    (tmp_path / "test_site.py").write_text("def test_it(consent_client):\n    pass\n")
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'return consent_guard(site, policy="policy.toml")' in done.stdout
