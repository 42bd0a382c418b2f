"""One request and its answer, as the facts that a log may know of it."""

from __future__ import annotations

from typing import Any

import msgspec

from consent_mw._asgi import HeaderList, Message, Scope
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.log.redaction import clean
from consent_mw.log.route import LONGEST as _LONGEST_ROUTE
from consent_mw.log.route import Routes

__all__ = ["BROKEN_OFF", "METHODS", "OTHER_METHOD", "Exchange", "route_of", "websocket_size"]

#: Those that are registered; what OpenTelemetry calls any other.
METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))
OTHER_METHOD = "_OTHER"
#: The outcome of what a crash ended.
BROKEN_OFF = "broken_off"
_NO_ROUTES = Routes(None)


class Exchange(msgspec.Struct, eq=False):
    """
    What happened, filled in while it happens. Sizes in bytes, times in nanoseconds.

    Attributes:
        scope: The request as the server told it. The application has another one, so that nothing it writes there
            (an address that a visitor's header claims, a shorter path) reaches a record.
        inner: The application's, from which nothing is read but the route.
        fields: The request's headers by lower-case name; of several with one name the last.
        lines: The same as they came, where some name came twice.
        status: Of the response; 0 where none was started.
        duration_ns: 0 until the last of the answer leaves, which is when the record is made.
        outcome: "" for a whole answer, "disconnected", "cancelled", or the name of the exception's type.
        blocked: The declared names of the cookies that were kept from the answer, one for each of its lines.
        routes: Those of the application.
        seen: The request as the browser made it, where a proxy or a mount has shortened its path or renamed its host.
        streamed: Whether the body came in parts without a length that was announced: its duration is that of a
            connection, and not of an answer.
        begun: The id under which it was kept when it began, as long as it goes on; 16 bytes, or none.
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
        return object.__repr__(self)  # nothing of a visitor in a traceback

    @property
    def told(self) -> Scope:
        """The request as the server told it, its headers included: their list the application may have changed."""
        return {**self.scope, "headers": [*self.fields.items()] if self.lines is None else self.lines}

    @property
    def asked(self) -> Scope:
        """The request as the browser made it: with the path and the host that our addresses begin with."""
        return self.seen or self.told

    @property
    def method(self) -> str:
        """The method, one of those that are registered or "_OTHER", as OpenTelemetry asks for."""
        method: Any = self.scope.get("method", "GET")
        return method if method in METHODS else OTHER_METHOD

    @property
    def route(self) -> str | None:
        """The whole template of the route, such as "/books/{id}", or what the application named it; None: neither."""
        return route_of(self)

    @property
    def protocol(self) -> str | None:
        """What the connection became, where that is not HTTP."""
        return "websocket" if self.scope["type"] == "websocket" else None


def route_of(exchange: Exchange) -> str | None:
    """See `Exchange.route`; for the request path, where a property takes thrice as long as a function."""
    named: object = exchange.consent.route
    if isinstance(named, str):
        return clean(named)[:_LONGEST_ROUTE]
    return exchange.routes.template(exchange.scope, exchange.inner)


def websocket_size(message: Message) -> int:
    """Return the bytes of the payload of a WebSocket message; a text crosses as UTF-8 (RFC 6455, section 5.6)."""
    data: bytes | None = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
