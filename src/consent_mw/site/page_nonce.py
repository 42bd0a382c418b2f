"""Find the nonce with which a page's own CSP header allows scripts and style sheets. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from consent_mw._asgi import Message, header_values

#: A nonce-source (CSP Level 3, section 2.3.1). None of its characters has a meaning in HTML.
_NONCE: Final = re.compile(r"'nonce-([A-Za-z0-9+/_-]+={0,2})'")
_STRICT: Final = "'strict-dynamic'"


class Nonce(NamedTuple):
    """
    Attributes:
        script: The nonce for `<script>`; "" if the page requires none.
        style: The nonce for `<link rel="stylesheet">`.
        strict: Whether the page also trusts what a trusted script starts, so that our script must check what it starts.
    """

    script: str = ""
    style: str = ""
    strict: bool = False


NO_NONCE: Final = Nonce()


def nonce_of(start: Message) -> Nonce:
    """Return the nonce of the page whose head is `start`. Of several CSPs the first one with a nonce counts."""
    for value in header_values(start.get("headers") or (), b"content-security-policy"):
        for policy in value.decode("latin-1").split(","):
            sources = _directives(policy)
            script = _sources(sources, "script-src-elem", "script-src")
            nonce = Nonce(_first(script), _first(_sources(sources, "style-src-elem", "style-src")), _STRICT in script)
            if nonce.script or nonce.style:
                return nonce
    return NO_NONCE


def with_nonce(html: str, nonce: Nonce) -> str:
    """Return our own tags with the nonce inserted."""
    if nonce.script:
        html = html.replace("<script ", f'<script nonce="{nonce.script}"{" data-strict" if nonce.strict else ""} ')
    return html.replace("<link ", f'<link nonce="{nonce.style}" ') if nonce.style else html


def _directives(policy: str) -> dict[str, str]:
    directives: dict[str, str] = {}
    for directive in policy.split(";"):
        name, _, sources = directive.strip().partition(" ")
        directives.setdefault(name.lower(), sources)
    return directives


def _sources(directives: dict[str, str], *names: str) -> str:
    return next((directives[name] for name in (*names, "default-src") if name in directives), "")


def _first(sources: str) -> str:
    match = _NONCE.search(sources)
    return match[1] if match else ""
