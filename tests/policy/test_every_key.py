"""Each key of the model, one by one: it is read, shown, compared, and written into the record, or has its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.support.smallest_policy import SMALLEST

from consent_mw.policy.amendments import amendments
from consent_mw.policy.durations import Duration
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy, Text
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.site.markdown import markdown_of
from consent_mw.site.policy_file import policy_file
from consent_mw.site.processing_record import processing_record, record_sheet

NOW = datetime(2027, 1, 1, tzinfo=UTC)
#: Every key of the model has a value in it.
FULL = (
    """
preamble = "Under the Act."
scope = { applies_to = "example.com" }
headings = { rights = "What you may ask for" }
"""
    + SMALLEST.replace(
        'languages = ["en", "ko"]', 'languages = ["en", "ko"]\njurisdiction = "KR"\ntime_zone = "Asia/Seoul"'
    ).replace(
        'officer = { name = "x", email = "privacy@example.com" }',
        'address = "Street 1"\nregistration = "R1"\n'
        'officer = { name = "x", email = "privacy@example.com", phone = "1", '
        'title = "Head", department = "Legal", fax = "9" }',
    )
    + """
[purposes.members]
held_by = "application"
basis = "legal_obligation"
law = "Act 1"
grounds = "Article 15"
subjects = "customers"
source = "the log-in service"
title = "Accounts"
description = "Recognises you."
until = "you leave"
items = { required = "E-mail", optional = "Telephone" }
kept = [{ what = "Contracts", retention = "5 years", law = "Act 6" }]
answered_by = "my_data"
deidentified = "30 days"
[purposes.ads]
basis = "opt_out"
retention = "6 months"
refused_by = ["gpc"]
archive = { retention = "3 years", law = "Act 3" }
[[joint_controllers]]
name = "Twin"
address = "Street 2"
email = "twin@example.com"
responsible = "the newsletter"
[[contacts]]
role = "dpo"
name = "Dee"
department = "Data"
email = "dpo@example.com"
phone = "3"
fax = "4"
address = "Street 3"
[contact]
ways = ["form", "email"]
[destruction]
paper = "Shredded."
[[earlier]]
until = 2025-12-31
url = "https://example.com/old"
[[sections]]
after = "destruction"
title = "Security"
text = "We lock the door."
important = true
[[agencies]]
name = "Agency"
phone = "118"
url = "https://agency.example"
[[recipients]]
name = "Bank"
purpose = "members"
items = "Name"
retention = "1 year"
country = "US"
contact = "119"
transfer = { countries = ["US"], basis = "scc", items = "Mail", how = "Sealed", refuse = "Ask." }
[[recipients]]
name = "Post"
purpose = "members"
items = "Address"
until = "delivered"
[[processors]]
name = "Cloud"
task = "Hosting"
purposes = ["members"]
retention = "2 years"
contact = "120"
sub = ["Below"]
transfer = { countries = ["US"], basis = "scc", items = "Mail", how = "Sealed", refuse = "Ask." }
[[processors]]
name = "Mailer"
task = "Mail"
purposes = ["members"]
until = "the contract ends"
[cookies]
undeclared = "report"
[[cookies.declared]]
name = "seen"
purpose = "ads"
provider = "Bank"
expires = "1 year"
description = "Remembers."
domain = ".example.com"
path = "/shop"
partitioned = true
[[browser]]
name = "cart"
kind = "local_storage"
purpose = "ads"
provider = "Bank"
expires = "2 months"
description = "Holds the cart."
[[browser]]
name = "px"
kind = "pixel"
purpose = "ads"
host = "px.example"
description = "Counts."
refuse_url = "https://px.example/no"
[log]
seal = false
[log.ads]
"client.address" = "masked"
[events.search]
purpose = "ads"
title = "Searches"
fields = { results = "int" }
"""
)


#: Why another value of a key weighs (None: it is ordinary), and whether the record of article 30 has it.
KEYS: Final[Mapping[str, tuple[str | None, bool]]] = {
    "agencies.*.name": (None, False),
    "agencies.*.phone": (None, False),
    "agencies.*.url": (None, False),
    "browser.*.description": (None, False),
    "browser.*.expires": ("stored", False),
    "browser.*.host": ("received", False),
    "browser.*.kind": ("stored", False),
    "browser.*.name": ("stored", True),
    "browser.*.provider": ("received", True),
    "browser.*.purpose": ("used", True),
    "browser.*.refuse_url": (None, False),
    "contact.ways": (None, False),
    "contacts.*.address": (None, True),
    "contacts.*.department": (None, True),
    "contacts.*.email": (None, True),
    "contacts.*.fax": (None, True),
    "contacts.*.name": (None, True),
    "contacts.*.phone": (None, True),
    "contacts.*.role": (None, True),
    "controller.address": (None, True),
    "controller.name": ("received", True),
    "controller.officer.department": (None, True),
    "controller.officer.email": (None, True),
    "controller.officer.fax": (None, True),
    "controller.officer.name": (None, True),
    "controller.officer.phone": (None, True),
    "controller.officer.title": (None, True),
    "controller.registration": (None, True),
    "cookies.*.description": (None, False),
    "cookies.*.domain": ("stored", False),
    "cookies.*.expires": ("stored", False),
    "cookies.*.name": ("stored", True),
    "cookies.*.partitioned": ("stored", False),
    "cookies.*.path": (None, False),
    "cookies.*.provider": ("received", True),
    "cookies.*.purpose": ("used", True),
    "destruction.paper": (None, False),
    "earlier.*.until": (None, False),
    "earlier.*.url": (None, False),
    "events.*.fields": ("collected", True),
    "events.*.purpose": ("used", True),
    "events.*.title": (None, True),
    "headings": (None, False),
    "joint_controllers.*.address": (None, True),
    "joint_controllers.*.email": (None, True),
    "joint_controllers.*.name": ("received", True),
    "joint_controllers.*.responsible": (None, True),
    "jurisdiction": ("rights", False),
    "languages": (None, False),
    "log": ("collected", True),
    "preamble": (None, False),
    "processors.*.contact": (None, False),
    "processors.*.name": ("received", True),
    "processors.*.purposes": ("received", True),
    "processors.*.retention": ("kept", True),
    "processors.*.sub": ("received", True),
    "processors.*.task": ("received", True),
    "processors.*.transfer.basis": ("received", True),
    "processors.*.transfer.countries": ("received", True),
    "processors.*.transfer.how": (None, False),
    "processors.*.transfer.items": ("received", True),
    "processors.*.transfer.refuse": ("rights", False),
    "processors.*.until": ("kept", True),
    "purposes.*.answered_by": ("rights", False),
    "purposes.*.archive.law": (None, True),
    "purposes.*.archive.retention": ("kept", True),
    "purposes.*.basis": ("used", True),
    "purposes.*.deidentified": ("kept", True),
    "purposes.*.description": (None, True),
    "purposes.*.grounds": (None, True),
    "purposes.*.items.optional": ("collected", True),
    "purposes.*.items.required": ("collected", True),
    "purposes.*.kept.*.law": (None, True),
    "purposes.*.kept.*.retention": ("kept", True),
    "purposes.*.kept.*.what": ("kept", True),
    "purposes.*.law": (None, True),
    "purposes.*.refused_by": ("rights", False),
    "purposes.*.retention": ("kept", True),
    "purposes.*.source": ("collected", True),
    "purposes.*.subjects": ("collected", True),
    "purposes.*.title": (None, True),
    "purposes.*.until": ("kept", True),
    "recipients.*.contact": (None, False),
    "recipients.*.country": ("received", True),
    "recipients.*.items": ("received", True),
    "recipients.*.name": ("received", True),
    "recipients.*.purpose": ("received", True),
    "recipients.*.retention": ("kept", True),
    "recipients.*.transfer.basis": ("received", True),
    "recipients.*.transfer.countries": ("received", True),
    "recipients.*.transfer.how": (None, False),
    "recipients.*.transfer.items": ("received", True),
    "recipients.*.transfer.refuse": ("rights", False),
    "recipients.*.until": ("kept", True),
    "scope.applies_to": ("used", False),
    "seal": (None, True),
    "sections.*.after": (None, False),
    "sections.*.text": ("rights", True),
    "sections.*.title": ("rights", True),
    "time_zone": (None, False),
    "undeclared": (None, False),
}
#: Keys that a revision may change without being compared, and why.
UNCOMPARED: Final[Mapping[str, str]] = {
    "digest": "it is another one after every change",
    "revision": "it goes up with every revision",
    "published": "each revision has its own",
    "effective": "each revision has its own",
    "sections.*.important": "it says how a change of the section is announced, and nothing about the visitor",
}
#: Keys that the page does not show, and why.
UNSHOWN: Final[Mapping[str, str]] = {
    "digest": "it is for programs",
    "sections.*.important": "it says how a change of the section is announced",
}
#: Keys that the page shows around its text alone, and why.
UNWRITTEN: Final[Mapping[str, str]] = {"languages": "a file leads to no other language"}
#: Keys that no other value can be given alone, and why.
FIXED: Final[Mapping[str, str]] = {
    "file": "where it was read from; visitors have no use for it",
    "purposes.*.name": "what its table is called: another name is another purpose",
    "events.*.name": "what its table is called: another name is another event",
    "purposes.*.held_by": "needs other keys beside it; tests/policy/test_amendments.py has it",
}


def keys(kind: Any, place: str = "") -> Iterator[str]:
    """Every key of the model, by where it stands in a policy."""
    if get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            yield from keys(part, place)
    elif get_origin(kind) in (tuple, dict):
        yield from keys(get_args(kind)[0 if get_origin(kind) is tuple else 1], place if plain(kind) else f"{place}.*")
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from keys(field.type, f"{place}.{field.name}".lstrip("."))
    elif kind is not type(None) and place:
        yield place


def plain(kind: Any) -> bool:
    """Whether it is a list or a table of plain values, which is one key and no place of its own."""
    inner = get_args(kind)[0 if get_origin(kind) is tuple else 1]
    return not (isinstance(inner, type) and issubclass(inner, msgspec.Struct))


def changes(value: Any, kind: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each key that has a value, and `value` with another one there."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            for key, other in changes(getattr(value, field.name), field.type, f"{place}.{field.name}".lstrip(".")):
                yield key, msgspec.structs.replace(value, **{field.name: other})
    elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        for number, part in enumerate(value):
            for key, other in changes(part, type(part), f"{place}.*"):
                yield key, (*value[:number], other, *value[number + 1 :])
    elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), msgspec.Struct):
        for name, part in value.items():
            for key, other in changes(part, type(part), f"{place}.*"):
                yield key, {**value, name: other}
    elif value not in (None, "", (), {}):
        yield place, another(value, kind, place)


def another(value: Any, kind: Any, place: str) -> Any:
    """A value of the same kind that is not this one."""
    special: Mapping[str, Any] = {
        "jurisdiction": "EU",
        "languages": ("en", "ko", "de"),
        "digest": "0" * 64,
        "contact.ways": ("form", "post"),
        "log": {"ads": {"client.address": "full"}},
        "headings": {"rights": Text({"": "Your rights"})},
        "events.*.fields": {"results": "int", "words": "str"},
        "purposes.*.refused_by": ("dnt",),
        "purposes.*.basis": "consent",
        "cookies.*.purpose": "necessary",
        "events.*.purpose": "necessary",
        "browser.*.purpose": "necessary",
        "recipients.*.purpose": "necessary",
        "processors.*.purposes": ("necessary",),
        "sections.*.after": "top",
    }
    if place in special:
        return special[place]
    if place.endswith((".countries", ".country")):
        return ("IN",) if isinstance(value, tuple) else "IN"
    if isinstance(value, bool):
        return not value
    if isinstance(value, Text):
        return Text({"": "Something else"})
    if isinstance(value, Duration):
        return Duration(value.count + 1, value.unit)
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, ZoneInfo):
        return ZoneInfo("Europe/Berlin")
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple):
        return (*value, Text({"": "One more"}))
    choices = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    return next((word for word in choices if word != value), f"{value}0")


@lru_cache
def full() -> Policy:
    return loads(FULL)


@lru_cache(maxsize=1)
def shown_in_full() -> dict[str, str]:
    return shown(full())


def shown(policy: Policy) -> dict[str, str]:
    html = policy_file(policy, "en", "/consent", NOW)
    return {
        "page": html,
        "markdown": markdown_of(html),
        "json": json.dumps(policy_document(policy, "en", OwnCookies(), [1])),
        "record": json.dumps(processing_record(policy, "en")["activities"]) + record_sheet(policy, "en"),
    }


@lru_cache
def others() -> dict[str, list[Policy]]:
    """By key, the full policy with another value there; several where the key stands in several places."""
    policies: dict[str, list[Policy]] = {}
    for key, policy in changes(full(), Policy):
        policies.setdefault(key, []).append(policy)
    return policies


def test_every_key_of_the_model_is_read_and_has_its_line_here() -> None:
    assert set(keys(Policy)) == others().keys() | {"file"} == KEYS.keys() | UNCOMPARED.keys() | FIXED.keys()


@pytest.mark.parametrize("key", [*KEYS, *UNCOMPARED])
def test_a_key_is_shown_compared_and_recorded(key: str) -> None:
    before = shown_in_full()
    after = [shown(policy) for policy in others()[key]]
    places = {where for where in before if any(documents[where] != before[where] for documents in after)}
    unshown = {"page", "markdown"} if key in UNSHOWN else {"markdown"} if key in UNWRITTEN else set()
    assert places - {"record"} == {"page", "markdown", "json"} - unshown
    amended = [change for policy in others()[key] for change in amendments(full(), policy)]
    assert bool(amended) == (key not in UNCOMPARED)
    if key in KEYS:
        reason, recorded = KEYS[key]
        assert {change.reason for change in amended if change.reason} == ({reason} if reason else set())
        assert ("record" in places) == recorded
