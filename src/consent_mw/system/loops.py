"""Asyncio beside trio: what the package does in the background, and its own pages, run on asyncio on every server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send
from consent_mw.exceptions import ConfigurationError

if TYPE_CHECKING:
    import trio

_T = TypeVar("_T")

_END_SECONDS: Final = 5.0

#: By run of trio, the loop beside it: its token lives as long as the run.
_BESIDE: Final[dict[trio.lowlevel.TrioToken, asyncio.AbstractEventLoop]] = {}


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running loop of asyncio, or None, as under trio. `asyncio.get_running_loop` raises."""
    return asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage] - it is in `asyncio.events.__all__`


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """
    Return the running loop of asyncio; under trio the one that its run has beside it, in a thread of its own.

    That begins with the first call and ends with the run, as `asyncio.run` ends: its tasks are cancelled.

    Raises:
        ConfigurationError: Neither asyncio nor trio runs here.
    """
    loop = running_loop()
    if loop is not None:
        return loop
    token = _trio().lowlevel.current_trio_token()
    return _BESIDE.get(token) or _begin_beside(token)


def _trio() -> Any:
    """Return trio, loaded late: only who runs on it has it."""
    try:
        import trio

        trio.lowlevel.current_trio_token()
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError("consent-mw runs on asyncio or trio, and neither runs here") from error
    return trio


def _begin_beside(token: trio.lowlevel.TrioToken) -> asyncio.AbstractEventLoop:
    begun: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = concurrent.futures.Future()

    async def until_told() -> None:
        over = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(until_told()), name="consent-mw asyncio", daemon=True)
    thread.start()
    loop, over = begun.result()
    _BESIDE[token] = loop

    async def end_with_the_run() -> None:
        try:
            await _trio().sleep_forever()
        finally:
            del _BESIDE[token]
            loop.call_soon_threadsafe(over.set)
            thread.join(_END_SECONDS)

    _trio().lowlevel.spawn_system_task(end_with_the_run)
    return loop


async def on_asyncio(work: Callable[..., Coroutine[Any, Any, _T]], *args: Any, **more: Any) -> _T:
    """Return what `work(*args, **more)` returns on a loop of asyncio: here and now where one runs."""
    if running_loop() is not None:
        return await work(*args, **more)
    loop, trio = asyncio_loop(), _trio()
    task = asyncio.run_coroutine_threadsafe(work(*args, **more), loop)
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def tell(_: object) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    task.add_done_callback(tell)
    try:
        await done.wait()
    finally:
        task.cancel()
    return task.result()


def served_on_asyncio(app: ASGIApp) -> ASGIApp:
    """Return `app`, which needs asyncio, for whatever its server runs on: its messages cross over under trio."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if running_loop() is not None:
            await app(scope, receive, send)
        else:
            await _Crossing(receive, send).serve(app, scope)

    return serve


class _Crossing:
    """One exchange of an application on asyncio with a server on trio."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._trio = _trio()
        self._token = self._trio.lowlevel.current_trio_token()
        self._nursery: trio.Nursery | None = None

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        failure: Exception | None = None
        async with self._trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await on_asyncio(_called, app, scope, self._received, self._sent)
            except Exception as error:  # noqa: BLE001 - raised below: a nursery would make a group of it
                failure = error
            self._nursery = None
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _received(self) -> Message:
        return await self._across(self._receive)

    async def _sent(self, message: Message) -> None:
        await self._across(self._send, message)

    async def _across(self, work: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        """Have trio await `work(*args)`, and wait for it on asyncio."""
        answer: concurrent.futures.Future[_T] = concurrent.futures.Future()

        async def ask() -> None:
            try:
                result = await work(*args)
            except Exception as error:  # noqa: BLE001 - it is the application's, on the other side
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(error)
            else:
                if answer.set_running_or_notify_cancel():
                    answer.set_result(result)

        def begin() -> None:
            if self._nursery is None:
                answer.cancel()
            else:
                self._nursery.start_soon(ask)

        self._token.run_sync_soon(begin)
        return await asyncio.wrap_future(answer)


async def _called(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


class Ahead:
    """A message of the server that was asked for before anybody wants it, under trio; asyncio has futures for that."""

    def __init__(self, receive: Receive) -> None:
        trio = _trio()
        self._receive = receive
        self._over = trio.Event()
        self._scope = trio.CancelScope()
        self._message: Message | None = None
        self._error: BaseException | None = None
        trio.lowlevel.spawn_system_task(self._ask)

    async def _ask(self) -> None:
        with self._scope:
            try:
                self._message = await self._receive()
            except Exception as error:  # noqa: BLE001 - the server's, for the caller that awaits the message
                self._error = error
        self._over.set()

    def done(self) -> bool:
        return bool(self._over.is_set())

    def cancel(self) -> bool:
        """Take the question back; return whether that was in time."""
        self._scope.cancel()
        return not self.done()

    def cancelled(self) -> bool:
        return self.done() and self._message is None and self._error is None

    def exception(self) -> BaseException | None:
        return self._error

    def result(self) -> Message:
        if self._error is not None:
            raise self._error
        assert self._message is not None  # noqa: S101 - only asked of what is done and not cancelled
        return self._message

    def __await__(self) -> Any:
        yield from self._over.wait().__await__()
        return self.result()


def ask_ahead(receive: Receive) -> asyncio.Future[Message] | Ahead:
    """Begin to ask the server for its next message."""
    return asyncio.ensure_future(receive()) if running_loop() is not None else Ahead(receive)


async def yield_once() -> None:
    """Let everything else that is ready go on."""
    await (asyncio.sleep(0) if running_loop() is not None else _trio().lowlevel.checkpoint())


def is_cancellation(error: BaseException) -> bool:
    """Whether a task was cancelled, on either loop: trio's exception cannot be imported without trio."""
    return isinstance(error, asyncio.CancelledError) or type(error).__name__ == "Cancelled"
