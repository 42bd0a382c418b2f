"""One request and its response, as the facts that a log may know of it."""

from __future__ import annotations

from typing import Any

import msgspec

from consent_mw._asgi import HeaderList, Message, Scope
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.log.redaction import clean
from consent_mw.log.route import LONGEST as _LONGEST_ROUTE
from consent_mw.log.route import Routes

#: The registered methods; OpenTelemetry has one name for all others.
METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))
OTHER_METHOD = "_OTHER"
#: The outcome of an exchange that a crash ended.
BROKEN_OFF = "broken_off"
_NO_ROUTES = Routes(None)


class Exchange(msgspec.Struct, eq=False):
    """
    What happened, filled in while it happens. Sizes in bytes, times in nanoseconds.

    Attributes:
        scope: The request as the server passed it. The application gets another one, so nothing that it writes there
            (an address that a visitor's header claims, a shorter path) reaches a record.
        inner: The application's scope, from which only the route is read.
        fields: The request's headers by lower-case name; of several with the same name the last.
        lines: The same headers as they arrived, if a name appeared twice.
        status: The status of the response; 0 if none was started.
        duration_ns: 0 until the last part of the response leaves. Then the record is made.
        outcome: "" for a complete response, "disconnected", "cancelled", or the name of the exception's type.
        blocked: The declared names of the cookies that were removed from the response, one for each Set-Cookie line.
        routes: The routes of the application.
        seen: The request as the browser made it, if a proxy or a mount has shortened its path or renamed its host.
        streamed: Whether the body came in parts without a length announced before. Its duration is then that of a
            connection, not of a response.
        begun: The id under which it was kept when it began, while it goes on; 16 bytes, or none.
    """

    scope: Scope
    inner: Scope
    fields: dict[bytes, bytes]
    consent: RequestConsent
    started_ns: int
    lines: HeaderList | None = None
    duration_ns: int = 0
    status: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    outcome: str = ""
    blocked: tuple[str, ...] = ()
    routes: Routes = _NO_ROUTES
    streamed: bool = False
    begun: bytes = b""
    seen: Scope | None = None

    def __repr__(self) -> str:
        return object.__repr__(self)  # a traceback must not show a visitor's data

    @property
    def from_server(self) -> Scope:
        """
        The request as the server passed it, with its original headers: the application may have changed their list.
        """
        return {**self.scope, "headers": [*self.fields.items()] if self.lines is None else self.lines}

    @property
    def asked(self) -> Scope:
        """The request as the browser made it: with the path and the host at the start of our addresses."""
        return self.seen or self.from_server

    @property
    def method(self) -> str:
        """The method: a registered one, or "_OTHER", as OpenTelemetry defines it."""
        method: Any = self.scope.get("method", "GET")
        return method if method in METHODS else OTHER_METHOD

    @property
    def route(self) -> str | None:
        """
        The full template of the route, such as "/books/{id}", or the name that the application set; None if neither.
        """
        return route_of(self)

    @property
    def protocol(self) -> str | None:
        """The protocol to which the connection was upgraded; None for plain HTTP."""
        return "websocket" if self.scope["type"] == "websocket" else None


def route_of(exchange: Exchange) -> str | None:
    """As `Exchange.route`. On the request path a property takes three times as long as a function."""
    named: object = exchange.consent.route
    if isinstance(named, str):
        return clean(named)[:_LONGEST_ROUTE]
    return exchange.routes.template(exchange.scope, exchange.inner)


def websocket_size(message: Message) -> int:
    """Return the bytes of the payload of a WebSocket message. A text is sent as UTF-8 (RFC 6455, section 5.6)."""
    data: bytes | None = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
