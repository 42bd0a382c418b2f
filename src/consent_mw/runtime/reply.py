"""One answer on its way out: what is known of it, its record, and how its messages leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from consent_mw._asgi import Message, Receive, Send, header_value
from consent_mw.consent.choice import Consent
from consent_mw.log.exchange import Exchange, websocket_size
from consent_mw.site.insertion import FRAMES, Insertion
from consent_mw.site.usual_page import Words
from consent_mw.site.visit import shown_target
from consent_mw.system.loops import Ahead, is_cancellation

if TYPE_CHECKING:
    from consent_mw.runtime.revision import Revision

#: With these statuses the head is the whole answer (RFC 9110, section 6.4.1), and a server sends it at once.
_BODILESS: Final = frozenset((204, 205, 304))
#: An answer with this header, such as a redirect, is complete with its head too.
_EMPTY: Final = (b"content-length", b"0")
#: The status that nginx logs for an answer whose visitor left before it began.
_LEFT: Final = 499
_CLEARS: Final = (
    "the answer at %s has Clear-Site-Data with cookies, which takes the visitor's answer too: they are asked again "
    'after it. To keep the answer, delete the session\'s cookie and clear the rest: Clear-Site-Data: "cache", "storage"'
)


class Reply(msgspec.Struct, eq=False):
    """
    One answer on its way out, as far as every part of the filter needs it. Each request gets its own.

    What the gate judged is exactly what leaves: each message is copied as it arrives, its headers into pairs of bytes.
    The application may still change its own copy (it writes to a response object, another middleware appends to a
    list) while a page is held, while a receipt is written, or until the server sends the message.

    Attributes:
        insertion: The page that the banner is being inserted into.
        page: The head of a page until its body arrives; the page asks nothing, or gets `words`.
        left: The head that was sent last.
        started: Whether the visitor has been sent something already.
        gone: Whether the visitor left before the answer began.
        asked: Whether the application waits for the server's next message, and will get it.
        ahead: Messages that we asked the server for before the application did.
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
    left: Message | None = None
    started: bool = False
    gone: bool = False
    asked: bool = False
    ahead: list[asyncio.Future[Message] | Ahead] = []

    def __repr__(self) -> str:
        return object.__repr__(self)  # a traceback shows nothing of a visitor

    async def receive(self) -> Message:
        """Return the server's next message, and count what it carries."""
        self.asked = True
        try:
            message = await (self.ahead.pop(0) if self.ahead else self.server_receive())
        finally:
            self.asked = False
        exchange, kind = self.exchange, message["type"]
        if kind == "http.request":
            exchange.received_bytes += len(message.get("body", b""))
        elif kind == "websocket.receive":
            exchange.received_bytes += websocket_size(message)
        elif kind == "http.disconnect" and not exchange.duration_ns:
            exchange.outcome = "disconnected"
            self.gone = not self.started
        return message

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
        if self.gone:
            exchange.status, exchange.outcome = _LEFT, "disconnected"
        clock = self.revision.shared.storage.clock
        duration_ns = clock() - exchange.started_ns
        # A clock that steps back must not give a negative time; 0 would mean that the exchange still goes on.
        exchange.duration_ns = duration_ns if duration_ns > 0 else 1
        if self.logged:
            self.revision.recorder.exchange(exchange, self.own)

    def stream(self) -> None:
        """Note that an answer without a length is a stream: it may take as long as it likes."""
        exchange = self.exchange
        exchange.streamed = self.left is not None and content_length(self.left) is None
        if exchange.streamed and self.logged and not self.own:
            self.revision.recorder.begin(exchange)

    def failed(self, error: BaseException) -> None:
        """Note that the application failed. If the visitor had left before, it is not an error of the site."""
        exchange = self.exchange
        exchange.outcome = "cancelled" if is_cancellation(error) else type(error).__name__
        if not self.started:
            exchange.status = 500  # what the server will answer for us

    def end(self) -> None:
        """Cancel the messages that we asked the server for ahead and nobody needed."""
        for asked in self.ahead:
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # retrieve it, or the event loop logs that nobody did

    def leave(self, head: Message) -> Awaitable[None]:
        """Send a head. If it is the whole answer, write its record first."""
        bodiless = self.exchange.status in _BODILESS or _EMPTY in (head.get("headers") or ())
        if bodiless or self.exchange.scope.get("method") == "HEAD":
            self.record()
        if self.exchange.status:
            self.started = True
        self.left = head
        return self.server_send(head)

    async def send_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.started = True
            await self.server_send(message)

    @property
    def is_whole(self) -> bool:
        """Whether the client has the whole answer, though the application has yet to send an empty last message."""
        length = content_length(self.left) if self.left is not None else None
        return length is not None and self.exchange.sent_bytes >= length

    @property
    def invites(self) -> bool:
        """Whether the next question to the server invites a body (100 Continue), which only the application may."""
        return b"expect" in self.exchange.fields and not self.exchange.received_bytes

    @property
    def path(self) -> str:
        """The path as the browser wrote it. A Path attribute cannot hold a ";", so that one stays encoded."""
        scope = self.exchange.seen or self.exchange.scope
        return quote(str(scope.get("path", "")), safe="/:@!$&'()*+,=~", errors="replace")

    @property
    def target(self) -> bytes:
        """The path to return to after a choice, escaped for HTML."""
        return shown_target(self.exchange.seen or self.exchange.scope)

    def absolute(self, base: str) -> tuple[str, str]:
        """Return the beginning of our addresses: as a path, and with the host that this visitor asked for."""
        host = (header_value(self.exchange.asked["headers"], b"host") or b"").decode("latin-1")
        return base, f"{'https' if self.secure else 'http'}://{escape(host)}{base}" if host else ""

    @property
    def in_own_frame(self) -> bool:
        """
        Whether the page is in a frame of the site itself: a preview, an editor, a window.

        Then the page around it asks. A page of another site does not ask.
        """
        return self.exchange.fields.get(b"sec-fetch-dest") in FRAMES and not self.revision.shared.options.embedded

    @property
    def is_asked_here(self) -> bool:
        """Whether this is a page for somebody who has not chosen yet."""
        exchange = self.exchange
        return b"text/html" in exchange.fields.get(b"accept", b"") and self.revision.site.wants_banner(exchange.consent)

    def say(self, obstacle: str) -> None:
        """Log once in which page a visitor who has not chosen cannot be asked, and the fix."""
        if obstacle:
            self.revision.shared.warn_once(obstacle, obstacle, self.exchange.scope["path"])

    def tell_cleared(self) -> None:
        """Log once that a sign-out takes the visitor's answer away, and how to keep it."""
        if self.exchange.consent.choice is not None:
            self.revision.shared.warn_once("cleared", _CLEARS, self.exchange.scope["path"])


def content_length(message: Message) -> int | None:
    """Return the length of the body that a head announces; None if it does not say."""
    for name, value in message.get("headers") or ():
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value) if value.isdigit() else None
    return None
