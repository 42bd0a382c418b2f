"""The status token: it takes the action and the request's number from a form to the page that shows the outcome."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from itsdangerous import BadData

from consent_mw.crypto.signing import Signing


class Slip(NamedTuple):
    """The content of a status token: an action, and the number of the request that it made."""

    action: str
    number: UUID


class Slips:
    """
    Writes signed slips into addresses. So nobody else can send a visitor to a page that says that something was done.

    A slip gives no access to data. Like the number on a parcel, it leads only to the outcome of one request.
    """

    def __init__(self, signing: Signing) -> None:
        self._signer = signing.signer("slip")

    def write(self, slip: Slip) -> str:
        """Return the slip as a text for an address. All slips of one action have the same length."""
        return self._signer.sign(f"{slip.action}.{slip.number.hex}").decode("ascii")

    def read(self, text: str) -> Slip | None:
        """Return the slip in a text that `write` made, or None for any other text."""
        try:
            action, _, number = self._signer.unsign(text[:300]).decode("ascii").partition(".")
            return Slip(action, UUID(number))
        except (BadData, ValueError):
            return None
