"""What a form carries to prove that its page was shown to the very browser that sends it."""

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

__all__ = ["FormGuard", "Proof", "Standing"]

_AGE_SECONDS: Final = 3_600
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
#: Headers of today's browsers: the one says with each request which site began it, so no token is needed.
_SAYS_SO: Final = "sec-fetch-site"


class Standing(Enum):
    """What a form's token says about who sent it."""

    OURS = auto()
    UNKNOWN = auto()
    #: The token is ours, and the cookie that belongs to it did not come, or came twice: cookies are switched off.
    NO_COOKIE = auto()


class Proof(NamedTuple):
    """What a page with forms carries: the token in them, and the Set-Cookie line of its cookie where that is new."""

    token: str = ""
    line: bytes = b""


class FormGuard:
    """
    Makes and judges the tokens of forms.

    A token alone would prove nothing: another site reads one for itself, and hands it on to its visitor. So it is
    bound to a random session cookie that the same answer sets, which no other site can read or set for this host. Both
    are about nobody, and nothing of them is kept.

    A browser that says by itself where its requests come from gets neither.

    Args:
        name: What the cookie is called, on https or not.
    """

    def __init__(self, signing: Signing, name: Callable[[bool], str]) -> None:
        self._signer = signing.signer("form")
        self._name = name

    def proof(self, visit: Visit) -> Proof:
        """Return what the page that answers `visit` carries. A cookie that is there already serves every tab."""
        # Who was turned away for want of a token gets one, whatever the browser says now.
        if _SAYS_SO in visit.headers and "again" not in visit.query:
            return Proof()
        held = self._held(visit)
        value = held or secrets.token_urlsafe(16)
        token = self._token(value, visit.now_ns)
        return Proof(token) if held or visit.method == "HEAD" else Proof(token, self._line(value, secure=visit.secure))

    def standing(self, visit: Visit, token: str) -> Standing:
        """Return what `token`, in a form that came with `visit`, says about its sender."""
        try:
            digest, made = self._signer.unsign(token[:300]).decode("ascii").split(".")
            age_seconds = visit.now_ns // 1_000_000_000 - int.from_bytes(base64_decode(made), "big")
        except (BadData, ValueError):
            return Standing.UNKNOWN
        if not 0 <= age_seconds <= _AGE_SECONDS:
            return Standing.UNKNOWN
        held = self._held(visit)
        if held is None:
            return Standing.NO_COOKIE
        return Standing.OURS if secrets.compare_digest(digest, _digest(held)) else Standing.UNKNOWN

    def _token(self, value: str, now_ns: int) -> str:
        made = base64_encode((now_ns // 1_000_000_000).to_bytes(5, "big")).decode("ascii")
        return self._signer.sign(f"{_digest(value)}.{made}").decode("ascii")

    def _held(self, visit: Visit) -> str | None:
        name = self._name(visit.secure).encode("latin-1")
        lines = header_values(visit.scope.get("headers") or (), b"cookie")
        found = [pair for line in lines for key, pair in pairs(line) if key == name]
        value = found[0].partition(b"=")[2].decode("latin-1") if len(found) == 1 else ""
        return value if _VALUE.fullmatch(value) else None

    def _line(self, value: str, *, secure: bool) -> bytes:
        line = f"{self._name(secure)}={value}; Path=/; HttpOnly; SameSite=Strict"
        return (line + "; Secure" if secure else line).encode("latin-1")


def _digest(value: str) -> str:
    """What a page says of its cookie: who reads a page that was saved cannot make the cookie from it."""
    digest = hashlib.blake2b(value.encode(), digest_size=16, person=b"consent-form").digest()
    return base64_encode(digest).decode("ascii")
