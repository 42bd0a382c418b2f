"""The visitor's pages under one prefix, and the banner for all others."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from consent_mw._asgi import Receive, Scope, Send
from consent_mw.exceptions import StoreError
from consent_mw.pending import Pending, Waiting
from consent_mw.policy import Policy
from consent_mw.request_consent import RequestConsent, Shown
from consent_mw.site import forms
from consent_mw.site.assets import Assets
from consent_mw.site.choosing import Waitings, choose
from consent_mw.site.forms import BadForm, FormToken, Sender, safe_next
from consent_mw.site.language import negotiate
from consent_mw.site.surfaces import SURFACES, Surfaces, choices

__all__ = ["Site"]

_log = logging.getLogger("consent_mw")

#: Everything comes from our own origin, nothing stands inline, and nobody may frame these pages.
_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_SECURITY: Final[Mapping[str, str]] = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": with it a browser sends `Origin: null` even to ourselves (Fetch, section 3.2).
    "referrer-policy": "same-origin",
}
_PERSONAL: Final[Mapping[str, str]] = {"cache-control": "no-store", "vary": "Cookie, Accept-Language"}
_FOR_ALL: Final[Mapping[str, str]] = {"cache-control": "no-cache", "vary": "Accept-Language"}
_IMMUTABLE: Final[Mapping[str, str]] = {"cache-control": "public, max-age=31536000, immutable"}


class _Visit:
    """One request to our pages, as they need to know it."""

    def __init__(self, scope: Scope, receive: Receive, site: Site) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = Headers(scope=scope)
        self.method: str = scope["method"]
        self.base = site.base(scope)
        self.query = _query(scope)
        self.language = site.language(scope)
        self.consent: RequestConsent = scope["state"]["consent"]
        self.now_ns = site.now_ns()
        self.waitings = Waitings(site.pending, self.consent.pending, self.now_ns)

    @property
    def wants_json(self) -> bool:
        accept = self.headers.get("accept", "")
        return "application/json" in accept and "text/html" not in accept

    @property
    def own_origin(self) -> str:
        return f"{self.scope.get('scheme', 'http')}://{self.headers.get('host', '')}"

    async def waiting(self) -> list[Waiting]:
        """What waits; nothing while the store is away, since a page must come all the same."""
        try:
            return await self.waitings.read()
        except StoreError as error:
            _log.warning("waiting cookies cannot be read: %s", error)
            return []


class Site:
    """
    The visitor's side of a policy.

    Args:
        prefix: Where the pages are, without a slash at its end.
        secret_keys: Sign the form token, oldest to newest.
        pending: The cookies that wait; without it none do.
        templates: A folder whose templates stand in for ours, and whose locale/ adds languages.
        default_language: For visitors who speak none of the policy's languages; its first unless told.
        now_ns: The clock, in nanoseconds since 1970.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        prefix: str = "/consent",
        secret_keys: Sequence[bytes],
        pending: Pending | None = None,
        templates: Path | None = None,
        default_language: str | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.policy = policy
        self.prefix = prefix
        self.pending = pending
        self.now_ns = now_ns
        self._token = FormToken(secret_keys)
        self._surfaces = Surfaces(policy, templates)
        self._assets = Assets()
        self._default_language = default_language or policy.languages[0]
        self._routes: dict[str, dict[str, Callable[[_Visit], Awaitable[Response]]]] = {
            "": {"GET": self._settings},
            "/choice": {"POST": self._choice},
            "/policy": {"GET": self._policy},
            "/cookies": {"GET": self._cookies},
            "/state": {"GET": self._state},
        }

    # -- what the middleware asks -------------------------------------------------------------------------------

    def base(self, scope: Scope) -> str:
        """Return the prefix as a browser must write it: with what the application is mounted under."""
        return quote(str(scope.get("root_path") or ""), safe="/") + self.prefix

    def language(self, scope: Scope) -> str:
        """Return the language to speak: of `?lang=` on our own pages, of Accept-Language, or the policy's first."""
        path = _path(scope)
        if path == self.prefix or path.startswith(f"{self.prefix}/"):
            asked = _query(scope).get("lang", "")
            if asked in self.policy.languages:
                return asked
        accepted = ",".join(Headers(scope=scope).getlist("accept-language"))
        return negotiate(accepted, self.policy.languages) or self._default_language

    def wants_banner(self, consent: RequestConsent) -> bool:
        """Return whether there is something to ask: a choice is missing, or cookies may wait."""
        return _asks(self.policy, consent) or consent.pending is not None

    async def banner(
        self,
        scope: Scope,
        consent: RequestConsent,
        *,
        now_ns: int,
        shared: bool = False,
        page_language: str | None = None,
    ) -> str:
        """
        Return the HTML to insert at the beginning of the body, empty if there is nothing to ask.

        `shared` asks for the one banner of a page that a cache keeps for everyone: nothing of this visitor is in it.
        With `page_language` it speaks that language, or the site's, whatever this visitor prefers.
        """
        language, base = self._spoken(scope, page_language), self.base(scope)
        if shared:
            return self._surfaces.banner(language, base, frozenset(), _target(scope, b""), shared=True)
        target = _target(scope, scope.get("query_string", b""))
        if _asks(self.policy, consent):
            reopened = consent.consent.reopened_purposes, consent.consent.reopened_cookies
            return self._surfaces.banner(language, base, consent.signals, target, reopened=reopened)
        try:
            waiting = await Waitings(self.pending, consent.pending, now_ns).read()
        except StoreError as error:
            _log.warning("waiting cookies cannot be read: %s", error)
            return ""
        return self._surfaces.waiting(language, base, waiting, target) if waiting else ""

    def _spoken(self, scope: Scope, page_language: str | None) -> str:
        if page_language is None:
            return self.language(scope)
        return negotiate(page_language, self.policy.languages) or self._default_language

    def head(self, scope: Scope, page_language: str | None = None) -> str:
        """Return the tags of the banner's style sheet and script; for `page_language` see `banner`."""
        return self._surfaces.head(
            self._spoken(scope, page_language),
            self.base(scope),
            self._assets.name("consent.css"),
            self._assets.name("consent.js"),
        )

    def shown(self, surface: str, language: str) -> Shown:
        """Return what a receipt says about `surface`; for one that is not ours, its name alone."""
        for known in SURFACES:
            if known == surface:
                return Shown(known, language, self._surfaces.text_hash(language, known))
        return Shown(language=language)

    # -- the pages ----------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to our pages. The scope's state holds the visitor's consent."""
        visit = _Visit(scope, receive, self)
        response = await self._answer(visit)
        for name, value in _SECURITY.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def _answer(self, visit: _Visit) -> Response:
        path = _path(visit.scope)[len(self.prefix) :].rstrip("/")
        if path.startswith("/static/"):
            return self._static(path.removeprefix("/static/"))
        methods = self._routes.get(path)
        if methods is None:
            return self._page(visit, "missing.html", {}, status=404)
        page = methods.get("GET" if visit.method == "HEAD" else visit.method)
        if page is None:
            allowed = ", ".join(methods)
            return Response(status_code=405, headers={"allow": allowed, **_PERSONAL})
        return await page(visit)

    def _static(self, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            return Response(status_code=404, headers={"cache-control": "no-store"})
        return Response(asset.body, media_type=asset.media_type, headers=dict(_IMMUTABLE))

    def _page(
        self,
        visit: _Visit,
        template: str,
        context: Mapping[str, object],
        *,
        status: int = 200,
        headers: Mapping[str, str] = _PERSONAL,
    ) -> Response:
        own = self._surfaces.templates.translation(visit.language)
        suffix = f"?lang={visit.language}" if "lang" in visit.query else ""
        html = self._surfaces.render(
            template,
            visit.language,
            visit.base,
            head=self.head(visit.scope),
            pages_css=self._assets.name("pages.css"),
            suffix=suffix,
            home=visit.base.removesuffix(self.prefix) + "/",
            here=visit.base + _path(visit.scope)[len(self.prefix) :],
            languages=[(tag, own.own_name(tag)) for tag in self.policy.languages],
            **context,
        )
        return HTMLResponse(html, status, {**headers, "content-language": own.language})

    async def _settings(self, visit: _Visit) -> Response:
        consent = visit.consent
        waiting = [(str(each.id), each.name, each.cookie) for each in await visit.waiting()]
        context = choices(consent) | {
            "given_on": consent.given_on,
            "signals": consent.signals,
            "waiting": waiting,
            "next": f"{visit.base}?saved=1{'&lang=' + visit.language if 'lang' in visit.query else ''}",
            "saved": "saved" in visit.query and consent.choice is not None,
            "again": visit.query.get("again", ""),
            "token": self._token.make(visit.now_ns),
        }
        # Our script fetches the dialog; the link that it stands behind leads to the page.
        return self._page(visit, "dialog.html" if "dialog" in visit.query else "settings.html", context)

    async def _policy(self, visit: _Visit) -> Response:
        return self._page(visit, "policy.html", {}, headers=_FOR_ALL)

    async def _cookies(self, visit: _Visit) -> Response:
        return self._page(visit, "cookies.html", {}, headers=_FOR_ALL)

    async def _state(self, visit: _Visit) -> Response:
        return JSONResponse(_state(visit, await visit.waiting(), self.policy), headers=dict(_PERSONAL))

    # -- the choice ---------------------------------------------------------------------------------------------

    async def _choice(self, visit: _Visit) -> Response:
        body = await _body(visit.receive)
        if body is None:
            return self._refused(visit, 413, "too-large")
        try:
            fields = forms.fields_of(visit.headers.get("content-type", ""), body)
        except BadForm as error:
            return self._bad(visit, error)
        turned_away = self._turned_away(visit, fields)
        if turned_away is not None:
            return turned_away
        try:
            said = forms.read(fields, self.policy)
        except BadForm as error:
            return self._bad(visit, error)
        return await self._take(visit, fields, said)

    def _turned_away(self, visit: _Visit, fields: Mapping[str, Sequence[str]]) -> Response | None:
        """Return the answer to a form that no page of ours can have sent, or None."""
        sender = forms.sender(visit.headers, visit.own_origin)
        if sender is Sender.FOREIGN:
            return self._refused(visit, 403, "foreign")
        if sender is Sender.UNKNOWN and not self._token.holds(_first(fields, "token"), visit.now_ns):
            if visit.wants_json:
                return self._refused(visit, 403, "unknown")
            return RedirectResponse(f"{visit.base}?again=unknown", 303, dict(_PERSONAL))
        revision = _first(fields, "revision")
        if revision and revision != str(self.policy.revision):
            if visit.wants_json:
                return self._refused(visit, 409, "revised")
            return RedirectResponse(f"{visit.base}?again=revised", 303, dict(_PERSONAL))
        return None

    async def _take(
        self, visit: _Visit, fields: Mapping[str, Sequence[str]], said: forms.Answers | forms.WaitingAnswer
    ) -> Response:
        language = _first(fields, "language")
        shown = self.shown(_first(fields, "surface"), language if language in self.policy.languages else visit.language)
        lines: list[bytes] = []
        try:
            lines = await choose(visit.consent, said, visit.waitings, shown)
        except StoreError as error:
            _log.warning("waiting cookies cannot be reached: %s", error)
        if visit.wants_json:
            response: Response = JSONResponse(_state(visit, await visit.waiting(), self.policy), headers={**_PERSONAL})
        else:
            target = safe_next(_first(fields, "next") or None, f"{visit.base}?saved=1")
            response = RedirectResponse(target, 303, dict(_PERSONAL))
        response.raw_headers += [(b"set-cookie", line) for line in lines]
        return response

    def _bad(self, visit: _Visit, error: BadForm) -> Response:
        return self._refused(visit, error.status, "bad", error.field, error.allowed)

    def _refused(
        self, visit: _Visit, status: int, reason: str, field: str = "", allowed: Sequence[str] = ()
    ) -> Response:
        if visit.wants_json:
            told = {"error": reason, "field": field, "allowed": list(allowed)}
            return JSONResponse(told, status, dict(_PERSONAL))
        return self._page(visit, "refused.html", {"reason": reason, "field": field, "allowed": allowed}, status=status)


def _path(scope: Scope) -> str:
    """The path below the root path, as the ASGI specification's `root_path` means it."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path") or "")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def _query(scope: Scope) -> dict[str, str]:
    """The query's fields; of several with one name the last."""
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query[:2_000].decode("latin-1"), keep_blank_values=True))


def _target(scope: Scope, query: bytes) -> str:
    """The request's own address as a path to come back to; `safe_next` judges it when it comes back."""
    path = quote(str(scope.get("path", "")), safe="/:@!$&'()*+,;=~")
    return f"{path}?{query.decode('latin-1')}" if query and query.isascii() else path


def _first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(fields.get(name, ())), "")


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if it is larger than any form of ours."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > forms.BODY_LIMIT_BYTES:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(body)


def _state(visit: _Visit, waiting: Sequence[Waiting], policy: Policy) -> dict[str, object]:
    """What scripts may know of the visitor's choice. Never more than the visitor's own page shows."""
    consent = visit.consent
    return {
        "choice": consent.choice,
        "revision": policy.revision,
        "given_on": consent.given_on.isoformat() if consent.given_on else None,
        "language": visit.language,
        "purposes": {purpose.name: consent.permissions.answer(purpose.name) for purpose in policy.asked},
        "cookies": dict(consent.consent.cookies),
        "allowed": sorted(consent.permissions.allowed),
        "signals": sorted(consent.signals),
        "waiting": [
            {
                "id": str(each.id),
                "name": each.name,
                "purpose": each.cookie.purpose,
                "provider": (each.cookie.provider or policy.controller.name).read(visit.language)[0],
                "expires": str(each.cookie.expires) if each.cookie.expires else None,
            }
            for each in waiting
        ],
        "show": bool(waiting) or _asks(policy, consent),
    }


def _asks(policy: Policy, consent: RequestConsent) -> bool:
    """Whether a choice is missing, or was made about less than a newer revision declares."""
    return (consent.choice is None or consent.consent.reopened) and bool(policy.asked)
