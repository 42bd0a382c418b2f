"""A receipt as data, with the names of ISO/IEC TS 27560:2023 if it has one for a value. Pure: values in, a dict out."""

from __future__ import annotations

from typing import Final, NamedTuple

from consent_mw.consent.choice import LIFETIME, Choice
from consent_mw.consent.receipts import Receipt
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import Agency, Policy, Purpose, Text
from consent_mw.policy.recipients import Receiver
from consent_mw.site.language import page_and_texts
from consent_mw.site.outline import Outline

#: The format of these documents. It changes when a name in them changes.
SCHEMA: Final = "consent-mw.receipt/1 (ISO/IEC TS 27560:2023)"

_SEALED: Final = "personal fields encrypted, under a key of each day that is destroyed when the period ends"
_UNSEALED: Final = "stored without encryption, and deleted when the period ends"
_STATES: Final = {True: "consent given", False: "consent refused", None: "consent requested"}


class Addresses(NamedTuple):
    """The full address of the visitor's pages, without a slash at the end: `https://example.com/consent`."""

    prefix: str

    @property
    def policy(self) -> str:
        """The address of the policy page."""
        return f"{self.prefix}/policy"


def receipt_document(
    receipt: Receipt, policy: Policy | None, addresses: Addresses, *, words: str | None
) -> dict[str, object]:
    """
    Return the receipt, ready for JSON.

    The sections are those of the specification: header, processing (`purposes`), parties and events. Values for which
    it has no name are under `consent_mw`.

    Args:
        policy: The declaration that the visitor answered; None if it can no longer be read. The document then names no
            purpose.
        words: The words that the visitor was shown (`proof.words_of`).
    """
    page, language = page_and_texts(receipt.language)  # so that purposes and parties have the names that were shown
    at = receipt.given_at.isoformat(timespec="milliseconds")
    document: dict[str, object] = {
        "schema_version": SCHEMA,
        "record_id": str(receipt.id),
        "pii_principal_id": receipt.name,
        "privacy_notice": {
            "uri": f"{addresses.policy}/{receipt.revision}",
            "version": receipt.revision,
            "sha256": receipt.policy,
        },
        "language": page,
        "purposes": _purposes(receipt, policy, addresses, language) if policy else [],
        "party_identification": _parties(policy, language) if policy else [],
        "events": [
            {
                "event_time": at,
                "event_type": "explicit",
                "event_state": _STATES[True] if _gave(receipt) else _STATES[False],
                "validity_duration": f"P{LIFETIME.days}D",
                "entity_id": receipt.name,
            }
        ],
        "consent_mw": {
            "choice": receipt.choice,
            "answers": {"purposes": dict(receipt.purposes), "cookies": dict(receipt.cookies)},
            "signals": list(receipt.signals),
            "surface": receipt.surface,
            "shown": {"language": page, "declared_language": language, "sha256": receipt.text, "text": words},
            "changes": receipt.changes,
        },
    }
    if policy is not None:
        document["jurisdiction"] = policy.jurisdiction
    return document


def _gave(receipt: Receipt) -> bool:
    return receipt.choice is Choice.ACCEPT or any(receipt.purposes.values()) or any(receipt.cookies.values())


def _purposes(receipt: Receipt, policy: Policy, addresses: Addresses, language: str) -> list[dict[str, object]]:
    return [_purpose(receipt, policy, purpose, addresses, language) for purpose in policy.asked]


def _purpose(
    receipt: Receipt, policy: Policy, purpose: Purpose, addresses: Addresses, language: str
) -> dict[str, object]:
    outline = Outline(policy)
    answer = receipt.answer(purpose.name)
    return {
        "purpose": _read(purpose.title, language),
        "purpose_id": purpose.name,
        "purpose_description": _read(purpose.description, language),
        "lawful_basis": purpose.basis,
        "consent_type": "expressed" if answer is not None else None,
        "event_state": _STATES[answer],
        "pii_information": [
            {"pii_type": field, "precision": precision}
            for field, precision in policy.log.get(purpose.name, {}).items()
            if precision != "off"
        ],
        "cookies": [
            {"name": cookie.name, "event_state": _STATES[receipt.cookies.get(cookie.name, answer)]}
            for cookie in outline.cookies(purpose)
        ],
        "pii_controllers": [_CONTROLLER],
        "recipient_third_parties": [_read(name, language) for name in outline.receivers(purpose)],
        "retention_period": purpose.retention and iso_duration(purpose.retention),
        "archive": purpose.archive
        and {
            "retention_period": iso_duration(purpose.archive.retention),
            "law": _read(purpose.archive.law, language),
        },
        "collection_method": "by the site's server, from the requests of the browser",
        "processing_method": _SEALED if policy.seal else _UNSEALED,
        "withdrawal_method": addresses.prefix,
        "privacy_rights": f"{addresses.policy}#section-rights",
    }


_CONTROLLER: Final = "controller"


def _parties(policy: Policy, language: str) -> list[dict[str, object]]:
    officer = policy.controller.officer
    return [
        {
            "party_id": _CONTROLLER,
            "party_role": "PII controller",
            "party_name": _read(policy.controller.name, language),
            "party_contact": _read(officer.name, language),
            "party_email": officer.email,
            "party_phone": officer.phone,
        },
        *(row for receiver in Outline(policy).all_receivers() for row in _receiver(receiver, language)),
        *(_authority(agency, language) for agency in policy.agencies),
    ]


def _receiver(receiver: Receiver, language: str) -> list[dict[str, object]]:
    """Return a party for each declared thing that a receiver gets; a provider of cookies only is one without items."""
    return [
        {
            "party_role": "recipient",
            "party_name": _read(receiver.name, language),
            "party_country": declared.country if declared else "",
            "purpose_id": receiver.purpose,
            "pii_items": _read(declared.items, language) if declared else None,
            "cookies": [cookie.name for cookie in receiver.cookies],
            "retention_period": iso_duration(declared.retention) if declared and declared.retention else None,
        }
        for declared in receiver.declared or (None,)
    ]


def _authority(agency: Agency, language: str) -> dict[str, object]:
    return {
        "party_role": "authority",
        "party_name": _read(agency.name, language),
        "party_phone": agency.phone,
        "party_url": agency.url,
    }


def iso_duration(duration: Duration) -> str:
    """Return the duration in ISO 8601: "P13M", "P90D", "PT24H"."""
    letter = duration.unit[0].upper()
    return (
        f"PT{duration.count}{letter}" if duration.unit in ("hour", "minute", "second") else f"P{duration.count}{letter}"
    )


def _read(text: Text, language: str) -> str:
    return text.read(language)[0]
