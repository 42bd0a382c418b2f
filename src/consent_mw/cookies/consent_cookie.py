"""The consent on the wire: one signed cookie, written and believed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from itsdangerous import BadSignature, Signer

from consent_mw.consent.choice import LIFETIME, Consent, dumps, loads
from consent_mw.cookies.cookie_lines import delete_line
from consent_mw.crypto.signing import Signing
from consent_mw.exceptions import BadConsentCookie, ConfigurationError

__all__ = ["ConsentCookie", "checked_keys"]

#: Shorter keys can be guessed: 112 bits are the least that NIST SP 800-131A allows for a keyed hash.
_LEAST_KEY_BYTES: Final = 16
#: Workers on both sides of midnight may differ by a day.
_GRACE: Final = timedelta(days=-1)


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

    On https its name has the `__Host-` prefix, so that no other subdomain can toss one in.

    `domain` shares it between subdomains and gives that protection up: a neighbour on any of them can set a consent
    cookie of its own there, and reads the visitor's. So a second cookie, for the host alone, goes with each choice (see
    `RequestCookies`): only that one opens data, and a choice of another host allows no more than was allowed here.

    A signature holds for one name, one `domain` and one `site`: two deployments with one key are strangers to each
    other where one of these differs.

    `embedded` is for a site in frames of others: over https each of those has a choice of its own (CHIPS, section 2).
    """

    def __init__(
        self,
        secret_keys: Sequence[str | bytes],
        *,
        name: str = "consent",
        domain: str = "",
        site: str = "",
        embedded: bool = False,
    ) -> None:
        if not site.isprintable():
            raise ConfigurationError(f'site: {site!r} holds a control character; write a name such as "shop-staging"')
        self.signing: Signing = Signing(tuple(checked_keys(secret_keys)), name, domain, site)
        self._signer = self.signing.signer("consent")
        self._former_signer = self.signing._replace(cookie_domain="").signer("consent")
        self._host_signer = self.signing.signer("host")
        self.domain = domain
        self.embedded = embedded
        self._plain = name
        self._prefixed = name if domain else f"__Host-{name}"

    def name(self, *, secure: bool) -> str:
        """Return the cookie's name on this kind of connection. A browser refuses `__Host-` on plain http."""
        return self._prefixed if secure else self._plain

    def attributes(self, *, secure: bool) -> str:
        """Return how a Set-Cookie line of ours ends: which requests it goes with. SameSite=None takes Secure."""
        if not secure:
            return "; SameSite=Lax"
        return "; SameSite=None; Partitioned; Secure" if self.embedded else "; SameSite=Lax; Secure"

    def companion(self, what: str, *, secure: bool) -> str:
        """Return the name of another cookie of ours. None is shared, so on https each has the prefix."""
        return f"__Host-{self._plain}-{what}" if secure else f"{self._plain}-{what}"

    @property
    def names(self) -> frozenset[str]:
        """Every name that it can have; the application may set none of them."""
        return frozenset((self._plain, self._prefixed, f"__Host-{self._plain}"))

    def read(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that a cookie's value proves.

        Raises:
            BadConsentCookie: It is forged, unreadable, or older than its lifetime.
        """
        return _read(self._signer, value, today)

    def read_host(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that was given on this host, as its own cookie beside a shared one proves. Raises as `read`.
        """
        return _read(self._host_signer, value, today)

    def read_former(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that was given on this host before `domain` shared it. Raises as `read`.
        """
        return _read(self._former_signer, value, today)

    def former(self, *, secure: bool) -> str:
        """Return the name of the cookie that was this host's alone, before `domain` shared it."""
        return f"__Host-{self._plain}" if secure else self._plain

    def sign(self, consent: Consent) -> str:
        """Return the cookie's value for `consent`: the same bytes for the same consent and key."""
        return self._signer.sign(dumps(consent)).decode("latin-1")

    def line(self, consent: Consent, today: date, *, secure: bool) -> bytes:
        """Return the Set-Cookie line for `consent`, or the one that deletes it where nothing was chosen."""
        return self._line(self.name(secure=secure), self.sign(consent), consent, today, self.domain, secure=secure)

    def lines(self, consent: Consent, today: date, *, secure: bool) -> list[bytes]:
        """
        Return the line for `consent`. Where it is shared, with that of the cookie that stays on this host, and with the
        end of one from before it was shared, which a browser would send beside the new one.
        """
        lines = [self.line(consent, today, secure=secure)]
        if self.domain:
            value = self._host_signer.sign(dumps(consent)).decode("latin-1")
            lines.append(self._line(self.companion("host", secure=secure), value, consent, today, "", secure=secure))
            lines.append(delete_line(self.former(secure=secure)))
        return lines

    def _line(self, name: str, value: str, consent: Consent, today: date, domain: str, *, secure: bool) -> bytes:
        if consent.choice is None or consent.given_on is None:
            return delete_line(name, domain=domain, partitioned=self.embedded and secure)
        # Counted from the day of the answer, so that saving something else does not renew it.
        max_age_seconds = int((consent.given_on + LIFETIME - today).total_seconds())
        line = f"{name}={value}; Max-Age={max_age_seconds}; Path=/; HttpOnly"
        if domain:
            line += f"; Domain={domain}"
        return (line + self.attributes(secure=secure)).encode("latin-1")


def _read(signer: Signer, value: bytes, today: date) -> Consent:
    try:
        signed = signer.unsign(value).decode("latin-1")
    except BadSignature as error:
        raise BadConsentCookie(value.decode("latin-1"), "not signed by us") from error
    consent = loads(signed)
    age = today - consent.given_on if consent.given_on else LIFETIME * 2
    if not _GRACE <= age <= LIFETIME:
        raise BadConsentCookie(value.decode("latin-1"), "not of the last 180 days")
    return consent
