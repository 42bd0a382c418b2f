"""The middleware. This file follows the path of a request; other modules do the work of each step."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, Unpack, cast

from msgspec.structs import replace

from consent_mw._asgi import ASGIApp, Header, HeaderList, Receive, Scope, Send, header_value
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.cookies.header_lines import fields_of, legible, legible_scope
from consent_mw.cookies.neighbours import STORAGE_ACCESS, foreign_request, stands_alone
from consent_mw.cookies.request_cookies import Reading, without_cookies
from consent_mw.log.exchange import Exchange
from consent_mw.log.route import Routes
from consent_mw.runtime.answer import Answer
from consent_mw.runtime.health import Health
from consent_mw.runtime.lifespan import lifespan
from consent_mw.runtime.options import Given, Options
from consent_mw.runtime.outside import mounted_at, outside
from consent_mw.runtime.template_helper import SITE, WAITING
from consent_mw.site.insertion import asks_for_less, unconditional
from consent_mw.site.insertion import legible as legible_page
from consent_mw.site.policy_link import linked
from consent_mw.system.loops import on_asyncio, served_on_asyncio

if TYPE_CHECKING:
    from consent_mw.runtime.revision import Revision
    from consent_mw.runtime.runtime import Runtime

_log = logging.getLogger("consent_mw")

#: An application as it may be: what it returns goes to the server, which says that it should be nothing.
_Called: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]

#: The header that carries each signal, and the one value that sends it. Any other value is ignored
#: (Global Privacy Control, section 3.3).
_SIGNALS: Final = {"gpc": (b"sec-gpc", b"1"), "dnt": (b"dnt", b"1")}
_EXCHANGES: Final = ("http", "websocket")
_SECURE: Final = ("https", "wss")
_AT_HOME: Final = (b"", b"same-origin", b"none", b"same-site")
_NO_SIGNALS: Final[frozenset[str]] = frozenset()


_TWICE: Final = (
    "ConsentMiddleware stands inside another ConsentMiddleware and does nothing: wrap the application once, outermost"
)
_UNSIGNED: Final = (
    "a consent cookie %r came that this site did not sign, or too long ago, and counts for nothing. Ports and paths of "
    "one host share their cookies: answers are kept under the next free name, such as %r. Give each site there a "
    "cookie_name= of its own; and keep a key in secret_keys for 180 days after the next one signs"
)
_SESSION: Final = (
    "ConsentMiddleware stands inside a session middleware, whose cookie passes the gate by unseen: wrap the whole "
    "application in it, app = ConsentMiddleware(app, ...), or add it last"
)


class ConsentMiddleware:
    """
    Keeps the promises of a privacy policy in front of an ASGI application.

    Make it the outermost layer. Inside a session middleware it would miss the session's cookie. Inside the server's
    error handler it would miss the answer to a crash.

    Args:
        app: The application.
        options: `policy=` and `secret_keys=` are required. `Options` describes all of them.

    Raises:
        PolicyError: The declaration has faults; the message lists all of them.
        ConfigurationError, SpoolError: The keys, the directory or an option are wrong.
    """

    def __init__(self, app: ASGIApp, **options: Unpack[Given]) -> None:
        # Imported here: at the top of the file it took two thirds of the time of `import consent_mw`.
        from consent_mw.runtime.runtime import Runtime

        self.app: ASGIApp = app
        self.runtime: Runtime = Runtime(Options(**options))
        self._options = self.runtime.options
        self._excluded = self._options.excluded
        self._debug = self._options.debug
        self._banner = self._options.banner
        self._health = Health(self.runtime.storage.spool) if self._options.health else None
        self._proxies = self.runtime.revision.shared.proxies
        self._routes = Routes(app)
        self._mounted = mounted_at(app)
        #: Whether the server knows everything about the visitor: there is no proxy in front, and no mount.
        self._direct = self._proxies.direct and not self._mounted
        self._proxy_untold = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server."""
        if scope["type"] not in _EXCHANGES:
            return await self._other(scope, receive, send)
        if ("session" in scope or SITE in (scope.get("state") or ())) and self._stands_inside(scope):
            return await self.app(scope, receive, send)
        runtime = self.runtime
        now_ns, revision = self._options.clock(), runtime.revision
        if now_ns >= revision.until_ns:
            revision = runtime.succeed()
        scope, fields, lines = _legible(scope)
        cookie_header = fields.get(b"cookie") if lines is None else _joined_cookies(lines)
        secure = self._is_secure(scope, fields)
        signals = _signals(scope["headers"], revision.signals) if _may_signal(fields) else _NO_SIGNALS
        seen = None if self._direct else outside(scope, self._proxies, self._mounted)
        asked = fields if seen is None else {**fields, b"host": header_value(seen["headers"], b"host") or b""}
        alone = secure or stands_alone(asked.get(b"host"))

        foreign = _may_be_foreign(fields) and foreign_request(scope, asked, embedded=self._options.embedded and secure)
        reading = revision.cookies.read(cookie_header, signals, now_ns, secure, alone, foreign)
        if reading.unsigned:
            name = self._options.cookie_name
            revision.shared.warn_once("unsigned", _UNSIGNED, name, f"{name}-2")
        exchange = _begun(revision, reading, scope, fields, lines, now_ns, seen)
        exchange.routes = self._routes
        if self._banner:
            _ask_for_a_page(exchange)
        elif exchange.consent.pending is not None:
            exchange.inner["state"][WAITING] = await on_asyncio(revision.site.waiting, exchange.consent, now_ns)
        app, own = self._application(revision, exchange, secure)
        special = own or self._debug
        logged = self._excluded is None or not self._excluded.fullmatch(str(scope.get("path", "")))
        # Positional arguments: keyword arguments cost a twentieth of an access line more.
        answer = Answer(
            revision, receive, send, exchange, reading.consent, cookie_header, reading.expired, secure, own, special,
            logged,
        )  # fmt: skip
        loop = runtime.drain.loop
        if loop is None or not loop.is_running():
            runtime.drain.start()
        try:
            returned = await app(exchange.inner, answer.receive, answer.send)
            if answer.page is not None or answer.insertion is not None:
                await answer.finish()
            if returned is not None:
                return cast("None", returned)
        except BaseException as error:
            answer.failed(error)
            raise
        finally:
            answer.end()
            if not exchange.duration_ns or exchange.consent.noted:
                answer.record()
            if runtime.console is not None:
                runtime.console.show(exchange)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that is not an exchange with a visitor."""
        if scope["type"] == "lifespan":
            ephemeral = self.runtime.options.receipts == "store"
            return await lifespan(self.app, self.runtime.drain, scope, receive, send, ephemeral=ephemeral)
        return await self.app(scope, receive, send)

    def _stands_inside(self, scope: Scope) -> bool:
        """Warn once of a layer that must not be outside this one; return whether it is another `ConsentMiddleware`."""
        shared = self.runtime.revision.shared
        if SITE in (scope.get("state") or ()):
            shared.warn_once("twice", _TWICE)
            return True
        shared.warn_once("session", _SESSION)
        return False

    def _is_secure(self, scope: Scope, fields: Mapping[bytes, bytes]) -> bool:
        """Whether the visitor's connection is encrypted, according to the server or to a proxy in `proxies=`."""
        if self._proxy_untold and (
            b"x-forwarded-for" in fields
            or b"forwarded" in fields
            or b"x-forwarded-prefix" in fields
            or b"x-forwarded-host" in fields
        ):
            self._tell_proxy(scope)
        return (scope.get("scheme") if self._proxies.direct else self._proxies.scheme(scope)) in _SECURE

    def _tell_proxy(self, scope: Scope) -> None:
        """Warn once of a proxy that `proxies=` does not name: nothing that it says of the visitor counts."""
        named = self._proxies.unnamed(scope)
        if named is not None:
            self._proxy_untold = False
            _log.warning(
                "a proxy forwards requests that proxies= does not name: its address is kept for everybody's, all "
                "visitors behind it are counted as one, and our pages do not know the host and path that it took "
                "away; write proxies=%s, or the network of your proxies",
                named,
            )

    def _application(self, revision: Revision, exchange: Exchange, secure: bool) -> tuple[_Called, bool]:
        """Return the application that answers, and whether it is one of our own pages."""
        scope, prefix = exchange.inner, self._options.prefix
        if scope["type"] != "http" or not (self._options.gpc_url or prefix in str(scope.get("path", ""))):
            return self._of_site(revision, exchange), False
        path = _path(exchange.seen or scope)
        if self._health is not None and path in (
            health := self._options.health_path,
            f"{health}/live",
            f"{health}/ready",
        ):
            return served_on_asyncio(self._health), True
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            app: ASGIApp = revision.site
        elif self._options.gpc_url and path == "/.well-known/gpc.json":
            app = revision.site.gpc
        else:
            return self._of_site(revision, exchange), False
        if exchange.seen is not None:
            seen = exchange.seen
            scope["root_path"], scope["path"] = seen["root_path"], seen["path"]
            scope["headers"] = _our_headers(scope, seen)
        if secure:
            scope["scheme"] = "https"  # as the visitor sees it: our forms compare their Origin with it
        return served_on_asyncio(app), True

    def _of_site(self, revision: Revision, exchange: Exchange) -> ASGIApp:
        if not self._options.policy_link or exchange.inner["type"] != "http":
            return self.app
        return linked(self.app, revision.site.base(exchange.seen or exchange.inner))


def _legible(scope: Scope) -> tuple[Scope, dict[bytes, bytes], HeaderList | None]:
    """Return the scope for everything else, its headers by name, and the header lines if a name came twice."""
    fields, client = fields_of(scope.get("headers")), scope.get("client")
    if fields is None or not (client is None or client.__class__ is tuple):
        scope = legible_scope(scope)
        fields = dict(scope["headers"])
    headers: Sequence[Header] = scope["headers"]
    return scope, fields, None if len(fields) == len(headers) else [(name, value) for name, value in headers]


def _our_headers(scope: Scope, seen: Scope) -> HeaderList:
    """Return the headers for our own pages: without refused cookies, and with the host that the browser asked for."""
    host = [line for line in seen["headers"] if line[0] == b"host"]
    return [*host, *(line for line in scope["headers"] if line[0] != b"host")]


def _joined_cookies(lines: HeaderList) -> bytes | None:
    """Return all Cookie lines joined into one, since HTTP/2 splits them (RFC 9113, section 8.2.3)."""
    return b"; ".join(value for name, value in lines if name == b"cookie") or None


def _begun(
    revision: Revision,
    reading: Reading,
    scope: Scope,
    fields: dict[bytes, bytes],
    lines: HeaderList | None,
    now_ns: int,
    seen: Scope | None,
) -> Exchange:
    """Return a new exchange. The application gets a scope of its own in it, without the refused cookies."""
    consent: RequestConsent = replace(reading.request)
    state: dict[str, object] = dict(given) if (given := scope.get("state")) else {}
    state["consent"] = consent
    state[SITE] = revision.site, seen or scope
    inner: Scope = {**scope, "state": state}
    exchange = Exchange(scope, inner, fields, consent, now_ns, lines, seen=seen)
    if reading.changed:
        inner["headers"] = without_cookies(scope["headers"], reading.header)
        revision.report(reading.removed, exchange, "request")
    return exchange


def _ask_for_a_page(exchange: Exchange) -> None:
    """Ask the application for the whole page, so that the banner can be inserted."""
    exchange.inner = legible_page(exchange.inner, exchange.fields)
    if asks_for_less(exchange.fields):
        exchange.inner = unconditional(exchange.inner, exchange.fields)


def _may_be_foreign(fields: Mapping[bytes, bytes]) -> bool:
    """Whether another site may have caused a request. A cheap check first: most come from the site itself."""
    return (
        fields.get(b"sec-fetch-site", b"") not in _AT_HOME
        or b"sec-purpose" in fields
        or b"origin" in fields
        or STORAGE_ACCESS in fields
    )


def _may_signal(fields: Mapping[bytes, bytes]) -> bool:
    return b"sec-gpc" in fields or b"dnt" in fields


def _path(scope: Scope) -> str:
    """Return the path below the root path, as the ASGI specification defines `root_path`."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path") or "")
    return path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path


def _signals(headers: Sequence[Header], honoured: frozenset[str]) -> frozenset[str]:
    """Return which of the `honoured` signals a request carries."""
    return frozenset(
        signal
        for signal in honoured
        for line in headers
        if line[0] == _SIGNALS[signal][0] and legible(line) == _SIGNALS[signal]
    )
