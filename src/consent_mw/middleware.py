"""The middleware: wiring only. It reads like the path of a request, and everything it does is elsewhere."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from consent_mw._asgi import ASGIApp, Header, HeaderList, Receive, Scope, Send
from consent_mw.cookies.gate import CookieHook
from consent_mw.cookies.header_lines import fields_of, legible, legible_scope
from consent_mw.cookies.lines import CookieFloor
from consent_mw.cookies.request_cookies import stands_alone, without_cookies
from consent_mw.crypto.keyring import Keyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.log.exchange import Exchange
from consent_mw.policy.model import Policy
from consent_mw.proxies import Proxies
from consent_mw.rights.personal_data import PersonalData, SignIn
from consent_mw.runtime.answer import Answer
from consent_mw.runtime.lifespan import lifespan
from consent_mw.runtime.template_helper import SITE, WAITING
from consent_mw.site.insertion import asks_for_less, unconditional
from consent_mw.stores.base import Store

if TYPE_CHECKING:
    from consent_mw.runtime.wiring import Wiring

__all__ = ["ConsentMiddleware"]

_log = logging.getLogger("consent_mw")

#: By signal, the header that carries it and the one value that means it. Any other value is ignored
#: (Global Privacy Control, section 3.3).
_SIGNALS: Final = {"gpc": (b"sec-gpc", b"1"), "dnt": (b"dnt", b"1")}
_EXCHANGES: Final = ("http", "websocket")
_SECURE: Final = ("https", "wss")
_NO_SIGNALS: Final[frozenset[str]] = frozenset()


class ConsentMiddleware:
    """
    Keeps the promises of a privacy policy in front of an ASGI application.

    Wrap the application in it as the outermost layer: inside a session middleware it would miss the session's cookie,
    and inside the server's error handler the answer of a crash.

    Args:
        app: The application.
        policy: The declaration: a path to `policy.toml`, or a `Policy` that was loaded.
        secret_keys: What signs the consent cookie, oldest to newest: the last signs, all are believed.
        store: Where records go: a `Store`, or a URL such as "sqlite:///log.sqlite3". SQLite in `directory` by default.
        log_store: Where visits and events go instead, as many as there are; everything else stays in `store`.
        directory: Keys, spool and the default store; `consent-data` beside the policy unless told.
        proxies: The proxies in front of us; without them only the socket's address and scheme are believed.
        prefix: Where the visitor's pages are.
        cookie_domain: Shares the choice between subdomains, and gives up the `__Host-` prefix: any of them can then set
            a choice, which counts on hosts where the visitor made none. Data open on the host where one was made alone.
        site: What this deployment is called in its signatures, such as "staging": two with one key believe each other's
            choices only if this, `cookie_name` and `cookie_domain` agree.
        cookie_hook: May veto a cookie that would pass, or pass one that would not.
        cookie_floor: What every cookie that passes must say of itself at least: Secure on https, HttpOnly, SameSite.
        exclude: Paths, with * for anything, that are left out of the log. Never out of the gate.
        report_only: Block nothing and report everything, for a site that moves in.
        banner: Whether the banner is inserted into pages; a template can place it instead.
        debug: Tell in a response header what became of each cookie, and raise on an event that is not declared.
        console: Write an access line for each exchange, masked, in the place of the server's (`--no-access-log`).
        templates: A folder whose templates stand in for ours of the same name.
        gpc_url: Serve `/.well-known/gpc.json`, which says whether the policy honours the signal.
        drain: False where `consent-mw drain` hands records to the store: this process then only writes them down.
        spool_bytes: Most that records may take on this machine's disk while they wait for the store, a sixteenth of
            it kept for receipts, erasures and abuse.
        sync_interval: How often records are forced to the disk: what a power cut may take.
        subject: Tells from a request's scope who is signed in, or None: then they see their data wherever they sign in.
        personal_data: What the application itself holds about who is signed in: read, corrected and erased through it.
        clock: Nanoseconds since 1970; for tests (`consent_mw.testing.clock.Clock`).

    Raises:
        PolicyError: The declaration has faults; all of them are in the message.
        ConfigurationError, SpoolError: Keys, directory or an option are wrong.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy | str | Path,
        secret_keys: Sequence[str | bytes],
        store: Store | str | None = None,
        log_store: Store | str | None = None,
        directory: str | Path | None = None,
        keyring: Keyring | None = None,
        proxies: Proxies | None = None,
        prefix: str = "/consent",
        cookie_name: str = "consent",
        cookie_domain: str = "",
        site: str = "",
        cookie_hook: CookieHook | None = None,
        cookie_floor: CookieFloor | None = None,
        exclude: Iterable[str] = (),
        report_only: bool = False,
        banner: bool = True,
        debug: bool = False,
        console: bool = False,
        templates: str | Path | None = None,
        gpc_url: bool = False,
        drain: bool = True,
        spool_bytes: int = 256 << 20,
        sync_interval: timedelta = timedelta(seconds=1),
        subject: SignIn | None = None,
        personal_data: PersonalData | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        # Only here: two thirds of the time that `import consent_mw` took.
        from consent_mw.runtime.wiring import Wiring

        self.app: ASGIApp = app
        self.wiring: Wiring = Wiring(
            policy=policy,
            secret_keys=secret_keys,
            store=store,
            log_store=log_store,
            directory=directory,
            keyring=keyring,
            proxies=proxies,
            prefix=prefix,
            cookie_name=cookie_name,
            cookie_domain=cookie_domain,
            site=site,
            cookie_hook=cookie_hook,
            cookie_floor=cookie_floor,
            report_only=report_only,
            inserts=banner,
            debug=debug,
            console=console,
            templates=templates,
            drain=drain,
            spool_bytes=spool_bytes,
            sync_interval=sync_interval,
            clock=clock,
            subject=subject,
            personal_data=personal_data,
        )
        self._excluded = _compiled(exclude)
        self._gpc_url = gpc_url
        self._direct: bool = self.wiring.proxies.direct
        self._proxy_untold = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server."""
        if scope["type"] not in _EXCHANGES:
            await self._other(scope, receive, send)
            return
        wiring = self.wiring
        clock = wiring.clock  # what an instance holds is called faster by a name of its own (CPython 3.11)
        now_ns = clock()
        if now_ns >= wiring.until_ns:
            wiring = self.wiring = wiring.successor()
        fields, client = fields_of(scope.get("headers")), scope.get("client")
        if fields is None or not (client is None or client.__class__ is tuple):
            scope = legible_scope(scope)
            fields = dict(scope["headers"])
        headers: Sequence[Header] = scope["headers"]
        cookie_header = fields.get(b"cookie")
        lines: HeaderList | None = None
        if len(fields) != len(headers):  # some name came twice; HTTP/2 splits Cookie (RFC 9113, section 8.2.3)
            lines = [(name, value) for name, value in headers]
            cookie_header = b"; ".join(value for name, value in lines if name == b"cookie") or None
        # What the server says, where nobody stands in front of it: this is every request.
        secure = (scope.get("scheme") if self._direct else wiring.proxies.scheme(scope)) in _SECURE
        signals = _NO_SIGNALS
        if self._proxy_untold and (b"x-forwarded-for" in fields or b"forwarded" in fields):
            self._tell_proxy(scope)
        if b"sec-gpc" in fields or b"dnt" in fields:
            signals = _signals(headers, wiring.signals)

        alone = secure or stands_alone(fields.get(b"host"))
        reading = wiring.cookies.read(cookie_header, signals, now_ns, secure, alone)
        consent = replace(reading.request)
        state: dict[str, object] = dict(given) if (given := scope.get("state")) else {}
        state["consent"] = consent
        state[SITE] = wiring.site, scope
        inner: Scope = dict(scope)
        inner["state"] = state
        exchange = Exchange(scope, inner, fields, consent, now_ns, lines)
        if reading.changed:
            inner["headers"] = without_cookies(headers, reading.header)
            wiring.report(reading.removed, exchange, "request")
        if wiring.inserts:
            if asks_for_less(fields):
                inner = exchange.inner = unconditional(inner, fields)
        elif consent.pending is not None:
            state[WAITING] = await wiring.site.waiting(consent, now_ns)
        path = str(scope.get("path", ""))
        app, own = self.app, False
        if wiring.prefix in path or self._gpc_url:
            app, own = self._application(inner)
            if own and secure:
                inner["scheme"] = "https"  # as the visitor sees it: our forms compare their Origin with it
        # By position, as names take four times as long, in every request.
        answer = Answer(
            wiring,
            receive,
            send,
            exchange,
            reading.consent,
            cookie_header,
            reading.expired,
            secure,
            own,
            own or wiring.debug,
            self._excluded is None or not self._excluded.fullmatch(path),
        )
        loop = wiring.drain.loop
        if loop is None or not loop.is_running():  # as `start` asks; a call less in every request
            wiring.drain.start()
        try:
            await app(inner, answer.receive, answer.send)
            if answer.page is not None or answer.insertion is not None:
                await answer.finish()
        except BaseException as error:
            exchange.outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
            if not answer.started:
                exchange.status = 500  # what the server will answer for us
            raise
        finally:
            if not exchange.duration_ns or consent.noted:
                answer.record()
            if wiring.console is not None:
                wiring.console.show(exchange)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is no exchange with a visitor."""
        if scope["type"] == "lifespan":
            await lifespan(self.app, self.wiring.drain, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _tell_proxy(self, scope: Scope) -> None:
        """Say once that somebody forwards whom `proxies=` does not name: all visitors behind them are one otherwise."""
        named = self.wiring.proxies.unnamed(scope)
        if named is not None:
            self._proxy_untold = False
            _log.warning(
                "a proxy forwards requests that proxies= does not name: its address is kept for everybody's, and all "
                "visitors behind it are counted as one; write proxies=%s, or the network of your proxies",
                named,
            )

    def _application(self, scope: Scope) -> tuple[ASGIApp, bool]:
        """Return who answers, and whether it is our own pages."""
        if scope["type"] != "http":
            return self.app, False
        path = _path(scope)
        prefix = self.wiring.prefix
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return self.wiring.site, True
        if self._gpc_url and path == "/.well-known/gpc.json":
            return self.wiring.site.gpc, True
        return self.app, False


def _path(scope: Scope) -> str:
    """The path below the root path, as the ASGI specification's `root_path` means it."""
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


def _compiled(exclude: Iterable[str]) -> re.Pattern[str] | None:
    if isinstance(exclude, str):
        raise ConfigurationError(f'exclude: is one text; write exclude=("{exclude}",)')
    return re.compile("|".join(map(fnmatch.translate, patterns))) if (patterns := list(exclude)) else None
