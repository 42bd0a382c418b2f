"""The consent on the wire: write one signed cookie, and verify it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from itsdangerous import BadSignature, Signer

from consent_mw.consent.choice import LIFETIME, Consent, dumps, loads
from consent_mw.cookies.cookie_lines import delete_line
from consent_mw.crypto.signing import Signing
from consent_mw.exceptions import BadConsentCookie, ConfigurationError

#: Shorter keys can be guessed: 112 bits are the least that NIST SP 800-131A allows for a keyed hash.
_LEAST_KEY_BYTES: Final = 16
#: How many sites of one host can use the same `cookie_name` without a loss. A shared cookie has one name.
_SLOTS: Final = 4
#: Two workers may differ by a day around midnight.
_GRACE: Final = timedelta(days=-1)


def checked_keys(secret_keys: Sequence[str | bytes]) -> list[bytes]:
    """
    Return the keys as bytes, oldest to newest.

    Raises:
        ConfigurationError: There is no key, a key is too short, or one text was given instead of a list.
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
    Read and write the consent cookie.

    On https its name has the `__Host-` prefix, so another subdomain cannot set it.

    `domain` shares the cookie between subdomains and gives up that protection: any subdomain can set a consent cookie
    of its own there, and can read the visitor's. Therefore each choice also sets a second cookie, for this host alone
    (see `RequestCookies`). Only the second cookie opens data, and a choice made on another host allows no more than
    was allowed here.

    A signature is valid for one name, one `domain` and one `site`. Two deployments with the same key do not accept
    each other's cookies if one of these differs.

    The ports and paths of a host share its cookies. Where another site there has the name, the cookie gets the next of
    `slots`: "consent-2".

    `embedded` is for a site inside frames of other sites. Over https the visitor makes a separate choice for each of
    those sites (CHIPS, section 2).
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

    def slots(self, *, secure: bool) -> tuple[str, ...]:
        """Return every name that the cookie may have on this kind of connection, the usual one first."""
        name = self.name(secure=secure)
        return (name,) if self.domain else (name, *(f"{name}-{n}" for n in range(2, _SLOTS + 1)))

    def attributes(self, *, secure: bool) -> str:
        """Return the attributes that end our Set-Cookie lines and select the requests. SameSite=None needs Secure."""
        if not secure:
            return "; SameSite=Lax"
        return "; SameSite=None; Partitioned; Secure" if self.embedded else "; SameSite=Lax; Secure"

    def companion(self, what: str, *, secure: bool) -> str:
        """Return the name of another cookie of ours. It is never shared, so on https it has the `__Host-` prefix."""
        return f"__Host-{self._plain}-{what}" if secure else f"{self._plain}-{what}"

    @property
    def names(self) -> frozenset[str]:
        """Every name that the consent cookie can have. The application may not set any of them."""
        numbered = [self._plain, *(f"{self._plain}-{n}" for n in range(2, _SLOTS + 1))]
        return frozenset((*numbered, *(f"__Host-{name}" for name in numbered)))

    def read(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that a cookie's value proves.

        Raises:
            BadConsentCookie: The value is forged, unreadable, or older than the cookie's lifetime.
        """
        return _read(self._signer, value, today)

    def signed(self, value: bytes) -> bytes:
        """Return the text that a cookie's value proves to be ours, whatever it says. Raises as `read`."""
        return _signed(self._signer, value)

    def read_host(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that the host's own cookie, beside a shared one, proves for this host. Raises as `read`.
        """
        return _read(self._host_signer, value, today)

    def read_former(self, value: bytes, today: date) -> Consent:
        """
        Return the consent that the visitor gave on this host before `domain` shared it. Raises as `read`.
        """
        return _read(self._former_signer, value, today)

    def former(self, *, secure: bool) -> str:
        """Return the name that the cookie had before `domain` shared it, when only this host had it."""
        return f"__Host-{self._plain}" if secure else self._plain

    def sign(self, consent: Consent) -> str:
        """Return the cookie's value for `consent`: the same bytes for the same consent and key."""
        return self._signer.sign(dumps(consent)).decode("latin-1")

    def line(self, consent: Consent, today: date, *, secure: bool) -> bytes:
        """Return the Set-Cookie line for `consent`; if the visitor chose nothing, the line that deletes the cookie."""
        return self._line(self.name(secure=secure), self.sign(consent), consent, today, self.domain, secure=secure)

    def lines(self, consent: Consent, today: date, *, secure: bool, slot: int = 0) -> list[bytes]:
        """
        Return the Set-Cookie lines for `consent`.

        A shared consent has two more: one for the cookie that stays on this host, and one that deletes the cookie from
        before the consent was shared, which a browser would send beside the new one.
        """
        name = self.slots(secure=secure)[slot]
        lines = [self._line(name, self.sign(consent), consent, today, self.domain, secure=secure)]
        if self.domain:
            value = self._host_signer.sign(dumps(consent)).decode("latin-1")
            lines.append(self._line(self.companion("host", secure=secure), value, consent, today, "", secure=secure))
            lines += [delete_line(self.former(secure=secure), partitioned=jar) for jar in {False, secure}]
        return lines

    def delete_line(self, name: bytes, *, secure: bool = True, other_jar: bool = False) -> bytes:
        """Return the Set-Cookie line that deletes a cookie of ours where `embedded` puts it, or in the other jar."""
        text = name.decode("latin-1")
        domain = self.domain if text in self.slots(secure=secure) else ""
        return delete_line(text, domain=domain, partitioned=(self.embedded and secure) is not other_jar)

    def _line(self, name: str, value: str, consent: Consent, today: date, domain: str, *, secure: bool) -> bytes:
        if consent.choice is None or consent.given_on is None:
            return delete_line(name, domain=domain, partitioned=self.embedded and secure)
        # Count from the day of the answer, so that saving something else does not renew the consent.
        max_age_seconds = int((consent.given_on + LIFETIME - today).total_seconds())
        line = f"{name}={value}; Max-Age={max_age_seconds}; Path=/; HttpOnly"
        if domain:
            line += f"; Domain={domain}"
        return (line + self.attributes(secure=secure)).encode("latin-1")


def _signed(signer: Signer, value: bytes) -> bytes:
    try:
        return signer.unsign(value)
    except BadSignature as error:
        raise BadConsentCookie(value.decode("latin-1"), "not signed by us") from error


def _read(signer: Signer, value: bytes, today: date) -> Consent:
    consent = loads(_signed(signer, value).decode("latin-1"))
    age = today - consent.given_on if consent.given_on else LIFETIME * 2
    if not _GRACE <= age <= LIFETIME:
        raise BadConsentCookie(value.decode("latin-1"), "not of the last 180 days")
    return consent
