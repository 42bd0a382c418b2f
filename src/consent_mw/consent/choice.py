"""The visitor's choice as a value, and its short readable text. What it allows is in `permissions`."""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from consent_mw.consent.receipt_name import AGAIN_DAYS
from consent_mw.exceptions import BadConsentCookie
from consent_mw.system.bounded_cache import remembering

#: How long an answer holds before the visitor is asked again: the same for a yes and a no.
LIFETIME = timedelta(days=180)

_VERSION = "1"
#: How a text begins that is packed, and how long one may be that is not.
_PACKED = "2"
_READABLE = 1_500
#: About what one answer takes that is remembered.
_SAID_BYTES = 120
_RECEIPT = re.compile(r"[A-Za-z0-9_-]{22}")


class Choice(StrEnum):
    """What the visitor picked. Answers about single purposes and cookies are answers inside PROMPT."""

    ACCEPT = "accept"
    PROMPT = "prompt"
    REJECT = "reject"


class Consent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    What the visitor answered.

    Attributes:
        choice: None where nothing was answered, or nothing that can be believed.
        revision: The revision of the policy that was answered.
        given_on: The day of the answer, in UTC. A day and not a time, so that a refusal identifies nobody.
        purposes: Answers by purpose, inside PROMPT.
        cookies: Answers by declared cookie name, inside PROMPT.
        signals: Signals that the visitor's browser sent when they answered: an acceptance then is about them too.
        receipt: Random name under which the visitor's receipts are kept. It stays the same over changes of mind, and
            ends when nothing is accepted any more.
        changes: How often was chosen under that name before: so that two choices with the same answers differ.
    """

    choice: Choice | None = None
    revision: int = 0
    given_on: date | None = None
    purposes: Mapping[str, bool] = {}
    cookies: Mapping[str, bool] = {}
    signals: tuple[str, ...] = ()
    receipt: str | None = None
    changes: int = 0
    #: Never in the cookie: what a later revision of the policy changed, and so is asked again.
    reopened_purposes: frozenset[str] = frozenset()
    reopened_cookies: frozenset[str] = frozenset()

    @property
    def reopened(self) -> bool:
        """Whether a later revision of the policy asks about something again."""
        return bool(self.reopened_purposes or self.reopened_cookies)

    @property
    def allows_something(self) -> bool:
        """Whether anything was accepted."""
        accepted = any(self.purposes.values()) or any(self.cookies.values())
        return self.choice is Choice.ACCEPT or (self.choice is Choice.PROMPT and accepted)

    def is_nameless(self, today: date) -> bool:
        """Whether something was chosen in the last days that no name was given to."""
        return self.given_on is not None and self.receipt is None and (today - self.given_on).days < AGAIN_DAYS

    def same_answers(self, other: Consent) -> bool:
        """Whether both say the same, whenever and under whatever receipt they said it."""
        return (
            self.choice is other.choice
            and self.reopened == other.reopened
            and self.revision == other.revision
            and dict(self.purposes) == dict(other.purposes)
            and dict(self.cookies) == dict(other.cookies)
            # An acceptance that a signal did not face says less than one that did.
            and set(self.signals) <= set(other.signals)
        )

    def goes_beyond(self, other: Consent) -> bool:
        """Whether this may let something pass that `other` does not. What cannot be compared counts as more."""
        if self.choice is Choice.REJECT:
            return False
        if self.revision != other.revision or not set(self.signals) <= set(other.signals):
            return True
        if other.choice is Choice.ACCEPT:
            return False
        if self.choice is not Choice.PROMPT or other.choice is not Choice.PROMPT:
            return True
        return _goes_beyond(self.purposes, other.purposes) or _goes_beyond(self.cookies, other.cookies)


NO_CONSENT = Consent()


def dumps(consent: Consent) -> str:
    """
    Return the consent as the text that is signed, in cookie octets only (RFC 6265, section 4.1.1).

    For instance `1|prompt|3|2026-11-23|analytics-/functional+/@theme+|||0` : version, choice, revision, day,
    answers (+ yes, - no, @ before a cookie), signals, the receipts' name and how often it was chosen under. One of many
    single answers is packed (zlib, base64): a browser drops what is longer than 4,096 bytes.
    """
    answers = [f"{name}{_sign(yes)}" for name, yes in sorted(consent.purposes.items())]
    answers += [f"@{quote(name, safe='')}{_sign(yes)}" for name, yes in sorted(consent.cookies.items())]
    parts = (
        _VERSION,
        consent.choice or "",
        str(consent.revision),
        consent.given_on.isoformat() if consent.given_on else "",
        "/".join(answers),
        "/".join(consent.signals),
        consent.receipt or "",
        str(consent.changes),
    )
    text = "|".join(parts)
    if len(text) <= _READABLE:
        return text
    # A browser keeps 4,096 bytes of a cookie, its name and attributes included.
    return f"{_PACKED}|{urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip('=')}"


def loads(text: str) -> Consent:
    """
    Read what `dumps` wrote.

    Raises:
        BadConsentCookie: It is nothing that `dumps` writes.
    """
    # Of the last two parts no two visitors have the same. What stands before them they share with many.
    said, *own = (_unpacked(text) if text.startswith(f"{_PACKED}|") else text).rsplit("|", 2)
    if len(own) != 2:
        raise BadConsentCookie(text, "not the form of this version")
    receipt, changes = own
    consent = _said(said)
    try:
        return replace(consent, receipt=checked_receipt(receipt), changes=int(changes))
    except ValueError as error:
        raise BadConsentCookie(text, f"unreadable ({error})") from error


def checked_receipt(name: str) -> str | None:
    """Return the name of a visitor's receipts, or None if it is empty. Raises ValueError if it can be no name."""
    if name and not _RECEIPT.fullmatch(name):
        raise ValueError("not a receipt")
    return name or None


def _read(text: str) -> Consent:
    """Read what `dumps` wrote before the receipt's name. Raises as `loads`."""
    parts = text.split("|")
    if len(parts) != 6 or parts[0] != _VERSION:
        raise BadConsentCookie(text, "not the form of this version")
    _, choice, revision, day, answers, signals = parts
    try:
        given = [_answer(answer) for answer in answers.split("/") if answer]
        return Consent(
            choice=Choice(choice),
            revision=int(revision),
            given_on=date.fromisoformat(day),
            purposes=MappingProxyType({name: yes for name, yes in given if not name.startswith("@")}),
            cookies=MappingProxyType({unquote(name[1:]): yes for name, yes in given if name.startswith("@")}),
            signals=tuple(signal for signal in signals.split("/") if signal),
        )
    except ValueError as error:
        raise BadConsentCookie(text, f"unreadable ({error})") from error


def _weight(consent: Consent) -> int:
    return _SAID_BYTES * (1 + len(consent.purposes) + len(consent.cookies) + len(consent.signals))


#: What visitors say alike; only what we signed comes here.
_said: Final = remembering(_read, 1 << 20, _weight)


def _unpacked(text: str) -> str:
    packed = text.partition("|")[2]
    try:
        return zlib.decompress(urlsafe_b64decode(packed + "=" * (-len(packed) % 4))).decode()
    except (ValueError, zlib.error) as error:
        raise BadConsentCookie(text, f"unreadable ({error})") from error


def _goes_beyond(answers: Mapping[str, bool], others: Mapping[str, bool]) -> bool:
    """Whether there is a yes that the others lack, or one of their noes is missing."""
    new = any(yes and not others.get(name, False) for name, yes in answers.items())
    return new or any(not yes and answers.get(name, True) for name, yes in others.items())


def _sign(yes: bool) -> str:
    return "+" if yes else "-"


def _answer(text: str) -> tuple[str, bool]:
    if len(text) < 2 or text[-1] not in "+-":
        raise ValueError("an answer ends with + or -")
    return text[:-1], text[-1] == "+"
