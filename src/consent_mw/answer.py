"""What becomes of an application's messages on their way out: gate, receipt, expiries, banner, in that order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from consent_mw._asgi import HeaderList, Message, Scope, Send
from consent_mw.agents import is_crawler
from consent_mw.consent import Consent
from consent_mw.cookies import anchored, name_of
from consent_mw.exceptions import ConsentError
from consent_mw.exchange import Exchange
from consent_mw.gate import gate
from consent_mw.permissions import Decision, Reason, Verdict
from consent_mw.site.insertion import (
    Insertion,
    altered,
    altered_head,
    insertable,
    is_public,
    language_for_all,
    personal,
)
from consent_mw.wiring import Wiring

__all__ = ["CARRIES_HEADERS", "Answer"]

_log = logging.getLogger("consent_mw")

#: Every message that can carry a Set-Cookie, with the status it means where it does not say one.
CARRIES_HEADERS: Final = {
    "http.response.start": 200,
    "http.response.push": 0,
    "http.response.trailers": 0,
    "websocket.accept": 101,
    "websocket.http.response.start": 403,
}
#: What our script acts on in a page that asks nothing. Looked for as it is nearly always written: a pattern that
#: ignores case takes forty times as long.
_WAITS: Final = (b"data-purpose", b"data-category", b"data-consent")
#: The one write that a response waits for; and where the server does not speak lifespan, once, its store's opening.
_PENDING_SECONDS: Final = 0.05
_OPENING_SECONDS: Final = 1.0


class Answer:
    """One answer on its way out. Made for each request; `send` stands in for the server's own."""

    __slots__ = ("_began_with", "_cookie_header", "_exchange", "_expired", "_insertion", "_own", "_page", "_root",
                 "_secure", "_send", "_wiring", "started")  # fmt: skip

    def __init__(
        self,
        wiring: Wiring,
        send: Send,
        exchange: Exchange,
        *,
        cookie_header: bytes | None,
        expired: tuple[bytes, ...],
        secure: bool,
        own: bool,
    ) -> None:
        self._wiring = wiring
        self._send = send
        self._exchange = exchange
        self._cookie_header = cookie_header
        self._expired = expired
        self._secure = secure
        self._own = own
        # Starlette's Mount writes its own into the scope that it was given; our pages are not below it.
        self._root: object = exchange.scope.get("root_path", "")
        self._began_with: Consent = exchange.consent.consent
        self._insertion: Insertion | None = None
        self._page: Message | None = None
        self.started: bool = False

    async def send(self, message: Message) -> None:
        """Take one message of the application, and send what becomes of it."""
        kind = message["type"]
        exchange = self._exchange
        if kind == "http.response.body":
            exchange.sent_bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                exchange.duration_ns = self._wiring.clock() - exchange.started_ns
        elif kind in CARRIES_HEADERS:
            await self._head(message)
            return
        else:
            self._count(message)
        if self._page is not None:
            await self._begin(self._page, message)
        if self._insertion is None:
            await self._send(message)
        else:
            await self._send_all(self._insertion.feed(message))

    async def finish(self) -> None:
        """Send what is still held, for an application that stopped before its answer was complete."""
        if self._page is not None:
            await self._send_all([self._page])
        if self._insertion is not None:
            await self._send_all(self._insertion.close())

    async def _send_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.started = True
            await self._send(message)

    def _count(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self._exchange.sent_bytes += len(message.get("bytes") or message.get("text") or b"")
        elif message["type"] == "websocket.close" and not self.started:
            self._exchange.status = 403  # what a server answers to a handshake that was closed

    async def _head(self, message: Message) -> None:
        exchange = self._exchange
        status = message.get("status", CARRIES_HEADERS[message["type"]])
        if status:
            exchange.status = status
            self.started = True
        changed = exchange.consent.changed and await self._keep_receipt()
        message, personal_answer = await self._gated(message, changed)
        if message["type"] == "http.response.start" and await self._with_banner(message, personal_answer):
            return
        await self._send(personal(message) if personal_answer else message)

    @property
    def _site_scope(self) -> Scope:
        """The scope as our pages must see it: with the root path that the server gave."""
        return {**self._exchange.scope, "root_path": self._root}

    @property
    def _path(self) -> str:
        """The address as the browser wrote it; a ";" cannot stand in a Path attribute and stays encoded."""
        return quote(str(self._exchange.scope.get("path", "")), safe="/:@!$&'()*+,=~", errors="replace")

    # -- the choice ---------------------------------------------------------------------------------------------

    async def _keep_receipt(self) -> bool:
        """
        Bring the receipt to the disk before the visitor can read "saved"; return whether the cookie may be written.

        Without a durable receipt nothing is accepted: the visitor is asked again. A refusal is always honoured.
        """
        consent = self._exchange.consent
        consent.changed = False
        agent = self._exchange.fields.get(b"user-agent", b"").decode("latin-1")
        if is_crawler(agent):
            consent.restore(self._began_with)
            return False
        kept = await asyncio.to_thread(
            self._wiring.recorder.receipt, self._began_with, consent.consent, consent.shown, self._wiring.clock()
        )
        if not kept and consent.consent.allows_something:
            _log.error("an acceptance could not be kept as a receipt; it was not taken")
            consent.restore(self._began_with)
            return False
        return True

    # -- the gate -----------------------------------------------------------------------------------------------

    async def _gated(self, message: Message, changed: bool) -> tuple[Message, bool]:
        """Return the message as it may leave, and whether it is now made for one visitor."""
        wiring, consent = self._wiring, self._exchange.consent
        headers: HeaderList = message.get("headers") or []
        expired: tuple[bytes, ...] = ()
        if changed or self._expired:
            expired = wiring.cookies.expired(self._cookie_header, consent.permissions, self._path)
        hook = _released if self._own else wiring.cookie_hook
        gated = gate(headers, consent.permissions, self._exchange.started_ns, hook)
        added: HeaderList = []
        if changed:
            line = wiring.cookies.cookie.line(consent.consent, consent.today, secure=self._secure)
            added.append((b"set-cookie", line))
        decisions = gated.decisions
        if gated.pending:
            waits, session_line = await self._keep_pending(gated.pending)
            added += [(b"set-cookie", session_line)] if session_line else []
            decisions = decisions if waits else _blocked(decisions)
        if expired:
            # A deletion by the application may be about another path than ours.
            kept = {d.name for d in decisions if d.verdict is Verdict.KEPT and d.reason is not Reason.DELETION}
            added += [(b"set-cookie", line) for line in expired if name_of(line) not in kept]
            self._expired = ()
        if decisions:
            wiring.report(decisions, self._exchange)
            if wiring.debug:
                added.append((b"consent-cookies", _shown(decisions)))
        if not added and gated.headers is headers:
            return message, False
        one_visitor = bool(added) or any(_depends(decision) for decision in decisions)
        # The consent cookie comes first: a client that reads one line reads that one.
        return {**message, "headers": [*added, *gated.headers]}, one_visitor

    async def _keep_pending(self, lines: Sequence[tuple[Decision, bytes]]) -> tuple[bool, bytes | None]:
        """Return whether the lines now wait on the server, and the session cookie's line where it is new."""
        consent = self._exchange.consent
        before = consent.pending
        placed = [(decision, anchored(line, self._path)) for decision, line in lines]
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                await self._wiring.store.open()
            async with asyncio.timeout(_PENDING_SECONDS):
                session = await self._wiring.pending.keep(before, placed, self._wiring.clock())
        except (TimeoutError, ConsentError) as error:
            _log.warning("cookies that should wait were blocked: %s", error or "the store took too long")
            return False, None
        consent.pending = session
        if session == before:
            return True, None
        return True, self._wiring.cookies.pending_line(session, secure=self._secure)

    # -- the banner ---------------------------------------------------------------------------------------------

    async def _with_banner(self, message: Message, personal_answer: bool) -> bool:
        """Begin to insert the banner, and return whether this message waits for the page's body."""
        wiring, exchange = self._wiring, self._exchange
        if self._own or not wiring.inserts or exchange.consent.banner_placed or not _is_page(message):
            return False
        shared = not personal_answer and is_public(message)
        method = exchange.scope["method"]
        if not insertable("GET" if method == "HEAD" else method, message):
            return False
        if method == "HEAD":
            await self._send(altered_head(message, shared=shared))
        elif shared or wiring.site.wants_banner(exchange.consent):
            language = language_for_all(message) if shared else None
            scope = self._site_scope
            body = await wiring.site.banner(
                scope, exchange.consent, now_ns=exchange.started_ns, shared=shared, page_language=language
            )
            head = wiring.site.head(scope, language)
            self._insertion = Insertion(message, head, body, shared=shared)
            self.started = False
        else:
            # Nothing is asked. The page is this visitor's all the same: who has not chosen gets another one.
            self._page = altered(message)
            self.started = False
        return True

    async def _begin(self, page: Message, message: Message) -> None:
        """
        Begin a page that asks nothing, now that the first of its body is here. It gets the script all the same if
        something in it waits for a purpose or opens the settings, and a stream always: the rest is not known yet.
        """
        self._page = None
        body: bytes = message.get("body", b"")
        if message.get("more_body", False) or any(word in body for word in _WAITS):
            self._insertion = Insertion(page, self._wiring.site.head(self._site_scope), "")
        else:
            await self._send_all([page])


def _released(decision: Decision) -> Verdict | None:
    """Let a cookie pass that still waits by its name: our own pages set only what the visitor has just allowed."""
    return Verdict.KEPT if decision.verdict is Verdict.PENDING else None


def _is_page(message: Message) -> bool:
    """The cheapest look first: most answers are no pages."""
    if message.get("status") != 200:
        return False
    headers: HeaderList = message.get("headers") or []
    return any(
        len(name) == 12 and name.lower() == b"content-type" and value[:9].lower() == b"text/html"
        for name, value in headers
    )


def _depends(decision: Decision) -> bool:
    """Whether another visitor could get another answer about this cookie."""
    return decision.reason not in (Reason.NECESSARY, Reason.UNDECLARED, Reason.UNREADABLE, Reason.RESERVED)


def _blocked(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    return tuple(
        decision._replace(verdict=Verdict.BLOCKED) if decision.verdict is Verdict.PENDING else decision
        for decision in decisions
    )


def _shown(decisions: Sequence[Decision]) -> bytes:
    """The debug header: `theme;blocked;"no choice yet"`, one for each cookie, nothing of its value."""
    parts = (f'{decision.name[:64]}; {decision.verdict}; "{decision.reason}"' for decision in decisions)
    return ", ".join(parts).encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?").replace(b"\0", b"?")
