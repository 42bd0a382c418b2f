"""An application between its start and its end, on an event loop of its own: what the visitors of a test share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx

from consent_mw._asgi import ASGIApp, Message, Scope
from consent_mw.middleware import ConsentMiddleware
from consent_mw.testing.driver import body, drive, http_scope, lifespan, websocket_scope

__all__ = ["RunningApp"]

_Result = TypeVar("_Result")
_PORT = 4711


class RunningApp:
    """
    An application that runs, without a server, for as many visitors as a test needs.

        with RunningApp(app) as running:
            kim, lee = ConsentClient(running), ConsentClient(running, address="198.51.100.4")

    `with` starts it and shuts it down, as a server that speaks lifespan. Its event loop runs only while one of the
    visitors waits for an answer, so it is for one thread, and not for use inside a running loop.

    Args:
        app: The application, wrapped in `ConsentMiddleware`; something else may wrap that.
        root_path: What it is mounted under; it goes before every path.
        raise_errors: Raise what the application raises. False answers 500 as a server does.
        clock: By which visitors' cookies expire, in nanoseconds since 1970. That of the middleware, or the machine's if
            the middleware is not the outermost layer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        root_path: str = "",
        raise_errors: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.app: ASGIApp = app
        self.root_path: str = root_path
        self._raise_errors = raise_errors
        self._clock = clock
        self._runner = asyncio.Runner()
        self._started = self._stopped = False
        self._state: dict[str, Any] = {}
        self._life = AsyncExitStack()

    @property
    def clock(self) -> Callable[[], int] | None:
        """By which cookies expire, in nanoseconds since 1970; None is the machine's."""
        if self._clock is None and isinstance(self.app, ConsentMiddleware):
            return self.app.runtime.options.clock
        return self._clock

    # -- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """
        Start the application.

        Raises:
            RuntimeError: It says that it cannot start.
        """
        self._started = True
        self._state = self.run(self._life.enter_async_context(lifespan(self.app)))

    def stop(self) -> None:
        """
        Shut the application down, and end the loop. One that was never started still has a drain that ends; stopping
        twice is harmless.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            self.run(self._life.aclose())
            if not self._started and isinstance(self.app, ConsentMiddleware):
                self.run(self.app.runtime.drain.stop())
        finally:
            self._runner.close()

    def begin(self, app: ASGIApp) -> None:
        """Start `app` instead of a stopped one, for the same visitors."""
        self.app = app
        self._runner, self._life, self._stopped = asyncio.Runner(), AsyncExitStack(), False
        self.start()

    def __enter__(self) -> RunningApp:
        """Start the application."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut the application down, and end the loop."""
        self.stop()

    # -- its work -----------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run something on the application's loop, and return what it returns."""
        return self._runner.run(work)

    def scope(self, request: httpx.Request, address: str | None, *, websocket: bool = False) -> Scope:
        """Return the scope that a server makes of a request from `address`; None is a Unix socket."""
        url = request.url
        make = websocket_scope if websocket else http_scope
        scope = make(
            unquote(url.path),
            headers=[(name.lower(), value) for name, value in request.headers.raw],
            raw_path=url.raw_path.partition(b"?")[0],
            query_string=url.query,
            root_path=self.root_path,
            client=None if address is None else (address, _PORT),
            server=(url.host, url.port or (443 if url.scheme == "https" else 80)),
            state={**self._state},
        )
        secure = url.scheme == "https"
        scope["scheme"] = {(False, False): "http", (False, True): "https", (True, False): "ws", (True, True): "wss"}[
            websocket, secure
        ]
        return scope if websocket else {**scope, "method": request.method}

    def answer(self, request: httpx.Request, address: str | None) -> httpx.Response:
        """Run one exchange, and return the answer once it is complete."""
        content: list[Message] = body(request.read())
        driven = self.run(drive(self.app, self.scope(request, address), content))
        if driven.error is not None and (self._raise_errors or driven.status is None):
            if self._raise_errors:
                raise driven.error
            return httpx.Response(500, request=request)
        if driven.status is None:
            raise RuntimeError(f"{request.method} {request.url.path}: the application ended without an answer")
        return httpx.Response(
            driven.status, headers=driven.headers, stream=httpx.ByteStream(driven.body), request=request
        )
