"""The policy and its cookies as data, in one language, ready for JSON. Pure: a policy in, dicts out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, cast

import msgspec

from consent_mw.consent.choice import LIFETIME
from consent_mw.cookies.request_cookies import WAITING_FOR
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import NECESSARY, Cookie, Policy, Purpose, Text
from consent_mw.policy.recipients import Receiver
from consent_mw.site.outline import Outline, Summary

#: How long a browser remembers that its visitor has closed the notice of a revision.
NOTICE_CLOSED_FOR: Final = Duration(30, "day")


class OwnCookies(NamedTuple):
    """The names of our cookies on this kind of connection; "" for a cookie that this site never sets.

    `attributes` are the end of the Set-Cookie line of a cookie that goes with every request of the site.
    """

    consent: str = "consent"
    pending: str = "consent-pending"
    notice: str = "consent-notice"
    form: str = "consent-form"
    host: str = ""
    attributes: str = "; SameSite=Lax"
    waiting: str = "consent-waiting"


def policy_document(policy: Policy, language: str, own: OwnCookies, revisions: Iterable[int]) -> dict[str, object]:
    """
    Return everything that the policy page says.

    A text is `{"text": …, "language": …}`. If it is missing in `language`, "language" names the one that it is in.

    Args:
        revisions: The revisions that can be read, each at an address of its own.
    """
    return {
        "revision": policy.revision,
        "revisions": sorted(revisions),
        "published": policy.published.isoformat(),
        "effective": policy.effective.isoformat(),
        "time_zone": policy.time_zone.key,
        "jurisdiction": policy.jurisdiction,
        "language": language,
        "languages": list(policy.languages),
        "digest": policy.digest,
        "controller": _plain(policy.controller, language),
        "joint_controllers": [_plain(joint, language) for joint in policy.joint_controllers],
        "contacts": [_plain(contact, language) for contact in policy.contacts],
        "preamble": _may(policy.preamble, language),
        "scope": policy.scope and _text(policy.scope.applies_to, language),
        "earlier": [_plain(earlier, language) for earlier in policy.earlier],
        "sections": [_plain(section, language) for section in policy.sections],
        "headings": {place: _text(words, language) for place, words in policy.headings.items()},
        "rights": [right._asdict() for right in Outline(policy).rights()],
        "answer_within": str(Outline(policy).answer_within()),
        "contact": _plain(policy.contact, language),
        "destruction": _plain(policy.destruction, language),
        "summary": [_summary(row, language) for row in Outline(policy).summary()],
        "purposes": [_purpose(policy, purpose, language) for purpose in policy.purposes.values()],
        "recipients": [row for receiver in Outline(policy).third_parties() for row in _receiver(receiver, language)],
        "processors": [_plain(processor, language) for processor in policy.processors],
        **cookies_document(policy, language, own),
        "undeclared": policy.undeclared,
        "seal": policy.seal,
        "agencies": [_plain(agency, language) for agency in policy.agencies],
    }


def _summary(row: Summary, language: str) -> dict[str, object]:
    """Return a line of the table on top of the page. `purposes` and the lists below it give the details."""
    purpose = row.purpose
    return {
        "purpose": purpose.name,
        "title": _text(purpose.title, language),
        "basis": purpose.basis,
        "held_by": purpose.held_by,
        "items": _plain(purpose.items, language),
        "recorded": row.recorded,
        "fields": list(row.fields),
        "events": [event.name for event in row.events],
        "cookies": list(row.cookies),
        "browser": list(row.browser),
        "retention": str(purpose.retention) if purpose.retention else None,
        "until": _may(purpose.until, language),
        "recipients": [_text(name, language) for name in row.others],
        "processors": [_text(name, language) for name in row.processors],
    }


def _receiver(receiver: Receiver, language: str) -> list[dict[str, object]]:
    """Return a row for each declared thing that a receiver gets; a provider of cookies only gets one without items."""
    cookies = [cookie.name for cookie in receiver.cookies]
    return [
        {
            "name": _text(receiver.name, language),
            "purpose": receiver.purpose,
            "items": _text(declared.items, language) if declared else None,
            "retention": str(declared.retention) if declared and declared.retention else None,
            "until": _may(declared.until, language) if declared else None,
            "country": declared.country if declared else "",
            "contact": declared.contact if declared else "",
            "transfer": _plain(declared.transfer, language) if declared else None,
            "cookies": cookies,
        }
        for declared in receiver.declared or (None,)
    ]


def _purpose(policy: Policy, purpose: Purpose, language: str) -> dict[str, object]:
    return {
        "name": purpose.name,
        "title": _text(purpose.title, language),
        "description": _text(purpose.description, language),
        "basis": purpose.basis,
        "grounds": _may(purpose.grounds, language),
        "law": _may(purpose.law, language),
        "held_by": purpose.held_by,
        "answered_by": purpose.answered_by,
        "asked": purpose.asked,
        "items": _plain(purpose.items, language),
        "subjects": _may(purpose.subjects, language),
        "source": _may(purpose.source, language),
        "until": _may(purpose.until, language),
        "deidentified": str(purpose.deidentified) if purpose.deidentified else None,
        "kept": _plain(purpose.kept, language),
        "retention": str(purpose.retention) if purpose.retention else None,
        "archive": purpose.archive
        and {"retention": str(purpose.archive.retention), "law": _text(purpose.archive.law, language)},
        "refused_by": list(purpose.signals),
        "receivers": [_text(name, language) for name in Outline(policy).receivers(purpose)],
        "log": {
            field: precision for field, precision in policy.log.get(purpose.name, {}).items() if precision != "off"
        },
        "events": {
            event.name: {"title": _may(event.title, language), "fields": dict(event.fields)}
            for event in policy.events.values()
            if event.purpose == purpose.name
        },
    }


def cookies_document(policy: Policy, language: str, own: OwnCookies) -> dict[str, object]:
    """Return every cookie that the site may set: our own, under their real names, and the declared ones."""
    ours = [
        (own.consent, str(Duration(LIFETIME.days, "day"))),
        (own.pending, None),
        (own.waiting, str(WAITING_FOR)),
        (own.notice, str(NOTICE_CLOSED_FOR)),
        (own.form, None),
        (own.host, str(Duration(LIFETIME.days, "day"))),
    ]
    named = {cookie.name for cookie in policy.cookies}
    site, retention = _text(policy.controller.name, language), str(policy.kept[NECESSARY])
    rows = [
        {
            "name": name,
            "purpose": NECESSARY,
            "provider": site,
            "expires": expires,
            "retention": retention,
            "description": None,
            "domain": "",
            "path": "/",
            "partitioned": False,
        }
        for name, expires in ours
        if name and name not in named
    ]
    return {
        "cookies": [*rows, *(_cookie(policy, cookie, language) for cookie in policy.cookies)],
        "browser": [_plain(entry, language) for entry in policy.browser],
    }


def _cookie(policy: Policy, cookie: Cookie, language: str) -> dict[str, object]:
    return {
        "name": cookie.name,
        "purpose": cookie.purpose,
        "provider": _text(cookie.provider or policy.controller.name, language),
        "expires": str(cookie.expires) if cookie.expires else None,
        "retention": str(policy.kept[cookie.purpose]),
        "description": _text(cookie.description, language),
        "domain": cookie.domain,
        "path": cookie.path,
        "partitioned": cookie.partitioned,
    }


def _plain(value: object, language: str) -> object:
    """Return a part of the policy, key by key, as the declaration has it."""
    if isinstance(value, Text):
        return _text(value, language)
    if isinstance(value, msgspec.Struct):
        keys = (field.name for field in msgspec.structs.fields(value))
        return {key: _plain(getattr(value, key), language) for key in keys}
    if isinstance(value, tuple):
        return [_plain(item, language) for item in cast("tuple[object, ...]", value)]
    return value if value is None or isinstance(value, str | bool) else str(value)


def _may(text: Text | None, language: str) -> dict[str, str] | None:
    return _text(text, language) if text else None


def _text(text: Text, language: str) -> dict[str, str]:
    words, spoken = text.read(language)
    return {"text": words, "language": spoken or language}
