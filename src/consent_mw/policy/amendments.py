"""What one revision of a policy changes, item by item, and whether it weighs. Pure: two policies in, a list out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from consent_mw.policy.durations import Duration
from consent_mw.policy.model import (
    Cookie,
    Event,
    InBrowser,
    Kept,
    Policy,
    Processor,
    Purpose,
    Recipient,
    Text,
    Transfer,
)
from consent_mw.policy.recipients import provider_of, receivers, same
from consent_mw.system.days import swing_seconds

#: Why a change weighs: more is collected, it is used for something else, kept longer, received by others, stored in the
#: browser, protected less, or the visitor's rights are others. Such a change is announced 30 days before.
Reason: TypeAlias = Literal["collected", "used", "kept", "received", "stored", "protected", "rights"]
Value: TypeAlias = Text | Duration | str | None


class Amendment(NamedTuple):
    """
    One thing that visitors read and that changes.

    Attributes:
        what: Which thing and how, such as "retention.longer". templates/_amendment.html has the texts.
        reason: Why it weighs (it is material); None for what is ordinary.
        about: Whose change it is: the title of a purpose, the name of a cookie, of a field, of a recipient.
        purpose: The declared name of the purpose that it belongs to; "" for the policy as a whole.
        cookie: The declared name of the cookie, where it is one's; else "".
    """

    what: str
    reason: Reason | None
    about: Value
    before: Value = None
    now: Value = None
    purpose: str = ""
    cookie: str = ""


_Changes: TypeAlias = Iterator[Amendment]
_Party = TypeVar("_Party", Recipient, Processor, Kept)


def amendments(old: Policy, new: Policy) -> list[Amendment]:
    """
    Return everything that visitors read and that `new` changes; nothing for a comment, or another order.

    A text is never judged: other words for a purpose are ordinary, and other items for a recipient weigh, since the one
    is a description and the other a promise. Where it is in doubt whether a visitor gains, the change weighs.
    """
    parts = (
        _purposes,
        _fields,
        _events,
        _recipients,
        _processors,
        _cookies,
        _browser,
        _people,
        _contacts,
        _sections,
        _whole,
    )
    changes = [change for part in parts for change in part(old, new)]
    return sorted(changes, key=lambda change: change.reason is None)  # what weighs comes first; sorting is stable


# -- purposes -----------------------------------------------------------------------------------------------------


def _purposes(old: Policy, new: Policy) -> _Changes:
    swing = max(swing_seconds(policy.time_zone) for policy in (old, new))
    for name, purpose in new.purposes.items():
        before = old.purposes.get(name)
        if before is None:
            yield Amendment("purpose.new", "used", purpose.title, None, purpose.description, name)
        else:
            yield from _purpose(before, purpose, swing)
    for name, purpose in old.purposes.items():
        if name not in new.purposes:
            yield Amendment("purpose.gone", None, purpose.title, purpose=name)


def _purpose(old: Purpose, new: Purpose, swing: int) -> _Changes:
    def amended(what: str, reason: Reason | None, before: Value, now: Value) -> Amendment:
        return Amendment(what, reason, new.title, before, now, new.name)

    if old.basis != new.basis:
        yield amended("purpose.basis", "used", old.basis, new.basis)
    if old.held_by != new.held_by:
        reason: Reason | None = "protected" if new.held_by == "application" else None
        yield amended(f"purpose.held_by_{new.held_by}", reason, None, None)
    if old.answered_by != new.answered_by and new.held_by == "application":
        lost: Reason | None = "rights" if old.answered_by == "my_data" or not new.answered_by else None
        yield amended(f"purpose.answered_by_{new.answered_by or 'nobody'}", lost, None, None)
    yield from _end(old, new, amended, swing)
    yield from _words(old, new, amended)
    yield from _archive(old, new, amended, swing)
    # None refuses what nobody is asked about, and none is promised there.
    before_that, from_now = (purpose.refused_by if purpose.asked else () for purpose in (old, new))
    for signal in before_that:
        if signal not in from_now:
            yield amended("signal.gone", "rights", signal, None)
    for signal in from_now:
        if signal not in before_that:
            yield amended("signal.new", None, None, signal)
    for what, before, now in (("title", old.title, new.title), ("description", old.description, new.description)):
        if before != now:
            yield amended(f"purpose.{what}", None, before, now)


def _end(
    old: Purpose | Recipient | Processor, new: Purpose | Recipient | Processor, amended: _Amended, swing: int = 0
) -> _Changes:
    """When something ends, by the calendar or by an event; nobody can tell which of two events comes first."""
    before, now = old.retention or old.until, new.retention or new.until
    if old.retention and new.retention:
        if way := _way(old.retention, new.retention, swing):
            yield amended(f"retention.{way}", _KEPT[way], old.retention, new.retention)
    elif before != now:
        yield amended("retention.event", "kept" if not _translated(before, now) else None, before, now)


def _words(old: Purpose, new: Purpose, amended: _Amended) -> _Changes:
    """What the page says of data that the application holds, and why they may be held."""
    (required, optional), (requires, offers) = (_items(purpose) for purpose in (old, new))
    for what, before, now in (
        ("required", required, requires),
        ("optional", optional, offers),
        ("subjects", old.subjects, new.subjects),
        ("source", old.source, new.source),
    ):
        if before != now:
            yield amended(f"purpose.{what}", "collected" if now and not _translated(before, now) else None, before, now)
    was, becomes = old.deidentified, new.deidentified
    if was is None or becomes is None:
        if was != becomes:
            yield amended("purpose.deidentified", None if becomes else "kept", was, becomes)
    elif way := _way(was, becomes):
        yield amended("purpose.deidentified", _KEPT[way], was, becomes)
    for what, before, now in (("grounds", old.grounds, new.grounds), ("law", old.law, new.law)):
        if before != now:
            yield amended(f"purpose.{what}", None, before, now)
    for kept in new.kept:
        known = _before(kept, old.kept, new.kept)
        if known is None:
            yield amended("kept.new", "kept", None, kept.what)
        elif way := _way(known.retention, kept.retention):
            yield amended(f"retention.{way}", _KEPT[way], known.retention, kept.retention)
        elif known.law != kept.law:
            yield amended("purpose.law", None, known.law, kept.law)
    for kept in old.kept:
        if not any(same(kept.what, other.what) for other in new.kept):
            yield amended("kept.gone", None, kept.what, None)


def _items(purpose: Purpose) -> tuple[Text | None, Text | None]:
    return (purpose.items.required, purpose.items.optional) if purpose.items else (None, None)


def _translated(before: Value, now: Value) -> bool:
    return isinstance(before, Text) and isinstance(now, Text) and same(before, now)


_Amended: TypeAlias = Callable[[str, Reason | None, Value, Value], Amendment]


def _archive(old: Purpose, new: Purpose, amended: _Amended, swing: int) -> _Changes:
    before, now = old.archive, new.archive
    if before is None and now is not None:
        yield amended("archive.new", "kept", None, now.retention)
    elif before is not None and now is None:
        yield amended("archive.gone", None, before.retention, None)
    elif before is not None and now is not None:
        if way := _way(before.retention, now.retention, swing):
            yield amended(f"archive.{way}", _KEPT[way], before.retention, now.retention)
        if before.law != now.law:
            yield amended("archive.law", None, before.law, now.law)


_KEPT: Final[Mapping[str, Reason | None]] = {"longer": "kept", "other": "kept", "shorter": None}


def _way(before: Duration | None, now: Duration | None, swing: int = 0) -> Literal["longer", "other", "shorter", ""]:
    """
    Which way a duration goes, by the calendar: 12 months are a year, and 30 days for a month are neither longer nor
    shorter but another time, which from some dates ends later. None ends with the browser, before all others.
    """
    if before is None or now is None:
        return "" if before is now else "longer" if before is None else "shorter"
    least, most = now.longer_by(before, swing)
    if least < 0 < most:
        return "other"
    return "longer" if most > 0 else "shorter" if least < 0 else ""


# -- what the log keeps -------------------------------------------------------------------------------------------

#: From telling nothing to telling everything.
_PRECISIONS: Final = ("off", "family", "origin", "token", "masked", "full")


def _fields(old: Policy, new: Policy) -> _Changes:
    for purpose in dict.fromkeys((*new.log, *old.log)):
        before, now = _log(old, purpose), _log(new, purpose)
        for field in dict.fromkeys((*now, *before)):
            was, becomes = before.get(field, "off"), now.get(field, "off")
            if was != becomes:
                yield _field(field, was, becomes, purpose)


def _log(policy: Policy, purpose: str) -> Mapping[str, str]:
    return {field: precision for field, precision in policy.log.get(purpose, {}).items() if precision != "off"}


def _field(field: str, before: str, now: str, purpose: str) -> Amendment:
    if before == "off":
        return Amendment("field.new", "collected", field, None, now, purpose)
    if now == "off":
        return Amendment("field.gone", None, field, before, None, purpose)
    more = _PRECISIONS.index(now) > _PRECISIONS.index(before)
    return Amendment("field.more" if more else "field.less", "collected" if more else None, field, before, now, purpose)


def _events(old: Policy, new: Policy) -> _Changes:
    for name, event in new.events.items():
        before = old.events.get(name)
        if before is None:
            fields = ", ".join(event.fields) or None
            yield Amendment("event.new", "collected", name, None, fields, event.purpose)
        else:
            yield from _event(before, event, old, new)
    for name, event in old.events.items():
        if name not in new.events:
            yield Amendment("event.gone", None, name, purpose=event.purpose)


def _event(old: Event, new: Event, before: Policy, now: Policy) -> _Changes:
    if old.purpose != new.purpose:
        was, becomes = before.purposes[old.purpose].title, now.purposes[new.purpose].title
        yield Amendment("event.purpose", "used", new.name, was, becomes, new.purpose)
    if old.title != new.title:
        yield Amendment("event.title", None, new.name, old.title or old.name, new.title or new.name, new.purpose)
    for field, kind in new.fields.items():
        if field not in old.fields:
            yield Amendment("event.field", "collected", new.name, None, field, new.purpose)
        elif old.fields[field] != kind:
            about = f"{new.name}.{field}"
            yield Amendment("event.kind", "collected", about, old.fields[field], kind, new.purpose)
    for field in old.fields:
        if field not in new.fields:
            yield Amendment("event.less", None, new.name, field, None, new.purpose)


# -- who receives it ----------------------------------------------------------------------------------------------


def _recipients(old: Policy, new: Policy) -> _Changes:
    for recipient in new.recipients:
        before = _before(recipient, old.recipients, new.recipients)
        if before is None:
            yield Amendment("recipient.new", "received", recipient.name, None, recipient.items, recipient.purpose)
        else:
            yield from _recipient(before, recipient)
    for recipient in old.recipients:
        if _before(recipient, new.recipients, old.recipients) is None:
            yield Amendment("recipient.gone", None, recipient.name, purpose=recipient.purpose)
    yield from _providers(old, new)


def _providers(old: Policy, new: Policy) -> _Changes:
    """Those who receive something from now on because a new cookie is theirs, also where nobody is asked about it."""
    known = {cookie.name for cookie in old.cookies} | {entry.name for entry in old.browser}
    for purpose in new.purposes:
        before = [receiver.name for receiver in receivers(old, purpose)]
        for receiver in receivers(new, purpose):
            added = ", ".join(cookie.name for cookie in receiver.cookies if cookie.name not in known)
            if (
                added
                and not (receiver.declared or receiver.processor)
                and not any(same(receiver.name, name) for name in before)
            ):
                yield Amendment("recipient.new", "received", receiver.name, None, added, purpose)


def _before(party: _Party, others: Sequence[_Party], beside: Sequence[_Party]) -> _Party | None:
    """
    Return which of the `others` is `party` in the other revision: the very same, or else one of its name.

    One may stand there in several rows; of those that are in `others` as they are in `beside` none is meant.
    """
    if party in others:
        return party
    left = (other for other in others if other not in beside and same(_named(other), _named(party)))
    return next((other for other in left if _purpose_of(other) == _purpose_of(party)), None)


def _named(party: Recipient | Processor | Kept) -> Text:
    return party.what if isinstance(party, Kept) else party.name


def _purpose_of(party: Recipient | Processor | Kept) -> str:
    return party.purpose if isinstance(party, Recipient) else ""


def _recipient(old: Recipient, new: Recipient) -> _Changes:
    def amended(what: str, reason: Reason | None, before: Value, now: Value) -> Amendment:
        return Amendment(f"recipient.{what}", reason, new.name, before, now, new.purpose)

    if not same(old.items, new.items):
        yield amended("items", "received", old.items, new.items)
    elif old.items != new.items:
        yield amended("items", None, old.items, new.items)
    if old.retention and new.retention:
        if way := _way(old.retention, new.retention):
            yield amended(way, _KEPT[way], old.retention, new.retention)
    elif old.retention or new.retention or old.until != new.until:
        before, now = old.retention or old.until, new.retention or new.until
        yield amended("end", None if _translated(before, now) else "kept", before, now)
    if old.contact != new.contact:
        yield amended("contact", None, old.contact, new.contact)
    yield from _transfer(old.transfer, new.transfer, amended)
    if old.country != new.country:
        yield amended("country", "received", old.country, new.country)
    if old.name != new.name:
        yield amended("name", None, old.name, new.name)


def _processors(old: Policy, new: Policy) -> _Changes:
    for processor in new.processors:
        before = _before(processor, old.processors, new.processors)
        if before is None:
            yield Amendment("processor.new", "received", processor.name, None, processor.task)
        else:
            yield from _processor(before, processor, old, new)
    for processor in old.processors:
        if _before(processor, new.processors, old.processors) is None:
            yield Amendment("processor.gone", None, processor.name)


def _processor(old: Processor, new: Processor, before: Policy, now: Policy) -> _Changes:
    def amended(what: str, reason: Reason | None, before: Value, now: Value) -> Amendment:
        return Amendment(f"processor.{what}", reason, new.name, before, now)

    if old.task != new.task:
        yield amended("task", None if same(old.task, new.task) else "received", old.task, new.task)
    for name in new.purposes:
        if name not in old.purposes:
            yield amended("purpose", "received", None, now.purposes[name].title)
    for name in old.purposes:
        if name not in new.purposes:
            yield amended("less", None, before.purposes[name].title, None)
    was, becomes = old.retention or old.until, new.retention or new.until
    way = _way(old.retention, new.retention) if old.retention and new.retention else ""
    if way or (was != becomes and not (old.retention and new.retention)):
        yield amended("end", None if way == "shorter" or _translated(was, becomes) else "kept", was, becomes)
    for sub in new.sub:
        if not any(same(sub, other) for other in old.sub):
            yield amended("sub", "received", None, sub)
    for sub in old.sub:
        if not any(same(sub, other) for other in new.sub):
            yield amended("sub_gone", None, sub, None)
    if old.contact != new.contact:
        yield amended("contact", None, old.contact, new.contact)
    if old.name != new.name:
        yield amended("name", None, old.name, new.name)
    yield from _transfer(old.transfer, new.transfer, amended)


def _transfer(old: Transfer | None, new: Transfer | None, amended: _Amended) -> _Changes:
    """A transfer abroad weighs where it is new, or goes elsewhere, takes more along or stands on another ground."""
    if old is None or new is None:
        if new:
            yield amended("transfer", "received", None, ", ".join(new.countries))
        elif old:
            yield amended("transfer_gone", None, ", ".join(old.countries), None)
        return
    if old.countries != new.countries:
        more = not set(new.countries) <= set(old.countries)
        yield amended("transfer", "received" if more else None, ", ".join(old.countries), ", ".join(new.countries))
    if old.basis != new.basis:
        yield amended("transfer_basis", "received", old.basis, new.basis)
    for what, before, now in (("items", old.items, new.items), ("refuse", old.refuse, new.refuse)):
        if before != now:
            reason: Reason = "received" if what == "items" else "rights"
            yield amended(f"transfer_{what}", None if _translated(before, now) else reason, before, now)
    if old.how != new.how:
        yield amended("transfer_how", None, old.how, new.how)


# -- cookies ------------------------------------------------------------------------------------------------------


def _cookies(old: Policy, new: Policy) -> _Changes:
    known = {cookie.name: cookie for cookie in old.cookies}
    for cookie in new.cookies:
        before = known.pop(cookie.name, None)
        if before is None:
            asked = new.purposes[cookie.purpose].asked
            reason: Reason | None = "stored" if asked else None
            yield Amendment("cookie.new", reason, cookie.name, None, cookie.expires, cookie.purpose, cookie.name)
        else:
            yield from _cookie(before, cookie, old, new)
    for cookie in known.values():
        yield Amendment("cookie.gone", None, cookie.name, purpose=cookie.purpose, cookie=cookie.name)


def _cookie(old: Cookie, new: Cookie, before: Policy, now: Policy) -> _Changes:
    def amended(what: str, reason: Reason | None, was: Value, becomes: Value) -> Amendment:
        return Amendment(f"cookie.{what}", reason, new.name, was, becomes, new.purpose, new.name)

    if old.purpose != new.purpose:
        yield amended("purpose", "used", before.purposes[old.purpose].title, now.purposes[new.purpose].title)
    if way := _way(old.expires, new.expires):
        yield amended(way, None if way == "shorter" else "stored", old.expires, new.expires)
    provider, provides = old.provider or before.controller.name, new.provider or now.controller.name
    if not same(provider_of(before, old), provider_of(now, new)):
        yield amended("provider", "received", provider, provides)
    elif old.provider != new.provider:
        yield amended("provider", None, provider, provides)
    if old.domain != new.domain:
        yield amended("domain", "stored", old.domain, new.domain)
    if old.description != new.description:
        yield amended("description", None, old.description, new.description)
    if old.path != new.path:
        yield amended("path", None, old.path, new.path)
    if old.partitioned != new.partitioned:
        yield amended("apart" if new.partitioned else "shared", None if new.partitioned else "stored", None, None)


def _browser(old: Policy, new: Policy) -> _Changes:
    """What scripts keep and what the browser fetches; another kind of it is another thing."""
    known = {(entry.kind, entry.name): entry for entry in old.browser}
    for entry in new.browser:
        before = known.pop((entry.kind, entry.name), None)
        if before is None:
            reason: Reason | None = "stored" if new.purposes[entry.purpose].asked else None
            yield Amendment("browser.new", reason, entry.name, purpose=entry.purpose)
        else:
            yield from _in_browser(before, entry, old, new)
    for entry in known.values():
        yield Amendment("browser.gone", None, entry.name, purpose=entry.purpose)


def _in_browser(old: InBrowser, new: InBrowser, before: Policy, now: Policy) -> _Changes:
    def amended(what: str, reason: Reason | None, was: Value, becomes: Value) -> Amendment:
        return Amendment(f"browser.{what}", reason, new.name, was, becomes, new.purpose)

    if old.purpose != new.purpose:
        yield amended("purpose", "used", before.purposes[old.purpose].title, now.purposes[new.purpose].title)
    # Without an end a script keeps it until somebody deletes it.
    if way := _way(new.expires, old.expires) if None in (old.expires, new.expires) else _way(old.expires, new.expires):
        yield amended("expires", None if way == "shorter" else "stored", old.expires, new.expires)
    provider, provides = old.provider or before.controller.name, new.provider or now.controller.name
    if old.provider != new.provider:
        same_one = same(provider_of(before, old), provider_of(now, new))
        yield amended("provider", None if same_one else "received", provider, provides)
    if old.host != new.host:
        yield amended("host", "received", old.host, new.host)
    if old.description != new.description:
        yield amended("description", None, old.description, new.description)
    if old.refuse_url != new.refuse_url:
        yield amended("refuse_url", None, old.refuse_url, new.refuse_url)


# -- the rest -----------------------------------------------------------------------------------------------------


def _people(old: Policy, new: Policy) -> _Changes:
    before, now = old.controller, new.controller
    if before.name != now.name:
        yield Amendment("controller", None if same(before.name, now.name) else "received", None, before.name, now.name)
    if before.officer.name != now.officer.name:
        yield Amendment("officer.name", None, None, before.officer.name, now.officer.name)
    for what, was, becomes in (
        ("email", before.officer.email, now.officer.email),
        ("phone", before.officer.phone, now.officer.phone),
    ):
        if was != becomes:
            yield Amendment(f"officer.{what}", None, None, was, becomes)
    for agency in new.agencies:
        if agency not in old.agencies:
            known = any(same(agency.name, other.name) for other in old.agencies)
            yield Amendment("agency.changed" if known else "agency.new", None, agency.name)
    for agency in old.agencies:
        if not any(same(agency.name, other.name) for other in new.agencies):
            yield Amendment("agency.gone", None, agency.name)


def _contacts(old: Policy, new: Policy) -> _Changes:
    before, now = old.controller, new.controller
    officer, other = before.officer, now.officer
    for what, was, becomes in (
        ("controller.address", before.address, now.address),
        ("controller.registration", before.registration, now.registration),
        ("officer.title", officer.title, other.title),
        ("officer.department", officer.department, other.department),
        ("officer.fax", officer.fax, other.fax),
    ):
        if was != becomes:
            yield Amendment(what, None, None, was or "", becomes or "")
    for joint in new.joint_controllers:
        if not any(same(joint.name, known.name) for known in old.joint_controllers):
            yield Amendment("joint.new", "received", joint.name)
        elif joint not in old.joint_controllers:
            yield Amendment("joint.changed", None, joint.name)
    for joint in old.joint_controllers:
        if not any(same(joint.name, known.name) for known in new.joint_controllers):
            yield Amendment("joint.gone", None, joint.name)
    for person in new.contacts:
        if person not in old.contacts:
            yield Amendment("contact.changed", None, person.name)
    for person in old.contacts:
        if person.role not in {contact.role for contact in new.contacts}:
            yield Amendment("contact.gone", None, person.name)


def _sections(old: Policy, new: Policy) -> _Changes:
    """A section is important where the site says so; the whole text of a new one is listed."""
    for section in new.sections:
        before = next((other for other in old.sections if same(other.title, section.title)), None)
        weighs: Reason | None = "rights" if section.important else None
        if before is None:
            yield Amendment("section.new", weighs, section.title)
        elif (before.text, before.title) != (section.text, section.title):
            weighs = "rights" if section.important or before.important else None
            translated = same(before.text, section.text)
            yield Amendment("section.changed", None if translated else weighs, section.title)
        elif before.after != section.after:
            yield Amendment("section.moved", None, section.title)
    for section in old.sections:
        if not any(same(section.title, other.title) for other in new.sections):
            yield Amendment("section.gone", "rights" if section.important else None, section.title)
    for what, was, becomes in (
        ("preamble", old.preamble, new.preamble),
        ("scope", old.scope.applies_to if old.scope else None, new.scope.applies_to if new.scope else None),
    ):
        if was != becomes:
            reason: Reason | None = None if what == "preamble" or _translated(was, becomes) else "used"
            yield Amendment(what, reason, None, was or "", becomes or "")
    if old.headings != new.headings:
        yield Amendment("headings", None, None)
    if old.earlier != new.earlier:
        yield Amendment("earlier", None, None)


def _whole(old: Policy, new: Policy) -> _Changes:
    if old.undeclared != new.undeclared:
        passes = new.undeclared == "report"
        yield Amendment("undeclared.passes" if passes else "undeclared.blocked", "protected" if passes else None, None)
    if old.seal != new.seal:
        yield Amendment("seal.on" if new.seal else "seal.off", None if new.seal else "protected", None)
    if old.contact.ways != new.contact.ways:
        yield Amendment("contact.ways", None, None, ", ".join(old.contact.ways), ", ".join(new.contact.ways))
    if old.destruction.paper != new.destruction.paper:
        before, now = old.destruction.paper, new.destruction.paper
        yield Amendment("paper", None if now else "protected", None, before or "", now or "")
    if old.jurisdiction != new.jurisdiction:
        yield Amendment("jurisdiction", "rights", None, old.jurisdiction, new.jurisdiction)
    if old.time_zone.key != new.time_zone.key:
        yield Amendment("time_zone", None, None, old.time_zone.key, new.time_zone.key)
    for language in new.languages:
        if language not in old.languages:
            yield Amendment("language.new", None, language)
    for language in old.languages:
        if language not in new.languages:
            yield Amendment("language.gone", None, language)
