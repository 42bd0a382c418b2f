"""A request as staff read it: a row of the list, and the whole, of which what is personal takes a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from consent_mw.cli.local_time import local, local_json
from consent_mw.cli.table import print_table
from consent_mw.policy.model import Policy
from consent_mw.rights.contact import contact_of
from consent_mw.rights.deadlines import end_of
from consent_mw.rights.request import Answer, Case

#: What a number is shortened to at least: requests of different minutes then differ.
_LEAST: Final = 8
_HEADINGS: Final = ("number", "kind", "came by", "received", "due", "state")


def clear(case: Case, policy: Policy, now: datetime) -> dict[str, object]:
    """Return what identifies nobody: times local with offset; "due" is the last day, on the policy's calendar."""
    request = case.request
    return {
        "number": str(request.id),
        "kind": request.kind,
        "channel": request.channel,
        "purposes": list(request.purposes),
        "received": local_json(request.received),
        "registered": local_json(request.registered),
        "by": request.by,
        "due": case.due(policy).isoformat(),
        "overdue_from": local_json(end_of(case.due(policy), policy.time_zone)),
        "state": _state(case, policy, now),
        "overdue": case.is_overdue(policy, now),
        "answers": [
            {"outcome": answer.outcome, "given": local_json(answer.given), "by": answer.by, **answer.facts}
            for answer in case.answers
        ],
    }


def personal(case: Case, every: Iterable[Case]) -> dict[str, str | list[str]]:
    """
    Return what takes a reason to be read: who it is about, how to reach them now, and what was written.

    Args:
        every: All requests, oldest first: some of them may correct how the sender is reached.
    """
    request = case.request
    if not request.readable:
        return {"sealed": "its key is destroyed, or in another keyring"}
    own = set(request.person.values)
    contact = contact_of(request, (case for case in every if own.intersection(case.request.person.values)))
    fields: dict[str, str | list[str]] = {
        "email": contact.email,
        "phone": contact.phone,
        "message": request.message,
        "item": request.item,
        "value": request.value,
        "receipts": list(request.person.names),
        "sign_in": request.person.sign_in or "",
        "reasons": [answer.reason for answer in case.answers if answer.reason],
    }
    return {name: value for name, value in fields.items() if value}


def print_cases(cases: Sequence[Case], every: Iterable[Case], policy: Policy, now: datetime) -> None:
    """Print a row for each of `cases`, with numbers that are unlike those of `every` other."""
    short = short_numbers(case.request.id for case in every)
    states = [_state(case, policy, now) for case in cases]
    rows = (
        (short[case.request.id], case.request.kind, case.request.channel, local(case.request.received),
         local(_last_minute(case, policy)), state)
        for case, state in zip(cases, states, strict=True)
    )  # fmt: skip
    overdue = [number for number, state in enumerate(states) if state == "overdue"]
    print_table(_HEADINGS, rows, no_wrap=True, bold=overdue)


def short_numbers(numbers: Iterable[UUID]) -> dict[UUID, str]:
    """Return the shortest beginning of each number that no other of them has, eight digits at least."""
    ordered = sorted(str(number) for number in numbers)
    neighbours = zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False)
    return {UUID(number): number[: _needed(number, (before, after))] for before, number, after in neighbours}


def _needed(number: str, others: Collection[str]) -> int:
    length = _LEAST
    while any(other.startswith(number[:length]) for other in others):
        length += 1
    return length + (number[length - 1] == "-")  # not a dash at the end


def lines(case: Case, policy: Policy, now: datetime) -> list[str]:
    """Return the clear part of a request for reading."""
    request = case.request
    text = [
        f"request {request.id}: {request.kind}, {_state(case, policy, now)}",
        f"  received  {local(request.received)}, by {request.channel}",
        f"  due       {local(_last_minute(case, policy))}",
    ]
    if request.purposes:
        text.append(f"  about     {', '.join(request.purposes)}")
    if request.by:
        text.append(f"  taken by  {request.by}, {local(request.registered)}")
    return [*text, *(f"  {answer.outcome:<8}  {local(answer.given)}, by {_by(answer)}" for answer in case.answers)]


def _by(answer: Answer) -> str:
    return answer.by or "the site or its visitor"


def _state(case: Case, policy: Policy, now: datetime) -> str:
    if case.ended is not None:
        return case.ended.outcome
    if not case.is_owed:
        return "in force"
    if case.is_overdue(policy, now):
        return "overdue"
    return "granted" if case.granted else "open"


def _last_minute(case: Case, policy: Policy) -> datetime:
    return end_of(case.due(policy), policy.time_zone) - timedelta(minutes=1)
