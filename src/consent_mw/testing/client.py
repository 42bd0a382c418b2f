"""A visitor for tests, in front of an application without a server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from http.cookiejar import CookieJar
from types import TracebackType
from typing import Any, Final

import httpx

from consent_mw._asgi import ASGIApp
from consent_mw.middleware import ConsentMiddleware
from consent_mw.runtime.runtime import Runtime
from consent_mw.testing.cookie_jar import ClockedJar
from consent_mw.testing.driver import Connection
from consent_mw.testing.kept import Kept, hand_over, kept
from consent_mw.testing.running import RunningApp
from consent_mw.testing.visitor import Visitor

__all__ = ["ADDRESS", "ConsentClient", "Kept", "Socket"]

#: A visitor's default address, from the range reserved for documentation.
ADDRESS: Final = "203.0.113.77"


class ConsentClient(Visitor):
    """
    A visitor in front of an application, without a server.

        with ConsentClient(app) as visitor:
            visitor.accept()
            assert visitor.get("/").cookies["theme"] == "dark"

    `with` starts the application and shuts it down, as a server that speaks lifespan. Every call runs the
    application's own event loop until the answer is complete, so tests need no plugin for asyncio; the client
    cannot be used inside a running loop.

    Cookies expire by the clock of the middleware.

    Args:
        app: The application, wrapped in `ConsentMiddleware`; something else may wrap that. Or a `RunningApp`, which
            several visitors share, and which this one neither starts nor ends.
        address: Where the visitor comes from, as the server sees it; None is a Unix socket.
        base_url: The address of the site. "https" by default, so the consent cookie has its prefix `__Host-`.
        root_path: What the application is mounted under; it goes before every path. A `RunningApp` knows its own.
        prefix: Where the consent pages are, if the outermost layer is not the `ConsentMiddleware`.
        raise_errors: Raise what the application raises. False answers 500 as a server does.
        clock: By which its cookies expire, if the outermost layer is not the `ConsentMiddleware`.
        options: All other options of `httpx.Client`: `headers`, `follow_redirects`, ...
    """

    def __init__(
        self,
        app: ASGIApp | RunningApp,
        *,
        address: str | None = ADDRESS,
        base_url: str = "https://testserver",
        root_path: str = "",
        prefix: str = "/consent",
        raise_errors: bool = True,
        clock: Callable[[], int] | None = None,
        **options: Any,
    ) -> None:
        life: dict[str, Any] = {"root_path": root_path, "raise_errors": raise_errors, "clock": clock}
        shared = isinstance(app, RunningApp)
        running = app if isinstance(app, RunningApp) else RunningApp(app, **life)
        self._running = running
        self._address = address
        self._base = base_url
        given = options.pop("cookies", None)
        prefix = running.app.runtime.options.prefix if isinstance(running.app, ConsentMiddleware) else prefix
        super().__init__(
            prefix=prefix,
            transport=_Transport(running, address, None if shared else running),
            base_url=base_url + running.root_path,
            **options,
        )
        self.cookies = given

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies of its browser. Assigning replaces all of them."""
        return super().cookies

    @cookies.setter
    def cookies(self, cookies: httpx.Cookies | CookieJar | dict[str, str] | list[tuple[str, str]] | None) -> None:
        clock, given = self._running.clock, httpx.Cookies(cookies).jar
        if clock is not None:
            jar = ClockedJar(clock)
            for cookie in given:
                jar.set_cookie(cookie)
            given = jar
        self._cookies = httpx.Cookies(given)  # it keeps a `CookieJar` as it is, and copies all else

    @property
    def app(self) -> ASGIApp:
        """The application that it visits."""
        return self._running.app

    def another(self, *, address: str | None = ADDRESS, **options: Any) -> ConsentClient:
        """
        Return another visitor of the same application, who shares nothing with this one: a browser of their own.

        The application goes on living as long as the first visitor.

        Args:
            options: As of `ConsentClient`: `headers`, ...
        """
        more: dict[str, Any] = {"base_url": self._base, "prefix": self._prefix, **options}
        return ConsentClient(self._running, address=address, **more)

    # -- what else a visitor does -------------------------------------------------------------------------------

    @contextmanager
    def websocket(self, path: str) -> Generator[Socket]:
        """
        Open a WebSocket, with this visitor's cookies, for the length of a `with`; it may set cookies too.

        Raises:
            ConnectionRefusedError: The application did not accept it.
        """
        request = self.build_request("GET", path)
        scope = self._running.scope(request, self._address, websocket=True)
        connection = Connection(self.app, scope)
        run = self._running.run
        run(connection.__aenter__())
        error: BaseException | None = None
        try:
            run(connection.send({"type": "websocket.connect"}))
            answer = run(connection.receive())
            if answer["type"] != "websocket.accept":
                raise ConnectionRefusedError(f"{path}: the application answered {answer['type']}")
            headers = [(bytes(name), bytes(value)) for name, value in answer.get("headers") or ()]
            self.cookies.extract_cookies(httpx.Response(101, headers=headers, request=request))
            yield Socket(connection, run, httpx.Headers(headers))
        except BaseException as raised:
            error = raised
            raise
        finally:
            run(connection.__aexit__(type(error) if error else None, error, None))

    # -- what was kept ------------------------------------------------------------------------------------------

    def records(self, *kinds: str) -> list[Kept]:
        """
        Return what was kept of these kinds ("visit", "event", "receipt", ...) or of all, opened, oldest first.

        Raises:
            TypeError: The outermost layer of the application is not a `ConsentMiddleware`.
        """
        if not isinstance(self.app, ConsentMiddleware):
            raise TypeError("records: the outermost layer of the application is not a ConsentMiddleware")
        return self._running.run(_kept(self.app.runtime, kinds))

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

    def __init__(
        self, connection: Connection, run: Callable[[Coroutine[Any, Any, Any]], Any], headers: httpx.Headers
    ) -> None:
        self.headers: httpx.Headers = headers
        self._connection = connection
        self._run = run

    def send(self, data: str | bytes) -> None:
        """Say something."""
        key = "text" if isinstance(data, str) else "bytes"
        self._run(self._connection.send({"type": "websocket.receive", key: data}))

    def receive(self) -> str | bytes:
        """
        Return what the application says next.

        Raises:
            EOFError: It closed, or ended.
        """
        message = self._run(self._connection.receive())
        if message["type"] != "websocket.send":
            raise EOFError(f"the application sent {message['type']}")
        said: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return said


class _Transport(httpx.BaseTransport):
    """Carries the requests of one visitor to the application; `owned` is one that lives as long as this visitor."""

    def __init__(self, running: RunningApp, address: str | None, owned: RunningApp | None) -> None:
        self._running = running
        self._address = address
        self._owned = owned

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._running.answer(request, self._address)

    def __enter__(self) -> _Transport:
        if self._owned:
            self._owned.start()
        return self

    def close(self) -> None:
        if self._owned:
            self._owned.stop()

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


async def _kept(runtime: Runtime, kinds: Sequence[str]) -> list[Kept]:
    await hand_over(runtime)
    return await kept(runtime.store, runtime.sealer, kinds)
