"""The gate judges what leaves, not what was handed in: an application that goes on writing gets nothing past it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import MutableHeaders
from tests.support.asgi import drive, scope
from tests.support.exchanges import KEY, cookie_for
from tests.support.policies import POLICY

from consent_mw import Choice, ConsentMiddleware
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.consent.permissions import Verdict
from consent_mw.exceptions import IllegibleHeader

EVIL = (b"set-cookie", b"evil=1; Max-Age=31536000")
PAGE = b"<!doctype html><html><head></head><body><p data-purpose=analytics>hi</p></body></html>"


class Loud(bytes):
    """Bytes that call themselves something else to whoever asks."""

    def lower(self) -> bytes:
        return b"x-harmless"

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1

    def translate(self, *args: Any) -> bytes:
        return b""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)

    def wrap(app, **options):
        return ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY], **options)

    return wrap


def leaves(messages: Iterable[Message]) -> list[tuple[bytes, bytes]]:
    """Return all header lines of what a server holds, as the most forgiving of them would read them."""
    lines = [line for message in messages for line in message.get("headers") or ()]
    assert all(type(part) is bytes for line in lines for part in line), lines
    read = [(name.strip().lower(), value.strip()) for name, value in lines]
    assert not any(mark in value for _, value in read for mark in (b"\r", b"\n", b"\0")), read
    return read


def answers(app: Any, *args: Any, **more: Any) -> list[tuple[bytes, bytes]]:
    async def run() -> list[Message]:
        try:
            return await drive(app, scope(*args, **more))
        finally:
            await app.runtime.drain.stop()

    return leaves(asyncio.run(run()))


# -- what is handed in ----------------------------------------------------------------------------------------------

#: The same line, as ASGI has it and as it has it not.
LINES: dict[str, object] = {
    "in capitals": (b"SET-COOKIE", b"evil=1"),
    "a list": [b"set-cookie", b"evil=1"],
    "an iterator": iter((b"set-cookie", b"evil=1")),
    "texts": ("Set-Cookie", "evil=1"),
    "a text and bytes": ("set-cookie", b"evil=1"),
    "buffers": (bytearray(b"set-cookie"), bytearray(b"evil=1")),
    "views": (memoryview(b"Set-Cookie"), memoryview(b"evil=1")),
    "a blank before": (b" set-cookie", b"evil=1"),
    "a blank behind": (b"set-cookie\t", b"evil=1"),
    "a NUL": (b"set-cookie\0", b"evil=1"),
    "a colon": (b"set-cookie:", b"evil=1"),
    "a form feed": (b"set-cookie\x0c", b"evil=1"),
    "loud": (Loud(b"Set-Cookie"), b"evil=1"),
    "a loud value": (b"x-a", Loud(b"1\r\nset-cookie: evil=1")),
    "behind a line end": (b"x-a", b"1\r\nSet-Cookie: evil=1"),
    "behind a line feed": (b"location", b"/\nSet-Cookie: evil=1"),
    "behind a carriage return": (b"content-type", b"text/plain\rSet-Cookie: evil=1"),
    "in a name": (b"x-a: 1\r\nset-cookie", b"evil=1"),
    "of three": (b"set-cookie", b"evil=1", b"x"),
    "no pair": b"set-cookie: evil=1",
    "nothing": None,
}
KINDS = ("http.response.start", "http.response.early_hint", "http.response.push", "http.response.trailers",
         "websocket.accept", "websocket.http.response.start", "http.response.body", "http.response.pathsend",
         "websocket.send", "http.response.of.tomorrow")  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_no_spelling_of_a_header_line_carries_a_cookie_past_the_gate(site, name):
    said: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(said[0])

    async def run() -> None:
        wrapped = site(app)
        for kind in KINDS:
            line = iter((b"set-cookie", b"evil=1")) if name == "an iterator" else LINES[name]
            said[:] = [{"type": kind, "headers": (pair for pair in [(b"x-fine", b"1"), line])}]
            kept = leaves(await drive(wrapped, scope(kind="websocket" if kind.startswith("websocket") else "http")))
            assert (b"x-fine", b"1") in kept
            assert not any(b"evil" in value or b"cookie" in header for header, value in kept), kind
        await wrapped.runtime.drain.stop()

    asyncio.run(run())


def test_a_line_of_texts_or_buffers_that_may_leave_does_so_in_bytes(site):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [("Set-Cookie", "session=1"), (bytearray(b"x-b"), memoryview(b"2")), [b"x-c", b"3"]]
        await send({"type": "http.response.start", "status": 200, "headers": iter(headers)})
        await send({"type": "http.response.body", "body": b""})

    assert answers(site(app)) == [(b"set-cookie", b"session=1"), (b"x-b", b"2"), (b"x-c", b"3")]


def test_a_hook_is_not_asked_about_a_line_that_nobody_can_read(site):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"set-cookie", b"a=1\r\nset-cookie: evil=1"), (b"Set-Cookie", "b=1\0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    assert answers(site(app, cookie_hook=lambda decision: Verdict.KEPT)) == []


def test_a_hint_has_no_link_and_an_acceptance_no_subprotocol_that_holds_a_line(site):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "subprotocol": "chat\r\nSet-Cookie: evil=1"})
        else:
            links = iter([b"</a.css>; rel=preload", b"</b>\r\nSet-Cookie: evil=1"])
            await send({"type": "http.response.early_hint", "links": links})

    async def run(kind: str) -> Message:
        wrapped = site(app)
        sent = await drive(wrapped, scope(kind=kind))
        await wrapped.runtime.drain.stop()
        return sent[0]

    assert asyncio.run(run("http"))["links"] == [b"</a.css>; rel=preload"]
    assert asyncio.run(run("websocket"))["subprotocol"] is None


def test_what_is_not_sent_is_told_once_without_its_value_and_an_error_in_development(site, caplog):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-a\x1b[31m", b"secret"), (b"x-b", b"secret\n")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    wrapped = site(app)

    async def twice() -> None:
        await drive(wrapped, scope())
        await drive(wrapped, scope())
        await wrapped.runtime.drain.stop()

    asyncio.run(twice())
    messages = [record.message for record in caplog.records if "not sent" in record.message]
    assert [message.partition("header line ")[2].partition(" is")[0] for message in messages] == [
        r'"x-a\u001b[31m"',
        '"x-b"',
    ]
    assert not any("secret" in message for message in messages)
    with pytest.raises(IllegibleHeader, match="x-a"):
        answers(site(app, debug=True))


# -- what is changed afterwards -------------------------------------------------------------------------------------

#: A page that asks (the banner goes in), one that asks nothing (held until its body), a cookie that waits, the rest.
VISITORS: dict[str, dict[str, Any]] = {
    "who has not chosen": {},
    "who refuses": {"headers": [cookie_for(Choice.REJECT)]},
    "who accepts": {"headers": [cookie_for(Choice.ACCEPT)]},
    "who wants to be asked": {"headers": [cookie_for(Choice.PROMPT)]},
    "who looks at the head alone": {"method": "HEAD"},
    "on a WebSocket": {"kind": "websocket"},
}
FORMS: dict[str, Callable[[list[tuple[bytes, bytes]]], Any]] = {
    "list": list,
    "tuple": tuple,
    "lists": lambda lines: [list(line) for line in lines],
    "buffers": lambda lines: [[bytearray(name), bytearray(value)] for name, value in lines],
    "iterator": iter,
    "starlette": lambda lines: MutableHeaders(raw=list(lines)).raw,
}


class Act(NamedTuple):
    """One message of an application, in what it holds its headers, and when it changes all that it still holds."""

    kind: str
    form: str
    html: bool
    wait: bool
    before: bool
    more: bool


acts = st.lists(
    st.builds(
        Act,
        st.sampled_from(["start", "start", "body", "body", "trailers", "push", "early_hint", "accept", "denial"]),
        st.sampled_from(sorted(FORMS)),
        html=st.booleans(),
        wait=st.booleans(),
        before=st.booleans(),
        more=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def message(act: Act) -> dict[str, Any]:
    if act.kind == "body":
        return {"type": "http.response.body", "body": bytearray(PAGE) if act.wait else PAGE, "more_body": act.more}
    kinds = {"accept": "websocket.accept", "denial": "websocket.http.response.start"}
    lines = [(b"content-type", b"text/html" if act.html else b"text/plain"), (b"x-page", b"1"), EVIL]
    lines += [(b"set-cookie", b"theme=1")] if act.wait else []
    return {"type": kinds.get(act.kind, f"http.response.{act.kind}"), "status": 200, "headers": FORMS[act.form](lines)}


def change(held: dict[str, Any], headers: Any) -> None:
    """Write a cookie into everything that can be written to."""
    if isinstance(headers, list):
        for line in headers:
            if isinstance(line, list) and isinstance(line[0], bytearray):
                line[0][:], line[1][:] = EVIL
            elif isinstance(line, list):
                line[:] = EVIL
        headers.append(EVIL)
    if isinstance(held.get("body"), bytearray):
        held["body"][:] = b"late"
    held |= {"type": "http.response.start", "status": 200, "headers": [EVIL]}


class Slow:
    """A server that reads what it was sent only when all is over, as none may: whatever it holds by then has left."""

    def __init__(self) -> None:
        self.holds: list[Message] = []

    async def send(self, message: Message) -> None:
        self.holds.append(message)
        await asyncio.sleep(0)


async def played(app: Any, server: Slow, asked: Scope) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(asked, receive, server.send)


def application(story: list[Act]) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        holds: list[tuple[dict[str, Any], Any]] = []

        def change_all() -> None:
            for held, headers in holds:
                change(held, headers)

        for act in story:
            said = message(act)
            holds.append((said, said.get("headers")))
            sending: Awaitable[None] = send(said)
            if act.before:  # a task of its own begins later, and an await within it lets others in
                change_all()
            task = asyncio.ensure_future(sending)
            await asyncio.sleep(0)
            change_all()
            await task
            change_all()

    return app


class Site:
    """One site for all stories: the application plays the one that is in turn."""

    def __init__(self, directory: Path) -> None:
        policy = directory / "policy.toml"
        policy.write_text(POLICY)
        self.story: list[Act] = []
        self.app: Any = ConsentMiddleware(self.plays, policy=policy, secret_keys=[KEY])

    async def plays(self, scope: Scope, receive: Receive, send: Send) -> None:
        await application(self.story)(scope, receive, send)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with asyncio.Runner() as runner:
        site = Site(tmp_path_factory.mktemp("site"))
        yield site, runner.run
        runner.run(site.app.runtime.drain.stop())


@settings(max_examples=300)
@given(visitor=st.sampled_from(sorted(VISITORS)), story=acts)
def test_nothing_that_is_changed_after_it_was_sent_reaches_a_browser(stage, visitor: str, story: list[Act]) -> None:
    site, run = stage
    site.story, server = story, Slow()
    run(played(site.app, server, scope(**VISITORS[visitor])))
    assert not any(b"evil" in value for _, value in leaves(server.holds))


def test_a_buffer_that_is_filled_again_spoils_no_page_that_is_held(site):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        buffer, said = bytearray(b"<html><he"), {"type": "http.response.body", "more_body": True}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        for part in (b"<html><he", b"ad></head><bo", b"dy>whole</body>"):
            buffer[:] = part
            said["body"] = buffer
            await send(said)
        await send({"type": "http.response.body", "body": b"</html>"})

    async def run() -> bytes:
        wrapped = site(app)
        sent = await drive(wrapped, scope())
        await wrapped.runtime.drain.stop()
        return b"".join(bytes(part.get("body", b"")) for part in sent)

    page = asyncio.run(run())
    assert page.startswith(b"<html><head>")
    assert b'data-consent="banner"' in page


def test_what_is_chosen_while_a_receipt_is_written_gets_neither_a_cookie_nor_a_way_past_the_gate(site):
    consents: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        consent = scope["state"]["consent"]
        consents.append(consent)
        consent.choose(Choice.REJECT)
        headers = [(b"set-cookie", b"theme=1"), (b"set-cookie", b"session=1")]
        task = asyncio.ensure_future(send({"type": "http.response.start", "status": 200, "headers": headers}))
        while consent.changed:  # noqa: ASYNC110 - taken by the head, some turns later if the machine is busy
            await asyncio.sleep(0)
        consent.choose(Choice.ACCEPT)  # the receipt is on its way to the disk
        await task
        await send({"type": "http.response.body", "body": b""})

    kept = [value for name, value in answers(site(app)) if name == b"set-cookie"]
    assert consents[0].choice is Choice.ACCEPT  # for the rest of the request
    assert [line[:17] for line in kept] == [b"consent=1|reject|", b"session=1"]
