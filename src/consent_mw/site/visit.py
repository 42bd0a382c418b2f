"""What our pages need to know of one request to them. Pure: a scope in, values out."""

from __future__ import annotations

import re
from html import escape
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote

from starlette.datastructures import Headers

from consent_mw._asgi import Receive, Scope
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.site.choosing import Waitings

#: The form of an answer: for people, for machines, as text, as a file to save, for a spreadsheet, or in the terms of a
#: public vocabulary.
Form: TypeAlias = Literal["html", "json", "markdown", "download", "csv", "graph"]

_ENDINGS: Final[dict[str, Form]] = {
    ".json": "json",
    ".md": "markdown",
    ".html": "download",
    ".csv": "csv",
    ".jsonld": "graph",
}
#: The first type that the request accepts wins.
_TYPES: Final[dict[str, Form]] = {
    "application/ld+json": "graph",
    "application/json": "json",
    "text/markdown": "markdown",
}


#: Matches a path that needs no escaping, neither in an address nor in HTML.
_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9/_.~-]*").fullmatch


class Visit(NamedTuple):
    """
    What a page may need to know about the request that it answers.

    Attributes:
        base: The prefix as the browser must write it: with the mount path of the application.
        page: The path below the prefix, without the ending that names a form.
        form: The requested form: by that ending, or else by Accept.
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
        """Whether the sender is a script and not a person."""
        return self.form == "json"

    @property
    def own_origin(self) -> str:
        """The browser's name for this site: `https://example.com`."""
        return f"{self.scope.get('scheme', 'http')}://{self.headers.get('host', '')}"

    @property
    def secure(self) -> bool:
        """Whether the visitor's connection is https."""
        return self.scope.get("scheme") == "https"

    @property
    def suffix(self) -> str:
        """The query for links to other pages, which keeps a language that the visitor picked by hand."""
        return f"?lang={self.language}" if "lang" in self.query else ""


def form_of(path: str, headers: Headers) -> tuple[str, Form]:
    """Return a path without its form's ending, and the form. Without an ending Accept decides, and HTML wins."""
    for ending, form in _ENDINGS.items():
        if path.endswith(ending):
            return path.removesuffix(ending), form
    accept = headers.get("accept", "").lower()
    for kind, form in _TYPES.items():
        if kind in accept and "text/html" not in accept:
            return path, form
    return path, "html"


def own_path(scope: Scope) -> str:
    """Return the path below the root path, as the ASGI specification defines `root_path`."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path") or "")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def query_of(scope: Scope) -> dict[str, str]:
    """Return the query's fields. Of several with the same name the last one counts."""
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query[:2_000].decode("latin-1"), keep_blank_values=True))


def target_of(scope: Scope, query: bytes) -> str:
    """
    Return the request's own address as the path to return to. `safe_next` checks it when the browser sends it back.

    For the answer to a form the result is empty, and so leads to the settings: a link may not lead to that page.

    By the specification the path of a scope contains its root path. Below Hypercorn, or below a proxy that removed it,
    it does not.
    """
    if scope.get("method", "GET") not in ("GET", "HEAD"):
        return ""
    path = quote(str(scope.get("root_path") or "") + own_path(scope), safe="/:@!$&'()*+,;=~", errors="replace")
    return f"{path}?{query.decode('latin-1')}" if query and query.isascii() else path


def shown_target(scope: Scope) -> bytes:
    """Return `target_of` with the query, escaped for HTML. Most take a short way: each page that asks needs it."""
    query: bytes = scope.get("query_string") or b""
    path: object = scope.get("path")
    plain = scope.get("method") == "GET" and not (query or scope.get("root_path"))
    if plain and isinstance(path, str) and _AS_IT_IS(path):
        return path.encode()
    return escape(target_of(scope, query)).encode()
