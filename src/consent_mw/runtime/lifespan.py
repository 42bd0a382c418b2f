"""Run the drain within the application's lifespan, also if the application does not support lifespan."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send
from consent_mw.system.loops import on_asyncio

if TYPE_CHECKING:
    from consent_mw.log.drain import Drain

#: The keys that a request's scope has and a lifespan scope lacks (ASGI, HTTP and WebSocket connection scope).
_OF_A_REQUEST: Final = tuple(
    (name,)
    for name in ("method", "path", "raw_path", "query_string", "headers", "client", "server", "scheme", "root_path")
)

_SAYS_SO: Final = ("lifespan", "scope", "unknown type", "unsupported", "get_consent:")

_log = logging.getLogger("consent_mw")


async def lifespan(
    app: ASGIApp, drain: Drain, scope: Scope, receive: Receive, send: Send, *, ephemeral: bool = False
) -> None:
    """
    Start the drain once the application has started, and stop it once the application has ended.

    An application that never receives a message does not speak lifespan (Django raises, others return). Then we speak
    it instead: otherwise the last records would wait in the spool for the next start. If the start-up of the
    application fails before it receives a message, it fails as it would without us: the server decides whether to
    serve it.

    Args:
        ephemeral: Whether the disk may go with the process. Then the shut-down tries the store again while it has time,
            and fails if records are left on the disk.
    """
    asked = False

    async def noted() -> Message:
        nonlocal asked
        asked = True
        return await receive()

    async def with_drain(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            await on_asyncio(drain.begin)
        elif message["type"].startswith("lifespan.shutdown."):
            left = await on_asyncio(partial(drain.stop, insists=ephemeral))
            if left and ephemeral:
                warning = f"{left:,} bytes of records are left in the spool; hand them over before the disk goes"
                message = {"type": "lifespan.shutdown.failed", "message": warning}
        await send(message)

    try:
        await app(scope, noted, with_drain)
    except Exception as error:
        if asked or not _speaks_no_lifespan(error):
            raise
        # ASGI, lifespan: an application that does not support the scope raises an exception.
        _log.debug("the application does not speak lifespan: %r", error)
    if not asked:
        await _alone(receive, with_drain)


def _speaks_no_lifespan(error: Exception) -> bool:
    """
    Whether an error means that the application does not support the scope.

    Such an application asserts the type of the scope, names it in the error, or looks for a key that only a request
    has. Any other error is a start-up that failed.
    """
    if isinstance(error, AssertionError | NotImplementedError):
        return True
    if isinstance(error, KeyError):
        return error.args[:1] in _OF_A_REQUEST
    return any(
        word in str(error).lower() for word in ("lifespan", "scope", "unknown type", "unsupported", "get_consent:")
    )


async def _alone(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        if kind in ("lifespan.startup", "lifespan.shutdown"):  # no other message has an answer
            await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
