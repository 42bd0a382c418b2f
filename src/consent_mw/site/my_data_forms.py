"""Read what a visitor asks for on the page of their data: fields in, an action out, or an error about them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from consent_mw.policy.model import ABUSE, Policy
from consent_mw.rights.contact import CONTACT_ITEMS, ContactItem
from consent_mw.rights.request import REQUEST_KINDS, RequestKind
from consent_mw.site.form_posts import first
from consent_mw.site.forms import BadForm

#: The most characters of a message. A Korean character is nine bytes of a form.
MESSAGE_LIMIT: Final = 2_000
BODY_LIMIT_BYTES: Final = 32_768
_LINE_LIMIT: Final = 500
# A loose check: only a mail to it shows whether an address is right. Characters that could begin a header or a tag are
# not allowed.
_EMAIL: Final = re.compile(r"[^\s@<>\"'`(),:;\\\[\]&]{1,64}@[^\s@<>\"'`(),:;\\\[\]&]{1,189}")
_PHONE: Final = re.compile(r"\+?[0-9 ()./-]{3,40}")
#: Characters that change the writing direction, and so could make a text look like another one.
_TURNS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Withdraw(NamedTuple):
    """Withdraw consent. `purposes` is empty for all of it."""

    purposes: tuple[str, ...] = ()


class Erase(NamedTuple):
    """Erase everything."""


class EraseAbuse(NamedTuple):
    """Ask to erase records of abuse too. Staff decide about it."""

    message: str = ""


class Correct(NamedTuple):
    """Replace an item of the application by `value`."""

    item: str
    value: str


class CorrectContact(NamedTuple):
    """Replace a contact that the visitor gave in the request `number` by `value`."""

    item: ContactItem
    value: str
    number: UUID


class Dispute(NamedTuple):
    """Dispute the log: one record, or all records if `record` is None."""

    message: str
    record: UUID | None = None
    email: str = ""


class Restrict(NamedTuple):
    """Ask for a restriction: nobody may use the data."""

    message: str = ""


class Lift(NamedTuple):
    """Lift a restriction: that of one request, or all of them if `number` is None."""

    number: UUID | None = None


class Ask(NamedTuple):
    """Write to the operator without proof of one's identity."""

    kind: RequestKind
    email: str
    phone: str = ""
    message: str = ""


Action: TypeAlias = Withdraw | Erase | EraseAbuse | Correct | CorrectContact | Dispute | Restrict | Lift | Ask
_KINDS: Final[Mapping[str, RequestKind]] = {kind: kind for kind in REQUEST_KINDS}
_CONTACTS: Final[Mapping[str, ContactItem]] = {item: item for item in CONTACT_ITEMS}
_Fields: TypeAlias = Mapping[str, Sequence[str]]


def read(fields: _Fields, policy: Policy, removed: Collection[str] = ()) -> Action:
    """
    Return the action that the fields of a form ask for, checked against the policy.

    Args:
        removed: Purposes that only earlier revisions asked visitors about: visitors can withdraw them too.

    Raises:
        BadForm: A field is missing, comes twice, or has a value that it cannot have. The error names the valid values.
    """
    for name, values in fields.items():
        if len(values) != 1 and name != "purpose":
            raise BadForm(400, name)
    reader = _READERS.get(first(fields, "action"))
    if reader is None:
        raise BadForm(422, "action", ACTIONS)
    return _withdraw(fields, policy, removed) if reader is _withdraw else reader(fields, policy)


def _withdraw(fields: _Fields, policy: Policy, removed: Collection[str] = ()) -> Withdraw:
    named = list(fields.get("purpose", ()))
    of_application = [purpose.name for purpose in policy.answered if purpose.may_be_withdrawn]
    known = list(dict.fromkeys((*(purpose.name for purpose in policy.asked), *of_application, *removed)))
    if "all" in named:
        return Withdraw()
    if not named or not set(named) <= set(known):
        raise BadForm(422, "purpose", (*known, "all"))
    return Withdraw(tuple(dict.fromkeys(named)))


def _erase(fields: _Fields, policy: Policy) -> Erase:
    if first(fields, "confirm") != "yes":
        raise BadForm(422, "confirm", ("yes",))
    return Erase()


def _erase_abuse(fields: _Fields, policy: Policy) -> EraseAbuse:
    if ABUSE not in policy.purposes:
        raise BadForm(422, "action", (action for action in ACTIONS if action != "erase-abuse"))
    return EraseAbuse(_message(fields))


def _correct(fields: _Fields, policy: Policy) -> Correct | CorrectContact:
    number = _number(fields, "number")
    if number is not None:
        return _correct_contact(fields, number)
    item = _line(fields, "item")
    if not item:
        raise BadForm(422, "item", ("…",))
    return Correct(item, _line(fields, "value"))


def _correct_contact(fields: _Fields, number: UUID) -> CorrectContact:
    item, value = _CONTACTS.get(first(fields, "item")), first(fields, "value").strip()
    if item is None:
        raise BadForm(422, "item", CONTACT_ITEMS)
    return CorrectContact(item, (_email if item == "email" else _phone)(value, "value"), number)


def _dispute(fields: _Fields, policy: Policy) -> Dispute:
    message = _message(fields)
    if not message:
        raise BadForm(422, "message", ("…",))
    email = first(fields, "email").strip()
    return Dispute(message, _number(fields, "record"), _email(email, "email") if email else "")


def _restrict(fields: _Fields, policy: Policy) -> Restrict:
    return Restrict(_message(fields))


def _lift(fields: _Fields, policy: Policy) -> Lift:
    return Lift(_number(fields, "number"))


def _ask(fields: _Fields, policy: Policy) -> Ask:
    kind = _KINDS.get(first(fields, "kind"))
    if kind is None:
        raise BadForm(422, "kind", REQUEST_KINDS)
    phone = first(fields, "phone").strip()
    email = _email(first(fields, "email").strip(), "email")
    return Ask(kind, email, _phone(phone, "phone") if phone else "", _message(fields))


_READERS: Final[Mapping[str, Callable[[_Fields, Policy], Action]]] = {
    "withdraw": _withdraw,
    "erase": _erase,
    "erase-abuse": _erase_abuse,
    "correct": _correct,
    "dispute": _dispute,
    "restrict": _restrict,
    "lift": _lift,
    "ask": _ask,
}
#: The valid values of the field `action`.
ACTIONS: Final = tuple(_READERS)


def _email(text: str, field: str) -> str:
    if not (_EMAIL.fullmatch(text) and text.isprintable()):
        raise BadForm(422, field, ("name@example.com",))
    return text


def _phone(text: str, field: str) -> str:
    if not _PHONE.fullmatch(text):
        raise BadForm(422, field, ("+82 2 1234 5678",))
    return text


def _line(fields: _Fields, field: str) -> str:
    text = first(fields, field).strip()
    if len(text) > _LINE_LIMIT or not all(map(_may_stand, text)) or "\n" in text:
        raise BadForm(422, field, (f"≤ {_LINE_LIMIT}",))
    return text


def _message(fields: _Fields) -> str:
    """Return the message with one character for each line end; a browser sends two (HTML, "form-submission")."""
    text = first(fields, "message").replace("\r\n", "\n").strip()
    if len(text) > MESSAGE_LIMIT or not all(map(_may_stand, text)):
        raise BadForm(422, "message", (f"≤ {MESSAGE_LIMIT}",))
    return text


def _may_stand(char: str) -> bool:
    """Whether a character is allowed: not a control, not half of a surrogate pair, none that changes the direction."""
    return char in "\n\t" or not (unicodedata.category(char) in ("Cc", "Cs") or char in _TURNS)


def _number(fields: _Fields, field: str) -> UUID | None:
    text = first(fields, field)
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise BadForm(422, field, ("…",)) from error
