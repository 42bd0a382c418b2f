"""What the application itself holds about somebody who signs in: a hook that it implements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from consent_mw._asgi import Scope
from consent_mw.records import Scalar

__all__ = ["PersonalData", "PersonalItems", "SignIn", "by_purpose", "items_of"]

#: Tells from a request's scope who is signed in: a name that never changes, or None. It is asked on our own pages only,
#: which no middleware of the application has seen: it reads the session's cookie itself.
SignIn: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]


#: What the application holds about somebody: items by name, or those of a purpose under the purpose's name.
PersonalItems: TypeAlias = Mapping[str, Scalar | Mapping[str, Scalar]]


class PersonalData(Protocol):
    """
    Items about a person that the application keeps, such as a name or an address for deliveries.

    `sign_in` is what the site's `subject=` returned. Every method may be called again for the same thing, after a
    crash for example, and may raise whatever it likes: it is then tried again, or left to the operator.
    """

    async def read(self, sign_in: str) -> PersonalItems:
        """
        Return every item that is held about this person, by name; names that people understand. Items of a purpose of
        the policy stand in a mapping of their own under its name: `{"members": {"Name": "Kim"}}`.
        """
        ...

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        """
        Put `value` in the place of an item, of a purpose as "members.Name"; return False where that needs somebody to
        look at it first.
        """
        ...

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        """Erase everything that is held about this person, or what is held for one purpose alone, for good."""
        ...


def by_purpose(held: PersonalItems) -> dict[str, dict[str, Scalar]]:
    """Return the items by purpose, those of none under ""."""
    found: dict[str, dict[str, Scalar]] = {}
    for name, value in held.items():
        if isinstance(value, Mapping):
            found.setdefault(name, {}).update(value)
        else:
            found.setdefault("", {})[name] = value
    return found


def items_of(held: PersonalItems) -> dict[str, Scalar]:
    """Return all items under the names by which they are corrected."""
    return {
        f"{purpose}.{name}" if purpose else name: value
        for purpose, items in by_purpose(held).items()
        for name, value in items.items()
    }
