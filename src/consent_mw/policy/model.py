"""The declaration as values: purposes, cookies, fields, events. Frozen; `loader` reads them from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy.durations import Duration
from consent_mw.policy.language_tags import lookup

#: The purpose under which `report_abuse` keeps its records; the records of ordinary exchanges never use it.
ABUSE: Final = "abuse"
#: The purpose that every policy declares: the consent cookie itself is for it.
NECESSARY: Final = "necessary"
#: The purpose of the receipts. A policy that does not declare it keeps them for `RECEIPTS_KEPT`.
RECEIPTS: Final = "receipts"
#: A choice holds for 180 days; its proof outlasts it by as much again.
RECEIPTS_KEPT: Final = Duration(1, "year")
#: The purpose of what says which sign-in used which receipts. No policy declares it: it is kept as long as what it
#: leads to.
LINKS: Final = "links"
#: The purpose of what visitors ask for about their data, and of the answers. Kept for `REQUESTS_KEPT` unless declared.
REQUESTS: Final = "requests"
#: As long as the receipts that a request is proven by.
REQUESTS_KEPT: Final = Duration(1, "year")

Basis: TypeAlias = Literal[
    "necessary",
    "contract",
    "legal_obligation",
    "public_task",
    "vital_interests",
    "legitimate_interest",
    "opt_out",
    "consent",
]
Place: TypeAlias = Literal[
    "top",
    "collection",
    "purposes",
    "recipients",
    "processors",
    "transfers",
    "retention",
    "destruction",
    "other",
    "cookies",
    "rights",
    "officer",
    "agencies",
    "changes",
]
Role: TypeAlias = Literal["dpo", "access", "complaints", "representative"]
Safeguard: TypeAlias = Literal[
    "consent", "law", "contract_processing", "certified", "recognised", "adequacy", "scc", "bcr"
]
Way: TypeAlias = Literal["form", "email", "phone", "fax", "post", "person"]
Precision: TypeAlias = Literal["full", "masked", "token", "family", "origin", "off"]

#: The closed list of personal fields that a log may keep, each with the precisions it can be kept at.
FIELDS: Mapping[str, tuple[Precision, ...]] = {
    "client.address": ("full", "masked", "token", "off"),
    "url.path": ("full", "off"),
    "url.query": ("full", "off"),
    "user_agent.original": ("full", "family", "off"),
    "http.request.header.referer": ("full", "origin", "off"),
}


def did_you_mean(word: str, known: Mapping[str, object] | list[str]) -> str:
    """Return the fix for an unknown `word`: the nearest known one, or all of them."""
    near = get_close_matches(word, list(known), n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"known are: {', '.join(known)}" if known else "none is declared"


class Text:
    """What a visitor reads, by language. A single string serves every language."""

    __slots__ = ("by_language",)

    def __init__(self, by_language: Mapping[str, str]) -> None:
        self.by_language: dict[str, str] = dict(by_language)

    def read(self, language: str) -> tuple[str, str]:
        """
        Return the text and the language it is in; the first declared one where nothing serves a reader of `language`.

        The second is "" for a text that serves every language, and `language` for one that serves its readers.
        """
        if language in self.by_language:
            return self.by_language[language], language
        tag = lookup(language, self.by_language)
        if tag:
            return self.by_language[tag], language
        first = next(iter(self.by_language))
        return self.by_language[first], first

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.by_language == other.by_language

    def __hash__(self) -> int:
        return hash(tuple(self.by_language.items()))

    def __repr__(self) -> str:
        return f"Text({self.by_language!r})"


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts of a policy share."""


class Officer(_Value, frozen=True, kw_only=True):
    """The organisation that answers for the data."""

    name: Text
    email: str
    phone: str = ""
    title: Text | None = None
    department: Text | None = None
    fax: str = ""


class Controller(_Value, frozen=True, kw_only=True):
    """Whose site it is. `registration`: under which number an authority knows it."""

    name: Text
    officer: Officer
    address: Text | None = None
    registration: str = ""


class JointController(_Value, frozen=True, kw_only=True):
    """A joint controller, and what it answers for."""

    name: Text
    address: Text | None = None
    email: str = ""
    responsible: Text | None = None


class Person(_Value, frozen=True, kw_only=True):
    """Whom to reach for one thing, beside the officer."""

    role: Role
    name: Text
    department: Text | None = None
    email: str = ""
    phone: str = ""
    fax: str = ""
    address: Text | None = None


class Scope(_Value, frozen=True, kw_only=True):
    """What the policy holds for, where the site's name does not tell."""

    applies_to: Text


class Earlier(_Value, frozen=True, kw_only=True):
    """A policy from before this declaration: until when it held, and where it can be read."""

    until: date
    url: str


class Section(_Value, frozen=True, kw_only=True):
    """
    A section in the site's own words.

    Attributes:
        after: Behind which of ours it stands; those behind the same one in the order of the declaration.
        text: Paragraphs, lists ("- ") and links ("[words](https://...)") of Markdown, nothing else.
        important: Whether other words in it change the visitor's rights, and are announced 30 days before.
    """

    title: Text
    text: Text
    after: Place = "rights"
    important: bool = False


class Contact(_Value, frozen=True, kw_only=True):
    """By which ways visitors reach the site; the page of their own data is always one, and need not be named."""

    ways: tuple[Way, ...] = ()


class Destruction(_Value, frozen=True, kw_only=True):
    """How is destroyed what the server does not hold. `paper`: in the site's own words; None: nothing is promised."""

    paper: Text | None = None


class Agency(_Value, frozen=True, kw_only=True):
    """Where a visitor may complain."""

    name: Text
    phone: str = ""
    url: str = ""


class Transfer(_Value, frozen=True, kw_only=True):
    """
    How data leave the country.

    Attributes:
        countries: Codes of ISO 3166-1, such as "US".
        how: When and by which way.
        basis: What allows it, or guards it.
        refuse: How a visitor refuses it, and what then.
    """

    countries: tuple[str, ...]
    basis: Safeguard
    items: Text | None = None
    how: Text | None = None
    refuse: Text | None = None


class Recipient(_Value, frozen=True, kw_only=True):
    """A third party that receives data for its own ends. It keeps them for `retention` or `until`, or nobody says."""

    name: Text
    purpose: str
    items: Text
    retention: Duration | None = None
    until: Text | None = None
    country: str = ""
    contact: str = ""
    transfer: Transfer | None = None


class Processor(_Value, frozen=True, kw_only=True):
    """
    A company that processes data on the site's behalf, and is not a third party.

    Attributes:
        sub: Its sub-processors.
        contact: Where it can be reached: a telephone number, an e-mail address or a page.
    """

    name: Text
    task: Text
    purposes: tuple[str, ...]
    retention: Duration | None = None
    until: Text | None = None
    contact: str = ""
    sub: tuple[Text, ...] = ()
    transfer: Transfer | None = None


class Holding(_Value, frozen=True, kw_only=True):
    """
    What must be held after its purpose ended, apart and used for nothing else.

    Attributes:
        retention: How long in all, from the record on; then it is destroyed there.
        law: The law that requires it, as visitors and readers of the archive see it.
    """

    retention: Duration
    law: Text


class Items(_Value, frozen=True, kw_only=True):
    """What the application asks a person for: what it cannot do without, and what is up to them."""

    required: Text | None = None
    optional: Text | None = None


class Kept(_Value, frozen=True, kw_only=True):
    """What the application keeps because a law demands it."""

    what: Text
    retention: Duration
    law: Text


class Purpose(_Value, frozen=True, kw_only=True):
    """
    What data and cookies are for.

    Attributes:
        basis: Only "consent" and "opt_out" depend on the visitor; an undecided "opt_out" counts as allowed.
        retention: How long what was collected for it is kept; None where `until` says it.
        held_by: "application": the application and its people make the promise. This server keeps no record, cookie or
            archive for it, asks nobody about it, and destroys nothing of it.
        until: Until which event the application keeps it.
        deidentified: After which time the application removes from it what identifies a person, and keeps the rest.
        grounds: The article that the basis is in, or the interest that is legitimate.
        law: What obliges to it, under basis = "legal_obligation".
        subjects: Whose data the application holds, such as "customers".
        source: Where the application has the data from, if not from the person.
        kept: What the application keeps longer, one law each.
        answered_by: The part that lets people read, correct and erase what the application holds: the page of their
            data, through `personal_data=` ("my_data"), or people ("staff"). None: nobody is named, which the page says.
        refused_by: Signals ("gpc", "dnt") that are a standing refusal of it. Each one that is listed is honoured.
        archive: Where a law demands longer than the purpose; None: destroyed when it ends.
    """

    name: str
    basis: Basis
    title: Text
    description: Text
    retention: Duration | None = None
    held_by: Literal["server", "application"] = "server"
    until: Text | None = None
    deidentified: Duration | None = None
    grounds: Text | None = None
    law: Text | None = None
    subjects: Text | None = None
    source: Text | None = None
    items: Items | None = None
    kept: tuple[Kept, ...] = ()
    answered_by: Literal["my_data", "staff"] | None = None
    refused_by: tuple[Literal["gpc", "dnt"], ...] = ()
    archive: Holding | None = None

    @property
    def asked(self) -> bool:
        """Whether the visitor decides about it here: the application asks for what it holds itself."""
        return self.may_be_withdrawn and self.held_by == "server"

    @property
    def may_be_withdrawn(self) -> bool:
        """Whether it rests on what somebody said or did not say, here or to the application."""
        return self.basis in ("consent", "opt_out")

    @property
    def signals(self) -> tuple[Literal["gpc", "dnt"], ...]:
        """The signals that refuse it: none can refuse what nobody is asked about."""
        return self.refused_by if self.asked else ()


class Cookie(_Value, frozen=True, kw_only=True):
    """
    A declared cookie.

    Attributes:
        name: As in Set-Cookie, case-sensitive; a trailing * stands for any ending.
        expires: How long it lasts; None until the browser closes.
        domain: The Domain it is set with; empty for the host alone. Needed to expire it.
        partitioned: Whether it is set with Partitioned, in a jar for each site that embeds us. Needed to expire it.
    """

    name: str
    purpose: str
    expires: Duration | None
    description: Text
    provider: Text | None = None
    domain: str = ""
    path: str = "/"
    partitioned: bool = False

    @property
    def prefix(self) -> str | None:
        """The beginning that a trailing * stands behind, or None for an exact name."""
        return self.name[:-1] if self.name.endswith("*") else None


class InBrowser(_Value, frozen=True, kw_only=True):
    """
    What a script keeps in the browser, or what the browser fetches from elsewhere. It never passes this server.

    Attributes:
        name: Its key in the storage, or what it is called.
        host: Where the browser sends its request: of a pixel or of embedded content.
        expires: How long a script keeps it; None for as long as its kind of storage does.
        refuse_url: The page on which the provider takes a refusal.
    """

    name: str
    kind: Literal["local_storage", "session_storage", "indexed_db", "pixel", "embed"]
    purpose: str
    description: Text
    provider: Text | None = None
    host: str = ""
    expires: Duration | None = None
    refuse_url: str = ""


class Event(_Value, frozen=True, kw_only=True):
    """A usage event that `record_event` may keep. `title`: what visitors read; its own name where there is none."""

    name: str
    purpose: str
    title: Text | None = None
    fields: dict[str, Literal["str", "int", "float", "bool"]] = {}


class Policy(_Value, frozen=True, kw_only=True):
    """
    One revision of a site's privacy policy, whole. Made by `loader.load`, which checks it.

    Attributes:
        log: By purpose, the personal fields that its records hold and at which precision.
        seal: Whether the personal fields of records are encrypted; without it nothing can be destroyed for good.
        digest: SHA-256 of the declaration as it was read, in hexadecimal.
        file: Where it was read from, for messages.
    """

    file: str
    digest: str
    revision: int
    published: date
    effective: date
    time_zone: ZoneInfo
    languages: tuple[str, ...]
    jurisdiction: str
    controller: Controller
    joint_controllers: tuple[JointController, ...] = ()
    contacts: tuple[Person, ...] = ()
    contact: Contact = Contact()
    preamble: Text | None = None
    scope: Scope | None = None
    earlier: tuple[Earlier, ...] = ()
    sections: tuple[Section, ...] = ()
    headings: dict[Place, Text] = {}
    destruction: Destruction = Destruction()
    agencies: tuple[Agency, ...]
    recipients: tuple[Recipient, ...]
    processors: tuple[Processor, ...] = ()
    purposes: dict[str, Purpose]
    cookies: tuple[Cookie, ...]
    browser: tuple[InBrowser, ...] = ()
    undeclared: Literal["block", "report"]
    log: dict[str, dict[str, Precision]]
    seal: bool = True
    events: dict[str, Event]

    @property
    def with_tokens(self) -> frozenset[str]:
        """The purposes that use tokens: for visitors, for people who ask for something, for addresses."""
        fields = (name for name, log in self.log.items() if "token" in log.values())
        return frozenset((ABUSE, RECEIPTS, REQUESTS, *(purpose.name for purpose in self.asked), *fields))

    @property
    def asked(self) -> tuple[Purpose, ...]:
        """The purposes that the visitor decides about, in the order of the declaration."""
        return tuple(purpose for purpose in self.purposes.values() if purpose.asked)

    @property
    def kept(self) -> dict[str, Duration]:
        """How long this server keeps what is collected for each purpose that it holds."""
        return {
            name: purpose.retention
            for name, purpose in self.purposes.items()
            if purpose.held_by == "server" and purpose.retention
        }

    @property
    def by_application(self) -> tuple[Purpose, ...]:
        """The purposes whose data the application holds."""
        return tuple(purpose for purpose in self.purposes.values() if purpose.held_by == "application")

    @property
    def answered(self) -> tuple[Purpose, ...]:
        """Those of them that the page of a person's data answers for."""
        return tuple(purpose for purpose in self.by_application if purpose.answered_by == "my_data")

    @property
    def signals(self) -> frozenset[str]:
        """The browser's signals that refuse something here. One that no purpose lists is not listened to."""
        return frozenset(signal for purpose in self.asked for signal in purpose.signals)

    def purpose(self, name: str) -> Purpose:
        """
        Return the purpose called `name`.

        Raises:
            PolicyError: There is none; the message says which there are.
        """
        if name not in self.purposes:
            fix = did_you_mean(name, self.purposes)
            raise PolicyError(Fault(self.file, "purposes", f'"{name}" is not declared', fix))
        return self.purposes[name]

    def cookie(self, name: str) -> Cookie | None:
        """Return the declaration that covers the cookie called `name`: an exact one before the longest *, or None."""
        best: Cookie | None = None
        for cookie in self.cookies:
            prefix = cookie.prefix
            if prefix is None:
                if cookie.name == name:
                    return cookie
            elif name.startswith(prefix) and (best is None or len(cookie.name) > len(best.name)):
                best = cookie
        return best
