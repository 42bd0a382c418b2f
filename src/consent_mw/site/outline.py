"""The declaration in the order that pages need: by purpose, its cookies, its recipients, what its log keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from consent_mw.policy.durations import Duration
from consent_mw.policy.model import (
    ABUSE,
    RECEIPTS,
    REQUESTS,
    Cookie,
    Event,
    InBrowser,
    Place,
    Policy,
    Precision,
    Processor,
    Purpose,
    Recipient,
    Section,
    Text,
)
from consent_mw.policy.recipients import Receiver, receivers
from consent_mw.retention.calendar import links_kept
from consent_mw.rights.deadlines import answer_within
from consent_mw.rights.legal_rights import LegalRight, article_of, legal_rights

_ORDER: Final[tuple[Place, ...]] = (
    "collection", "purposes", "recipients", "processors", "transfers", "retention", "destruction", "other", "cookies",
    "rights", "officer", "agencies", "changes",
)  # fmt: skip
#: The order of GDPR, article 13: who and why come first.
_ARTICLE_13: Final[tuple[Place, ...]] = (
    "officer", "purposes", "collection", "recipients", "processors", "transfers", "retention", "destruction", "other",
    "cookies", "rights", "agencies", "changes",
)  # fmt: skip
#: KR: the order of the Personal Information Protection Act, article 30, and of policies that follow it.
_ORDERS: Final[Mapping[str, tuple[Place, ...]]] = {
    "KR": (
        "purposes", "collection", "retention", "destruction", "recipients", "processors", "transfers", "cookies",
        "other", "rights", "officer", "agencies", "changes",
    ),
    "EU": _ARTICLE_13,
    "UK": _ARTICLE_13,
}  # fmt: skip


class Kept(NamedTuple):
    """One personal field that the log keeps, with its purpose and its precision."""

    field: str
    precision: Precision
    purpose: Purpose


class Summary(NamedTuple):
    """
    One purpose in one line: what is collected for it, why, how long it is kept, and who receives it.

    Attributes:
        recorded: Whether each request leaves a record, besides its personal `fields`.
        cookies: The names of the cookies. `browser`: the names of what else the browser keeps or fetches.
        events: The uses of the service that are recorded.
        others: The third parties that receive something. `processors`: those who work for the site.
    """

    purpose: Purpose
    recorded: bool
    fields: tuple[str, ...]
    cookies: tuple[str, ...]
    browser: tuple[str, ...]
    events: tuple[Event, ...]
    others: tuple[Text, ...]
    processors: tuple[Text, ...]


class Outline:
    """One policy, as the templates need it. Computed on demand from the declaration, so the two cannot differ."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def summary(self) -> list[Summary]:
        """Return a line for each purpose, for the top of the page. The sections below give the details."""
        return [
            Summary(
                purpose,
                purpose.name in self.policy.log and purpose.name != ABUSE,
                tuple(kept.field for kept in self.kept() if kept.purpose is purpose),
                tuple(cookie.name for cookie in self.cookies(purpose)),
                tuple(entry.name for entry in self.browser(purpose)),
                tuple(event for event in self.events() if event.purpose == purpose.name),
                tuple(self.others(purpose)),
                tuple(self.processors(purpose)),
            )
            for purpose in self.policy.purposes.values()
        ]

    def order(self) -> tuple[Place, ...]:
        """Return the order of the sections, as readers under this jurisdiction expect it."""
        return _ORDERS.get(self.policy.jurisdiction, _ORDER)

    def rights(self) -> tuple[LegalRight, ...]:
        """Return the rights that the law of the jurisdiction gives a person."""
        consents = any(purpose.basis == "consent" for purpose in self.policy.purposes.values())
        rights = legal_rights(self.policy.jurisdiction)
        return tuple(right for right in rights if consents or right.name != "withdrawal")

    def article(self, purpose: Purpose) -> str:
        """Return the article of the jurisdiction's law for the basis of `purpose`; "" if the law has no such basis."""
        return article_of(purpose.basis, self.policy.jurisdiction)

    def cookies(self, purpose: Purpose) -> list[Cookie]:
        """Return the declared cookies of `purpose`."""
        return [cookie for cookie in self.policy.cookies if cookie.purpose == purpose.name]

    def browser(self, purpose: Purpose) -> list[InBrowser]:
        """Return what else the browser keeps or fetches for `purpose`."""
        return [entry for entry in self.policy.browser if entry.purpose == purpose.name]

    def asked_about(self) -> list[Cookie]:
        """Return every cookie that a visitor may be asked about."""
        return [cookie for purpose in self.policy.asked for cookie in self.cookies(purpose)]

    def receivers(self, purpose: Purpose) -> list[Text]:
        """Return the names of everyone who receives something for `purpose`, each once."""
        return [receiver.name for receiver in receivers(self.policy, purpose.name)]

    def others(self, purpose: Purpose) -> list[Text]:
        """Return the names of third parties that receive something for `purpose`, without processors."""
        return [
            receiver.name
            for receiver in receivers(self.policy, purpose.name)
            if receiver.declared or not receiver.processor
        ]

    def processors(self, purpose: Purpose) -> list[Text]:
        """Return the names of the processors for `purpose`: those who work for the site on what it collects."""
        return [
            receiver.name
            for receiver in receivers(self.policy, purpose.name)
            if receiver.processor and not receiver.declared
        ]

    def all_receivers(self) -> list[Receiver]:
        """Return everyone who receives something, by purpose."""
        return [receiver for purpose in self.policy.purposes for receiver in receivers(self.policy, purpose)]

    def third_parties(self) -> list[Receiver]:
        """Return everyone who receives something for ends of their own, by purpose, without processors."""
        return [receiver for receiver in self.all_receivers() if receiver.declared or not receiver.processor]

    def transfers(self) -> list[Recipient | Processor]:
        """Return the recipients and processors to which data leave the country."""
        parties: list[Recipient | Processor] = [*self.policy.recipients, *self.policy.processors]
        return [party for party in parties if party.transfer]

    def own(self, place: str) -> list[tuple[int, Section]]:
        """Return the site's own sections that come after `place`, each with its number in the declaration."""
        return [(n, section) for n, section in enumerate(self.policy.sections, 1) if section.after == place]

    def here(self) -> list[Purpose]:
        """Return the purposes whose data this server holds."""
        return [self.policy.purposes[name] for name in self.policy.kept]

    def kept(self) -> list[Kept]:
        """Return the personal fields that the log keeps, in the order of the declaration."""
        return [
            Kept(field, precision, self.policy.purposes[purpose])
            for purpose, fields in self.policy.log.items()
            for field, precision in fields.items()
            if precision != "off"
        ]

    def events(self) -> list[Event]:
        """Return the declared usage events."""
        return list(self.policy.events.values())

    def recorded(self) -> list[Purpose]:
        """Return the purposes for which the log keeps a record of each exchange, if the visitor allows them."""
        return [self.policy.purposes[name] for name in self.policy.log if name != ABUSE]

    def undecided(self) -> list[Purpose]:
        """Return the purposes that apply until the visitor refuses, or a signal that the purpose lists."""
        return [purpose for purpose in self.policy.asked if purpose.basis == "opt_out"]

    def answer_within(self) -> Duration:
        """Return how soon the site must answer a request about a person's data."""
        return answer_within(self.policy.jurisdiction)

    def legal(self) -> list[Purpose]:
        """Return the purposes that a law requires."""
        return [purpose for purpose in self.policy.purposes.values() if purpose.basis == "legal_obligation"]

    def archived(self) -> list[Purpose]:
        """Return the purposes whose records a law requires for longer than the purposes need them."""
        return [purpose for purpose in self.policy.purposes.values() if purpose.archive]

    def unmarked(self) -> list[Purpose]:
        """Return the purposes whose records hold nothing that leads to a visitor."""
        marked = (ABUSE, RECEIPTS, REQUESTS)
        return [
            purpose
            for purpose in self.policy.purposes.values()
            if purpose.held_by == "server" and not purpose.asked and purpose.name not in marked
        ]

    def links_kept(self) -> Duration:
        """Return how long the site remembers in which browsers somebody signed in."""
        return links_kept(self.policy)

    def refused_by(self, signals: Iterable[str]) -> list[Purpose]:
        """Return the purposes that one of `signals` refuses."""
        sent = frozenset(signals)
        return [purpose for purpose in self.policy.asked if sent.intersection(purpose.refused_by)]

    def signals(self) -> list[str]:
        """Return the signals that the policy honours: those that a purpose lists."""
        return sorted(self.policy.signals, reverse=True)
