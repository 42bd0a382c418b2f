"""What the application itself holds about somebody who signs in: a hook that it implements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from consent_mw._asgi import Scope
from consent_mw.records import Scalar

__all__ = ["PersonalData", "SignIn"]

#: Tells from a request's scope who is signed in: a name that never changes, or None. It is asked on our own pages only,
#: which no middleware of the application has seen: it reads the session's cookie itself.
SignIn: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]


class PersonalData(Protocol):
    """
    Items about a person that the application keeps, such as a name or an address for deliveries.

    `sign_in` is what the site's `subject=` returned. Every method may be called again for the same thing, after a
    crash for example, and may raise whatever it likes: it is then tried again, or left to the operator.
    """

    async def read(self, sign_in: str) -> Mapping[str, Scalar]:
        """Return every item that is held about this person, by name; names that people understand."""
        ...

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        """Put `value` in the place of an item; return False where that needs somebody to look at it first."""
        ...

    async def erase(self, sign_in: str) -> None:
        """Erase everything that is held about this person, for good."""
        ...
