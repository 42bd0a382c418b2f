"""The consent on the wire: one signed cookie, written and believed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta

from itsdangerous import BadSignature, Signer

from consent_mw.consent import LIFETIME, Consent, dumps, loads
from consent_mw.cookies import delete_line
from consent_mw.exceptions import BadConsentCookie, ConfigurationError

__all__ = ["ConsentCookie", "checked_keys"]

#: Shorter keys can be guessed: 112 bits are the least that NIST SP 800-131A allows for an HMAC.
_LEAST_KEY_BYTES = 16
#: Workers on both sides of midnight may differ by a day.
_GRACE = timedelta(days=-1)


def checked_keys(secret_keys: Sequence[str | bytes]) -> list[bytes]:
    """
    Return the keys as bytes, oldest to newest.

    Raises:
        ConfigurationError: There is none, one is too short, or a single text was given where a list is meant.
    """
    if isinstance(secret_keys, str | bytes):
        raise ConfigurationError("secret_keys: is one text, which is a list of its letters; write secret_keys=[key]")
    keys = [key.encode() if isinstance(key, str) else bytes(key) for key in secret_keys]
    if not keys:
        raise ConfigurationError("secret_keys: is empty; write a key file with: consent-mw init")
    for number, key in enumerate(keys, 1):
        if len(key.strip()) < _LEAST_KEY_BYTES:
            raise ConfigurationError(
                f"secret_keys[{number}]: has {len(key.strip())} bytes, at least {_LEAST_KEY_BYTES} are needed; "
                "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
    return keys


class ConsentCookie:
    """
    Reads and writes the consent cookie.

    On https its name has the `__Host-` prefix, so that no other subdomain can toss one in. `domain` shares it
    between subdomains and gives that protection up.
    """

    def __init__(self, secret_keys: Sequence[str | bytes], *, name: str = "consent", domain: str = "") -> None:
        keys = checked_keys(secret_keys)
        # The newest key signs, every key is believed: itsdangerous takes them oldest to newest.
        self._signer = Signer(
            list(keys), salt=b"consent_mw.consent", key_derivation="hmac", digest_method=hashlib.sha256
        )
        self.domain = domain
        self._plain = name
        self._prefixed = name if domain else f"__Host-{name}"

    def name(self, *, secure: bool) -> str:
        """Return the cookie's name on this kind of connection. A browser refuses `__Host-` on plain http."""
        return self._prefixed if secure else self._plain

    @property
    def names(self) -> frozenset[str]:
        """Every name that it can have; the application may set none of them."""
        return frozenset((self._plain, self._prefixed))

    def read(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that a cookie's value proves.

        Raises:
            BadConsentCookie: It is forged, unreadable, or older than its lifetime.
        """
        text = value.decode("latin-1")
        try:
            signed = self._signer.unsign(value).decode("latin-1")
        except BadSignature as error:
            raise BadConsentCookie(text, "not signed by us") from error
        consent = loads(signed)
        age = today - consent.given_on if consent.given_on else LIFETIME * 2
        if not _GRACE <= age <= LIFETIME:
            raise BadConsentCookie(text, "not of the last 180 days")
        return consent

    def sign(self, consent: Consent) -> str:
        """Return the cookie's value for `consent`: the same bytes for the same consent and key."""
        return self._signer.sign(dumps(consent)).decode("latin-1")

    def line(self, consent: Consent, today: date, *, secure: bool) -> bytes:
        """Return the Set-Cookie line for `consent`, or the one that deletes it where nothing was chosen."""
        name = self.name(secure=secure)
        if consent.choice is None or consent.given_on is None:
            return delete_line(name, domain=self.domain)
        # Counted from the day of the answer, so that saving something else does not renew it.
        max_age_seconds = int((consent.given_on + LIFETIME - today).total_seconds())
        line = f"{name}={self.sign(consent)}; Max-Age={max_age_seconds}; Path=/; HttpOnly; SameSite=Lax"
        if self.domain:
            line += f"; Domain={self.domain}"
        return (line + "; Secure" if secure else line).encode("latin-1")
