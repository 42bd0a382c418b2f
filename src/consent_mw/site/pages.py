"""The visitor's pages under one prefix, and the banner for all others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response

from consent_mw._asgi import Message, Receive, Scope, Send, header_value
from consent_mw.consent.choice import Consent, dumps
from consent_mw.consent.permissions import Permissions
from consent_mw.consent.receipts import Receipts
from consent_mw.consent.request_consent import RequestConsent, Shown
from consent_mw.consent.wordings import Wordings, text_hash
from consent_mw.cookies.pending import Pending, Waiting
from consent_mw.crypto.signing import Signing
from consent_mw.exceptions import StoreError
from consent_mw.log.receipt_keeper import ReceiptKeeper
from consent_mw.log.user_agents import is_crawler
from consent_mw.policy.language_tags import lookup
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.retention.proofs import Proofs
from consent_mw.site import forms
from consent_mw.site.announcement import Announcement
from consent_mw.site.assets import Assets
from consent_mw.site.choosing import NotSaved, Waitings, choose
from consent_mw.site.documents import OwnCookies
from consent_mw.site.form_guard import FormGuard
from consent_mw.site.form_posts import Posts, first
from consent_mw.site.forms import BadForm, safe_next
from consent_mw.site.hand_over import Handing
from consent_mw.site.language import negotiate
from consent_mw.site.look import Look
from consent_mw.site.my_data_pages import MyData, MyDataPages
from consent_mw.site.policy_link import policy_link
from consent_mw.site.policy_pages import PolicyPages
from consent_mw.site.proof_pages import ProofPages
from consent_mw.site.reader_queue import Readers
from consent_mw.site.receipt_pages import ReceiptPages
from consent_mw.site.rendering import PERSONAL, SECURITY, Rendering
from consent_mw.site.status_token import Slips
from consent_mw.site.surfaces import LONGEST_BASE, SURFACES, Surface, Surfaces, choices
from consent_mw.site.usual_page import TARGET, Words
from consent_mw.site.visit import Visit, form_of, own_path, query_of, target_of
from consent_mw.system.bounded_cache import remember, remembering

_log = logging.getLogger("consent_mw")

_IMMUTABLE: Final[Mapping[str, str]] = {"cache-control": "public, max-age=31536000, immutable"}

_USUAL: Final = Look()
#: How soon a choice that could not be kept may be sent again.
_RETRY_SECONDS: Final = "60"
#: The most bytes of the answers alone: with day, name and signature the cookie then has 4,000.
_MOST_COOKIE_BYTES: Final = 3_800

#: Surfaces times languages are a handful, but there may be more combinations of cookies that wait together.
_HASHES: Final = 256
#: Languages times sets of answers and signals. Nearly all visitors who are asked have none of either.
_WORDS: Final = 64
#: The memory for the preferred language of each Accept-Language header: each page asks for it twice.
_LANGUAGES_BYTES: Final = 256 << 10

#: The templates that are read before a page answers in a language for the first time: those of all that it may show,
#: and of the words that a receipt of it names.
_OTHERWISE: Final = ("missing.html", "refused.html", "notice.html", "_head.html")
_BANNER: Final = ("banner.html", "waiting.html", "notice.html", "_head.html")
_TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("settings.html", "dialog.html", "waiting.html", *_OTHERWISE),
    "/choice": ("banner.html", "waiting.html", "_choices.html", "_declared.html", *_OTHERWISE),
    "/policy": ("policy.html", "_changes.html", *_OTHERWISE),
    "/cookies": ("cookies.html", *_OTHERWISE),
    "/proof": ("proof.html", *_OTHERWISE),
    "/receipt": ("receipt.html", "_declared.html", *_OTHERWISE),
    "/my-data": ("my_data.html", "my_data_unknown.html", "my_data_away.html", "_declared.html", *_OTHERWISE),
}

_Page: TypeAlias = Callable[[Visit], Awaitable[Response]]


class Site:
    """
    The visitor's side of a policy.

    Args:
        prefix: The path of the pages, without a slash at its end.
        signing: Signs the tokens of forms, and the status token in an address.
        keeper: Keeps the receipt of a choice before a page says that it is saved. Without it choices have no receipt.
        pending: The cookies that wait. Without it no cookie waits.
        receipts: Finds visitors' receipts. Without it they have no page.
        hand_over: Moves the spool's records to the store (`Drain.once`), for visitors who ask for a receipt at once.
        revisions: The declarations that have been in force. Without it the pages know only this one.
        wordings: Keeps the words that visitors were shown.
        my_data: The parts of the page of the visitor's own data. Without it there is no such page.
        proofs: Reads the public evidence. Without it `/proof` is a 404.
        own_cookies: Returns the names of our own cookies, for https or not.
        templates: A folder whose templates replace ours, and whose locale/ adds languages.
        default_language: The language for visitors who speak none of the policy's; by default the policy's first.
        enforced: False while the server only reports what it would hold back. The pages then say so.
        look: The banner's layout, and the look of our own pages.
        now_ns: The clock; it returns nanoseconds since 1970.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        prefix: str = "/consent",
        signing: Signing,
        keeper: ReceiptKeeper | None = None,
        pending: Pending | None = None,
        receipts: Receipts | None = None,
        hand_over: Callable[[], Awaitable[object]] | None = None,
        revisions: Revisions | None = None,
        wordings: Wordings | None = None,
        my_data: MyData | None = None,
        proofs: Proofs | None = None,
        own_cookies: Callable[[bool], OwnCookies] = lambda secure: OwnCookies(),
        templates: Path | None = None,
        default_language: str | None = None,
        enforced: bool = True,
        look: Look = _USUAL,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.policy = policy
        self.prefix = prefix
        self.pending = pending
        self._keeper = keeper
        self.now_ns = now_ns
        self._surfaces = Surfaces(policy, templates, enforced=enforced, look=look)
        self._wordings = wordings
        self._hashes: dict[tuple[Surface, str, frozenset[str]], str] = {}
        self._assets = Assets(layouts=look.is_special)
        self._rendering = Rendering(self._surfaces, self._assets, prefix)
        self._posts = Posts(self._rendering, FormGuard(signing, lambda secure: own_cookies(secure).form))
        self._default_language = default_language or policy.languages[0]
        self._liked = remembering(self._like, _LANGUAGES_BYTES)
        self._words: dict[tuple[str, str, Permissions, frozenset[str]], Words] = {}
        self._own_cookies = own_cookies
        self._announcement: Announcement | None = None
        #: Whether a revision is announced: every page then has a notice to show.
        self.announces: bool = False
        self._rendering.notice = self._notice_on
        published = revisions.course(policy).published if revisions else ()
        self._policies = PolicyPages(self._rendering, policy, published, own_cookies)
        self._routes = self._plain_routes()
        self._my_data = my_data
        readers = Readers()
        if receipts and hand_over and revisions and wordings:
            page = ReceiptPages(
                self._rendering,
                policy,
                receipts,
                Handing(hand_over),
                revisions=revisions,
                wordings=wordings,
                templates=templates,
                readers=readers,
                client=my_data.client if my_data else _unknown,
            )
            self._routes["/receipt"] = {"GET": page.receipt}
        if proofs:
            self._routes["/proof"] = self._proof_routes(proofs)
        if my_data:
            self._routes["/my-data"] = self._my_data_routes(my_data, signing, readers)

    def _plain_routes(self) -> dict[str, dict[str, _Page]]:
        """Return the pages that every site has."""
        return {
            "": {"GET": self._settings},
            "/choice": {"POST": self._choice},
            "/notice": {"POST": self._close_notice},
            "/policy": {"GET": self._policies.policy},
            "/cookies": {"GET": self._policies.cookies},
            "/state": {"GET": self._state},
        }

    def _proof_routes(self, proofs: Proofs) -> dict[str, _Page]:
        self._rendering.has_proof = True
        return {"GET": ProofPages(self._rendering, self.policy, proofs, self._policies.published).page}

    def _my_data_routes(self, my_data: MyData, signing: Signing, readers: Readers) -> dict[str, _Page]:
        self._rendering.has_my_data = True
        data = MyDataPages(
            self._rendering,
            self.policy,
            my_data,
            posts=self._posts,
            slips=Slips(signing),
            readers=readers,
            shown=lambda language: self.shown("my-data", language),
        )
        return {"GET": data.page, "POST": data.post}

    # -- for the middleware -------------------------------------------------------------------------------------

    def base(self, scope: Scope) -> str:
        """Return the prefix as a browser must write it: with the mount path of the application."""
        return quote(str(scope.get("root_path") or ""), safe="/") + self.prefix

    def language(self, scope: Scope) -> str:
        """Return the visitor's language: from `?lang=` on our own pages, from Accept-Language, or the default."""
        path = own_path(scope)
        if path == self.prefix or path.startswith(f"{self.prefix}/"):
            picked = lookup(query_of(scope).get("lang", ""), self.policy.languages)
            if picked:
                return picked
        return self._liked(b",".join([value for name, value in scope["headers"] if name == b"accept-language"]))

    def _like(self, accepted: bytes) -> str:
        return negotiate(accepted.decode("latin-1"), self.policy.languages) or self._default_language

    def announce(self, policy: Policy | None, published: Sequence[Policy] = ()) -> None:
        """Announce `policy`, which is published and not yet in force, on every page; None ends the announcement."""
        cookies = {self._own_cookies(secure).notice for secure in (False, True)}
        self._policies.know(published, policy)
        self._announcement = Announcement(self._surfaces, self.policy, policy, cookies) if policy else None
        self.announces = policy is not None
        self._rendering.announced = policy.revision if policy else None

    def wants_banner(self, consent: RequestConsent) -> bool:
        """Whether a page needs the banner: a choice is missing, cookies may wait, or a revision is announced."""
        return consent.permissions.asks or consent.pending is not None or self.announces

    def asks(self, consent: RequestConsent) -> bool:
        """Whether a choice is missing."""
        return consent.permissions.asks

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
        Return the HTML to insert at the beginning of the body; empty if there is nothing to ask or to announce.

        With `shared` it is the one banner of a page that a cache keeps for everyone, without anything of this visitor.
        With `page_language` it is in that language, or else in the site's default, whatever this visitor prefers.
        """
        asks_first = shared or consent.permissions.asks
        waiting = [] if asks_first else await self.waiting(consent, now_ns)
        await self._surfaces.load(self._spoken(scope, page_language), _BANNER)
        return self.banner_of(scope, consent, waiting, shared=shared, page_language=page_language)

    def words(self, scope: Scope, accepted: bytes, consent: RequestConsent) -> Words | None:
        """
        Return the words for a page that only asks; None if their templates are still to be read, as `banner` does
        without stopping the loop. All its readers get the same bytes.

        Args:
            accepted: The visitor's Accept-Language.
        """
        root = str(scope.get("root_path") or "")
        key = (self._liked(accepted), root, consent.permissions, consent.signals)
        words = self._words.get(key)
        if words is None:
            language, base = key[0], self.base(scope)
            if not self._surfaces.has_loaded(language, _BANNER):
                return None
            words = Words.of(self._rendering.head(language, base), self._asking(consent, language, base, TARGET))
            if len(root) <= LONGEST_BASE:
                remember(self._words, key, words, _WORDS)
        return words

    def _asking(self, consent: RequestConsent, language: str, base: str, target: str) -> str:
        return self._surfaces.banner(
            language,
            base,
            frozenset(consent.signals),
            target,
            refused=consent.permissions.refused_by_signal,
            reopened=(consent.consent.reopened_purposes, consent.consent.reopened_cookies),
        )

    async def waiting(self, consent: RequestConsent, now_ns: int) -> list[Waiting]:
        """Return the cookies that wait for this visitor; none while the store is away, as a page must come anyway."""
        return await _readable(Waitings(self.pending, consent.pending, now_ns))

    def banner_of(
        self,
        scope: Scope,
        consent: RequestConsent,
        waiting: Sequence[Waiting],
        *,
        shared: bool = False,
        page_language: str | None = None,
    ) -> str:
        """Return the same as `banner`, for a caller that has already read the waiting cookies."""
        language, base = self._spoken(scope, page_language), self.base(scope)
        target = target_of(scope, b"" if shared else scope.get("query_string", b""))
        asks = shared or consent.permissions.asks or bool(waiting)
        notice = self._notice(scope, language, base, target, shared=shared, brief=asks)
        if shared:
            return notice + self._surfaces.banner(language, base, frozenset(), target, shared=True)
        if consent.permissions.asks:
            return notice + self._asking(consent, language, base, target)
        return notice + (self._surfaces.waiting(language, base, waiting, target) if waiting else "")

    def _notice(
        self, scope: Scope, language: str, base: str, target: str, *, shared: bool, token: str = "", brief: bool = False
    ) -> str:
        announcement = self._announcement
        if announcement is None or (not shared and announcement.is_closed(scope)):
            return ""
        return announcement.html(language, base, target, token, brief=brief)

    def _spoken(self, scope: Scope, page_language: str | None) -> str:
        if page_language is None:
            return self.language(scope)
        return negotiate(page_language, self.policy.languages) or self._default_language

    def head(self, scope: Scope, page_language: str | None = None) -> str:
        """Return the tags of the banner's style sheet and script; for `page_language` see `banner`."""
        return self._rendering.head(self._spoken(scope, page_language), self.base(scope))

    async def sign_in(self, scope: Scope) -> str | None:
        """Return the application's name for the sender of a request to our pages, or None."""
        return await self._my_data.identity.sign_in(scope) if self._my_data else None

    def language_of(self, start: Message) -> str | None:
        """Return the language of the policy that a page names as its own (Content-Language), or None."""
        said = header_value(start.get("headers") or (), b"content-language")
        return None if said is None else negotiate(said.decode("latin-1"), self.policy.languages)

    def shown(self, surface: str, language: str, cookies: Collection[str] = ()) -> Shown:
        """
        Return what a receipt says about `surface`. A choice that names none of our surfaces came through the API.

        Args:
            language: The requested language, one of the policy's. The receipt names the language that was really used.
            cookies: The declared names of the waiting cookies that the surface asked about.
        """
        known: Surface = surface if surface in SURFACES else "api"
        key = (known, language, frozenset(cookies) if known == "waiting" else frozenset[str]())
        return Shown(known, self._surfaces.spoken(language), self._hashes.get(key) or self._keep_words(key))

    def _keep_words(self, key: tuple[Surface, str, frozenset[str]]) -> str:
        """Return the hash of the shown words, and keep the words: a later template must not lose them."""
        surface, language, cookies = key
        text = self._surfaces.text(language, surface, cookies)
        try:
            if self._wordings is not None:
                self._wordings.keep(text)
            if len(self._hashes) >= _HASHES:
                self._hashes.clear()
            self._hashes[key] = text_hash(text)
        except OSError as error:
            _log.warning("the words of a receipt are not kept, only their hash: %s", error)
        return text_hash(text)

    # -- the pages ----------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to our pages. The visitor's consent is in the scope's state."""
        visit = self._visit(scope, receive)
        response = await self._answer(visit)
        response.headers.setdefault("link", policy_link(visit.base))
        await _respond(response, scope, receive, send)

    async def gpc(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/.well-known/gpc.json`: whether the policy honours the signal, and since when (GPC, section 4)."""
        if scope["method"] in ("GET", "HEAD"):
            document = {"gpc": "gpc" in self.policy.signals, "lastUpdate": self.policy.published.isoformat()}
            response = self._rendering.data(document, headers={"cache-control": "no-cache"})
        else:
            response = Response(status_code=405, headers={"allow": "GET, HEAD"})
        await _respond(response, scope, receive, send)

    def _visit(self, scope: Scope, receive: Receive) -> Visit:
        consent: RequestConsent = scope["state"]["consent"]
        headers = Headers(scope=scope)
        now_ns = self.now_ns()
        page, form = form_of(own_path(scope)[len(self.prefix) :].rstrip("/"), headers)
        return Visit(
            scope=scope,
            receive=receive,
            headers=headers,
            base=self.base(scope),
            page=page,
            form=form,
            query=query_of(scope),
            language=self.language(scope),
            consent=consent,
            now_ns=now_ns,
            waitings=Waitings(self.pending, consent.pending, now_ns),
        )

    async def _answer(self, visit: Visit) -> Response:
        methods = self._methods(visit.page)
        if own_path(visit.scope).startswith(f"{self.prefix}/static/"):
            methods = {"GET": self._static}
        else:
            shown = "/policy" if visit.page.startswith("/policy/") else visit.page
            await self._surfaces.load(visit.language, _TEMPLATES.get(shown, _OTHERWISE))
        if methods is None:
            return self._missing(visit)
        page = methods.get("GET" if visit.method == "HEAD" else visit.method)
        if page is None:
            allowed = ", ".join(f"{method}, HEAD" if method == "GET" else method for method in methods)
            return self._posts.refused(visit, 405, "method", visit.method, allowed.split(", "), {"allow": allowed})
        return await page(visit)

    def _methods(self, page: str) -> Mapping[str, _Page] | None:
        if page.startswith("/policy/"):
            return {"GET": self._policies.revision}
        return self._routes.get(page)

    def _missing(self, visit: Visit) -> Response:
        if visit.wants_json:
            return self._rendering.data({"error": "missing"}, status=404)
        return self._page(visit, "missing.html", {"revisions": []}, status=404)

    async def _static(self, visit: Visit) -> Response:
        asset = self._assets.get(own_path(visit.scope).removeprefix(f"{self.prefix}/static/"))
        if asset is None:
            return Response(status_code=404, headers={"cache-control": "no-store"})
        return Response(asset.body, media_type=asset.media_type, headers=dict(_IMMUTABLE))

    def _page(self, visit: Visit, template: str, context: Mapping[str, object], *, status: int = 200) -> Response:
        return self._rendering.page(visit, template, context, status=status)

    async def _settings(self, visit: Visit) -> Response:
        consent = visit.consent
        if "waiting" in visit.query:
            return await self._question(visit)
        waiting = [(str(cookie.id), cookie.name, cookie.declared) for cookie in await _readable(visit.waitings)]
        context = choices(consent) | {
            "given_on": consent.given_on,
            "signals": consent.signals,
            "refused": consent.permissions.refused_by_signal,
            "reopened": consent.consent.reopened,
            "waiting": waiting,
            "next": f"{visit.base}?saved=1{'&lang=' + visit.language if 'lang' in visit.query else ''}",
            "saved": "saved" in visit.query and consent.choice is not None,
            "has_receipt": consent.proven.receipt is not None and "/receipt" in self._routes,
            "again": visit.query.get("again", ""),
            "proof": self._posts.guard.proof(visit),
        }
        # Our script fetches the dialog. Without the script the same link opens the page.
        return self._page(visit, "dialog.html" if "dialog" in visit.query else "settings.html", context)

    async def _question(self, visit: Visit) -> Response:
        """Return the question about waiting cookies, for our script to insert into a loaded page; 404 if none wait."""
        waiting = await _readable(visit.waitings)
        if not waiting:
            return self._missing(visit)
        html = self._surfaces.waiting(visit.language, visit.base, waiting, visit.base)
        return HTMLResponse(html, headers=dict(PERSONAL))

    async def _state(self, visit: Visit) -> Response:
        return self._rendering.data(_state(visit, await _readable(visit.waitings), self.policy, self._announcement))

    # -- the choice ---------------------------------------------------------------------------------------------

    async def _choice(self, visit: Visit) -> Response:
        limit_bytes, most_fields = forms.limits_of(self.policy)
        fields = await self._posts.fields(visit, limit_bytes=limit_bytes, most_fields=most_fields)
        if isinstance(fields, Response):
            return fields
        revision = first(fields, "revision")
        if revision and revision != str(self.policy.revision):
            if visit.wants_json:
                return self._posts.refused(visit, 409, "revised")
            return RedirectResponse(f"{visit.base}?again=revised", 303, dict(PERSONAL))
        try:
            said = forms.read(fields, self.policy)
        except BadForm as error:
            return self._posts.bad(visit, error)
        if isinstance(said, forms.Answers) and _size(said) > _MOST_COOKIE_BYTES:
            return self._posts.refused(visit, 413, "too-large")  # no browser would keep it
        return await self._take(visit, fields, said)

    async def _take(
        self, visit: Visit, fields: Mapping[str, Sequence[str]], said: forms.Answers | forms.WaitingAnswer
    ) -> Response:
        language = first(fields, "language")
        language = language if language in self.policy.languages else visit.language
        about = await self._asked_about(visit, said)
        shown = await asyncio.to_thread(self.shown, first(fields, "surface"), language, about)
        try:
            lines = await self._chosen(visit, said, shown)
        except NotSaved:
            return self._posts.refused(visit, 503, "unsaved", headers={"retry-after": _RETRY_SECONDS})
        if visit.wants_json:
            response = self._rendering.data(
                _state(visit, await _readable(visit.waitings), self.policy, self._announcement)
            )
        else:
            target = safe_next(first(fields, "next") or None, f"{visit.base}?saved=1")
            response = RedirectResponse(target, 303, dict(PERSONAL))
        response.raw_headers += [(b"set-cookie", line) for line in lines]
        return response

    async def _chosen(self, visit: Visit, said: forms.Answers | forms.WaitingAnswer, shown: Shown) -> list[bytes]:
        """Take the visitor's answer, and return the Set-Cookie lines that it releases. Raises NotSaved."""
        agent, before = visit.headers.get("user-agent", ""), visit.consent.consent
        if is_crawler(agent):  # no person is behind it who could have chosen
            return []

        async def keep() -> bool:
            if self._keeper is None:
                return True
            sign_in = await self.sign_in(visit.scope)
            return await self._keeper.stands(visit.consent, visit.consent.consent, before, agent, sign_in)

        try:
            return await choose(visit.consent, said, visit.waitings, shown, keep)
        except StoreError as error:
            _log.warning("waiting cookies cannot be reached: %s", error)
            return []

    async def _asked_about(self, visit: Visit, said: forms.Answers | forms.WaitingAnswer) -> frozenset[str]:
        """Return the declared names of the waiting cookies that an answer is about."""
        if isinstance(said, forms.Answers):
            return frozenset()
        waiting = await _readable(visit.waitings)
        return frozenset(cookie.declared.name for cookie in waiting if said.ids is None or cookie.id in said.ids)

    # -- the notice ---------------------------------------------------------------------------------------------

    def _notice_on(self, visit: Visit, token: str) -> str:
        """Return the notice for a page of ours."""
        target = target_of(visit.scope, visit.scope.get("query_string", b""))
        return self._notice(visit.scope, visit.language, visit.base, target, shared=False, token=token)

    async def _close_notice(self, visit: Visit) -> Response:
        """Let the browser remember that the notice was closed. Only the notice of the announced revision counts."""
        fields = await self._posts.fields(visit)
        if isinstance(fields, Response):
            return fields
        announcement = self._announcement
        known = announcement is not None and first(fields, "announced") == str(announcement.revision)
        target = safe_next(first(fields, "next") or None, visit.base)
        if visit.wants_json:
            response = self._rendering.data({"closed": known})
        else:
            response = RedirectResponse(target, 303, dict(PERSONAL))
        if announcement is not None and known:
            own = self._own_cookies(visit.secure)
            response.raw_headers.append((b"set-cookie", announcement.closed_line(own.notice, own.attributes)))
        return response


def _unknown(scope: Scope) -> str:
    """Return an unknown network: the default if the site cannot find out a visitor's network."""
    return ""


async def _respond(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response with the headers of all our answers; for HEAD only the head (RFC 9110, section 9.3.2)."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    if scope["method"] == "HEAD":
        response.body = b""
    await response(scope, receive, send)


async def _readable(waitings: Waitings) -> list[Waiting]:
    try:
        return await waitings.read()
    except StoreError as error:
        _log.warning("waiting cookies cannot be read: %s", error)
        return []


def _size(said: forms.Answers) -> int:
    """Return how many bytes the answers take in the consent cookie."""
    return len(dumps(Consent(choice=said.choice, purposes=said.purposes or {}, cookies=said.cookies or {})))


def _state(
    visit: Visit, waiting: Sequence[Waiting], policy: Policy, announced: Announcement | None
) -> dict[str, object]:
    """Return what scripts may know of the visitor's choice: never more than the visitor's own page shows."""
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
                "id": str(cookie.id),
                "name": cookie.name,
                "purpose": cookie.declared.purpose,
                "provider": (cookie.declared.provider or policy.controller.name).read(visit.language)[0],
                "expires": str(cookie.declared.expires) if cookie.declared.expires else None,
            }
            for cookie in waiting
        ],
        "announced": {"revision": announced.revision, "effective_at": announced.begins.isoformat()}
        if announced
        else None,
        "show": bool(waiting) or consent.permissions.asks,
    }
