"""Whether the visitor has left before the answer began: the server says so only if it is asked."""

from __future__ import annotations

import asyncio
from typing import Final

from consent_mw._asgi import Message
from consent_mw.runtime.reply import Reply
from consent_mw.system.loops import Ahead, ask_ahead, yield_once

#: After an answer that took longer than this, check whether the visitor is still there. An application that never
#: asks does not learn of it. Visitors who left sooner did not leave because of the wait.
_WORTH_A_LOOK_NS: Final = 20_000_000
#: Turns of the event loop in which a server reports that the visitor left, if it knows.
_TURNS: Final = 4


def is_late(reply: Reply) -> bool:
    """Whether an answer took so long that its visitor may have left."""
    return reply.revision.shared.storage.clock() - reply.exchange.started_ns > _WORTH_A_LOOK_NS


async def look(reply: Reply) -> None:
    """
    Ask the server ahead of the application whether the visitor has left.

    Any other message waits for the application. That is at most the end of a body; the departure comes after it.
    """
    for _ in range(_TURNS):
        last = reply.ahead[-1] if reply.ahead else None
        if last is None or (last.done() and _ends_body(last)):
            last = ask_ahead(reply.server_receive)
            reply.ahead.append(last)
        await yield_once()
        if last.done() and _is_departure(last):
            reply.gone = True
            return


def _ends_body(asked: asyncio.Future[Message] | Ahead) -> bool:
    """Whether a message is the end of a body: only a departure can follow."""
    if asked.cancelled() or asked.exception() is not None:
        return False
    message = asked.result()
    return message["type"] == "http.request" and not message.get("more_body", False)


def _is_departure(asked: asyncio.Future[Message] | Ahead) -> bool:
    return not asked.cancelled() and asked.exception() is None and asked.result()["type"] == "http.disconnect"
