"""A policy in the terms of the Data Privacy Vocabulary (DPV 2.0), as JSON-LD. Pure: a policy in, a dict out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from consent_mw.policy.durations import Duration
from consent_mw.policy.model import (
    Basis,
    Cookie,
    Holding,
    InBrowser,
    Kept,
    Person,
    Policy,
    Processor,
    Purpose,
    Recipient,
    Safeguard,
    Text,
    Transfer,
)
from consent_mw.policy.recipients import Receiver, receivers

_Node: TypeAlias = dict[str, object]

#: Written out, so that nobody who reads the document has to fetch anything.
_CONTEXT: Final = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "loc": "https://w3id.org/dpv/loc#",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
#: "necessary" and "opt_out" are not legal bases: DPV has a necessity and an opt-out for them.
_BASES: Final[Mapping[Basis, str]] = {
    "contract": "dpv:Contract",
    "legal_obligation": "dpv:LegalObligation",
    "public_task": "dpv:PublicInterest",
    "vital_interests": "dpv:VitalInterest",
    "legitimate_interest": "dpv:LegitimateInterest",
    "consent": "dpv:Consent",
}
#: Article 6(1) of the GDPR. The United Kingdom has one of its own, which DPV does not name.
_GDPR_BASES: Final[Mapping[Basis, str]] = {
    "consent": "eu-gdpr:A6-1-a",
    "contract": "eu-gdpr:A6-1-b",
    "legal_obligation": "eu-gdpr:A6-1-c",
    "vital_interests": "eu-gdpr:A6-1-d",
    "public_task": "eu-gdpr:A6-1-e",
    "legitimate_interest": "eu-gdpr:A6-1-f",
}
_GDPR_TRANSFERS: Final[Mapping[Safeguard, str]] = {
    "adequacy": "eu-gdpr:A45-3",
    "bcr": "eu-gdpr:A46-2-b",
    "consent": "eu-gdpr:A49-1-a",
}
_DURATIONS: Final = {"minute": "PT{}M", "hour": "PT{}H", "day": "P{}D", "week": "P{}W", "month": "P{}M", "year": "P{}Y"}


def policy_graph(policy: Policy) -> dict[str, object]:
    """
    Return `policy` as one JSON-LD document: a `dpv:PrivacyNotice` with a `dpv:Process` for each purpose.

    It contains each text in every language. Names of nodes ("#purpose-orders") are relative to the document's own
    address. Dublin Core has the terms that DPV lacks.
    """
    return {"@context": _CONTEXT, "@graph": list(_nodes(policy))}


def _nodes(policy: Policy) -> Iterator[_Node]:
    parties = _parties(policy)
    yield _filled(
        {
            "@id": "#policy",
            "@type": "dpv:PrivacyNotice",
            "dct:identifier": f"sha256:{policy.digest}",
            "dct:hasVersion": str(policy.revision),
            "dct:issued": _day(policy.published.isoformat()),
            "dct:valid": _day(policy.effective.isoformat()),
            "dct:language": list(policy.languages),
            "dct:description": _words(policy.preamble),
            "dpv:hasScope": policy.scope and {"@type": "dpv:Scope", "dct:description": _words(policy.scope.applies_to)},
            "dpv:hasJurisdiction": _location(policy.jurisdiction),
            "dpv:hasDataController": {"@id": "#controller"},
            "dpv:hasJointDataControllers": _joint(policy),
            "dpv:hasAuthority": [
                _party("dpv:Authority", agency.name, contact=(agency.phone, agency.url)) for agency in policy.agencies
            ],
            "dpv:hasProcess": [{"@id": f"#purpose-{name}"} for name in policy.purposes],
            "dct:hasPart": [
                {
                    "@id": f"#section-{number}",
                    "dct:title": _words(section.title),
                    "dct:description": _words(section.text),
                }
                for number, section in enumerate(policy.sections, 1)
            ],
        }
    )
    yield _controller(policy)
    for purpose in policy.purposes.values():
        yield _process(policy, purpose, parties)
    yield from (node for node, _ in parties)
    for number, (transfer, importer) in enumerate(_transfers(policy), 1):
        yield _transfer(policy, number, transfer, importer)


# -- who ------------------------------------------------------------------------------------------------------------


def _controller(policy: Policy) -> _Node:
    who, officer = policy.controller, policy.controller.officer
    named = {"dpo": "dpv:hasDataProtectionOfficer", "representative": "dpv:hasRepresentative"}
    contacts: dict[str, list[_Node]] = {}
    for contact in policy.contacts:
        contacts.setdefault(named.get(contact.role, "dpv:hasResponsibleEntity"), []).append(_person(contact))
    answers = _party("dpv:Entity", officer.name, contact=(officer.email, officer.phone, officer.fax))
    answers |= _filled({"dct:title": _words(officer.title), "dct:description": _words(officer.department)})
    contacts.setdefault("dpv:hasResponsibleEntity", []).insert(0, answers)
    node = _party("dpv:DataController", who.name, who.address, (officer.email,))
    identifier = {"dpv:hasIdentifier": who.registration} if who.registration else {}
    return {"@id": "#controller", **node, **identifier, **contacts}


def _person(person: Person) -> _Node:
    kind = {"dpo": "dpv:DataProtectionOfficer", "representative": "dpv:Representative"}.get(person.role, "dpv:Entity")
    node = _party(kind, person.name, person.address, (person.email, person.phone, person.fax))
    return node | _filled({"dct:description": _words(person.department), "dct:type": person.role})


def _joint(policy: Policy) -> _Node | None:
    if not policy.joint_controllers:
        return None
    others = [
        _party("dpv:DataController", joint.name, joint.address, (joint.email,))
        | _filled({"dct:description": _words(joint.responsible)})
        for joint in policy.joint_controllers
    ]
    return {"@type": "dpv:JointDataControllers", "dpv:hasDataController": [{"@id": "#controller"}, *others]}


def _party(kind: str, name: Text, address: Text | None = None, contact: Iterable[str] = ()) -> _Node:
    return _filled(
        {
            "@type": kind,
            "dpv:hasName": _words(name),
            "dpv:hasAddress": _words(address),
            "dpv:hasContact": [value for value in contact if value],
        }
    )


def _parties(policy: Policy) -> list[tuple[_Node, Recipient | Processor]]:
    """Return a node for each that receives something, with what declares it."""
    parties: list[tuple[_Node, Recipient | Processor]] = []
    for number, recipient in enumerate(policy.recipients, 1):
        node = _party("dpv:ThirdParty", recipient.name, contact=(recipient.contact,))
        node |= _filled({"dpv:hasCountry": recipient.country and _location(recipient.country)})
        node |= _filled(
            {"dpv:hasPersonalData": _items(recipient.items), "dpv:hasStorageCondition": _kept_for(recipient)}
        )
        parties.append(({"@id": f"#recipient-{number}", **node}, recipient))
    for number, processor in enumerate(policy.processors, 1):
        node = _party("dpv:DataProcessor", processor.name, contact=(processor.contact,))
        below = [_party("dpv:DataSubProcessor", name) for name in processor.sub]
        node |= _filled({"dct:description": _words(processor.task), "dpv:hasDataProcessor": below})
        node |= _filled({"dpv:hasStorageCondition": _kept_for(processor)})
        parties.append(({"@id": f"#processor-{number}", **node}, processor))
    return parties


# -- what for -------------------------------------------------------------------------------------------------------


def _process(policy: Policy, purpose: Purpose, parties: list[tuple[_Node, Recipient | Processor]]) -> _Node:
    sealed = policy.seal and purpose.held_by == "server"
    receiving = receivers(policy, purpose.name)
    undeclared = [
        receiver for receiver in receiving if receiver.cookies and not receiver.declared and not receiver.processor
    ]
    involved = [({"@id": node["@id"]}, party) for node, party in parties if _is_for(party, purpose)]
    third = [node for node, party in involved if isinstance(party, Recipient)]
    working = [node for node, party in involved if isinstance(party, Processor)]
    return _filled(
        {
            "@id": f"#purpose-{purpose.name}",
            "@type": "dpv:Process",
            "dct:identifier": purpose.name,
            "dpv:hasPurpose": {
                "@type": "dpv:Purpose",
                "dct:title": _words(purpose.title),
                "dct:description": _words(purpose.description),
            },
            "dpv:hasLegalBasis": _legal_basis(policy, purpose),
            "dpv:hasNecessity": {"@id": "dpv:Required"} if purpose.basis == "necessary" else None,
            "dpv:hasEntityInvolvement": {"@type": "dpv:OptingOutFromProcess"} if purpose.basis == "opt_out" else None,
            "dpv:hasApplicableLaw": purpose.law and {"@type": "dpv:Law", "dct:title": _words(purpose.law)},
            "dpv:hasDataController": {"@id": "#controller"},
            "dpv:hasDataSubject": _subjects(purpose),
            "dpv:hasPersonalData": list(_data(policy, purpose)),
            "dpv:hasDataSource": purpose.source
            and {"@type": "dpv:DataSource", "dct:description": _words(purpose.source)},
            "dpv:hasStorageCondition": [*_kept_for(purpose), *_longer(purpose)],
            "dpv:hasTechnicalMeasure": {"@type": "dpv:EncryptionAtRest"} if sealed else None,
            "dpv:isImplementedUsingTechnology": [
                *(_cookie(cookie) for cookie in policy.cookies if cookie.purpose == purpose.name),
                *(_in_browser(entry) for entry in policy.browser if entry.purpose == purpose.name),
            ],
            "dpv:hasDataProcessor": working,
            "dpv:hasRecipientThirdParty": [*third, *map(_provider, undeclared)],
        }
    )


def _subjects(purpose: Purpose) -> _Node | None:
    if purpose.held_by == "server":
        return {"@type": "dpv:Visitor"}
    return {"@type": "dpv:DataSubject", "dct:title": _words(purpose.subjects)} if purpose.subjects else None


def _is_for(party: Recipient | Processor, purpose: Purpose) -> bool:
    return purpose.name in (party.purposes if isinstance(party, Processor) else (party.purpose,))


def _provider(receiver: Receiver) -> _Node:
    return _party("dpv:ThirdParty", receiver.name)


def _legal_basis(policy: Policy, purpose: Purpose) -> _Node | None:
    if purpose.basis not in _BASES:
        return None
    kinds = [_BASES[purpose.basis]]
    if policy.jurisdiction == "EU":
        kinds.append(_GDPR_BASES[purpose.basis])
    return _filled({"@type": kinds, "dct:description": _words(purpose.grounds)})


def _data(policy: Policy, purpose: Purpose) -> Iterator[_Node]:
    if purpose.items:
        yield from _items(purpose.items.required, "dpv:Required")
        yield from _items(purpose.items.optional, "dpv:Optional")
    for field, precision in policy.log.get(purpose.name, {}).items():
        if precision != "off":
            yield {"@type": "dpv:PersonalData", "dct:identifier": field, "dct:description": precision}
    for event in policy.events.values():
        if event.purpose == purpose.name:
            fields = ", ".join((event.name, *event.fields))
            node = {"@type": "dpv:PersonalData", "dct:identifier": "event.name", "dct:description": fields}
            yield _filled({**node, "dct:title": _words(event.title)})


def _items(items: Text | None, necessity: str = "") -> list[_Node]:
    node = {"@type": "dpv:PersonalData", "dct:title": _words(items)}
    needed = {"dpv:hasNecessity": {"@id": necessity}} if necessity else {}
    return [{**node, **needed}] if items else []


def _cookie(cookie: Cookie) -> _Node:
    lasts = {"@type": "dpv:UntilEventDuration", "dct:description": "session"}
    return {
        "@type": "dpv:Technology",
        "dct:type": "cookie",
        "dct:identifier": cookie.name,
        "dct:description": _words(cookie.description),
        "dpv:hasDuration": _length(cookie.expires) if cookie.expires else lasts,
    }


def _in_browser(entry: InBrowser) -> _Node:
    return _filled(
        {
            "@type": "dpv:Technology",
            "dct:type": entry.kind,
            "dct:identifier": entry.name,
            "dct:description": _words(entry.description),
            "dpv:hasDuration": _length(entry.expires) if entry.expires else None,
        }
    )


# -- for how long, and where ----------------------------------------------------------------------------------------


def _kept_for(party: Purpose | Recipient | Processor) -> list[_Node]:
    if party.retention:
        return [_storage(party.retention)]
    until = {"@type": "dpv:UntilEventDuration", "dct:description": _words(party.until)}
    return [{"@type": "dpv:StorageDuration", "dpv:hasDuration": until}] if party.until else []


def _longer(purpose: Purpose) -> Iterator[_Node]:
    """What a law holds beyond the purpose, each with that law."""
    held: list[Kept | Holding] = [*purpose.kept, *([purpose.archive] if purpose.archive else [])]
    for holding in held:
        law = {"dpv:hasApplicableLaw": {"@type": "dpv:Law", "dct:title": _words(holding.law)}}
        what = {"dct:description": _words(holding.what)} if isinstance(holding, Kept) else {}
        yield _storage(holding.retention) | what | law


def _storage(retention: Duration) -> _Node:
    return {"@type": "dpv:StorageDuration", "dpv:hasDuration": _length(retention)}


def _length(duration: Duration) -> _Node:
    """Return a duration of ISO 8601, as XML Schema has it: without weeks (XSD 1.1, part 2, section 3.3.6)."""
    count, unit = (duration.count * 7, "day") if duration.unit == "week" else (duration.count, duration.unit)
    value = {"@value": _DURATIONS[unit].format(count), "@type": "xsd:duration"}
    return {"@type": "dpv:TemporalDuration", "rdf:value": value}


def _transfers(policy: Policy) -> Iterator[tuple[Transfer, str]]:
    for number, recipient in enumerate(policy.recipients, 1):
        if recipient.transfer:
            yield recipient.transfer, f"#recipient-{number}"
    for number, processor in enumerate(policy.processors, 1):
        if processor.transfer:
            yield processor.transfer, f"#processor-{number}"


def _transfer(policy: Policy, number: int, transfer: Transfer, importer: str) -> _Node:
    return _filled(
        {
            "@id": f"#transfer-{number}",
            "@type": "dpv:Process",
            "dpv:hasProcessing": {"@type": "dpv:CrossBorderTransfer"},
            "dpv:hasDataExporter": {"@id": "#controller"},
            "dpv:hasDataImporter": {"@id": importer},
            "dpv:hasThirdCountry": [_location(code) for code in transfer.countries],
            "dpv:hasPersonalData": _items(transfer.items),
            "dct:description": _words(transfer.how),
            "dpv:hasEntityInvolvement": transfer.refuse
            and {"@type": "dpv:OptingOutFromProcess", "dct:description": _words(transfer.refuse)},
            **_guard(policy, transfer),
        }
    )


def _guard(policy: Policy, transfer: Transfer) -> _Node:
    """What allows a transfer, or guards it; by its name in the policy where DPV has no term."""
    basis = transfer.basis
    if basis == "scc":
        kind = "eu-gdpr:StandardContractualClauses" if policy.jurisdiction == "EU" else "dpv:SafeguardForDataTransfer"
        return {"dpv:hasOrganisationalMeasure": {"@type": kind, "dct:identifier": basis}}
    kinds = ["dpv:DataTransferLegalBasis"]
    kinds += [_GDPR_TRANSFERS[basis]] if policy.jurisdiction == "EU" and basis in _GDPR_TRANSFERS else []
    return {"dpv:hasLegalBasis": {"@type": kinds, "dct:identifier": basis}}


def _location(code: str) -> _Node:
    return {"@id": f"loc:{'GB' if code == 'UK' else code}"}


# -- values ---------------------------------------------------------------------------------------------------------


def _words(text: Text | None) -> list[dict[str, str]]:
    if text is None:
        return []
    return [
        {"@value": words, "@language": language} if language else {"@value": words}
        for language, words in text.by_language.items()
    ]


def _day(iso: str) -> dict[str, str]:
    return {"@value": iso, "@type": "xsd:date"}


def _filled(node: Mapping[str, object]) -> _Node:
    """Leave out empty values: an empty list in JSON-LD states nothing."""
    return {key: value for key, value in node.items() if value not in (None, "", [])}
