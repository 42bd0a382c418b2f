"""A visitor for tests, in front of an application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx
import msgspec

from consent_mw._asgi import ASGIApp, Message, Scope
from consent_mw.middleware import ConsentMiddleware
from consent_mw.records import Query, Record, time_of
from consent_mw.testing.driver import Connection, body, drive, http_scope, lifespan, websocket_scope
from consent_mw.testing.visitor import Visitor

__all__ = ["ConsentClient", "Kept", "Socket"]

_PAGE = 1_000
_HANDED_OVER_SECONDS = 10.0
_BETWEEN_SECONDS = 0.01


class Kept(NamedTuple):
    """A record that was kept, opened: `data` holds its clear and its sealed fields."""

    time: datetime
    kind: str
    purpose: str
    data: dict[str, Any]


class ConsentClient(Visitor):
    """
    A visitor in front of an application, without a server.

        with ConsentClient(app) as visitor:
            visitor.accept()
            assert visitor.get("/").cookies["theme"] == "dark"

    `with` starts the application and shuts it down, as a server that speaks lifespan. Every call runs the
    client's own event loop until the answer is complete, so tests need no plugin for asyncio; the client
    cannot be used inside a running loop.

    Args:
        app: The application, wrapped in `ConsentMiddleware`; something else may wrap that.
        base_url: Where the site is. "https" unless told, where the consent cookie has its prefix `__Host-`.
        root_path: What the application is mounted under; it goes before every path.
        prefix: Where the consent pages are, if the outermost layer is not the `ConsentMiddleware`.
        raise_errors: Raise what the application raises. False answers 500 as a server does.
        options: Whatever else `httpx.Client` takes: `headers`, `follow_redirects`, ...
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_url: str = "https://testserver",
        root_path: str = "",
        prefix: str = "/consent",
        raise_errors: bool = True,
        **options: Any,
    ) -> None:
        self.app: ASGIApp = app
        self._applied = _Applied(app, root_path, raise_errors)
        prefix = app.wiring.prefix if isinstance(app, ConsentMiddleware) else prefix
        super().__init__(prefix=prefix, transport=self._applied, base_url=base_url + root_path, **options)

    # -- what else a visitor does -------------------------------------------------------------------------------

    @contextmanager
    def websocket(self, path: str) -> Generator[Socket]:
        """
        Open a WebSocket, with this visitor's cookies, for the length of a `with`; it may set cookies too.

        Raises:
            ConnectionRefusedError: The application did not accept it.
        """
        request = self.build_request("GET", path)
        scope = self._applied.scope(request, websocket=True)
        connection = Connection(self.app, scope)
        run = self._applied.runner.run
        run(connection.__aenter__())
        error: BaseException | None = None
        try:
            run(connection.send({"type": "websocket.connect"}))
            answer = run(connection.receive())
            if answer["type"] != "websocket.accept":
                raise ConnectionRefusedError(f"{path}: the application answered {answer['type']}")
            headers = [(bytes(name), bytes(value)) for name, value in answer.get("headers") or ()]
            self.cookies.extract_cookies(httpx.Response(101, headers=headers, request=request))
            yield Socket(connection, self._applied.runner, httpx.Headers(headers))
        except BaseException as raised:
            error = raised
            raise
        finally:
            run(connection.__aexit__(type(error) if error else None, error, None))

    # -- what was kept ------------------------------------------------------------------------------------------

    def records(self, *kinds: str) -> list[Kept]:
        """
        Return what was kept of these kinds ("visit", "event", "receipt", ...), opened, oldest first.

        Raises:
            TypeError: The outermost layer of the application is not a `ConsentMiddleware`.
        """
        if not isinstance(self.app, ConsentMiddleware):
            raise TypeError("records: the outermost layer of the application is not a ConsentMiddleware")
        return self._applied.runner.run(_kept(self.app, frozenset(kinds)))

    def __enter__(self) -> ConsentClient:
        """Start the application."""
        super().__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Shut the application down, and end the client's event loop."""
        super().__exit__(exc_type, exc_value, traceback)


class Socket:
    """
    The client's end of an accepted WebSocket.

    Attributes:
        headers: What the application sent with its acceptance.
    """

    def __init__(self, connection: Connection, runner: asyncio.Runner, headers: httpx.Headers) -> None:
        self.headers: httpx.Headers = headers
        self._connection = connection
        self._runner = runner

    def send(self, data: str | bytes) -> None:
        """Say something."""
        key = "text" if isinstance(data, str) else "bytes"
        self._runner.run(self._connection.send({"type": "websocket.receive", key: data}))

    def receive(self) -> str | bytes:
        """
        Return what the application says next.

        Raises:
            EOFError: It closed, or ended.
        """
        message = self._runner.run(self._connection.receive())
        if message["type"] != "websocket.send":
            raise EOFError(f"the application sent {message['type']}")
        said: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return said


class _Applied(httpx.BaseTransport):
    """Carries each request to the application, on an event loop of its own."""

    def __init__(self, app: ASGIApp, root_path: str, raise_errors: bool) -> None:
        self.runner: asyncio.Runner = asyncio.Runner()
        self._app = app
        self._root_path = root_path
        self._raise_errors = raise_errors
        self._started = False
        self._state: dict[str, Any] = {}
        self._life = AsyncExitStack()

    def scope(self, request: httpx.Request, *, websocket: bool = False) -> Scope:
        """Return the scope that a server makes of a request."""
        url = request.url
        make = websocket_scope if websocket else http_scope
        scope = make(
            unquote(url.path),
            headers=[(name.lower(), value) for name, value in request.headers.raw],
            raw_path=url.raw_path.partition(b"?")[0],
            query_string=url.query,
            root_path=self._root_path,
            server=(url.host, url.port or (443 if url.scheme == "https" else 80)),
            state={**self._state},
        )
        secure = url.scheme == "https"
        scope["scheme"] = {(False, False): "http", (False, True): "https", (True, False): "ws", (True, True): "wss"}[
            websocket, secure
        ]
        return scope if websocket else {**scope, "method": request.method}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Run one exchange, and return the answer once it is complete."""
        content: list[Message] = body(request.read())
        driven = self.runner.run(drive(self._app, self.scope(request), content))
        if driven.error is not None and (self._raise_errors or driven.status is None):
            if self._raise_errors:
                raise driven.error
            return httpx.Response(500, request=request)
        if driven.status is None:
            raise RuntimeError(f"{request.method} {request.url.path}: the application ended without an answer")
        return httpx.Response(
            driven.status, headers=driven.headers, stream=httpx.ByteStream(driven.body), request=request
        )

    def __enter__(self) -> _Applied:
        """Start the application."""
        self._started = True
        self._state = self.runner.run(self._life.enter_async_context(lifespan(self._app)))
        return self

    def close(self) -> None:
        """Shut the application down, and end the loop. One that was never started still has a drain that ends."""
        try:
            self.runner.run(self._life.aclose())
            if not self._started and isinstance(self._app, ConsentMiddleware):
                self.runner.run(self._app.wiring.drain.stop())
        finally:
            self.runner.close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Shut the application down."""
        self.close()


async def _kept(app: ConsentMiddleware, kinds: frozenset[str]) -> list[Kept]:
    """Hand over what the spool holds, and read the store page by page."""
    store, after = app.wiring.store, None
    with suppress(TimeoutError):  # what nothing can hand over, such as a segment of another keyring, is not found
        async with asyncio.timeout(_HANDED_OVER_SECONDS):
            await _handed_over(app)
    found: list[Record] = []
    while page := await store.fetch(Query(kinds=kinds), after=after, limit=_PAGE):
        found += page
        after = page[-1].id
    whole = app.wiring.sealer.whole(found)
    return [Kept(time_of(record.id), record.kind, record.purpose, _fields(app, record)) for record in whole]


async def _handed_over(app: ConsentMiddleware) -> None:
    """Hand over until nothing waits: the application's own drain may be at it, and then does it."""
    await app.wiring.drain.once()
    while app.wiring.spool.waiting_bytes:
        await asyncio.sleep(_BETWEEN_SECONDS)
        await app.wiring.drain.once()


def _fields(app: ConsentMiddleware, record: Record) -> dict[str, Any]:
    if not record.ring:
        return dict(record.data)
    sealed = msgspec.msgpack.decode(app.wiring.sealer.open(record), type=dict[str, Any])
    return {**record.data, **sealed}
