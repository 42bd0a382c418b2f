"""The hook by which the application reads, corrects and erases what it holds itself about people who sign in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from consent_mw._asgi import Scope
from consent_mw.records import Scalar

#: Returns who is signed in, from a request's scope: a name that never changes, or None. It is called only on our own
#: pages. No middleware of the application has seen those, so it reads the session's cookie itself.
SignIn: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]


#: What the application holds about a person: items by name, or the items of a purpose under the purpose's name.
PersonalItems: TypeAlias = Mapping[str, Scalar | Mapping[str, Scalar]]


class PersonalData(Protocol):
    """
    Items about a person that the application keeps, such as a name or an address for deliveries.

    `sign_in` is what the site's `subject=` returned. Every method may be called again for the same thing, for example
    after a crash. It may raise any exception: the call is then repeated, or left to the operator.
    """

    async def read(self, sign_in: str) -> PersonalItems:
        """
        Return every item that is held about this person, by names that people understand. Items of a purpose of the
        policy are in a mapping of their own under its name: `{"members": {"Name": "Kim"}}`.
        """
        ...

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        """
        Replace the value of an item with `value`; an item of a purpose is named as "members.Name". Return False if a
        person must look at it first.
        """
        ...

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        """Erase for good everything that is held about this person, or only what is held for one purpose."""
        ...


def by_purpose(held: PersonalItems) -> dict[str, dict[str, Scalar]]:
    """Return the items by purpose, and those without a purpose under ""."""
    grouped: dict[str, dict[str, Scalar]] = {}
    for name, value in held.items():
        if isinstance(value, Mapping):
            grouped.setdefault(name, {}).update(value)
        else:
            grouped.setdefault("", {})[name] = value
    return grouped


def items_of(held: PersonalItems) -> dict[str, Scalar]:
    """Return all items under the names that a correction uses for them."""
    return {
        f"{purpose}.{name}" if purpose else name: value
        for purpose, items in by_purpose(held).items()
        for name, value in items.items()
    }
