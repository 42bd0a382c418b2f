"""The outcome of one request. Anyone who has its slip may read it, so it says nothing about the sender."""

from __future__ import annotations

from datetime import date
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from consent_mw.crypto.sealer import Sealer
from consent_mw.policy.model import ABUSE, RECEIPTS, Policy, Purpose
from consent_mw.records import time_of
from consent_mw.rights.deadlines import due_date
from consent_mw.rights.desk import Desk
from consent_mw.rights.erasure import abuse_number
from consent_mw.rights.erasure_certificate import ErasureCertificate, certificates
from consent_mw.site.my_data_documents import state_of
from consent_mw.site.status_token import Slip
from consent_mw.stores.base import Store

#: Actions that end with a certificate.
_ERASING: Final = frozenset(("withdraw", "erase"))


class AbuseOutcome(NamedTuple):
    """The decision about records of abuse."""

    purpose: Purpose
    state: str
    reason: str


class Outcome(NamedTuple):
    """
    What a page says about a slip.

    Attributes:
        state: "open", "granted", "done" or "refused".
        due: The last day for the answer.
        certificate: What an erasure or a withdrawal has erased; None while it goes on.
        kept: The purposes whose records an erasure leaves, as proof.
        abuse: The decision about records of abuse; None if there were none, or the request was not about them.
        beyond: Whether there are records that this host cannot search.
        elsewhere: Whether another host has yet to move its earlier records to the store.
    """

    action: str
    number: UUID
    state: str
    due: date
    certificate: ErasureCertificate | None = None
    kept: tuple[Purpose, ...] = ()
    abuse: AbuseOutcome | None = None
    beyond: bool = False
    elsewhere: bool = False

    @property
    def is_going_on(self) -> bool:
        """Whether an erasure is still going on."""
        return self.action in _ERASING and self.state == "open"

    def document(self, zone: ZoneInfo) -> dict[str, object]:
        """Return the outcome, ready for JSON."""
        document: dict[str, object] = {
            "action": self.action,
            "number": str(self.number),
            "state": self.state,
            "due": self.due.isoformat(),
        }
        if self.action in _ERASING:
            document["erased"] = _erased(self.certificate, zone) if self.certificate else None
            document["out_of_reach"] = self.beyond
            document["waits_for_hosts"] = self.elsewhere
        if self.action == "erase":
            document["kept"] = [purpose.name for purpose in self.kept]
            document["abuse"] = {"state": self.abuse.state, "reason": self.abuse.reason} if self.abuse else None
        return document


class Outcomes:
    """Looks up requests by the number on a slip."""

    def __init__(self, store: Store, desk: Desk, sealer: Sealer) -> None:
        self._store = store
        self._desk = desk
        self._sealer = sealer

    @staticmethod
    def registered(slip: Slip, policy: Policy) -> Outcome:
        """Return what is certain without reading the store: the request is on the disk, and has a last day."""
        due = due_date(time_of(slip.number), policy.jurisdiction, policy.time_zone)
        return Outcome(slip.action, slip.number, "done" if slip.action == "lift" else "open", due)

    async def of(self, slip: Slip, policy: Policy) -> Outcome:
        """
        Return the outcome of the request. A request that is still in the spool is reported as open, which it is.

        Raises:
            StoreError: The store cannot be reached.
        """
        erases, whole = slip.action in _ERASING, slip.action == "erase"
        known = await certificates(self._store, self._sealer, time_of(slip.number)) if erases else {}
        certificate = known.get(slip.number)
        case = None if certificate else await self._desk.one(slip.number)
        registered = self.registered(slip, policy)
        return registered._replace(
            state="done" if certificate else state_of(case) if case and slip.action != "lift" else registered.state,
            certificate=certificate,
            kept=(policy.purposes[RECEIPTS],) if whole else (),
            abuse=await self._abuse(slip.number, policy) if whole else None,
        )

    async def _abuse(self, number: UUID, policy: Policy) -> AbuseOutcome | None:
        """Return the decision with its reason: after an erasure only the slip leads to the visitor's requests."""
        purpose = policy.purposes.get(ABUSE)
        case = await self._desk.one(abuse_number(number)) if purpose else None
        if case is None or purpose is None:
            return None
        return AbuseOutcome(purpose, state_of(case), case.ended.reason if case.ended else "")


def _erased(certificate: ErasureCertificate, zone: ZoneInfo) -> dict[str, object]:
    unreadable = certificate.unreadable
    return {
        "records": certificate.records,
        "done": certificate.done.astimezone(zone).isoformat(timespec="seconds"),
        "unreadable": unreadable.astimezone(zone).isoformat(timespec="seconds") if unreadable else None,
    }
