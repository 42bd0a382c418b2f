"""Drive an ASGI application without a server: a scope and any messages in, the application's own messages out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from consent_mw._asgi import ASGIApp, Header, Message, Scope, header_values

__all__ = ["Connection", "Driven", "body", "drive", "http_scope", "lifespan", "text", "websocket_scope"]

_HAS_HEADERS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_HAS_BODY: Final = ("http.response.body", "websocket.http.response.body")
_DISCONNECT: Final[dict[str, Message]] = {
    "http": {"type": "http.disconnect"},
    "websocket": {"type": "websocket.disconnect", "code": 1000, "reason": ""},
}
#: An application that has not ended so long after its client left waits for something else.
_PATIENCE_SECONDS: Final = 10.0


def http_scope(path: str = "/", *, method: str = "GET", headers: Iterable[Header] = (), **more: Any) -> Scope:
    """Return a scope of type "http" as a server makes it. `more` is put over it, whatever it is."""
    return _scope("http", path, headers) | {"http_version": "1.1", "method": method, "scheme": "http"} | more


def websocket_scope(path: str = "/", *, headers: Iterable[Header] = (), **more: Any) -> Scope:
    """Return a scope of type "websocket" as a server makes it. `more` is put over it, whatever it is."""
    offered: list[str] = []
    return _scope("websocket", path, headers) | {"http_version": "1.1", "scheme": "ws", "subprotocols": offered} | more


def _scope(kind: str, path: str, headers: Iterable[Header]) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        "client": ("203.0.113.77", 4711),
        "server": ("testserver", 80),
        "state": {},
    }


def body(*parts: bytes) -> list[Message]:
    """Return the messages of a request's body that arrives in `parts`."""
    last = len(parts) - 1
    return [{"type": "http.request", "body": part, "more_body": n < last} for n, part in enumerate(parts or (b"",))]


def text(*texts: str) -> list[Message]:
    """Return the messages of a WebSocket that connects and says `texts`."""
    return [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)]


@dataclass(frozen=True, slots=True)
class Driven:
    """
    What came out of an application.

    Attributes:
        messages: All that it sent, in order and as it sent them.
        error: What it raised, or None.
    """

    messages: Sequence[Message]
    error: Exception | None = None

    @property
    def status(self) -> int | None:
        """The status of its answer, or None where it sent none (a WebSocket that was accepted has none)."""
        return next((message["status"] for message in self.messages if "status" in message), None)

    @property
    def headers(self) -> list[Header]:
        """The header lines of its answer, or of the accepted WebSocket, as they were sent."""
        all_headers = (message.get("headers") or () for message in self.messages if message["type"] in _HAS_HEADERS)
        return [(name, value) for lines in all_headers for name, value in lines]

    @property
    def body(self) -> bytes:
        """The body of its answer, whole."""
        return b"".join(message.get("body", b"") for message in self.messages if message["type"] in _HAS_BODY)

    @property
    def texts(self) -> list[str]:
        """What it said over a WebSocket in texts."""
        said = (message.get("text") for message in self.messages if message["type"] == "websocket.send")
        return [reply for reply in said if reply is not None]

    @property
    def set_cookies(self) -> list[bytes]:
        """Every `Set-Cookie` line that left, in any message."""
        return [
            line for message in self.messages for line in header_values(message.get("headers") or (), b"set-cookie")
        ]


async def drive(app: ASGIApp, scope: Scope, incoming: Iterable[Message] = ()) -> Driven:
    """
    Run one connection to its end, and return what came out. Never raises what the application raises.

    `incoming` is what the client says, of any shape; without it an empty body, or a WebSocket that connects. Then
    a WebSocket's client leaves, and one of HTTP waits until the answer is complete.
    """
    waiting = deque(incoming) or deque(text() if scope["type"] == "websocket" else body())
    sent: list[Message] = []
    complete = asyncio.Event()

    async def receive() -> Message:
        if waiting:
            return waiting.popleft()
        if scope["type"] != "websocket":
            await complete.wait()
        return {**_DISCONNECT.get(scope["type"], _DISCONNECT["http"])}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            complete.set()  # from here on `receive` tells that the client is gone, as servers do

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        return Driven(sent, error)
    return Driven(sent)


class Connection:
    """
    One connection, message by message, for what `drive` is too simple for: a talk, or a stream without an end.

        async with Connection(app, websocket_scope("/chat")) as connection:
            await connection.send({"type": "websocket.connect"})
            assert (await connection.receive())["type"] == "websocket.accept"

    Leaving it disconnects, waits for the application's end, and raises what it raised.
    """

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message | None] = asyncio.Queue()  # None: the application has ended
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Connection:
        """Start the application."""
        self._task = asyncio.create_task(self._run(), name="application under test")
        return self

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._incoming.get, self._outgoing.put)
        finally:
            self._outgoing.put_nowait(None)

    async def send(self, message: Message) -> None:
        """Hand a message to the application."""
        self._incoming.put_nowait(message)

    async def receive(self) -> Message:
        """
        Return the application's next message.

        Raises:
            EOFError: It ended and sends no more. What it raised itself is raised instead.
        """
        message = await self._outgoing.get()
        if message is not None:
            return message
        self._outgoing.put_nowait(None)
        if self._task is not None:
            await self._task
        raise EOFError("the application has ended, and sends no more messages")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect, and wait for the application's end."""
        assert self._task is not None  # noqa: S101 - set on entering
        if goodbye := _DISCONNECT.get(self._scope["type"]):
            self._incoming.put_nowait({**goodbye})
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._task
        except Exception:
            if error is None:  # else that one is the news
                raise


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncGenerator[dict[str, Any]]:
    """
    Start the application as a server does, give the state for its scopes, and shut it down.

    An application that does not speak lifespan is left alone.

    Raises:
        RuntimeError: It says that it cannot start, or not shut down; its words are in the message.
    """
    state: dict[str, Any] = {}
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    async with Connection(_silent(app), scope) as connection:
        speaks = await _answered(connection, "startup")
        try:
            yield state
        finally:
            if speaks:
                await _answered(connection, "shutdown")


def _silent(app: ASGIApp) -> ASGIApp:
    """An application may raise at the lifespan scope to say that it does not know it (ASGI, lifespan)."""

    async def silent(scope: Scope, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception:  # noqa: BLE001 - any, says the specification
            return

    return silent


async def _answered(connection: Connection, what: str) -> bool:
    await connection.send({"type": f"lifespan.{what}"})
    try:
        answer = await connection.receive()
    except EOFError:
        return False
    if answer["type"] != f"lifespan.{what}.complete":
        raise RuntimeError(f"{answer['type']}: {answer.get('message', '')}")
    return True
