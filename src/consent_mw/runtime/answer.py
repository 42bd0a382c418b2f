"""Filter an application's messages on their way out: gate, receipt, expiries, banner, in that order."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from consent_mw._asgi import HeaderList, Message, Receive, Send, header_value
from consent_mw.consent.choice import Choice, Consent
from consent_mw.consent.permissions import Decision, Permissions, Reason, Verdict
from consent_mw.cookies.cookie_lines import anchored, name_of
from consent_mw.cookies.gate import Gated, gate
from consent_mw.cookies.header_lines import is_token, own_lines
from consent_mw.cookies.pending import NoRoom, hushed
from consent_mw.exceptions import ConsentError
from consent_mw.log.exchange import Exchange, websocket_size
from consent_mw.site.insertion import (
    FOR_ONE_VISITOR,
    FRAMES,
    Insertion,
    altered,
    altered_head,
    insertable,
    is_html,
    is_page_status,
    is_public,
    language_for_all,
    lengthened,
    obstacle,
    personal,
)
from consent_mw.site.page_nonce import nonce_of, with_nonce
from consent_mw.site.usual_page import Words, with_words
from consent_mw.site.visit import shown_target
from consent_mw.system.loops import Ahead, ask_ahead, is_cancellation, on_asyncio, yield_once

if TYPE_CHECKING:
    from consent_mw.runtime.revision import Revision

_log = logging.getLogger("consent_mw")

#: Every message that can carry a Set-Cookie, with its status if it does not name one. 0: the message belongs to an
#: answer but is not one itself. Messages of extensions that are not known yet are judged like those with 0.
CARRIES_HEADERS: Final = {
    "http.response.start": 200,
    "http.response.early_hint": 0,
    "http.response.push": 0,
    "http.response.trailers": 0,
    "websocket.accept": 101,
    "websocket.http.response.start": 403,
}
#: Messages, other than a body, that complete an answer.
_LAST: Final = frozenset(("http.response.pathsend", "websocket.close"))
#: With these statuses the head is the whole answer (RFC 9110, section 6.4.1), and a server sends it at once.
_BODILESS: Final = frozenset((204, 205, 304))
#: An answer with this header, such as a redirect, is complete with its head too.
_EMPTY: Final = (b"content-length", b"0")
#: What our script acts on in a page that asks nothing. The search is for the usual spelling: a pattern that ignores
#: case takes forty times as long. It uses `find`: `in` first raises an error internally, since this is not a number.
_WAITING: Final = b"data-"
_WAITS: Final = (b"data-purpose", b"data-category", b"data-consent")
#: Not a set: to hash a member of an enumeration takes longer than to compare it with all of these.
_SAME_FOR_ALL: Final = (Reason.NECESSARY, Reason.UNDECLARED, Reason.UNREADABLE, Reason.RESERVED)
#: An event stream: its first event may be hours away.
_EVENTS: Final = b"text/event-stream"
#: The type of a page in its usual spelling.
_HTML: Final = b"text/html; charset=utf-8"
#: After an answer that took longer than this, check whether the visitor is still there. An application that never
#: asks does not learn of it. Visitors who left sooner did not leave because of the wait.
_WORTH_A_LOOK_NS: Final = 20_000_000
#: Turns of the event loop in which a server reports that the visitor left, if it knows.
_TURNS: Final = 4
#: The status that nginx logs for an answer whose visitor left before it began.
_LEFT: Final = 499
#: A header that says that a cookie waits for an answer. A page can read it on what its scripts fetch
#: (Server Timing, section 4).
_TELLS_OUR_SCRIPT: Final = (b"server-timing", b'consent-mw;desc="waiting"')
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
_CLEARS: Final = (
    "the answer at %s has Clear-Site-Data with cookies, which takes the visitor's answer too: they are asked again "
    'after it. To keep the answer, delete the session\'s cookie and clear the rest: Clear-Site-Data: "cache", "storage"'
)


class Answer(msgspec.Struct, eq=False):
    """
    One answer on its way out. Each request gets its own; `receive` and `send` replace those of the server.

    What the gate judged is exactly what leaves: each message is copied as it arrives, its headers into pairs of bytes.
    The application may still change its own copy (it writes to a response object, another middleware appends to a
    list) while a page is held, while a receipt is written, or until the server sends the message.

    Attributes:
        insertion: The page that the banner is being inserted into.
        page: The head of a page until its body arrives; the page asks nothing, or gets `words`.
        started: Whether the visitor has been sent something already.
    """

    revision: Revision
    server_receive: Receive
    server_send: Send
    exchange: Exchange
    began_with: Consent
    cookie_header: bytes | None
    expired: tuple[bytes, ...]
    secure: bool
    own: bool
    special: bool  # the quick way does not apply: our own page, or debugging
    logged: bool
    insertion: Insertion | None = None
    page: Message | None = None
    words: Words | None = None
    _left: Message | None = None
    started: bool = False
    _gone: bool = False  # the visitor left before the answer began
    _asked: bool = False  # the application waits for the server's next message, and will get it
    _ahead: list[
        asyncio.Future[Message] | Ahead
    ] = []  # messages that we asked the server for before the application did

    def __repr__(self) -> str:
        return object.__repr__(self)  # a traceback shows nothing of a visitor

    async def receive(self) -> Message:
        """Return the server's next message, and count what it carries."""
        self._asked = True
        try:
            message = await (self._ahead.pop(0) if self._ahead else self.server_receive())
        finally:
            self._asked = False
        exchange, kind = self.exchange, message["type"]
        if kind == "http.request":
            exchange.received_bytes += len(message.get("body", b""))
        elif kind == "websocket.receive":
            exchange.received_bytes += websocket_size(message)
        elif kind == "http.disconnect" and not exchange.duration_ns:
            exchange.outcome = "disconnected"
            self._gone = not self.started
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """
        Filter one message of the application and return the awaitable that sends the result.

        The usual answer is filtered here, before the await, and the awaitable is the server's own coroutine: another
        coroutine around it would cost more than the gate.
        """
        message = {**message}
        kind = message["type"]
        if kind == "http.response.body":
            if "headers" in message:
                message = self._aside(message)
            body, more = message.get("body", b""), message.get("more_body", False)
            if self.page is not None:
                if self.words is not None:
                    return self._asking_page(self.page, message, self.words)
                if more or not isinstance(body, bytes) or (body.find(_WAITING) >= 0 and _waits(body)):
                    return self._page_body(message)
                return self._whole_page(self.page, message, len(body))
            if self.insertion is not None:
                return self._page_body(message)
            self.exchange.sent_bytes += len(body)
            if more and body and not self.exchange.streamed:
                self._stream()
            if not more or self._is_whole():
                self.record()
            return self.server_send(message)
        if kind in CARRIES_HEADERS:
            if kind == "http.response.start" and self._is_late:
                return self._late_head(message, kind)
            return self._head(message, kind)
        if "headers" in message:
            message = self._aside(message)
        if kind == "websocket.send":  # in one step, since a socket may send thousands
            self.exchange.sent_bytes += websocket_size(message)
            return self.server_send(message)
        return self._other(message)

    def _stream(self) -> None:
        """Note that an answer without a length is a stream: it may take as long as it likes."""
        exchange = self.exchange
        exchange.streamed = self._left is not None and _content_length(self._left) is None
        if exchange.streamed and self.logged and not self.own:
            self.revision.recorder.begin(exchange)

    def record(self) -> None:
        """
        Keep the record of this exchange, once.

        The end of an answer leaves only after its record is written. So the log has the record even if somebody kills
        the process as soon as the visitor has read the page.
        """
        exchange = self.exchange
        if exchange.duration_ns:
            if self.logged and exchange.consent.noted:  # a background task noted it since then
                self.revision.recorder.noted_since(exchange)
            return
        if self._gone:
            exchange.status, exchange.outcome = _LEFT, "disconnected"
        clock = self.revision.shared.storage.clock
        duration_ns = clock() - exchange.started_ns
        # A clock that steps back must not give a negative time; 0 would mean that the exchange still goes on.
        exchange.duration_ns = duration_ns if duration_ns > 0 else 1
        if self.logged:
            self.revision.recorder.exchange(exchange, self.own)

    def failed(self, error: BaseException) -> None:
        """Note that the application failed. If the visitor had left before, it is not an error of the site."""
        exchange = self.exchange
        exchange.outcome = "cancelled" if is_cancellation(error) else type(error).__name__
        if not self.started:
            exchange.status = 500  # what the server will answer for us

    def end(self) -> None:
        """Cancel the messages that we asked the server for ahead and nobody needed."""
        for asked in self._ahead:
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # retrieve it, or the event loop logs that nobody did

    @property
    def _is_late(self) -> bool:
        exchange = self.exchange
        return self.revision.shared.storage.clock() - exchange.started_ns > _WORTH_A_LOOK_NS

    async def _late_head(self, message: Message, kind: str) -> None:
        """Send a late head, after a check whether the visitor is still there."""
        headers = message.get("headers")
        if headers is not None:
            message["headers"] = [(name, value) for name, value in headers]  # a copy: the list may still change
        if not (self._gone or self._asked):
            await self._look()
        await self._head(message, kind)

    async def _look(self) -> None:
        """
        Ask the server ahead of the application whether the visitor has left.

        Any other message waits for the application. That is at most the end of a body; the departure comes after it.
        """
        for _ in range(_TURNS):
            last = self._ahead[-1] if self._ahead else None
            if last is None or (last.done() and _ends_body(last)):
                last = ask_ahead(self.server_receive)
                self._ahead.append(last)
            await yield_once()
            if last.done() and _is_departure(last):
                self._gone = True
                return

    def _is_whole(self) -> bool:
        """Whether the client has the whole answer, though the application has yet to send an empty last message."""
        length = _content_length(self._left) if self._left is not None else None
        return length is not None and self.exchange.sent_bytes >= length

    async def finish(self) -> None:
        """Send what is still held if the application stopped before its answer was complete."""
        if self.page is not None:
            await self._send_all([self.page])
        if self.insertion is not None:
            await self._send_all(self.insertion.close())

    def _whole_page(self, head: Message, body: Message, size: int) -> Awaitable[None]:
        """Send a page as it is, in one piece."""
        self.page = None
        self.started = True
        self.exchange.sent_bytes += size
        self.record()
        return _both(self.server_send, head, body)

    def _asking_page(self, head: Message, body: Message, words: Words) -> Awaitable[None]:
        """Insert the banner into a page that comes whole, as most do, and send it in one step."""
        page: bytes = body.get("body", b"")
        usual = page.__class__ is bytes and not body.get("more_body", False)
        whole = with_words(page, words, self._target) if usual else None
        if whole is None:
            return self._page_body(body)
        headers: HeaderList = head["headers"]
        try:  # in one step: nearly every page has this exact line
            headers[headers.index((b"content-length", b"%d" % len(page)))] = (b"content-length", b"%d" % len(whole))
        except ValueError:
            head["headers"] = lengthened(headers, len(whole) - len(page))
        body["body"] = whole
        return self._whole_page(head, body, len(whole))

    @property
    def _target(self) -> bytes:
        """The path to return to after a choice, escaped for HTML."""
        return shown_target(self.exchange.seen or self.exchange.scope)

    async def _send_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.started = True
            await self.server_send(message)

    async def _page_body(self, message: Message) -> None:
        """Send a page's body, with the banner if it gets one. The counted size is what leaves, banner included."""
        messages: list[Message] = []
        if message.get("body", b"").__class__ is not bytes:
            message["body"] = b"".join((message["body"],))  # a copy: the buffer may be filled again
        if self.page is not None:
            messages = self._begun(self.page, message)
        if self.insertion is not None:
            messages += self.insertion.feed(message)
            if self.insertion.obstacle and self._is_asked_here:
                self._say(self.insertion.obstacle)
        else:
            messages.append(message)
        for leaving in messages:
            self.exchange.sent_bytes += len(leaving.get("body", b""))
            if leaving["type"] == "http.response.start":
                self._left = leaving
        if not message.get("more_body", False) or self._is_whole():
            self.record()
        await self._send_all(messages)

    async def _other(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and not self.started:
            self.exchange.status = 403  # a server answers this when the handshake is closed
        held = [self.page] if self.page is not None else []
        if self.insertion is not None:
            held = self.insertion.close()
        self.page = None
        if kind == "http.response.pathsend":  # the server reads the file; the head has its size
            head = next((part for part in held if part["type"] == "http.response.start"), self._left)
            size = _content_length(head) if head is not None else None
            self.exchange.sent_bytes = size or 0
        if kind in _LAST:
            self.record()
        await self._send_all([*held, message])

    def _head(self, message: Message, kind: str) -> Awaitable[None]:
        """Filter a head and send it: a usual one at once, any other in `_special_head`."""
        exchange, revision = self.exchange, self.revision
        status = CARRIES_HEADERS[kind]
        if not status:
            return self.server_send(self._aside(message))
        exchange.status = status = message.get("status") or status
        if kind == "websocket.accept":
            _check_subprotocol(message)
            if self.logged:
                revision.recorder.begin(exchange)
        consent = exchange.consent
        permissions = consent.permissions
        if self.special or consent.changed or self.expired or consent.personal:
            # A later change holds for the rest of the request; this head is about the choice up to here.
            chosen, consent.changed = consent.consent if consent.changed else None, False
            message["headers"], illegible = own_lines(message.get("headers"))
            revision.shared.illegible.refuse(illegible)
            return self._special_head(message, permissions, chosen)
        headers = message.get("headers")
        gated = gate(
            headers or (),
            permissions,
            exchange.started_ns,
            revision.shared.options.cookie_hook,
            revision.shared.floors[self.secure],
        )
        if headers is not None:
            message["headers"] = gated.headers
        if gated.illegible:
            revision.shared.illegible.refuse(gated.illegible)
        if gated.clears:
            self._tell_cleared()
        if gated.pending:
            return self._special_head(message, permissions, None, gated)
        if gated.kind[:17] == _EVENTS and kind == "http.response.start":
            self._left = message
            self._stream()
        if revision.shared.options.banner and kind == "http.response.start" and is_page_status(status):
            if not gated.plain or exchange.scope["method"] != "GET":
                if _is_page(message):
                    return self._special_head(message, permissions, None, gated)
            elif gated.kind == _HTML or is_html(gated.kind):
                if consent.banner_placed or permissions.asks or consent.pending is not None or revision.site.announces:
                    if not self._asks_alone(gated):
                        return self._special_head(message, permissions, None, gated)
                    accepted = exchange.fields.get(b"accept-language", b"")
                    self.words = revision.site.words(exchange.seen or exchange.scope, accepted, consent)
                    if self.words is None:
                        return self._special_head(message, permissions, None, gated)
                # Even a page that asks nothing is for this visitor alone: those who have not chosen get another page.
                gated.headers.extend(FOR_ONE_VISITOR)
                self.page = message
            elif gated.kind[:9].lower() == b"text/html" and self._is_asked_here:
                self._say(obstacle(message))
        exchange.blocked += gated.blocked
        if gated.undeclared:
            revision.report(gated.decisions, exchange)
        if self.page is message:
            return _nothing()
        if any(map(_depends, gated.decisions)):
            return self._leave(personal(message))
        return self._leave(message)

    def _asks_alone(self, gated: Gated) -> bool:
        """Whether a page gets the question and nothing else, like nearly all pages for visitors who have not chosen."""
        exchange = self.exchange
        consent = exchange.consent
        return (
            consent.permissions.asks
            and gated.kind == _HTML
            and not (gated.policed or consent.banner_placed or consent.withheld or self.revision.site.announces)
            and exchange.lines is None
            and not self._in_own_frame()
        )

    def _in_own_frame(self) -> bool:
        """
        Whether the page is in a frame of the site itself: a preview, an editor, a window.

        Then the page around it asks. A page of another site does not ask.
        """
        return self.exchange.fields.get(b"sec-fetch-dest") in FRAMES and not self.revision.shared.options.embedded

    def _aside(self, message: Message) -> Message:
        """Filter a message beside an answer (a push, a hint, trailers): cookies that have to wait are blocked."""
        revision, exchange = self.revision, self.exchange
        floor = revision.shared.floors[self.secure]
        headers = message.get("headers")
        gated = gate(
            headers or (), exchange.consent.permissions, exchange.started_ns, revision.shared.options.cookie_hook, floor
        )
        revision.shared.illegible.refuse(gated.illegible)
        exchange.blocked += (*gated.blocked, *_names(gated.pending))
        if gated.undeclared:
            revision.report(gated.decisions, exchange)
        if headers is not None:
            message["headers"] = gated.headers
        if "links" in message:  # an early hint: each link becomes a header
            lines, illegible = own_lines((b"link", link) for link in message["links"])
            revision.shared.illegible.refuse(illegible)
            message["links"] = [link for _, link in lines]
        return message

    def _leave(self, head: Message) -> Awaitable[None]:
        """Send a head. If it is the whole answer, write its record first."""
        bodiless = self.exchange.status in _BODILESS or _EMPTY in (head.get("headers") or ())
        if bodiless or self.exchange.scope.get("method") == "HEAD":
            self.record()
        if self.exchange.status:
            self.started = True
        self._left = head
        return self.server_send(head)

    async def _special_head(
        self, message: Message, permissions: Permissions, chosen: Consent | None, gated: Gated | None = None
    ) -> None:
        """
        Send a head that gets additional headers, or that waits for its page.

        Args:
            message: The head; its headers are our own copy.
            permissions: What was allowed when the application sent it.
            chosen: The choice that was made until then and is to be kept; None if there was none.
            gated: The result of the gate; None if the headers have not passed it yet.
        """
        consent = self.exchange.consent
        if chosen is not None and not await self._stands(chosen):
            permissions, chosen = consent.permissions, None  # as they were before the choice
        message, personal_answer = await self._gated(message, permissions, chosen, gated)
        personal_answer = personal_answer or consent.personal
        if message["type"] == "http.response.start" and await self._with_banner(message, personal_answer):
            return
        await self._leave(personal(message) if personal_answer else message)

    @property
    def _path(self) -> str:
        """The path as the browser wrote it. A Path attribute cannot hold a ";", so that one stays encoded."""
        scope = self.exchange.seen or self.exchange.scope
        return quote(str(scope.get("path", "")), safe="/:@!$&'()*+,=~", errors="replace")

    # -- the choice ---------------------------------------------------------------------------------------------

    async def _stands(self, chosen: Consent) -> bool:
        """Return whether the cookie of a choice may be written. Our own pages have already kept its receipt."""
        consent = self.exchange.consent
        if consent.receipt_kept:
            consent.receipt_kept = False
            return True
        agent = self.exchange.fields.get(b"user-agent", b"").decode("latin-1")
        return await on_asyncio(self.revision.receipts.stands, consent, chosen, self.began_with, agent)

    # -- the gate -----------------------------------------------------------------------------------------------

    async def _gated(
        self, message: Message, permissions: Permissions, chosen: Consent | None, gated: Gated | None
    ) -> tuple[Message, bool]:
        """Return the filtered message, and whether it is now for one visitor only."""
        revision, consent = self.revision, self.exchange.consent
        expired: tuple[bytes, ...] = ()
        if chosen is not None or self.expired:
            expired = revision.cookies.expired(self.cookie_header, permissions, self._path)
        floor = revision.shared.floors[self.secure]
        if gated is None:
            hook = _released if self.own else revision.shared.options.cookie_hook
            gated = gate(message["headers"], permissions, self.exchange.started_ns, hook, floor)
        if gated.clears:
            self._tell_cleared()
        self.exchange.blocked += gated.blocked
        ours: list[bytes] = []
        if chosen is not None and self._may_keep_consent():
            if chosen.choice is Choice.PROMPT and not consent.exposed and _may_wait(permissions):
                # Together with the choice: two answers at the same time would each create a session, and lose one.
                consent.pending = consent.pending or secrets.token_urlsafe(16)
            ours += revision.cookies.choice_lines(consent, chosen, secure=self.secure)
        elif consent.pending_changed and consent.pending is not None:
            ours.append(revision.cookies.pending_line(consent.pending, consent, secure=self.secure))
        consent.pending_changed = False
        quiet = hushed(consent.pending)
        decisions = _blocked(gated.decisions, Reason.HUSHED, quiet) if quiet else gated.decisions
        asked = [(decision, line) for decision, line in gated.pending if decision.purpose not in quiet]
        self.exchange.blocked += _names([waiting for waiting in gated.pending if waiting[0].purpose in quiet])
        hints: HeaderList = []
        if asked:
            waits = await self._keep_pending(asked)
            ours += [waits] if isinstance(waits, bytes) else []
            hints = [] if isinstance(waits, Reason) else [_TELLS_OUR_SCRIPT]
            if isinstance(waits, Reason):
                decisions = _blocked(decisions, waits)
                self.exchange.blocked += _names(asked)
        added: HeaderList = [*((b"set-cookie", floor(line) if floor else line) for line in ours), *hints]
        if expired:
            # The application may delete the cookie at another path than we do.
            kept = {d.name for d in decisions if d.verdict is Verdict.KEPT and d.reason is not Reason.DELETION}
            added += [(b"set-cookie", line) for line in expired if name_of(line) not in kept]
            self.expired = ()
        if gated.undeclared:
            revision.report(decisions, self.exchange)
        if revision.shared.options.debug and decisions:
            revision.compare_places(message["headers"], decisions)
            added.append((b"consent-cookies", _shown(decisions)))
        one_visitor = bool(added) or any(map(_depends, decisions))
        # The consent cookie comes first: a client that reads only one line should read this one.
        return {**message, "headers": [*added, *gated.headers]}, one_visitor

    def _may_keep_consent(self) -> bool:
        """Whether the site's own hook lets the consent cookie pass. It may veto this cookie like any other."""
        revision = self.revision
        if revision.shared.options.cookie_hook is None:
            return True
        name = revision.cookies.cookie.name(secure=self.secure)
        verdict = revision.shared.options.cookie_hook(Decision(name, Verdict.KEPT, Reason.NECESSARY, None))
        return verdict is None or verdict is Verdict.KEPT

    async def _keep_pending(self, lines: Sequence[tuple[Decision, bytes]]) -> bytes | Reason | None:
        """Let the lines wait on the server. Return the session cookie's line if it is new, or why they cannot wait."""
        consent, revision = self.exchange.consent, self.revision
        before = consent.pending
        if consent.exposed:
            revision.shared.warn_once(
                "pending-exposed", _EXPOSED, self.exchange.fields.get(b"host", b"").decode("latin-1")
            )
            return Reason.EXPOSED
        placed = [(decision, anchored(line, self._path)) for decision, line in lines]
        try:
            session = await on_asyncio(self._kept_pending, before, placed)
        except NoRoom:
            revision.shared.warn_once("pending-full", _NO_ROOM)
            return Reason.NO_ROOM
        except (TimeoutError, ConsentError) as error:
            _log.warning("cookies that should wait were blocked: %s", str(error) or "the store took too long")
            return Reason.NOT_KEPT
        consent.pending = session
        return None if session == before else revision.cookies.pending_line(session, consent, secure=self.secure)

    async def _kept_pending(self, before: str | None, placed: Sequence[tuple[Decision, bytes]]) -> str:
        revision = self.revision
        async with asyncio.timeout(_OPENING_SECONDS):
            await revision.shared.storage.store.open()
        async with asyncio.timeout(revision.shared.options.pending_wait.total_seconds()):
            network = revision.shared.network(self.exchange.scope)
            return await revision.pending.keep(before, placed, revision.shared.storage.clock(), network)

    # -- the banner ---------------------------------------------------------------------------------------------

    async def _with_banner(self, message: Message, personal_answer: bool) -> bool:
        """Begin the insertion of the banner; return whether this message waits for the page's body."""
        revision, exchange = self.revision, self.exchange
        if self.own or not revision.shared.options.banner or exchange.consent.banner_placed or not _is_page(message):
            return False
        shared = not personal_answer and is_public(message)
        method = exchange.scope["method"]
        if not insertable("GET" if method == "HEAD" else method, message):
            if self._is_asked_here:
                self._say(obstacle(message))
            return False
        if method == "HEAD":
            await self._leave(altered_head(message, shared=shared))
        elif self._in_own_frame():
            self.page = _varied(altered(message), b"Sec-Fetch-Dest")
        elif shared or revision.site.wants_banner(exchange.consent):
            language = language_for_all(message) if shared else revision.site.language_of(message)
            scope = exchange.asked
            # If the choice could not come with the request, only our script knows whether the visitor has chosen.
            hidden = shared or exchange.consent.withheld
            body = await on_asyncio(
                revision.site.banner,
                scope,
                exchange.consent,
                now_ns=exchange.started_ns,
                shared=hidden,
                page_language=language,
            )
            head = with_nonce(revision.site.head(scope, language), nonce_of(message))
            absolute = ("", "") if shared else self._absolute(revision.site.base(scope))
            self.insertion = Insertion(message, head, body, shared=shared, absolute=absolute)
        else:
            # The page asks nothing. It is still for this visitor alone: those who have not chosen get another page.
            self.page = altered(message)
        return True

    @property
    def _is_asked_here(self) -> bool:
        """Whether this is a page for somebody who has not chosen yet."""
        exchange = self.exchange
        return b"text/html" in exchange.fields.get(b"accept", b"") and self.revision.site.wants_banner(exchange.consent)

    def _say(self, obstacle: str) -> None:
        """Log once in which page a visitor who has not chosen cannot be asked, and the fix."""
        if obstacle:
            self.revision.shared.warn_once(obstacle, obstacle, self.exchange.scope["path"])

    def _tell_cleared(self) -> None:
        """Log once that a sign-out takes the visitor's answer away, and how to keep it."""
        if self.exchange.consent.choice is not None:
            self.revision.shared.warn_once("cleared", _CLEARS, self.exchange.scope["path"])

    def _absolute(self, base: str) -> tuple[str, str]:
        """Return the beginning of our addresses: as a path, and with the host that this visitor asked for."""
        host = (header_value(self.exchange.asked["headers"], b"host") or b"").decode("latin-1")
        return base, f"{'https' if self.secure else 'http'}://{escape(host)}{base}" if host else ""

    def _begun(self, page: Message, message: Message) -> list[Message]:
        """
        Begin a page once the first part of its body is here; return the messages that can leave already.

        A page that asks nothing still gets the script if something in it waits for a purpose or opens the settings. A
        stream always gets it, because the rest of it is not known yet.
        """
        self.page = None
        if self.words is not None:
            absolute = self._absolute(self.revision.site.base(self.exchange.asked))
            self.insertion = Insertion(page, *self.words.texts(self._target), absolute=absolute)
            return []
        body: bytes = message.get("body", b"")
        if message.get("more_body", False) or _waits(body):
            site = self.revision.site
            head = site.head(self.exchange.asked, site.language_of(page))
            absolute = self._absolute(site.base(self.exchange.asked))
            self.insertion = Insertion(page, with_nonce(head, nonce_of(page)), "", absolute=absolute)
            return []
        return [page]


def _ends_body(asked: asyncio.Future[Message] | Ahead) -> bool:
    """Whether a message is the end of a body: only a departure can follow."""
    if asked.cancelled() or asked.exception() is not None:
        return False
    message = asked.result()
    return message["type"] == "http.request" and not message.get("more_body", False)


def _is_departure(asked: asyncio.Future[Message] | Ahead) -> bool:
    return not asked.cancelled() and asked.exception() is None and asked.result()["type"] == "http.disconnect"


def _may_wait(permissions: Permissions) -> bool:
    """Whether some purpose has no general answer: its cookies then ask each time."""
    return any(permissions.answer(purpose.name) is None for purpose in permissions.policy.asked)


def _varied(start: Message, field: bytes) -> Message:
    """Return `start` with a Vary that names `field`: another value of it in a request gets another answer."""
    return {**start, "headers": [*start["headers"], (b"vary", field)]}


def _check_subprotocol(accept: Message) -> None:
    """Remove a subprotocol that is not a token (RFC 6455, section 4.1): some servers copy it unchecked to a header."""
    subprotocol = accept.get("subprotocol")
    if subprotocol is not None and not is_token(str(subprotocol).encode("latin-1", "replace")):
        _log.error("not sent: a WebSocket's subprotocol that is no token; give one of letters, digits and hyphens")
        accept["subprotocol"] = None


def _released(decision: Decision) -> Verdict | None:
    """Let a cookie pass that would wait, or that is ours: our pages set only what the visitor has just asked for."""
    ours = decision.verdict is Verdict.PENDING or decision.reason is Reason.RESERVED
    return Verdict.KEPT if ours else None


def _content_length(message: Message) -> int | None:
    """Return the length of the body that a head announces; None if it does not say."""
    for name, value in message.get("headers") or ():
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def _is_page(message: Message) -> bool:
    """Whether an answer is an HTML page. The cheapest check comes first: most answers are not pages."""
    if not is_page_status(message.get("status", 0)):
        return False
    headers: HeaderList = message.get("headers") or []
    return any(
        len(name) == 12 and name.lower() == b"content-type" and value[:9].lower() == b"text/html"
        for name, value in headers
    )


def _depends(decision: Decision) -> bool:
    """Whether the decision about this cookie could be another one for another visitor."""
    return decision.reason not in _SAME_FOR_ALL


def _waits(body: bytes) -> bool:
    """Whether something in a page waits for a purpose, or opens the settings."""
    return _WAITING in body and any(word in body for word in _WAITS)


async def _nothing() -> None:
    """Do nothing. `send` returns it when there is nothing to send yet."""


async def _both(send: Send, head: Message, body: Message) -> None:
    await send(head)
    await send(body)


def _blocked(
    decisions: Sequence[Decision], reason: Reason, purposes: frozenset[str] | None = None
) -> tuple[Decision, ...]:
    """Return the decisions, but block those that would wait: all of them, or those of some `purposes`."""
    return tuple(
        replace(decision, verdict=Verdict.BLOCKED, reason=reason)
        if decision.verdict is Verdict.PENDING and (purposes is None or decision.purpose in purposes)
        else decision
        for decision in decisions
    )


def _names(pending: Sequence[tuple[Decision, bytes]]) -> tuple[str, ...]:
    """Return the declared names of cookies that wait."""
    return tuple(decision.declared.name for decision, _ in pending if decision.declared)


def _shown(decisions: Sequence[Decision]) -> bytes:
    """Return the debug header: `theme;blocked;"no choice yet"` for each cookie, without its value."""
    parts = (f'{decision.name[:64]}; {decision.verdict}; "{decision.reason}"' for decision in decisions)
    return ", ".join(parts).encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?").replace(b"\0", b"?")
