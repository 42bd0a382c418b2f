"""Identify a visitor: by the receipt in the consent cookie, or by the application's own sign-in."""

from __future__ import annotations

import inspect
import logging
from typing import Final

from consent_mw._asgi import Scope, header_value
from consent_mw.consent.data_subject import Person
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError
from consent_mw.rights.desk import Keep
from consent_mw.rights.people import People, links
from consent_mw.rights.personal_data import SignIn
from consent_mw.system.days import DAY_NS

_log = logging.getLogger("consent_mw")

_LONGEST_NAME: Final = 500
#: The most links that this process remembers as kept. To keep a link again changes nothing.
_REMEMBERED: Final = 4_096


class Identity:
    """
    Tells which person is asking. Nothing else in a request counts as proof: no parameter, and no address.

    Args:
        keep: Keeps the links between a sign-in and a receipt.
        subject: The application's own sign-in. Without it only the cookie proves anything.
    """

    def __init__(self, people: People, sealer: Sealer, keep: Keep, subject: SignIn | None = None) -> None:
        self._people = people
        self._sealer = sealer
        self._keep = keep
        self._subject = subject
        self._linked: set[tuple[int, str, str]] = set()

    async def sign_in(self, scope: Scope) -> str | None:
        """Return the application's name for this visitor, or None. Never raises: a visitor without one is unknown."""
        if self._subject is None:
            return None
        try:
            subject = self._subject(scope)
            name = await subject if inspect.isawaitable(subject) else subject
        except Exception:  # noqa: BLE001 - the application's own code: whatever it raises, the page is served
            _log.exception("subject= failed; the visitor counts as not signed in")
            return None
        if name is None or _is_name(name):
            return name
        _log.error("subject= returned %.80r; return a text of 1 to %d characters, or None", name, _LONGEST_NAME)
        return None

    async def proof(self, scope: Scope, consent: RequestConsent, now_ns: int) -> Person:
        """
        Return the person who is asking, as far as this request proves it, and link the sign-in with the receipt.

        The result lacks the other receipts of the sign-in, so this does not read the store.
        """
        sign_in, receipt = await self.sign_in(scope), consent.proven.receipt
        if sign_in is not None and receipt is not None and not _led_here(scope):
            await self._link(sign_in, receipt, now_ns)
        return Person((receipt,) if receipt is not None else (), sign_in)

    async def of(self, proof: Person) -> Person:
        """
        Return the person behind a proof, with the receipt names of all browsers in which they signed in, at most
        `MOST`.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        return await self._people.of(proof)

    async def _link(self, sign_in: str, receipt: str, now_ns: int) -> None:
        """Keep the link, once a day. If that fails, the next visit tries again."""
        key = (now_ns // DAY_NS, sign_in, receipt)
        if key in self._linked:
            return
        try:
            if not await self._keep(links(self._sealer, receipt, sign_in, now_ns)):
                return
        except ConsentError as error:
            _log.warning("a sign-in is not linked with a receipt: %s", error)
            return
        if len(self._linked) >= _REMEMBERED:
            self._linked.clear()
        self._linked.add(key)


def _led_here(scope: Scope) -> bool:
    """Whether another site led the visitor here. It might have signed them in as itself, and would be linked."""
    return header_value(scope.get("headers") or (), b"sec-fetch-site") in (b"cross-site", b"same-site")


def _is_name(name: object) -> bool:
    try:
        return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and bool(name.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
