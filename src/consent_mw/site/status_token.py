"""What a visitor takes along from an action to the page that tells of it: which action, and the request's number."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from itsdangerous import BadData

from consent_mw.crypto.signing import Signing

__all__ = ["Slip", "Slips"]


class Slip(NamedTuple):
    """The action that was carried out, and the number of the request that it made."""

    action: str
    number: UUID


class Slips:
    """
    Writes slips into addresses, signed: nobody else can send a visitor to a page that says that something was done.

    A slip opens nothing. It leads to what became of one request, as the number on a parcel does, and to no data.
    """

    def __init__(self, signing: Signing) -> None:
        self._signer = signing.signer("slip")

    def write(self, slip: Slip) -> str:
        """Return the slip as a text for an address; of one action all have the same length."""
        return self._signer.sign(f"{slip.action}.{slip.number.hex}").decode("ascii")

    def read(self, text: str) -> Slip | None:
        """Return the slip that was written, or None for anything else."""
        try:
            action, _, number = self._signer.unsign(text[:300]).decode("ascii").partition(".")
            return Slip(action, UUID(number))
        except (BadData, ValueError):
            return None
