"""The application's lifespan with that of the drain in it, also for an application that knows of none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from consent_mw.log.drain import Drain

__all__ = ["lifespan"]

_log = logging.getLogger("consent_mw")


async def lifespan(app: ASGIApp, drain: Drain, scope: Scope, receive: Receive, send: Send) -> None:
    """
    Begin the drain once the application has started, and stop it once it has ended.

    An application that never asks what to do does not speak lifespan (Django raises, others return). Then we
    speak it, or the records of the last moments would wait in the spool for the next start.
    """
    asked = False

    async def noted() -> Message:
        nonlocal asked
        asked = True
        return await receive()

    async def with_drain(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            await drain.begin()
        elif message["type"].startswith("lifespan.shutdown."):
            await drain.stop()
        await send(message)

    try:
        await app(scope, noted, with_drain)
    except Exception as error:
        if asked:
            raise
        # ASGI, lifespan: an exception at the scope is how an application says that it does not know it.
        _log.debug("the application does not speak lifespan: %r", error)
    if not asked:
        await _alone(receive, with_drain)


async def _alone(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
