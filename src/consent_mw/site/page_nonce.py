"""Find the nonce with which a page's own CSP header allows scripts and style sheets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from consent_mw._asgi import Message, header_values

#: A nonce-source (CSP Level 3, section 2.3.1), whose keyword has any case. No character of it has a meaning in HTML.
_NONCE: Final = re.compile(r"'(?i:nonce)-([A-Za-z0-9+/_-]+={0,2})'")
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
    """Return the nonces of the page whose head is `start`: of several CSPs the first of each kind."""
    values = header_values(start.get("headers") or (), b"content-security-policy")
    if not values:
        return NO_NONCE
    policies = [_directives(policy) for value in values for policy in value.decode("latin-1").split(",")]
    scripts = [_sources(policy, "script-src-elem", "script-src") for policy in policies]
    styles = [_sources(policy, "style-src-elem", "style-src") for policy in policies]
    return Nonce(_first(scripts), _first(styles), any(_STRICT in sources.lower() for sources in scripts))


def with_nonce(html: str, nonce: Nonce) -> str:
    """Return our own tags with the nonce inserted."""
    if nonce.script:
        html = html.replace("<script ", f'<script nonce="{nonce.script}"{" data-strict" if nonce.strict else ""} ')
    return html.replace("<link ", f'<link nonce="{nonce.style}" ') if nonce.style else html


def _directives(policy: str) -> dict[str, str]:
    directives: dict[str, str] = {}
    for directive in policy.split(";"):
        name, *sources = directive.split(maxsplit=1) or ("",)
        directives.setdefault(name.lower(), "".join(sources))
    return directives


def _sources(directives: dict[str, str], *names: str) -> str:
    return next((directives[name] for name in (*names, "default-src") if name in directives), "")


def _first(lists: Iterable[str]) -> str:
    return next((match[1] for sources in lists if (match := _NONCE.search(sources))), "")
