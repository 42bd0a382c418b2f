"""How the sender of a request can be reached now: by the contact they gave, or as they corrected it since. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from consent_mw.rights.request import Case, Request

ContactItem: TypeAlias = Literal["email", "phone"]
CONTACT_ITEMS: Final[tuple[ContactItem, ...]] = get_args(ContactItem)


class Contact(NamedTuple):
    """An e-mail address and a telephone number; "" for one that was not given."""

    email: str = ""
    phone: str = ""


def contact_item(item: ContactItem, number: UUID) -> str:
    """Return the item that a correction names when it is about the contact in the request of this number."""
    return f"{item} {number}"


def contact_of(request: Request, cases: Iterable[Case]) -> Contact:
    """
    Return the contact of a request. A record is never rewritten: a correction is a request of its own. The newest
    correction that was carried out counts.

    Args:
        cases: All cases of the same sender, oldest first.
    """
    contact = Contact(request.email, request.phone)
    for case in cases:
        done = case.ended is not None and case.ended.outcome == "done" and case.request.kind == "correction"
        for item in CONTACT_ITEMS if done else ():
            if case.request.item == contact_item(item, request.id):
                contact = contact._replace(**{item: case.request.value})
    return contact
