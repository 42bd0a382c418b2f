"""One request to our pages, as they need to know it. Pure: a scope in, values out."""

from __future__ import annotations

import re
from html import escape
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote

from starlette.datastructures import Headers

from consent_mw._asgi import Receive, Scope
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.site.choosing import Waitings

__all__ = ["Form", "Visit", "form_of", "own_path", "query_of", "shown_target", "target_of"]

#: What a page is answered as: for reading, for machines, for text, for keeping as a file, for a spreadsheet, or in
#: the terms of a public vocabulary.
Form: TypeAlias = Literal["html", "json", "markdown", "download", "csv", "graph"]

_ENDINGS: Final[dict[str, Form]] = {
    ".json": "json",
    ".md": "markdown",
    ".html": "download",
    ".csv": "csv",
    ".jsonld": "graph",
}
#: The first that is accepted wins.
_TYPES: Final[dict[str, Form]] = {
    "application/ld+json": "graph",
    "application/json": "json",
    "text/markdown": "markdown",
}


#: Paths that neither an address nor HTML writes otherwise.
_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9/_.~-]*").fullmatch


class Visit(NamedTuple):
    """
    What a page may ask about the request that it answers.

    Attributes:
        base: The prefix as the browser must write it: with what the application is mounted under.
        page: The path below the prefix, without the ending that names a form.
        form: What is asked for: by that ending, or else by Accept.
    """

    scope: Scope
    receive: Receive
    headers: Headers
    base: str
    page: str
    form: Form
    query: dict[str, str]
    language: str
    consent: RequestConsent
    now_ns: int
    waitings: Waitings

    @property
    def method(self) -> str:
        """The request's method."""
        return str(self.scope["method"])

    @property
    def wants_json(self) -> bool:
        """Whether a script asks, and not a person."""
        return self.form == "json"

    @property
    def own_origin(self) -> str:
        """What the browser calls this site: `https://example.com`."""
        return f"{self.scope.get('scheme', 'http')}://{self.headers.get('host', '')}"

    @property
    def secure(self) -> bool:
        """Whether the visitor's connection is https."""
        return self.scope.get("scheme") == "https"

    @property
    def suffix(self) -> str:
        """What keeps a language that was picked by hand, on links to other pages."""
        return f"?lang={self.language}" if "lang" in self.query else ""


def form_of(path: str, headers: Headers) -> tuple[str, Form]:
    """Return a path without the ending that names a form, and the form. Without one Accept decides, and HTML wins."""
    for ending, form in _ENDINGS.items():
        if path.endswith(ending):
            return path.removesuffix(ending), form
    accept = headers.get("accept", "").lower()
    for kind, form in _TYPES.items():
        if kind in accept and "text/html" not in accept:
            return path, form
    return path, "html"


def own_path(scope: Scope) -> str:
    """Return the path below the root path, as the ASGI specification's `root_path` means it."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path") or "")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def query_of(scope: Scope) -> dict[str, str]:
    """Return the query's fields; of several with one name the last."""
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query[:2_000].decode("latin-1"), keep_blank_values=True))


def target_of(scope: Scope, query: bytes) -> str:
    """
    Return the request's own address as a path to come back to; `safe_next` judges it when it comes back.
    Nothing, and so the settings, for the answer to a form: asked for by a link there may be no such page.

    The path of a scope holds its root path, says the specification; below Hypercorn, or a proxy that took it off, not.
    """
    if scope.get("method", "GET") not in ("GET", "HEAD"):
        return ""
    path = quote(str(scope.get("root_path") or "") + own_path(scope), safe="/:@!$&'()*+,;=~", errors="replace")
    return f"{path}?{query.decode('latin-1')}" if query and query.isascii() else path


def shown_target(scope: Scope) -> bytes:
    """Return `target_of` as it stands in HTML, with the query. In one step for most: each page that asks holds it."""
    query: bytes = scope.get("query_string") or b""
    path: object = scope.get("path")
    plain = scope.get("method") == "GET" and not (query or scope.get("root_path"))
    if plain and isinstance(path, str) and _AS_IT_IS(path):
        return path.encode()
    return escape(target_of(scope, query)).encode()
