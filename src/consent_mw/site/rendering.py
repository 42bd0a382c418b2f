"""Fill a template and send it, as a page, as Markdown or as a file to save, with the headers of all our pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from starlette.responses import HTMLResponse, JSONResponse, Response

from consent_mw.policy.model import Policy
from consent_mw.site.assets import Assets
from consent_mw.site.documents import OwnCookies
from consent_mw.site.form_guard import Proof
from consent_mw.site.labels import labelled
from consent_mw.site.markdown import markdown_of
from consent_mw.site.surfaces import LONGEST_BASE, Surfaces
from consent_mw.site.visit import Visit, own_path
from consent_mw.system.bounded_cache import remember

#: Everything comes from our own origin, nothing is inline, and nobody may put these pages into a frame.
_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
SECURITY: Final[Mapping[str, str]] = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": with it a browser sends `Origin: null` even to our own site (Fetch, section 3.2).
    "referrer-policy": "same-origin",
}
#: PERSONAL is for a page that shows something of one visitor: no cache keeps it. FOR_ALL is for the others, which
#: depend only on language and form.
PERSONAL: Final[Mapping[str, str]] = {"cache-control": "no-store", "vary": "Cookie, Accept-Language"}
FOR_ALL: Final[Mapping[str, str]] = {"cache-control": "no-cache", "vary": "Accept, Accept-Language"}


#: The most pages that are kept. There are few languages and revisions, but the rest of a key are addresses, which
#: visitors may write in many ways.
REMEMBERED: Final = 64


class Rendering:
    """
    What every page of ours needs besides its own context.

    Args:
        prefix: The path of the pages, without a slash at its end.
    """

    def __init__(self, surfaces: Surfaces, assets: Assets, prefix: str) -> None:
        self.surfaces = surfaces
        self.assets = assets
        self.prefix = prefix
        #: The revision that is announced, if there is one; and its notice for a page of ours.
        self.announced: int | None = None
        self.notice: Callable[[Visit, str], str] = lambda visit, token: ""
        #: Whether there is a page of the visitor's own data to link.
        self.has_my_data: bool = False
        #: Whether there is a page of proofs to link.
        self.has_proof: bool = False
        self._kept: dict[tuple[object, ...] | None, str] = {}

    def forget(self) -> None:
        """Drop the kept pages, since another revision is announced or in force."""
        self._kept.clear()

    def head(self, language: str, base: str) -> str:
        """Return the tags of the banner's style sheet and script."""
        style, script, notice = map(self.assets.name, ("consent.css", "consent.js", "notice.js"))
        return self.surfaces.head(language, base, style, script, notice=notice, announced=self.announced)

    def page(
        self,
        visit: Visit,
        template: str,
        context: Mapping[str, object] | Callable[[], Mapping[str, object]],
        *,
        status: int = 200,
        headers: Mapping[str, str] = PERSONAL,
        policy: Policy | None = None,
        file: str = "page.html",
        kept: tuple[object, ...] | None = None,
    ) -> Response:
        """
        Return a page in the requested form.

        Args:
            policy: The policy whose texts the page shows, if it is not the one in force.
            file: The name of the page as a downloaded file.
            context: The values for the template. A function is called only if the page is not kept already.
            kept: The values that the page depends on. It is then the same for everyone, and rendered once for them.
        """
        surfaces = self.surfaces if policy is None else self.surfaces.of(policy)
        own = surfaces.templates.translation(visit.language)
        proof = None if callable(context) else context.get("proof")
        proof = proof if isinstance(proof, Proof) else Proof()
        notice = self.notice(visit, proof.token) if visit.form == "html" else ""
        common = self._common(visit) | {"token": proof.token}
        plain = visit.form == "markdown"
        where = (visit.language, visit.base, common["here"], visit.suffix)
        key = None if kept is None or notice else (template, plain, *where, *kept)
        body = self._kept.get(key)
        if body is None:
            filled = context() if callable(context) else context
            html = surfaces.render(template, visit.language, visit.base, notice=notice, **common, **filled)
            body = markdown_of(html) if plain else labelled(html)
            if key is not None and len(visit.base) <= LONGEST_BASE:
                remember(self._kept, key, body, REMEMBERED)
        said = {**headers, "content-language": own.language}
        if self.announced and "Cookie" not in said.get("vary", ""):
            said["vary"] = (
                f"{said['vary']}, Cookie" if "vary" in said else "Cookie"
            )  # a visitor who has closed the notice gets another page
        if plain:
            return Response(body, status, said, media_type="text/markdown")
        if visit.form == "download" and status == 200:
            said["content-disposition"] = f'attachment; filename="{file}"'
        response = HTMLResponse(body, status, said)
        if proof.line:
            response.raw_headers.append((b"set-cookie", proof.line))
        return response

    def _common(self, visit: Visit) -> dict[str, object]:
        own = self.surfaces.templates.translation(visit.language)
        return {
            "head": self.head(visit.language, visit.base),
            "pages_css": self.assets.name("pages.css"),
            "suffix": visit.suffix,
            "has_my_data": self.has_my_data,
            "has_proof": self.has_proof,
            "home": visit.base.removesuffix(self.prefix) + "/",
            "here": visit.base + quote(own_path(visit.scope)[len(self.prefix) :], safe="/", errors="replace"),
            "languages": [(tag, own.own_name(tag)) for tag in self.surfaces.policy.languages],
        }

    def data(
        self,
        document: object,
        *,
        headers: Mapping[str, str] = PERSONAL,
        status: int = 200,
        file: str = "",
        media_type: str | None = None,
    ) -> Response:
        """Return a document as JSON, or as a JSON-based `media_type`; with `file` as a download of that name."""
        said = {**headers, "content-disposition": f'attachment; filename="{file}"'} if file else dict(headers)
        return JSONResponse(document, status, said, media_type)

    def article(self, policy: Policy, language: str, base: str, own: OwnCookies) -> str:
        """Return only the sections of a revision's policy page, to compare two revisions."""
        surfaces = self.surfaces if policy is self.surfaces.policy else self.surfaces.of(policy)
        return surfaces.render(
            "_article.html",
            language,
            base,
            suffix="",
            own_cookies=own,
            has_my_data=self.has_my_data,
            has_proof=self.has_proof,
        )
