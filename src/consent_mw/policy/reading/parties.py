"""The parties of a declaration: the controller, recipients, processors, and whom a visitor reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from consent_mw.policy.model import (
    Agency,
    Contact,
    Controller,
    JointController,
    Officer,
    Person,
    Processor,
    Recipient,
)
from consent_mw.policy.reading.tables import EXAMPLES, Reading
from consent_mw.policy.recipients import same


def read_parties(reading: Reading, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, Any]:
    """Return the parties by their names in `Policy`, with a fault for each that cannot be as it is declared."""
    controller = reading.optional(Controller, raw, "controller")
    recipients = _recipients(reading, raw.get("recipients", []), purposes)
    processors = _processors(reading, raw.get("processors", []), purposes)
    joint = reading.values(JointController, raw.get("joint_controllers", []), "joint_controllers")
    contact = reading.optional(Contact, raw, "contact") or Contact()
    contacts = _contacts(reading, raw.get("contacts", []))
    if controller:
        _reachable(reading, contact, controller, contacts)
        named = (("recipients", recipients), ("processors", processors), ("joint_controllers", joint))
        _another(reading, controller, named)
    return {
        "controller": controller,
        "recipients": recipients,
        "processors": processors,
        "joint_controllers": joint,
        "contact": contact,
        "contacts": contacts,
        "agencies": reading.values(Agency, raw.get("agencies", []), "agencies"),
    }


def _recipients(reading: Reading, raw: object, purposes: Mapping[str, object]) -> tuple[Recipient, ...]:
    read = reading.values(Recipient, raw, "recipients")
    for number, recipient in enumerate(read, 1):
        place = f"recipients[{number}]"
        reading.known_purpose(recipient.purpose, purposes, f"{place}.purpose")
        _one_end(reading, recipient, place)
        if recipient.country and recipient.transfer and recipient.country not in recipient.transfer.countries:
            said = ", ".join(recipient.transfer.countries)
            reading.fault(
                f"{place}.country", f'"{recipient.country}" is not where its transfer goes, {said}', "keep one"
            )
    return read


def _processors(reading: Reading, raw: object, purposes: Mapping[str, object]) -> tuple[Processor, ...]:
    read = reading.values(Processor, raw, "processors")
    for number, processor in enumerate(read, 1):
        place = f"processors[{number}]"
        for name in processor.purposes:
            reading.known_purpose(name, purposes, f"{place}.purposes")
        if not processor.purposes:
            reading.fault(f"{place}.purposes", "names none", f"add {EXAMPLES['purposes']}")
        _one_end(reading, processor, place)
    return read


def _one_end(reading: Reading, receiver: Recipient | Processor, place: str) -> None:
    if receiver.retention and receiver.until:
        reading.fault(f"{place}.until", "says another end than retention", "keep one of them")
    if receiver.transfer and not receiver.transfer.countries:
        reading.fault(f"{place}.transfer.countries", "names none", f"write {EXAMPLES['countries']}")


def _contacts(reading: Reading, raw: object) -> tuple[Person, ...]:
    read = reading.values(Person, raw, "contacts")
    for number, person in enumerate(read, 1):
        if not (person.email or person.phone or person.fax or person.address):
            reading.fault(f"contacts[{number}]", "cannot be reached", "add email, phone, fax or address")
    return read


def _reachable(reading: Reading, contact: Contact, controller: Controller, contacts: Iterable[Person]) -> None:
    """Note the ways to reach the site that lead nowhere."""
    people: list[Officer | Person] = [controller.officer, *contacts]
    address = bool(controller.address) or any(person.address for person in contacts)
    leads = {
        "phone": (any(person.phone for person in people), "number", "controller.officer.phone"),
        "fax": (any(person.fax for person in people), "number", "controller.officer.fax"),
        "post": (address, "address", "controller.address"),
        "person": (address, "address", "controller.address"),
    }
    for way in contact.ways:
        there, what, key = leads.get(way, (True, "", ""))
        if not there:
            reading.fault("contact.ways", f'"{way}" has no {what}', f"add {key}, or leave it out")


def _another(
    reading: Reading,
    controller: Controller,
    parties: Iterable[tuple[str, Iterable[Recipient | Processor | JointController]]],
) -> None:
    """Note who is declared beside the controller and is the controller itself."""
    for key, named in parties:
        for number, contact in enumerate(named, 1):
            if same(contact.name, controller.name):
                reading.fault(
                    f"{key}[{number}].name", "is the controller itself", "name somebody else, or leave it out"
                )
