"""Filter an application's messages on their way out: gate, receipt, expiries, banner, in that order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from consent_mw._asgi import Message
from consent_mw.cookies.gate import Gated, gate
from consent_mw.cookies.header_lines import is_token, own_lines
from consent_mw.log.exchange import websocket_size
from consent_mw.runtime.departure import is_late, look
from consent_mw.runtime.page import is_page, page_body
from consent_mw.runtime.reply import Reply, content_length
from consent_mw.runtime.special_head import depends, names_of_pending, special_head
from consent_mw.site.insertion import FOR_ONE_VISITOR, is_html, is_page_status, obstacle, personal

if TYPE_CHECKING:
    from consent_mw.site.usual_page import Words

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
#: An event stream: its first event may be hours away.
_EVENTS: Final = b"text/event-stream"
#: The type of a page in its usual spelling.
_HTML: Final = b"text/html; charset=utf-8"


class Answer(Reply, eq=False):
    """What an application sends: `receive` and `send` replace those of the server."""

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
            if self.page is not None or self.insertion is not None:
                return page_body(self, message)
            body, more = message.get("body", b""), message.get("more_body", False)
            self.exchange.sent_bytes += len(body)
            if more and body and not self.exchange.streamed:
                self.stream()
            if not more or self.is_whole:
                self.record()
            return self.server_send(message)
        if kind in CARRIES_HEADERS:
            if kind == "http.response.start" and is_late(self):
                return self._late_head(message, kind)
            return self._head(message, kind)
        if "headers" in message:
            message = self._aside(message)
        if kind == "websocket.send":  # in one step, since a socket may send thousands
            self.exchange.sent_bytes += websocket_size(message)
            return self.server_send(message)
        return self._other(message)

    async def finish(self) -> None:
        """Send what is still held if the application stopped before its answer was complete."""
        if self.page is not None:
            await self.send_all([self.page])
        if self.insertion is not None:
            await self.send_all(self.insertion.close())

    async def _late_head(self, message: Message, kind: str) -> None:
        """Send a late head, after a check whether the visitor is still there."""
        headers = message.get("headers")
        if headers is not None:
            message["headers"] = [(name, value) for name, value in headers]  # a copy: the list may still change
        if not (self.gone or self.asked or self.invites):
            await look(self)
        await self._head(message, kind)

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
            return special_head(self, message, permissions, chosen)
        gated = self._gated(message)
        if gated.clears:
            self.tell_cleared()
        if gated.pending or not self._may_hold(message, kind, gated):
            return special_head(self, message, permissions, None, gated)
        exchange.blocked += gated.blocked
        if gated.undeclared:
            revision.report(gated.decisions, exchange)
        if self.page is message:
            return _nothing()
        if any(map(depends, gated.decisions)):
            return self.leave(personal(message))
        return self.leave(message)

    def _gated(self, message: Message) -> Gated:
        """Judge a message's headers, and leave in it those that may go."""
        revision, exchange = self.revision, self.exchange
        shared, headers = revision.shared, message.get("headers")
        gated = gate(
            headers or (),
            exchange.consent.permissions,
            exchange.started_ns,
            shared.options.cookie_hook,
            shared.floors[self.secure],
        )
        if headers is not None:
            message["headers"] = gated.headers
        if gated.illegible:
            shared.illegible.refuse(gated.illegible)
        return gated

    def _may_hold(self, message: Message, kind: str, gated: Gated) -> bool:
        """
        Hold the head of a usual page until its body comes; return False if it is a page for `special_head`.
        """
        if kind != "http.response.start":
            return True
        if gated.kind[:17] == _EVENTS:
            self.left: Message | None = message
            self.stream()
        exchange, site = self.exchange, self.revision.site
        if not self.revision.shared.options.banner or not is_page_status(exchange.status):
            return True
        if not gated.plain or exchange.scope["method"] != "GET":
            if is_page(message):
                return False
            if self.is_asked_here:
                self.say(obstacle(message))
        elif gated.kind == _HTML or is_html(gated.kind):
            consent = exchange.consent
            if consent.banner_placed or consent.permissions.asks or consent.pending is not None or site.announces:
                if not self._asks_alone(gated):
                    return False
                accepted = exchange.fields.get(b"accept-language", b"")
                self.words: Words | None = site.words(exchange.seen or exchange.scope, accepted, consent)
                if self.words is None:
                    return False
            # Even a page that asks nothing is for this visitor alone: those who have not chosen get another page.
            gated.headers.extend(FOR_ONE_VISITOR)
            self.page = message
        elif self.is_asked_here:
            self.say(obstacle(message))
        return True

    def _asks_alone(self, gated: Gated) -> bool:
        """Whether a page gets the question and nothing else, like nearly all pages for visitors who have not chosen."""
        exchange = self.exchange
        consent = exchange.consent
        return (
            consent.permissions.asks
            and gated.kind == _HTML
            and not (gated.policed or consent.banner_placed or consent.withheld or self.revision.site.announces)
            and exchange.lines is None
            and not self.in_own_frame
        )

    def _aside(self, message: Message) -> Message:
        """Filter a message beside an answer (a push, a hint, trailers): cookies that have to wait are blocked."""
        revision, exchange = self.revision, self.exchange
        gated = self._gated(message)
        exchange.blocked += (*gated.blocked, *names_of_pending(gated.pending))
        if gated.undeclared:
            revision.report(gated.decisions, exchange)
        if "links" in message:  # an early hint: each link becomes a header
            lines, illegible = own_lines((b"link", link) for link in message["links"])
            revision.shared.illegible.refuse(illegible)
            message["links"] = [link for _, link in lines]
        return message

    async def _other(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and not self.started:
            self.exchange.status = 403  # a server answers this when the handshake is closed
        held = [self.page] if self.page is not None else []
        if self.insertion is not None:
            held = self.insertion.close()
        self.page = None
        if kind == "http.response.pathsend":  # the server reads the file; the head has its size
            head = next((part for part in held if part["type"] == "http.response.start"), self.left)
            size = content_length(head) if head is not None else None
            self.exchange.sent_bytes = size or 0
        if kind in _LAST:
            self.record()
        await self.send_all([*held, message])


def _check_subprotocol(accept: Message) -> None:
    """Remove a subprotocol that is not a token (RFC 6455, section 4.1): some servers copy it unchecked to a header."""
    subprotocol = accept.get("subprotocol")
    if subprotocol is not None and not is_token(str(subprotocol).encode("latin-1", "replace")):
        _log.error("not sent: a WebSocket's subprotocol that is no token; give one of letters, digits and hyphens")
        accept["subprotocol"] = None


async def _nothing() -> None:
    """Do nothing. `send` returns it when there is nothing to send yet."""
