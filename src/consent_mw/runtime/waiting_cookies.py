"""Cookies of an answer that wait on the server until the visitor has answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from consent_mw.consent.permissions import Decision, Reason
from consent_mw.cookies.cookie_lines import anchored
from consent_mw.cookies.pending import NoRoom
from consent_mw.exceptions import ConsentError
from consent_mw.runtime.reply import Reply
from consent_mw.system.loops import on_asyncio

_log = logging.getLogger("consent_mw")

#: If the server does not speak lifespan, one response waits at most this long until the store is open.
_OPENING_SECONDS: Final = 1.0
_EXPOSED: Final = (
    "cookies that should wait for an answer are blocked, since http://%s has neighbours that could take them: serve "
    "the site over https, and name the proxy that ends it in proxies="
)
_NO_ROOM: Final = (
    "cookies that should wait for an answer are blocked: too many wait already, of one network or of all. Where all "
    "visitors seem to come from one network, name the proxy in front of the site in proxies="
)


async def keep_pending(reply: Reply, lines: Sequence[tuple[Decision, bytes]]) -> bytes | Reason | None:
    """Let the lines wait on the server. Return the session cookie's line if it is new, or why they cannot wait."""
    consent, revision = reply.exchange.consent, reply.revision
    before = consent.pending
    if consent.exposed:
        revision.shared.warn_once(
            "pending-exposed", _EXPOSED, reply.exchange.fields.get(b"host", b"").decode("latin-1")
        )
        return Reason.EXPOSED
    placed = [(decision, anchored(line, reply.path)) for decision, line in lines]
    try:
        session = await on_asyncio(_kept, reply, before, placed)
    except NoRoom:
        revision.shared.warn_once("pending-full", _NO_ROOM)
        return Reason.NO_ROOM
    except (TimeoutError, ConsentError) as error:
        _log.warning("cookies that should wait were blocked: %s", str(error) or "the store took too long")
        return Reason.NOT_KEPT
    consent.pending = session
    return None if session == before else revision.cookies.pending_line(session, consent, secure=reply.secure)


async def _kept(reply: Reply, before: str | None, placed: Sequence[tuple[Decision, bytes]]) -> str:
    revision = reply.revision
    async with asyncio.timeout(_OPENING_SECONDS):
        await revision.shared.storage.store.open()
    async with asyncio.timeout(revision.shared.options.pending_wait.total_seconds()):
        network = revision.shared.network(reply.exchange.scope)
        return await revision.pending.keep(before, placed, revision.shared.storage.clock(), network)
