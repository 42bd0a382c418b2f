"""The token in a form, which proves that the browser that sends the form was also shown its page."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from consent_mw._asgi import header_values
from consent_mw.cookies.cookie_lines import pairs
from consent_mw.crypto.signing import Signing
from consent_mw.site.visit import Visit

_AGE_SECONDS: Final = 3_600
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
#: Today's browsers name in this header of each request the kind of site that began it, so no token is needed.
_SAYS_SO: Final = "sec-fetch-site"


class Standing(Enum):
    """What a form's token says about its sender."""

    OURS = auto()
    UNKNOWN = auto()
    #: The token is ours, but its cookie did not come, or came twice: the browser does not accept cookies.
    NO_COOKIE = auto()


class Proof(NamedTuple):
    """What a page with forms needs: the token in the forms, and the Set-Cookie line of its cookie if that is new."""

    token: str = ""
    line: bytes = b""


class FormGuard:
    """
    Makes and judges the tokens of forms.

    A token alone would prove nothing: another site could fetch one and pass it to its own visitor. So the token is
    bound to a random session cookie that the same answer sets. No other site can read that cookie or set it for this
    host. Token and cookie say nothing about a person, and the server keeps neither.

    A browser that reports where its requests come from gets neither.

    Args:
        name: Returns the name of the cookie, for https or not.
    """

    def __init__(self, signing: Signing, name: Callable[[bool], str]) -> None:
        self._signer = signing.signer("form")
        self._name = name

    def proof(self, visit: Visit) -> Proof:
        """Return the token and the cookie for the page that answers `visit`. All tabs share an existing cookie."""
        # A visitor whose form was refused because it had no token gets one, whatever the browser reports now.
        if _SAYS_SO in visit.headers and "again" not in visit.query:
            return Proof()
        held = self._held(visit)
        value = held or secrets.token_urlsafe(16)
        token = self._token(value, visit.now_ns)
        return Proof(token) if held or visit.method == "HEAD" else Proof(token, self._line(value, secure=visit.secure))

    def standing(self, visit: Visit, token: str) -> Standing:
        """Return what `token`, in a form that came with `visit`, says about its sender."""
        try:
            digest, issued = self._signer.unsign(token[:300]).decode("ascii").split(".")
            age_seconds = visit.now_ns // 1_000_000_000 - int.from_bytes(base64_decode(issued), "big")
        except (BadData, ValueError):
            return Standing.UNKNOWN
        if not 0 <= age_seconds <= _AGE_SECONDS:
            return Standing.UNKNOWN
        held = self._held(visit)
        if held is None:
            return Standing.NO_COOKIE
        return Standing.OURS if secrets.compare_digest(digest, _digest(held)) else Standing.UNKNOWN

    def _token(self, value: str, now_ns: int) -> str:
        issued = base64_encode((now_ns // 1_000_000_000).to_bytes(5, "big")).decode("ascii")
        return self._signer.sign(f"{_digest(value)}.{issued}").decode("ascii")

    def _held(self, visit: Visit) -> str | None:
        name = self._name(visit.secure).encode("latin-1")
        lines = header_values(visit.scope.get("headers") or (), b"cookie")
        held = [pair for line in lines for key, pair in pairs(line) if key == name]
        value = held[0].partition(b"=")[2].decode("latin-1") if len(held) == 1 else ""
        return value if _VALUE.fullmatch(value) else None

    def _line(self, value: str, *, secure: bool) -> bytes:
        line = f"{self._name(secure)}={value}; Path=/; HttpOnly; SameSite=Strict"
        return (line + "; Secure" if secure else line).encode("latin-1")


def _digest(value: str) -> str:
    """Return the part of the token that names its cookie. Nobody can derive the cookie from a saved page."""
    digest = hashlib.blake2b(value.encode(), digest_size=16, person=b"consent-form").digest()
    return base64_encode(digest).decode("ascii")
