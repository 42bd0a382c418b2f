"""The policy and its cookies as data, in one language, ready for JSON. Pure: a policy in, dicts out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from consent_mw.consent.choice import LIFETIME
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import NECESSARY, Cookie, Policy, Purpose, Text
from consent_mw.policy.recipients import Receiver
from consent_mw.site.outline import Outline

__all__ = ["NOTICE_CLOSED_FOR", "OwnCookies", "cookies_document", "policy_document"]


#: How long a browser remembers that its visitor has closed the notice of a revision.
NOTICE_CLOSED_FOR: Final = Duration(30, "day")


class OwnCookies(NamedTuple):
    """What our cookies are called on this kind of connection; "" for one that this site never sets."""

    consent: str = "consent"
    pending: str = "consent-pending"
    notice: str = "consent-notice"
    form: str = "consent-form"
    host: str = ""


def policy_document(policy: Policy, language: str, own: OwnCookies, revisions: Iterable[int]) -> dict[str, object]:
    """
    Return everything that the policy page tells.

    A text is `{"text": …, "language": …}`; where it is missing in `language`, the second is another one.

    Args:
        revisions: Those that can be read, each at an address of its own.
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
        "controller": {
            "name": _text(policy.controller.name, language),
            "officer": {
                "name": _text(policy.controller.officer.name, language),
                "email": policy.controller.officer.email,
                "phone": policy.controller.officer.phone,
            },
        },
        "contact": {"ways": list(policy.contact.ways)},
        "destruction": {"paper": policy.destruction.paper and _text(policy.destruction.paper, language)},
        "purposes": [_purpose(policy, purpose, language) for purpose in policy.purposes.values()],
        "recipients": [row for receiver in Outline(policy).all_receivers() for row in _receiver(receiver, language)],
        **cookies_document(policy, language, own),
        "agencies": [
            {"name": _text(agency.name, language), "phone": agency.phone, "url": agency.url}
            for agency in policy.agencies
        ],
    }


def _receiver(receiver: Receiver, language: str) -> list[dict[str, object]]:
    """A row for each thing that is declared to be received; one without items for a provider of cookies alone."""
    cookies = [cookie.name for cookie in receiver.cookies]
    return [
        {
            "name": _text(receiver.name, language),
            "purpose": receiver.purpose,
            "items": _text(declared.items, language) if declared else None,
            "retention": str(declared.retention) if declared and declared.retention else None,
            "country": declared.country if declared else "",
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
        "asked": purpose.asked,
        "retention": str(purpose.retention) if purpose.retention else None,
        "archive": purpose.archive
        and {"retention": str(purpose.archive.retention), "law": _text(purpose.archive.law, language)},
        "refused_by": list(purpose.signals),
        "receivers": [_text(name, language) for name in Outline(policy).receivers(purpose)],
        "log": {
            field: precision for field, precision in policy.log.get(purpose.name, {}).items() if precision != "off"
        },
        "events": {event.name: dict(event.fields) for event in policy.events.values() if event.purpose == purpose.name},
    }


def cookies_document(policy: Policy, language: str, own: OwnCookies) -> dict[str, object]:
    """Return every cookie that the site may set: our own, under their real names, and the declared ones."""
    ours = [
        (own.consent, str(Duration(LIFETIME.days, "day"))),
        (own.pending, None),
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
        }
        for name, expires in ours
        if name and name not in named
    ]
    return {"cookies": [*rows, *(_cookie(policy, cookie, language) for cookie in policy.cookies)]}


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
    }


def _text(text: Text, language: str) -> dict[str, str]:
    words, spoken = text.read(language)
    return {"text": words, "language": spoken or language}
