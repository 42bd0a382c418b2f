"""
A policy as the record of processing activities that article 30(1) of the GDPR requires of a controller.

One declaration is the source of both, so the record cannot contradict the page. The record is for the controller's own
files and for an authority that asks. It is not a page of the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from consent_mw.exports.spreadsheet import BYTE_ORDER_MARK, csv_line
from consent_mw.policy.checklist import checklist
from consent_mw.policy.model import (
    ABUSE,
    NECESSARY,
    RECEIPTS,
    REQUESTS,
    Basis,
    Event,
    Items,
    Officer,
    Person,
    Policy,
    Processor,
    Purpose,
    Recipient,
    Section,
    Text,
    Transfer,
)
from consent_mw.policy.recipients import receivers
from consent_mw.site.outline import Outline
from consent_mw.site.page_text import text_of
from consent_mw.site.sentences import marked
from consent_mw.site.templating import our_templates

_Record: TypeAlias = dict[str, str | int | list[str]]

_BASES: Final[Mapping[Basis, str]] = {
    "necessary": "needed to run the site",
    "contract": "contract",
    "legal_obligation": "legal obligation",
    "public_task": "public task",
    "vital_interests": "vital interests",
    "legitimate_interest": "legitimate interests",
    "opt_out": "not refused by the visitor",
    "consent": "consent",
}
#: What the server keeps for the purposes whose names it knows, and of each recorded request.
_BUILT_IN: Final[Mapping[str, str]] = {
    NECESSARY: "choices about cookies",
    ABUSE: "what was noticed, and when",
    RECEIPTS: "choices, and what was asked",
    REQUESTS: "what people ask, how to reach them, the answers",
}
_RECORDED: Final = "time and result of each request"
#: The columns of the sheet, and the letter of article 30(1) that requires them.
_COLUMNS: Final[Mapping[str, str]] = {
    "controller": "Controller (a)",
    "joint_controllers": "Joint controllers (a)",
    "representatives": "Representative (a)",
    "data_protection_officers": "Data protection officer (a)",
    "activity": "Activity",
    "purpose": "Purpose (b)",
    "held_by": "Held by",
    "legal_basis": "Legal basis",
    "subjects": "Data subjects (c)",
    "data": "Personal data (c)",
    "source": "Source",
    "recipients": "Recipients (d)",
    "processors": "Processors (d)",
    "transfers": "Transfers abroad, and safeguards (e)",
    "retention": "Time limits (f)",
    "security": "Security measures (g)",
    "revision": "Revision of the policy",
    "effective": "In effect from",
}


def processing_record(policy: Policy, language: str) -> dict[str, object]:
    """
    Return the record in `language`: who is responsible, and one of "activities" for each purpose.

    A single value is a string; values of which there may be several are a list of strings. "name" and "basis" of an
    activity are as in the policy. "gaps" point to what article 30 requires and the policy does not declare.
    """
    return _Writing(policy, language).record()


def record_sheet(policy: Policy, language: str) -> str:
    """Return the record as CSV that is safe for a spreadsheet: a row for each activity, complete by itself."""
    writing = _Writing(policy, language)
    common = writing.head()
    rows: list[list[str | int]] = [
        [_cell({**common, **activity}[name]) for name in _COLUMNS] for activity in writing.activities()
    ]
    heading = csv_line(writing.said(words) for words in _COLUMNS.values())
    return BYTE_ORDER_MARK + heading + "".join(map(csv_line, rows))


def record_gaps(policy: Policy) -> list[tuple[str, str]]:
    """Return what article 30(1) requires and the policy does not declare: the place, and what is missing."""
    gaps = [] if policy.controller.address else [("controller.address", "the controller's contact details (a)")]
    for purpose in policy.by_application:
        if not purpose.subjects:
            gaps.append((f"purposes.{purpose.name}.subjects", "the categories of data subjects (c)"))
        if not purpose.items:
            gaps.append((f"purposes.{purpose.name}.items", "the categories of personal data (c)"))
    if not _measures(policy):
        gaps.append(("sections", "the security measures, where possible (g)"))
    return gaps


class _Writing:
    """Builds one record in one language."""

    def __init__(self, policy: Policy, language: str) -> None:
        templates = our_templates()
        self.policy = policy
        self.translation = templates.translation(language)
        self._words = templates.words("_words.html", language, policy=policy)

    def record(self) -> dict[str, object]:
        return {
            "language": self.translation.asked,
            "digest": self.policy.digest,
            **self.head(),
            "activities": list(self.activities()),
            "gaps": [place for place, _ in record_gaps(self.policy)],
        }

    def head(self) -> _Record:
        who, officer, others = self.policy.controller, self.policy.controller.officer, self.policy.joint_controllers
        answers = self.listed(officer.name, officer.title, officer.department, *_reach(officer))
        return {
            "controller": self.listed(who.name, who.address, who.registration, answers),
            "joint_controllers": [self.listed(it.name, it.address, it.email, it.responsible) for it in others],
            "representatives": self.people("representative"),
            "data_protection_officers": self.people("dpo"),
            "revision": self.policy.revision,
            "effective": self.policy.effective.isoformat(),
        }

    def activities(self) -> Iterator[_Record]:
        for purpose in self.policy.purposes.values():
            here = purpose.held_by == "server"
            receiving = receivers(self.policy, purpose.name)
            third = [recipient for recipient in self.policy.recipients if recipient.purpose == purpose.name]
            working = [processor for processor in self.policy.processors if purpose.name in processor.purposes]
            providers = [receiver.name for receiver in receiving if not receiver.declared and not receiver.processor]
            parties: list[Recipient | Processor] = [*third, *working]
            yield {
                "name": purpose.name,
                "basis": purpose.basis,
                "activity": self.read(purpose.title),
                "purpose": self.read(purpose.description),
                "held_by": self.said("this server" if here else "the application"),
                "legal_basis": self.listed(self.said(_BASES[purpose.basis]), purpose.grounds, purpose.law),
                "subjects": self.said("visitors of the site") if here else self.read(purpose.subjects),
                "data": self.data(purpose),
                "source": self.read(purpose.source),
                "recipients": [*map(self.recipient, third), *map(self.read, providers)],
                "processors": [self.processor(processor) for processor in working],
                "transfers": [self.transfer(party, party.transfer) for party in parties if party.transfer],
                "retention": self.retention(purpose),
                "security": self.security(purpose),
            }

    def data(self, purpose: Purpose) -> list[str]:
        """Return what the log keeps, what the application records and sets, and what the site asks people for."""
        kept = [field for field in Outline(self.policy).kept() if field.purpose is purpose]
        events = [self.event(event) for event in self.policy.events.values() if event.purpose == purpose.name]
        cookies = [cookie.name for cookie in self.policy.cookies if cookie.purpose == purpose.name]
        browser = [entry.name for entry in self.policy.browser if entry.purpose == purpose.name]
        items = purpose.items or Items()
        built_in = [_BUILT_IN[purpose.name]] if purpose.name in _BUILT_IN else []
        recorded = [_RECORDED] if purpose.name in self.policy.log and purpose.name != ABUSE else []
        return [
            *map(self.said, (*built_in, *recorded)),
            *(f"{self.words('item', field.field)} ({self.words('precision', field.precision)})" for field in kept),
            *(f"{self.said(words)} {', '.join(names)}" for words, names in _named(events, cookies, browser) if names),
            *([self.read(items.required)] if items.required else []),
            *([f"{self.read(items.optional)} ({self.said('optional')})"] if items.optional else []),
        ]

    def event(self, event: Event) -> str:
        title = self.read(event.title) or event.name
        return f"{title} ({', '.join(event.fields)})" if event.fields else title

    def retention(self, purpose: Purpose) -> list[str]:
        last = self.translation.duration
        kept = [self.listed(kept_item.what, last(kept_item.retention), kept_item.law) for kept_item in purpose.kept]
        held = [self.listed(last(purpose.archive.retention), purpose.archive.law)] if purpose.archive else []
        blind = [self.words("blinded", purpose)] if purpose.deidentified else []
        return [self.words("lasts", purpose), *blind, *kept, *held]

    def security(self, purpose: Purpose) -> list[str]:
        sealed = self.policy.seal and purpose.held_by == "server"
        ours = "personal fields are stored encrypted, under keys of one day that are destroyed first"
        measures = [
            f"{self.read(section.title)}: {' '.join(self.read(section.text).split())}"
            for section in _measures(self.policy)
        ]
        return [*([self.said(ours)] if sealed else []), *measures]

    def recipient(self, recipient: Recipient) -> str:
        country = self.translation.country(recipient.country) if recipient.country else ""
        return self.listed(recipient.name, recipient.items, self.words("lasts", recipient), country)

    def processor(self, processor: Processor) -> str:
        return self.listed(processor.name, processor.task, self.words("lasts", processor), *processor.sub)

    def transfer(self, party: Recipient | Processor, transfer: Transfer) -> str:
        countries = map(self.translation.country, transfer.countries)
        return self.listed(party.name, *countries, self.words("safeguard", transfer.basis), transfer.items)

    def people(self, role: str) -> list[str]:
        return [self.person(contact) for contact in self.policy.contacts if contact.role == role]

    def person(self, person: Person) -> str:
        return self.listed(person.name, person.department, person.address, *_reach(person))

    # -- words ------------------------------------------------------------------------------------------------------

    def words(self, macro: str, value: object) -> str:
        """Return the output of a macro of the pages as plain words."""
        return text_of(self._words(macro, value))

    def said(self, words: str) -> str:
        spoken = self.translation
        return text_of(marked(spoken.messages.gettext(words), spoken.language, spoken.direction))

    def read(self, text: Text | None) -> str:
        return text.read(self.translation.asked)[0] if text else ""

    def listed(self, *parts: Text | str | None) -> str:
        read = (part if isinstance(part, str) else self.read(part) for part in parts)
        return ", ".join(filter(None, read))


def _measures(policy: Policy) -> list[Section]:
    """Return the site's own sections about security. `check` recognises them by their title."""
    law = checklist(policy.jurisdiction)
    asked = [pointer for duty in law.entry if duty.id == "security" for pointer in duty.said_by] if law else []
    about = re.compile("|".join(pointer.partition("~")[2] for pointer in asked) or "(?!)", re.IGNORECASE)
    return [section for section in policy.sections if any(map(about.search, section.title.by_language.values()))]


def _named(events: list[str], cookies: list[str], browser: list[str]) -> tuple[tuple[str, list[str]], ...]:
    return (("uses of the service:", events), ("cookies:", cookies), ("in the browser:", browser))


def _reach(person: Officer | Person) -> tuple[str, str, str]:
    return person.email, person.phone, person.fax


def _cell(value: str | int | list[str]) -> str | int:
    return "; ".join(value) if isinstance(value, list) else value
