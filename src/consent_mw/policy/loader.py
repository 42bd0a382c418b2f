"""From `policy.toml` to a `Policy`: one reading finds every error, each with its place and its fix."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args, get_origin
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import (
    ABUSE,
    FIELDS,
    NECESSARY,
    RECEIPTS,
    REQUESTS,
    Agency,
    Contact,
    Controller,
    Cookie,
    Destruction,
    Earlier,
    Event,
    InBrowser,
    JointController,
    Officer,
    Person,
    Place,
    Policy,
    Processor,
    Purpose,
    Recipient,
    Scope,
    Section,
    Text,
    did_you_mean,
)
from consent_mw.policy.own_purposes import OWN_PURPOSES
from consent_mw.policy.presets import PRESETS
from consent_mw.policy.recipients import same
from consent_mw.policy.toml_lines import with_lines

__all__ = ["JURISDICTIONS", "SCHEMA", "STATES", "load", "loads"]

#: The shape of the declaration that this version reads.
SCHEMA = 1

#: Whose law a policy may follow.
JURISDICTIONS: Final = ("KR", "EU", "UK", "US")
#: Of the United States: those of ISO 3166-2 that are states, and the district.
STATES: Final = re.compile(
    "US-(A[LKZR]|C[AOT]|D[EC]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY])"
)
_TOP = (
    "schema",
    "revision",
    "published",
    "effective",
    "time_zone",
    "languages",
    "jurisdiction",
    "controller",
    "joint_controllers",
    "contacts",
    "contact",
    "preamble",
    "scope",
    "earlier",
    "sections",
    "headings",
    "destruction",
    "agencies",
    "recipients",
    "processors",
    "purposes",
    "cookies",
    "browser",
    "log",
    "events",
)
_REQUIRED = ("schema", "revision", "published", "effective", "languages", "controller")

#: The fix for a missing key: an example that can be pasted.
_EXAMPLES: Mapping[str, str] = {
    "schema": "schema = 1",
    "revision": "revision = 1",
    "published": "published = 2026-01-01",
    "effective": "effective = 2026-01-08",
    "languages": 'languages = ["ko", "en"]',
    "controller": "a [controller] table with name and officer",
    "retention": 'retention = "90 days"',
    "archive": 'archive = { retention = "5 years", law = { ko = "…", en = "…" } }',
    "law": 'law = { ko = "…", en = "…" }',
    "basis": 'basis = "consent"',
    "title": 'title = { ko = "…", en = "…" }',
    "description": 'description = { ko = "…", en = "…" }',
    "purpose": 'purpose = "functional"',
    "expires": 'expires = "1 year", or expires = "session"',
    "ways": 'ways = ["form", "email", "phone", "fax", "post", "person"]',
    "paper": 'paper = { ko = "…", en = "…" }',
    "officer": 'officer = { name = "…", email = "…" }',
    "name": "name = …",
    "email": 'email = "privacy@example.com"',
    "task": 'task = { ko = "…", en = "…" }',
    "purposes": 'purposes = ["orders"]',
    "text": 'text = { ko = "…", en = "…" }',
    "role": 'role = "dpo"',
    "until": 'until = { ko = "…", en = "…" }',
    "url": 'url = "https://…"',
    "applies_to": 'applies_to = { ko = "…", en = "…" }',
    "what": 'what = { ko = "…", en = "…" }',
    "countries": 'countries = ["US"]',
    "items": 'items = { ko = "…", en = "…" }',
    "sub": 'sub = ["Storage Ltd."]',
    "kind": 'kind = "local_storage"',
    "deidentified": 'deidentified = "30 days"',
    "host": 'host = "pixel.example"',
    "fields": 'fields = { results = "int" }',
}

#: What msgspec calls the types of TOML, in words.
_TYPES: Mapping[str, str] = {
    "array": "a list",
    "object": "a table",
    "str": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# RFC 6265, section 4.1.1: a cookie name is a token (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: A name or an address, in any script, without scheme, port and path.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)+")

# RFC 5646, section 2.1, as far as its form goes.
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")

# Longer ones leave the calendar: dates end with the year 9999.
_LONGEST = Duration(100, "year")

S = TypeVar("S", bound=msgspec.Struct)


def load(path: str | Path) -> Policy:
    """
    Read and check the declaration at `path`.

    Raises:
        PolicyError: It cannot be read or enforced; `faults` holds every fault.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(Fault(str(path), "", "there is no such file", "write one with: consent-mw init")) from None
    except OSError as error:
        raise PolicyError(
            Fault(str(path), "", f"cannot be read ({error.strerror})", "check its permissions")
        ) from error
    except UnicodeDecodeError as error:
        mend = "save it as UTF-8, which TOML requires"
        raise PolicyError(Fault(str(path), f"byte {error.start}", "is no UTF-8", mend)) from error
    return loads(text, file=str(path))


def loads(text: str, *, file: str = "policy.toml") -> Policy:
    """
    Read and check a declaration that is already in memory; `file` names it in messages.

    Raises:
        PolicyError: As `load`.
    """
    try:
        raw = tomllib.loads(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).rpartition(" (at ")
        raise PolicyError(
            Fault(file, place.rstrip(")"), f"no valid TOML: {problem or error}", "mend the line; dates are 2026-12-31")
        ) from error
    except (ValueError, RecursionError) as error:  # tomllib lets through a number of 5,000 digits, brackets 1,000 deep
        mend = "start again from the file of: consent-mw init"
        raise PolicyError(Fault(file, "", f"no valid TOML: {error}", mend)) from error
    reading = _Reading(file)
    policy = reading.policy(raw, digest)
    if policy is None or reading.faults:
        raise PolicyError(*with_lines(text, reading.faults))
    return policy


def _decode(kind: type, value: object) -> object:
    """Build what msgspec does not know, from the TOML value; a ValueError becomes its validation error."""
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError('a duration is a text such as "90 days"')
        duration = Duration.parse(value)
        if duration.count == 0:
            raise ValueError('a duration of nothing keeps nothing; write at least "1 day"')
        if duration.seconds > _LONGEST.seconds:
            raise ValueError(f'"{value}" has no end that anybody lives to see; write at most "{_LONGEST}"')
        return duration
    if kind is Text:
        return _text(value)
    raise NotImplementedError(kind)  # msgspec's own sign for "not mine"


#: Purposes that the package itself relies on whatever a visitor picks, each with a basis that fits.
_NEVER_ASKED = {
    NECESSARY: "necessary",
    ABUSE: "legitimate_interest",
    RECEIPTS: "legitimate_interest",
    REQUESTS: "legitimate_interest",
}


# Every file of the database is looked into for it, and a command may read each revision that was kept.
_time_zones = lru_cache(maxsize=1)(available_timezones)


def _text(value: object) -> Text:
    if isinstance(value, str) and value.strip():
        return Text({"": value})
    if isinstance(value, dict) and value:
        table = cast("dict[str, object]", value)
        for tag in table:
            if not _TAG.fullmatch(tag):
                raise ValueError(f'"{tag}" is no language tag; write one such as ko, en or zh-Hant')
        if all(isinstance(text, str) and text.strip() for text in table.values()):
            return Text(cast("dict[str, str]", table))
    raise ValueError('expected a text; write "…", or a table by language such as { ko = "…", en = "…" }')


class _Reading:
    """One reading of a declaration: what was found wrong so far, and the parts as they are read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []

    def fault(self, place: str, problem: str, mend: str) -> None:
        self.faults.append(Fault(self.file, place, problem, mend))

    # -- generic: one table into one frozen value ---------------------------------------------------------------

    def value(self, kind: type[S], raw: object, place: str, **given: object) -> S | None:
        """Read one table as `kind`, noting each unknown, missing and ill-typed key; `given` is not in the table."""
        if not isinstance(raw, dict):
            # agencies[1] is written as [[agencies]], and what stands below it as [agencies.transfer]
            plain = re.sub(r"\[\d+\]", "", place)
            header = f"[[{plain}]]" if place.endswith("]") else f"[{plain}]"
            self.fault(place, "is no table", f"write it as {header}")
            return None
        table = cast("dict[str, object]", raw)
        fields = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in given}
        self.unknown(table, fields, place)
        values = dict(given)
        whole = True
        for name, field in fields.items():
            if name in table:
                read = self.field(table[name], field.type, f"{place}.{name}")
                whole = whole and read is not _BAD
                values[name] = read
            elif field.required:
                whole = False
                self.fault(place, f"has no {name}", f"add {_EXAMPLES.get(name, name + ' = …')}")
        return kind(**values) if whole else None

    def field(self, raw: object, kind: Any, place: str) -> object:
        """Read the value of one key: a table of ours key by key, so that each of its errors is reported."""
        parts = [part for part in getattr(kind, "__args__", (kind,)) if _is_table(part)]
        if not parts:
            return self.scalar(raw, kind, place)
        before = len(self.faults)
        read = self.values(parts[0], raw, place) if get_origin(kind) is tuple else self.value(parts[0], raw, place)
        return _BAD if len(self.faults) > before else read

    def scalar(self, raw: object, kind: Any, place: str) -> object:
        """Read a value that is not a table of ours; each value of a list or a table, so that each of its errors is
        reported."""
        if get_origin(kind) is tuple and isinstance(raw, list):
            return self.words(cast("list[object]", raw), get_args(kind)[0], place)
        if get_origin(kind) is dict and isinstance(raw, dict):
            table = cast("dict[str, object]", raw)
            named = {name: self.scalar(value, get_args(kind)[1], f"{place}.{name}") for name, value in table.items()}
            return _BAD if _BAD in named.values() else named
        if kind is date:
            return self.day(raw, place) or _BAD
        try:
            return msgspec.convert(raw, kind, dec_hook=_decode)
        except msgspec.ValidationError as error:
            problem = re.sub(r"`(\w+)( \| null)?`", lambda match: _TYPES.get(match[1], match[1]), str(error))
            problem = problem[0].lower() + problem[1:]
            self.fault(place, *(problem.split("; ", 1) if "; " in problem else (problem, self.mend(kind, place))))
            return _BAD

    def words(self, raw: list[object], kind: Any, place: str) -> object:
        read = [self.scalar(item, kind, f"{place}[{number}]") for number, item in enumerate(raw, 1)]
        if _BAD in read:
            return _BAD
        for number, word in enumerate(read, 1):
            if word in read[: number - 1]:
                self.fault(f"{place}[{number}]", "stands there twice", "keep one of them")
        return tuple(read)

    def mend(self, kind: Any, place: str) -> str:
        allowed = getattr(kind, "__args__", ())
        if allowed and all(isinstance(word, str) for word in allowed):
            return f"allowed are: {', '.join(allowed)}"
        if kind is bool:
            return "write true or false, without quotes"
        key = place.rpartition(".")[2].partition("[")[0]
        if key == "refused_by":
            return 'write it like refused_by = ["gpc", "dnt"]'
        return f"write it like {_EXAMPLES[key]}" if key in _EXAMPLES else "see the commented file of: consent-mw init"

    def unknown(self, table: Mapping[str, object], known: Iterable[str], place: str) -> None:
        for key in table:
            if key not in known:
                self.fault(f"{place}.{key}" if place else key, "is no known key", did_you_mean(key, list(known)))

    def table(self, raw: Mapping[str, object], key: str) -> dict[str, object]:
        value = raw.get(key, {})
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        self.fault(key, "is no table", f"write it as [{key}]")
        return {}

    def rows(self, raw: object, key: str) -> list[object]:
        if isinstance(raw, list):
            return cast("list[object]", raw)
        self.fault(key, "is no list of tables", f"write each as [[{key}]]")
        return []

    def values(self, kind: type[S], raw: object, key: str) -> tuple[S, ...]:
        read = [self.value(kind, row, f"{key}[{number}]") for number, row in enumerate(self.rows(raw, key), 1)]
        return tuple(value for value in read if value is not None)

    # -- the parts of a policy ----------------------------------------------------------------------------------

    def policy(self, raw: dict[str, object], digest: str) -> Policy | None:
        self.unknown(raw, _TOP, "")
        for key in _REQUIRED:
            if key not in raw:
                self.fault("", f"has no {key}", f"add {_EXAMPLES[key]}")
        self.schema(raw.get("schema", SCHEMA))
        languages = self.languages(raw.get("languages", ["en"]))
        declared = self.table(raw, "purposes")  # references are checked by name: a faulty purpose is still declared
        purposes = self.purposes(declared)
        cookies, undeclared = self.cookies(self.table(raw, "cookies"), declared)
        browser = self.browser(raw.get("browser", []), declared)
        published = self.day(raw.get("published"), "published")
        effective = self.day(raw.get("effective"), "effective")
        if published and effective and effective < published:
            self.fault("effective", f"{effective} is before published, {published}", "announce first, then take effect")
        controller = self.value(Controller, raw["controller"], "controller") if "controller" in raw else None
        recipients = self.recipients(raw.get("recipients", []), declared)
        processors = self.processors(raw.get("processors", []), declared)
        contact = self.value(Contact, raw.get("contact", {}), "contact")
        destruction = self.value(Destruction, raw.get("destruction", {}), "destruction")
        revision = self.revision(raw.get("revision", 1))
        agencies = self.values(Agency, raw.get("agencies", []), "agencies")
        kept = self.table(raw, "log")
        seal = self.seal(kept)
        log = self.log(kept, declared)
        events = self.events(self.table(raw, "events"), declared)
        zone = self.zone(raw.get("time_zone", "UTC"))
        jurisdiction = self.jurisdiction(raw.get("jurisdiction", "EU"))
        preamble = self.scalar(raw["preamble"], Text, "preamble") if "preamble" in raw else None
        scope = self.value(Scope, raw["scope"], "scope") if "scope" in raw else None
        sections = self.values(Section, raw.get("sections", []), "sections")
        parties: list[Recipient | Processor] = [*recipients, *processors]
        self.stand(sections, {"processors": bool(processors), "transfers": any(part.transfer for part in parties)})
        headings = self.headings(self.table(raw, "headings"))
        joint = self.values(JointController, raw.get("joint_controllers", []), "joint_controllers")
        contacts = self.contacts(raw.get("contacts", []))
        earlier = self.earlier(raw.get("earlier", []), effective)
        if controller:
            self.reachable(contact or Contact(), controller, contacts)
            self.another(
                controller, (("recipients", recipients), ("processors", processors), ("joint_controllers", joint))
            )
        if self.faults or controller is None or published is None or effective is None:
            return None
        return Policy(
            file=self.file,
            digest=digest,
            revision=revision,
            published=published,
            effective=effective,
            time_zone=zone,
            languages=languages,
            jurisdiction=jurisdiction,
            controller=controller,
            contact=contact or Contact(),
            destruction=destruction or Destruction(),
            agencies=agencies,
            recipients=recipients,
            processors=processors,
            joint_controllers=joint,
            contacts=contacts,
            preamble=cast("Text | None", preamble),
            scope=scope,
            sections=sections,
            headings=headings,
            earlier=earlier,
            purposes=purposes,
            cookies=cookies,
            browser=browser,
            undeclared="report" if undeclared == "report" else "block",
            log=log,
            seal=seal,
            events=events,
        )

    # -- who, and what a site says in its own words ---------------------------------------------------------------

    def recipients(self, raw: object, purposes: Mapping[str, object]) -> tuple[Recipient, ...]:
        read = self.values(Recipient, raw, "recipients")
        for number, recipient in enumerate(read, 1):
            place = f"recipients[{number}]"
            self.known_purpose(recipient.purpose, purposes, f"{place}.purpose")
            self.one_end(recipient, place)
            if recipient.country and recipient.transfer and recipient.country not in recipient.transfer.countries:
                said = ", ".join(recipient.transfer.countries)
                self.fault(
                    f"{place}.country", f'"{recipient.country}" is not where its transfer goes, {said}', "keep one"
                )
        return read

    def processors(self, raw: object, purposes: Mapping[str, object]) -> tuple[Processor, ...]:
        read = self.values(Processor, raw, "processors")
        for number, processor in enumerate(read, 1):
            place = f"processors[{number}]"
            for name in processor.purposes:
                self.known_purpose(name, purposes, f"{place}.purposes")
            if not processor.purposes:
                self.fault(f"{place}.purposes", "names none", f"add {_EXAMPLES['purposes']}")
            self.one_end(processor, place)
        return read

    def one_end(self, receiver: Recipient | Processor, place: str) -> None:
        if receiver.retention and receiver.until:
            self.fault(f"{place}.until", "says another end than retention", "keep one of them")
        if receiver.transfer and not receiver.transfer.countries:
            self.fault(f"{place}.transfer.countries", "names none", f"write {_EXAMPLES['countries']}")

    def contacts(self, raw: object) -> tuple[Person, ...]:
        read = self.values(Person, raw, "contacts")
        for number, person in enumerate(read, 1):
            if not (person.email or person.phone or person.fax or person.address):
                self.fault(f"contacts[{number}]", "cannot be reached", "add email, phone, fax or address")
        return read

    def reachable(self, contact: Contact, controller: Controller, contacts: Iterable[Person]) -> None:
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
                self.fault("contact.ways", f'"{way}" has no {what}', f"add {key}, or leave it out")

    def another(
        self, controller: Controller, parties: Iterable[tuple[str, Iterable[Recipient | Processor | JointController]]]
    ) -> None:
        """Note who is declared beside the controller and is the controller itself."""
        for key, named in parties:
            for number, contact in enumerate(named, 1):
                if same(contact.name, controller.name):
                    self.fault(
                        f"{key}[{number}].name", "is the controller itself", "name somebody else, or leave it out"
                    )

    def earlier(self, raw: object, effective: date | None) -> tuple[Earlier, ...]:
        read = self.values(Earlier, raw, "earlier")
        for number, previous in enumerate(read, 1):
            if effective and previous.until > effective:
                mend = "write the last day on which the earlier policy held"
                self.fault(f"earlier[{number}].until", f"{previous.until} is after effective, {effective}", mend)
            if not previous.url.startswith(("https://", "http://")):
                self.fault(
                    f"earlier[{number}].url", f'"{previous.url}" is no address', "write it whole, from https:// on"
                )
        return read

    def headings(self, raw: Mapping[str, object]) -> dict[Place, Text]:
        places = [place for place in get_args(Place) if place != "top"]
        self.unknown(raw, places, "headings")
        read = {name: self.scalar(raw[name], Text, f"headings.{name}") for name in places if name in raw}
        return {name: text for name, text in read.items() if isinstance(text, Text)}

    def stand(self, sections: Sequence[Section], printed: Mapping[str, bool]) -> None:
        """Note sections behind one of ours that this policy has no reason to print, and two of one title."""
        for number, section in enumerate(sections, 1):
            if not printed.get(section.after, True):
                problem, mend = f"there is no section {section.after}", 'write after = "recipients"'
                self.fault(f"sections[{number}].after", problem, mend)
            if any(same(section.title, other.title) for other in sections[: number - 1]):
                self.fault(f"sections[{number}].title", "another section is called so", "give it another title")

    def jurisdiction(self, raw: object) -> str:
        if isinstance(raw, str) and STATES.fullmatch(raw):
            return raw
        if isinstance(raw, str) and raw.startswith("US-"):
            self.fault("jurisdiction", f"{raw!r} is no state", 'write one such as "US-CA", or "US"')
            return "US"
        return self.one_of(raw, JURISDICTIONS, "jurisdiction")

    def held(self, purpose: Purpose, place: str) -> None:
        """Note what contradicts who holds the data of a purpose, and how long."""
        ours = purpose.held_by == "server"
        if ours and not purpose.retention:
            mend = f'add {_EXAMPLES["retention"]}, or held_by = "application" with until'
            self.fault(place, "has no retention", mend)
        elif not purpose.retention and not purpose.until:
            self.fault(place, "has neither retention nor until", f"add {_EXAMPLES['retention']}, or until = …")
        for key in (
            ("until", "items", "kept", "subjects", "source", "answered_by", "deidentified")
            if ours
            else ("archive", "refused_by")
        ):
            if getattr(purpose, key):
                who = "the application" if ours else "this server"
                mend = (
                    'add held_by = "application", or leave it out' if ours else "write [[kept]] lines, or leave it out"
                )
                self.fault(f"{place}.{key}", f"is only for what {who} holds", mend)
        if purpose.law and purpose.basis != "legal_obligation":
            mend = 'write basis = "legal_obligation", or grounds = … for another basis'
            self.fault(f"{place}.law", f'does not go with basis = "{purpose.basis}"', mend)
        if not ours and purpose.name in (*_NEVER_ASKED,):
            self.fault(f"{place}.held_by", "is always this server", "leave it out")
        if not ours and purpose.retention and purpose.until:
            self.fault(f"{place}.until", "says another end than retention", "keep one of them")
        gone, kept = purpose.deidentified, purpose.retention
        if not ours and gone and kept and kept.longer_by(gone)[0] <= 0:
            problem = f"{gone} is no shorter than the retention, {kept}, from every date"
            self.fault(f"{place}.deidentified", problem, "write the shorter one, or leave it out")
        if purpose.basis == "legal_obligation" and not (
            purpose.law or purpose.archive or purpose.kept or purpose.grounds
        ):
            self.fault(place, "names no law that obliges to it", f"add {_EXAMPLES['law']}")
        if purpose.items and not (purpose.items.required or purpose.items.optional):
            self.fault(f"{place}.items", "names none", 'write items = { required = "…", optional = "…" }')

    def schema(self, raw: object) -> None:
        if type(raw) is not int or raw != SCHEMA:  # to Python, true and 1.0 are 1 as well
            newer = type(raw) is int and raw > SCHEMA
            mend = "upgrade consent-mw" if newer else f"write schema = {SCHEMA}"
            self.fault("schema", f"{raw!r} is not {SCHEMA}, which this version reads", mend)

    def revision(self, raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool) and 1 <= raw < 1_000_000:
            return raw
        self.fault("revision", f"{raw!r} is no revision", "write a whole number from 1, raised with each change")
        return 1

    def day(self, raw: object, key: str) -> date | None:
        if isinstance(raw, date) and not isinstance(raw, datetime):
            return raw
        if raw is not None:
            example = _EXAMPLES.get(key, f"{key.rpartition('.')[2]} = 2026-01-01")
            self.fault(
                key,
                f"{raw if isinstance(raw, datetime) else repr(raw)} is no date",
                f"write a date without quotes: {example}",
            )
        return None

    def zone(self, raw: object) -> ZoneInfo:
        if isinstance(raw, str) and raw in _time_zones():
            return ZoneInfo(raw)
        mend = did_you_mean(str(raw), sorted(_time_zones())).split("known are")[0]
        self.fault("time_zone", f"{raw!r} is no time zone", mend or 'write one such as "Asia/Seoul"')
        return ZoneInfo("UTC")

    def languages(self, raw: object) -> tuple[str, ...]:
        tags = cast("list[object]", raw) if isinstance(raw, list) else []
        if tags and all(isinstance(tag, str) and re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", tag) for tag in tags):
            self.words(tags, str, "languages")
            return tuple(cast("list[str]", tags))
        self.fault("languages", f"{raw!r} is no list of language tags", f"write {_EXAMPLES['languages']}")
        return ("en",)

    def one_of(self, raw: object, allowed: tuple[str, ...], place: str) -> str:
        if raw in allowed:
            return str(raw)
        self.fault(place, f"{raw!r} is not known", f"allowed are: {', '.join(allowed)}")
        return allowed[0]

    def named(
        self, kind: type[S], raw: Mapping[str, object], key: str, adjust: Callable[[str, object], object] | None = None
    ) -> dict[str, S]:
        """Read the tables [key.NAME], each under its name."""
        read: dict[str, S] = {}
        for name, table in raw.items():
            place = f"{key}.{name}"
            if not _NAME.fullmatch(name):
                self.fault(place, "is no usable name", "use small letters, digits and _, at most 32, a letter first")
                continue
            value = self.value(kind, adjust(name, table) if adjust else table, place, name=name)
            if value is not None:
                read[name] = value
        return read

    def purposes(self, raw: Mapping[str, object]) -> dict[str, Purpose]:
        def titled(name: str, table: object) -> object:
            """A purpose may go without texts: its own name then stands for the title, and the title for the rest."""
            if not isinstance(table, dict):
                return table
            given = cast("dict[str, object]", table)
            if own := OWN_PURPOSES.get(name):
                return {"title": own.title.by_language, "description": own.description.by_language} | given
            title = given.get("title", name.replace("_", " ").capitalize())
            return {"title": title, "description": title} | given

        if NECESSARY not in raw:
            mend = 'add it with basis = "necessary": the consent cookie itself is for it'
            self.fault("purposes", f'"{NECESSARY}" is not declared', mend)
        purposes = self.named(Purpose, raw, "purposes", titled)
        for name, basis in _NEVER_ASKED.items():
            if name in purposes and purposes[name].asked:
                self.fault(f"purposes.{name}.basis", "cannot be asked about", f'write basis = "{basis}"')
        for purpose in purposes.values():
            self.held(purpose, f"purposes.{purpose.name}")
            if purpose.archive and purpose.retention and purpose.archive.retention.longer_by(purpose.retention)[0] <= 0:
                held, kept = purpose.archive.retention, purpose.retention
                problem = f"{held} is no longer than the purpose, {kept}, from every date"
                self.fault(f"purposes.{purpose.name}.archive.retention", problem, "write the longer one, or no archive")
        return {**purposes, **{name: own for name, own in OWN_PURPOSES.items() if name not in purposes}}

    def cookies(self, raw: dict[str, object], purposes: Mapping[str, object]) -> tuple[tuple[Cookie, ...], str]:
        self.unknown(raw, ("presets", "undeclared", "declared"), "cookies")
        read: list[Cookie] = []
        for number, row in enumerate(self.rows(raw.get("declared", []), "cookies.declared"), 1):
            cookie = self.cookie(row, f"cookies.declared[{number}]", purposes)
            if cookie and any(cookie.name == other.name for other in read):
                self.fault(f'cookies.declared[{number}] "{cookie.name}"', "is declared twice", "keep one of them")
            elif cookie:
                read.append(cookie)
        read += self.presets(raw.get("presets", []), purposes, {cookie.name for cookie in read})
        undeclared = self.one_of(raw.get("undeclared", "block"), ("block", "report"), "cookies.undeclared")
        return tuple(read), undeclared

    def presets(self, raw: object, purposes: Mapping[str, object], declared: set[str]) -> Iterable[Cookie]:
        for preset in self.rows(raw, "cookies.presets"):
            if not isinstance(preset, str) or preset not in PRESETS:
                self.fault("cookies.presets", f"{preset!r} is not known", did_you_mean(str(preset), list(PRESETS)))
                continue
            for row in PRESETS[preset]:
                if row["name"] not in declared:  # what the site says itself wins, and of two presets the first
                    declared.add(row["name"])
                    cookie = self.cookie(row, f'cookies.presets "{preset}"', purposes)
                    if cookie:
                        yield cookie

    def cookie(self, row: object, place: str, purposes: Mapping[str, object]) -> Cookie | None:
        if not isinstance(row, dict):
            self.fault(place, "is no table", "write each as [[cookies.declared]]")
            return None
        table = dict(cast("dict[str, object]", row))
        name = table.get("name")
        if isinstance(name, str):
            place = f'{place} "{name}"'
            if not _TOKEN.fullmatch(name) or "*" in name[:-1] or name == "*":
                self.fault(place, "is no cookie name", "use the name in Set-Cookie; a * may stand at the end only")
        if isinstance(table.get("expires"), str) and table["expires"] == "session":
            table["expires"] = None
        table.setdefault("description", name if isinstance(name, str) and name else "?")
        cookie = self.value(Cookie, table, place)
        if cookie:
            self.kept_here(cookie.purpose, purposes, f"{place}.purpose")
            if not cookie.path.startswith("/"):
                self.fault(place, f'path "{cookie.path}" does not begin with /', 'write path = "/"')
            for word in (cookie.path, cookie.domain):
                if not word.isascii() or not word.isprintable() or ";" in word:
                    self.fault(place, f"{word!r} cannot stand in a Set-Cookie line", "use printable ASCII without ;")
        return cookie

    def browser(self, raw: object, purposes: Mapping[str, object]) -> tuple[InBrowser, ...]:
        read = self.values(InBrowser, raw, "browser")
        for number, stored in enumerate(read, 1):
            place, fetched = f"browser[{number}]", stored.kind in ("pixel", "embed")
            self.known_purpose(stored.purpose, purposes, f"{place}.purpose")
            if any((stored.name, stored.kind) == (other.name, other.kind) for other in read[: number - 1]):
                self.fault(place, f'"{stored.name}" is declared twice', "keep one of them")
            if fetched and not stored.host:
                self.fault(place, "has no host", f"add {_EXAMPLES['host']}, from which the browser fetches it")
            if stored.host and not fetched:
                self.fault(f"{place}.host", "is only for a pixel or an embed", "leave it out")
            elif stored.host and not _HOST.fullmatch(stored.host):
                self.fault(f"{place}.host", f'"{stored.host}" is no host', f"write {_EXAMPLES['host']}")
            if stored.expires and (fetched or stored.kind == "session_storage"):
                self.fault(f"{place}.expires", f'does not go with kind = "{stored.kind}"', "leave it out")
        return read

    def known_purpose(self, name: str, purposes: Mapping[str, object], place: str) -> bool:
        if name in purposes:
            return True
        self.fault(place, f'purpose "{name}" is not declared', did_you_mean(name, purposes))
        return False

    def kept_here(self, name: str, purposes: Mapping[str, object], place: str) -> bool:
        """Whether a purpose is declared; note what this server would keep for one whose data the application holds."""
        table = purposes.get(name)
        if isinstance(table, dict) and cast("dict[str, object]", table).get("held_by") == "application":
            mend = 'declare a purpose of its own for it, or leave out held_by = "application"'
            self.fault(place, f"is for {name}, which the application holds", mend)
        return self.known_purpose(name, purposes, place)

    def seal(self, log: Mapping[str, object]) -> bool:
        """Read `seal` in [log]. A table of that name belongs to a purpose called so."""
        raw = log.get("seal", True)
        if not isinstance(raw, bool | dict):
            self.fault("log.seal", f"{raw!r} is neither true nor false", "write seal = true, or leave it out")
        return raw is not False

    def log(self, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, dict[str, Any]]:
        read: dict[str, dict[str, Any]] = {}
        for purpose, table in raw.items():
            if purpose == "seal" and not isinstance(table, dict):
                continue
            place = f"log.{purpose}"
            if not isinstance(table, dict):
                self.fault(place, "is no table", f"write it as [{place}]")
            elif self.kept_here(purpose, purposes, place):
                fields = cast("dict[str, object]", table)
                self.unknown(fields, FIELDS, place)
                read[purpose] = {
                    name: self.one_of(value, FIELDS[name], f'{place}."{name}"')
                    for name, value in fields.items()
                    if name in FIELDS
                }
        return read

    def events(self, raw: Mapping[str, object], purposes: Mapping[str, object]) -> dict[str, Event]:
        events = self.named(Event, raw, "events")
        for name, event in events.items():
            self.kept_here(event.purpose, purposes, f"events.{name}.purpose")
            if event.purpose == ABUSE:
                self.fault(f"events.{name}", "an event cannot be abuse", "record it with report_abuse")
        return events


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


_BAD = object()
