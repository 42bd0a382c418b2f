"""What people ask for about their data, and the answers: as values, and as the records that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

import msgspec

from consent_mw.consent.data_subject import NOBODY, Person
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError
from consent_mw.kinds import ANSWER, REQUEST, RESTRICTS
from consent_mw.policy.model import REQUESTS, Policy
from consent_mw.records import Record, Scalar, new_id, time_of
from consent_mw.rights.deadlines import due_date, end_of
from consent_mw.system.days import DAY_MILLISECONDS, instant_of

RequestKind: TypeAlias = Literal["access", "correction", "restriction", "withdrawal", "erasure", "complaint"]
REQUEST_KINDS: Final[tuple[RequestKind, ...]] = get_args(RequestKind)
#: While one of these is open, nobody may use its sender's data (GDPR, article 18(1); PIPA, article 36).
RESTRICTING: Final[frozenset[RequestKind]] = frozenset(("correction", "restriction", "erasure"))
#: How it arrived. "site": from a visitor who proved who they are; "form": from one who did not.
Channel: TypeAlias = Literal["site", "form", "email", "phone", "fax", "post", "person"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
#: "granted" is a decision that is not carried out yet; the other two end a request.
Outcome: TypeAlias = Literal["done", "refused", "granted"]


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    names: tuple[str, ...] = ()
    sign_in: str | None = None
    email: str = ""
    phone: str = ""
    message: str = ""
    item: str = ""
    value: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """
    One request.

    Attributes:
        id: The id of its record; also the number that the sender sees.
        received: When it arrived (aware, UTC); a request by phone arrived before it was registered.
        person: The person who proved to be its sender; `NOBODY` for a form, a call or a letter.
        purposes: What a withdrawal or an erasure is about; empty for everything.
        email, phone, message: As its sender gave them.
        item, value: The item to correct, and its new value.
        by: The member of staff who registered it; "" for the sender.
        application: Whether the application holds data of its own, which it erases by its hook.
        readable: Whether the sealed part could be opened: person, contact, message, item and value.
    """

    id: UUID
    kind: RequestKind
    channel: Channel
    received: datetime
    person: Person = NOBODY
    purposes: tuple[str, ...] = ()
    email: str = ""
    phone: str = ""
    message: str = ""
    item: str = ""
    value: str = ""
    by: str = ""
    application: bool = False
    readable: bool = True

    @classmethod
    def new(
        cls,
        kind: RequestKind,
        channel: Channel,
        now_ns: int,
        *,
        person: Person = NOBODY,
        received: datetime | None = None,
        purposes: Sequence[str] = (),
        email: str = "",
        phone: str = "",
        message: str = "",
        item: str = "",
        value: str = "",
        by: str = "",
        application: bool = False,
    ) -> Request:
        """Return a request registered now (nanoseconds since 1970), and by default received now."""
        return cls(
            id=new_id(now_ns),
            kind=kind,
            channel=channel,
            received=(received or instant_of(now_ns)).astimezone(UTC),
            person=person,
            purposes=tuple(purposes),
            email=email,
            phone=phone,
            message=message,
            item=item,
            value=value,
            by=by,
            application=application,
        )

    @property
    def registered(self) -> datetime:
        """When it was registered (aware, UTC)."""
        return time_of(self.id)

    def record(self, sealer: Sealer) -> Record:
        """
        Return it as a record of the built-in purpose `requests`. Its subject is the sender's token.

        Raises:
            KeyDestroyed, StoreError: There is no key to seal it with.
        """
        data: dict[str, Scalar] = {
            "request.kind": self.kind,
            "request.channel": self.channel,
            "request.received": self.received.isoformat(),
            "request.purposes": " ".join(self.purposes),
            "request.by": self.by,
            "request.application": self.application,
        }
        plain = msgspec.msgpack.encode(
            _Sealed(self.person.names, self.person.sign_in, self.email, self.phone, self.message, self.item, self.value)
        )
        day = (self.id.int >> 80) // DAY_MILLISECONDS
        values = self.person.values
        # A sign-in outlasts every receipt. Without one, it is filed under the newest receipt, which leads to the older
        # ones.
        subject = sealer.token(day, REQUESTS, values[-1 if self.person.sign_in else 0].encode()) if values else None
        return sealer.record(self.id, REQUEST, REQUESTS, subject=subject, data=data, plain=plain)

    def mark(self, sealer: Sealer) -> Record | None:
        """
        Return the record by which it is found among all that was ever asked, while it restricts its sender's data: see
        `marked_by`. None if it never does. Raises as `record`.
        """
        return sealer.record(UUID(int=self.id.int + 1), RESTRICTS, REQUESTS) if self.kind in RESTRICTING else None

    @classmethod
    def read(cls, record: Record, sealer: Sealer | None) -> Request:
        """
        Return the request that a record holds. Without a sealer, or where it cannot be opened, the sealed part is
        empty.
        """
        data, sealed = record.data, None
        if sealer is not None:
            try:
                sealed = msgspec.msgpack.decode(sealer.open(record), type=_Sealed)
            except (ConsentError, msgspec.MsgspecError):
                sealed = None
        inner = sealed or _Sealed()
        return cls(
            id=record.id,
            kind=msgspec.convert(data["request.kind"], RequestKind),
            channel=msgspec.convert(data["request.channel"], Channel),
            received=datetime.fromisoformat(str(data["request.received"])),
            purposes=tuple(str(data["request.purposes"]).split()),
            by=str(data["request.by"]),
            application=bool(data["request.application"]),
            person=Person(inner.names, inner.sign_in),
            email=inner.email,
            phone=inner.phone,
            message=inner.message,
            item=inner.item,
            value=inner.value,
            readable=sealed is not None,
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was answered, and why. The reason is for the sender only, and sealed.

    Attributes:
        by: The member of staff; "" if the program answered by carrying it out.
        facts: What was done, for a certificate: numbers and days that reveal nothing about a person.
    """

    id: UUID
    request: UUID
    outcome: Outcome
    reason: str = ""
    by: str = ""
    facts: dict[str, Scalar] = msgspec.field(default_factory=dict[str, Scalar])

    @classmethod
    def new(
        cls, request: UUID, outcome: Outcome, now_ns: int, *, reason: str = "", by: str = "", **facts: Scalar
    ) -> Answer:
        """Return an answer given now (nanoseconds since 1970)."""
        return cls(id=new_id(now_ns), request=request, outcome=outcome, reason=reason, by=by, facts=facts)

    @property
    def given(self) -> datetime:
        """When it was given (aware, UTC)."""
        return time_of(self.id)

    def record(self, sealer: Sealer) -> Record:
        """Return it as a record of the built-in purpose `requests`. Raises as `Request.record`."""
        data: dict[str, Scalar] = {
            "answer.request": str(self.request),
            "answer.outcome": self.outcome,
            "answer.by": self.by,
            **{f"answer.{name}": value for name, value in self.facts.items()},
        }
        plain = msgspec.msgpack.encode(self.reason) if self.reason else None
        return sealer.record(self.id, ANSWER, REQUESTS, subject=self.request.bytes, data=data, plain=plain)

    @classmethod
    def read(cls, record: Record, sealer: Sealer | None) -> Answer:
        """
        Return the answer that a record holds. Without a sealer, or where it cannot be opened, the reason is empty.
        """
        reason = ""
        if record.ring and sealer is not None:
            try:
                reason = msgspec.msgpack.decode(sealer.open(record), type=str)
            except (ConsentError, msgspec.MsgspecError):
                reason = ""
        known = ("answer.request", "answer.outcome", "answer.by")
        return cls(
            id=record.id,
            request=UUID(str(record.data["answer.request"])),
            outcome=msgspec.convert(record.data["answer.outcome"], Outcome),
            reason=reason,
            by=str(record.data["answer.by"]),
            facts={key.removeprefix("answer."): value for key, value in record.data.items() if key not in known},
        )


class Case(NamedTuple):
    """A request with its answers, oldest first."""

    request: Request
    answers: tuple[Answer, ...] = ()

    @property
    def ended(self) -> Answer | None:
        """The answer that ended it, or None while it is open."""
        return next((answer for answer in self.answers if answer.outcome != "granted"), None)

    @property
    def granted(self) -> Answer | None:
        """The decision to carry it out, or None."""
        return next((answer for answer in self.answers if answer.outcome == "granted"), None)

    @property
    def renewed(self) -> UUID | None:
        """The number of the request that renewed it because its record ended; None if it was not renewed."""
        number = self.ended.facts.get("renewed") if self.ended else None
        return UUID(number) if isinstance(number, str) else None

    @property
    def restricts(self) -> bool:
        """Whether nobody may use its sender's data until it has ended."""
        return self.ended is None and self.request.kind in RESTRICTING

    def due(self, policy: Policy) -> date:
        """Return the last day for its answer."""
        return due_date(self.request.received, policy.jurisdiction, policy.time_zone)

    @property
    def is_owed(self) -> bool:
        """Whether its sender still waits for something. A granted restriction is in force, and stays open."""
        return self.ended is None and not (self.request.kind == "restriction" and self.granted)

    def is_overdue(self, policy: Policy, now: datetime) -> bool:
        """Whether it is still owed and its last day is over at `now` (aware)."""
        return self.is_owed and now >= end_of(self.due(policy), policy.time_zone)


def marked_by(mark: Record) -> UUID:
    """Return the number of the request that has this `Request.mark`."""
    return UUID(int=mark.id.int - 1)


def is_right(request: Request) -> bool:
    """
    Whether a known person withdraws or erases what is theirs. Requests of others must never keep it from the disk.
    """
    return request.kind in ("withdrawal", "erasure") and request.person.is_known


def cases(records: Sequence[Record], sealer: Sealer | None) -> list[Case]:
    """Return the cases that records of the kinds `REQUEST` and `ANSWER` make up, oldest first."""
    answers: dict[UUID, list[Answer]] = {}
    for record in records:
        if record.kind == ANSWER:
            answer = Answer.read(record, sealer)
            answers.setdefault(answer.request, []).append(answer)
    requests = (Request.read(record, sealer) for record in records if record.kind == REQUEST)
    return [Case(request, tuple(answers.get(request.id, ()))) for request in requests]
