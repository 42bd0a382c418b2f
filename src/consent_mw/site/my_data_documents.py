"""The access report as data: one document for JSON, and rows for a spreadsheet. Pure: holdings in, data out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from consent_mw.consent.receipts import Receipt
from consent_mw.exports import Row
from consent_mw.exports.spreadsheet import Spreadsheet
from consent_mw.policy.model import Policy, Purpose, Text
from consent_mw.rights.disclosures import Disclosure
from consent_mw.rights.holdings import Held, Holdings
from consent_mw.rights.personal_data import by_purpose
from consent_mw.rights.request import Answer, Case
from consent_mw.site.outline import Outline

#: The format of the document. It changes when a name in the document changes.
SCHEMA: Final = "consent-mw.my-data/1"
_HEAD: Final = ("time", "kind", "id", "purpose")


def my_data_document(
    holdings: Holdings, policy: Policy, declared: Mapping[str, Purpose], language: str, now: datetime
) -> dict[str, object]:
    """
    Return everything that the site holds under the receipts that it followed, ready for JSON.

    Instants are ISO 8601 in the policy's time zone, with the offset.

    Args:
        declared: The purposes that records may belong to, by name, including those that `policy` no longer declares.
        language: The language for the names of purposes and parties.
        now: When the data were read (aware).
    """
    zone = policy.time_zone
    return {
        "schema_version": SCHEMA,
        "made": _at(now, zone),
        "time_zone": zone.key,
        "language": language,
        "policy": {"revision": policy.revision, "sha256": policy.digest},
        "known_by": known_by(holdings),
        "cut": holdings.person.is_cut,
        "restricted": holdings.is_restricted,
        "held": [_held(held, policy, declared, language) for held in holdings.held],
        "application": None if holdings.application is None else dict(holdings.application),
        "disclosures": [_disclosure(disclosure, zone) for disclosure in holdings.disclosures],
        "receipts": [_receipt(receipt, zone) for receipt in holdings.receipts],
        "requests": [case_document(case, policy, now) for case in holdings.cases],
    }


def known_by(holdings: Holdings) -> list[str]:
    """Return what identified the person who asks: "receipt", "sign-in", or both."""
    person = holdings.person
    return ["receipt"] * bool(person.names) + ["sign-in"] * (person.sign_in is not None)


def _held(held: Held, policy: Policy, declared: Mapping[str, Purpose], language: str) -> dict[str, object]:
    purpose, zone = declared.get(held.purpose), policy.time_zone
    return {
        "purpose": held.purpose,
        **(_declared(purpose, held, policy, language) if purpose else {}),
        "where": held.where,
        "items": list(held.items),
        "count": held.records,
        "first": _at(held.first, zone),
        "last": _at(held.last, zone),
        "until": _at(held.until, zone) if held.until else None,
        "records": [_row(row, zone) for row in held.rows],
    }


def _declared(purpose: Purpose, held: Held, policy: Policy, language: str) -> dict[str, object]:
    law = purpose.archive.law if purpose.archive and held.where == "archive" else None
    document: dict[str, object] = {
        "title": _text(purpose.title, language),
        "basis": purpose.basis,
        "retention": str(purpose.retention),
        "law": _text(law, language) if law else None,
    }
    if purpose.name in policy.purposes:
        document["receivers"] = [_text(name, language) for name in Outline(policy).receivers(purpose)]
    return document


def _disclosure(disclosure: Disclosure, zone: ZoneInfo) -> dict[str, object]:
    return {
        "time": _at(disclosure.at, zone),
        "to": disclosure.to,
        "basis": disclosure.basis,
        "reference": disclosure.reference,
        "purposes": list(disclosure.purposes),
        "items": list(disclosure.items),
        "since": _at(disclosure.since, zone) if disclosure.since else None,
        "until": _at(disclosure.until, zone) if disclosure.until else None,
    }


def _receipt(receipt: Receipt, zone: ZoneInfo) -> dict[str, object]:
    return {
        "id": str(receipt.id),
        "time": _at(receipt.given_at, zone),
        "choice": str(receipt.choice),
        "revision": receipt.revision,
        "purposes": dict(receipt.purposes),
        "cookies": dict(receipt.cookies),
    }


def state_of(case: Case) -> str:
    """Return "open", "granted", "done" or "refused"."""
    last = case.ended or case.granted
    return last.outcome if last else "open"


def case_document(case: Case, policy: Policy, now: datetime) -> dict[str, object]:
    """Return a request with its answers, for its sender."""
    request, zone = case.request, policy.time_zone
    return {
        "number": str(request.id),
        "kind": request.kind,
        "received": _at(request.received, zone),
        "due": case.due(policy).isoformat(),
        "overdue": case.is_overdue(policy, now),
        "state": state_of(case),
        "restricts": case.restricts,
        "purposes": list(request.purposes),
        "email": request.email,
        "phone": request.phone,
        "item": request.item,
        "value": request.value,
        "message": request.message,
        "answers": [_answer(answer, zone) for answer in case.answers],
    }


def _answer(answer: Answer, zone: ZoneInfo) -> dict[str, object]:
    return {"time": _at(answer.given, zone), "outcome": answer.outcome, "reason": answer.reason, **answer.facts}


def my_data_table(holdings: Holdings, policy: Policy, now: datetime) -> str:
    """Return everything that is held as comma-separated values, safe for a spreadsheet: a row for each item."""
    rows = list(_rows(holdings, policy, now))
    columns = dict.fromkeys(name for row in rows for name in row if name not in _HEAD)
    table = Spreadsheet(columns)
    return table.head() + "".join(map(table.line, rows))


def _rows(holdings: Holdings, policy: Policy, now: datetime) -> Iterator[Row]:
    zone = policy.time_zone
    for held in holdings.held:
        for row in held.rows:
            yield {**_row(row, zone), "purpose": held.purpose, "where": held.where}
    for purpose, items in by_purpose(holdings.application or {}).items():
        for name, value in items.items():
            yield {"kind": "application", "purpose": purpose, "item": name, "value": value}
    for disclosure in holdings.disclosures:
        yield {"kind": "disclosure", **_flat(_disclosure(disclosure, zone))}
    for receipt in holdings.receipts:
        yield {"kind": "receipt", **_flat(_receipt(receipt, zone))}
    if holdings.person.is_cut:
        yield {"kind": "cut", "item": "receipts", "value": len(holdings.person.names)}
    for case in holdings.cases:
        document = case_document(case, policy, now)
        answers = [f"{_at(answer.given, zone)} {answer.outcome} {answer.reason}".strip() for answer in case.answers]
        named = {"time": document.pop("received"), "request": document.pop("kind"), "id": document.pop("number")}
        yield {"kind": "request", **named, **_flat({**document, "answers": answers})}


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """Return values that each fit in one cell: lists and answers become a text."""
    return {name: _cell(value) for name, value in values.items()}


def _cell(value: object) -> object:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text}" for name, text in value.items())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return str(value).lower() if isinstance(value, bool) else value


def _row(row: Mapping[str, object], zone: ZoneInfo) -> dict[str, object]:
    return {name: _at(value, zone) if isinstance(value, datetime) else value for name, value in row.items()}


def _at(instant: datetime, zone: ZoneInfo) -> str:
    whole = instant.microsecond == 0
    return instant.astimezone(zone).isoformat(timespec="seconds" if whole else "milliseconds")


def _text(text: Text, language: str) -> str:
    return text.read(language)[0]
