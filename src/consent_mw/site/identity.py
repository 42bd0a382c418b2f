"""Who a visitor proved to be: by the receipt in their consent cookie, or by the application's own sign-in."""

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

__all__ = ["Identity"]

_log = logging.getLogger("consent_mw")

_LONGEST_NAME: Final = 500
#: Links that this process remembers to have kept; a link that is kept again changes nothing.
_REMEMBERED: Final = 4_096


class Identity:
    """
    Tells who is asking. Nothing else that a request says is believed: no parameter, and no address.

    Args:
        keep: Where links between a sign-in and a receipt are kept.
        subject: The application's own sign-in; without it only the cookie proves anything.
    """

    def __init__(self, people: People, sealer: Sealer, keep: Keep, subject: SignIn | None = None) -> None:
        self._people = people
        self._sealer = sealer
        self._keep = keep
        self._subject = subject
        self._linked: set[tuple[int, str, str]] = set()

    async def sign_in(self, scope: Scope) -> str | None:
        """Return what the application knows this visitor by, or None. Never raises: who cannot be told is nobody."""
        if self._subject is None:
            return None
        try:
            found = self._subject(scope)
            name = await found if inspect.isawaitable(found) else found
        except Exception:  # noqa: BLE001 - the application's own code: whatever it raises, the page is served
            _log.exception("subject= failed; the visitor counts as not signed in")
            return None
        if name is None or _is_name(name):
            return name
        _log.error("subject= returned %.80r; return a text of 1 to %d characters, or None", name, _LONGEST_NAME)
        return None

    async def proof(self, scope: Scope, consent: RequestConsent, now_ns: int) -> Person:
        """
        Return who is asking, as far as they proved it just now: without what their sign-in leads to, which takes no
        store. Remember that this sign-in uses these receipts.
        """
        sign_in, receipt = await self.sign_in(scope), consent.proven.receipt
        if sign_in is not None and receipt is not None and not _led_here(scope):
            await self._link(sign_in, receipt, now_ns)
        return Person((receipt,) if receipt is not None else (), sign_in)

    async def of(self, proof: Person) -> Person:
        """
        Return who gave this proof, with the names of all browsers that their sign-in was seen in, but no more than
        `MOST`.

        Raises:
            StoreError: The store or the keyring cannot be reached now.
        """
        return await self._people.of(proof)

    async def _link(self, sign_in: str, receipt: str, now_ns: int) -> None:
        """Keep the link, once a day. What fails here is tried again at the next visit."""
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
    """Whether another site led the visitor here: after signing them in as itself, say, it would be linked with them."""
    return header_value(scope.get("headers") or (), b"sec-fetch-site") in (b"cross-site", b"same-site")


def _is_name(name: object) -> bool:
    try:
        return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and bool(name.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
