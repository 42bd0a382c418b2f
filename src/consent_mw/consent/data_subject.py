"""Whom data is about: the names of their receipts and their sign-in, and the tokens that their records carry."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from consent_mw.consent.receipt_name import born_on
from consent_mw.consent.receipts import CLOCK_DAYS
from consent_mw.crypto.sealer import Sealer, tokens_under
from consent_mw.policy.model import LINKS, REQUESTS

#: Distinguishes a sign-in from a name: no name can hold a NUL.
SIGN_IN: Final = "sign-in\0"
#: Under which a sign-in marks a record: never what was collected about somebody.
_ASKED: Final = frozenset((REQUESTS, LINKS))


class Person(NamedTuple):
    """
    Somebody who proved who they are.

    Attributes:
        names: Under which their receipts are kept: that of their cookie first, then the latest that their sign-in used.
            What is collected about them carries tokens of these names, whatever they choose, until they refuse
            everything.
        sign_in: What the application knows them by; None where they did not sign in.
        is_cut: Whether they have more names, which were not looked for.
    """

    names: tuple[str, ...] = ()
    sign_in: str | None = None
    is_cut: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Everything that tokens of theirs are made from."""
        return self.names if self.sign_in is None else (*self.names, SIGN_IN + self.sign_in)

    @property
    def is_known(self) -> bool:
        """Whether they proved anything."""
        return bool(self.values)

    @property
    def first_day(self) -> int | None:
        """The first day (since 1970, UTC) on which records can be made under one of their names; None without one."""
        return min((born_on(name) - CLOCK_DAYS for name in self.names), default=None)


NOBODY: Final = Person()


def values_on(values: Iterable[str], day: int, purpose: str) -> list[str]:
    """Return those of `values` that tokens can be made from on a day (since 1970, UTC) for a purpose."""
    return [value for value in values if (first := _first_day(value, purpose)) is not None and first <= day]


def _first_day(value: str, purpose: str) -> int | None:
    """Return the first day on which a token for `purpose` can be made from `value`; None where none ever is."""
    if value.startswith(SIGN_IN):
        return 0 if purpose in _ASKED else None
    return born_on(value) - CLOCK_DAYS


def tokens(
    sealer: Sealer, person: Person, purposes: Collection[str] | None = None
) -> dict[tuple[int, str], frozenset[bytes]]:
    """
    Return the tokens of `person` under every key that lives, by day and purpose. Makes no key, and reads each once,
    however many names there are. May take a while: call it in a thread.

    Args:
        purposes: Only these; None for all.

    Raises:
        StoreError: The keyring cannot be reached.
    """
    return tokens_of(sealer, person.values, purposes)


def tokens_of(
    sealer: Sealer, values: Collection[str], purposes: Collection[str] | None = None
) -> dict[tuple[int, str], frozenset[bytes]]:
    """As `tokens`, of everybody whose `values` these are."""
    tokens: dict[tuple[int, str], frozenset[bytes]] = {}
    for purpose, days in sealer.days().items() if values else ():
        if purposes is not None and purpose not in purposes:
            continue
        since = [(first, value.encode()) for value in values if (first := _first_day(value, purpose)) is not None]
        if not since:
            continue
        (first, _), (last, _), everyone = min(since), max(since), [value for _, value in since]
        # A sign-in has no first day: hundreds of days, each of which shows in what a page takes.
        for day, secrets in sealer.secrets_of(days[bisect_left(days, first) :], purpose):
            wanted = everyone if day >= last else [value for first, value in since if first <= day]
            tokens[day, purpose] = tokens_under(secrets, wanted)
    return tokens
