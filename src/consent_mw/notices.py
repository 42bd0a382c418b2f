"""What changed for visitors between two revisions of a policy. Pure: two policies in, the differences out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from consent_mw.durations import Duration
from consent_mw.policy import Cookie, Policy

__all__ = ["Changes", "changes", "since"]


class Changes(NamedTuple):
    """
    What a visitor who answered the older revision has not answered about the newer one.

    Attributes:
        purposes: Asked purposes that are new, or under which more is done than was said.
        cookies: Declared names of cookies that are new or do more, inside purposes that are not in `purposes`.
    """

    purposes: frozenset[str]
    cookies: frozenset[str]


def changes(old: Policy, new: Policy) -> Changes:
    """
    Return what has to be asked again: a consent covers what was declared when it was given, and nothing more.

    A shorter retention, a field less or another wording puts no new question to the visitor.
    """
    purposes = frozenset(purpose.name for purpose in new.asked if _does_more(old, new, purpose.name))
    known = {cookie.name: cookie for cookie in old.cookies}
    asked = (cookie for cookie in new.cookies if new.purposes[cookie.purpose].asked and cookie.purpose not in purposes)
    return Changes(purposes, frozenset(cookie.name for cookie in asked if _is_more(known.get(cookie.name), cookie)))


_Question: TypeAlias = Callable[[Policy, Policy, str], bool]


def _does_more(old: Policy, new: Policy, purpose: str) -> bool:
    return purpose not in old.purposes or any(question(old, new, purpose) for question in _QUESTIONS)


def _other_basis(old: Policy, new: Policy, purpose: str) -> bool:
    return old.purposes[purpose].basis != new.purposes[purpose].basis


def _kept_longer(old: Policy, new: Policy, purpose: str) -> bool:
    before, now = (max(each.retention.seconds, each.archive.retention.seconds if each.archive else 0)
                   for each in (old.purposes[purpose], new.purposes[purpose]))  # fmt: skip
    return before < now


def _new_recipient(old: Policy, new: Policy, purpose: str) -> bool:
    before, now = (
        {tuple(r.name.by_language.values()) for r in policy.recipients if r.purpose == purpose} for policy in (old, new)
    )
    return not now <= before


def _new_field(old: Policy, new: Policy, purpose: str) -> bool:
    before, now = old.log.get(purpose, {}), new.log.get(purpose, {})
    return any(_PRECISIONS.index(now[field]) > _PRECISIONS.index(before.get(field, "off")) for field in now)


def _new_event(old: Policy, new: Policy, purpose: str) -> bool:
    before, now = (
        {(event.name, field) for event in policy.events.values() if event.purpose == purpose for field in event.fields}
        | {(event.name, "") for event in policy.events.values() if event.purpose == purpose}
        for policy in (old, new)
    )
    return not now <= before


_QUESTIONS: Final[tuple[_Question, ...]] = (_other_basis, _kept_longer, _new_recipient, _new_field, _new_event)
#: From telling nothing to telling everything.
_PRECISIONS: Final = ("off", "family", "origin", "token", "masked", "full")


def _is_more(old: Cookie | None, new: Cookie) -> bool:
    return (
        old is None
        or old.purpose != new.purpose
        or old.provider != new.provider
        or old.domain != new.domain
        or _seconds(old.expires) < _seconds(new.expires)
    )


def _seconds(expires: Duration | None) -> int:
    return expires.seconds if expires else 0


def since(kept: Mapping[int, Policy], policy: Policy) -> dict[int, Changes]:
    """Return, for each earlier revision that was kept, what its visitors have to be asked again."""
    return {revision: changes(old, policy) for revision, old in kept.items() if revision < policy.revision}
