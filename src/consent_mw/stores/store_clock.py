"""This machine's clock compared with the clock of a shared store, so that a wrong clock destroys no records."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from consent_mw.exceptions import StoreError
from consent_mw.stores.base import Store

_MOST: Final = timedelta(seconds=60)
_HEARD_SECONDS: Final = 86_400.0


@runtime_checkable
class Timed(Protocol):
    """What a store may offer besides the five verbs if several hosts share its place: one clock for all."""

    async def now(self) -> datetime | None:
        """Return the time (aware) by the place's own clock; None if it has none. Raises as `Store.fetch`."""
        ...


async def store_now(store: Store) -> datetime | None:
    """Return the time by the clock of `store`; None if it has none. Raises StoreError."""
    return await store.now() if isinstance(store, Timed) else None


class StoreClock:
    """
    Compares this machine's clock with the store's. While the store cannot be reached, its clock is assumed to run on,
    for a day. A store without a clock is never asked.

    Args:
        clock: This machine's clock. One with a true attribute `invented`, as tests use, is never compared.

    Attributes:
        ahead: How far this machine's clock was ahead of the store's at the last comparison.
    """

    def __init__(self, store: Store, clock: Callable[[], int] | None = None) -> None:
        self._store = store
        self._is_invented = bool(getattr(clock, "invented", False))
        self._heard: tuple[datetime, float] | None = None  # the store's time, and our monotonic seconds then
        self.ahead: timedelta = timedelta()

    async def fault(self, now: datetime) -> str:
        """
        Return why nothing may be destroyed by `now`, which was read from this machine's clock just before; "" if it
        may.

        Nothing may be destroyed while the clocks differ by more than a minute, or were not compared for a day. Never
        raises StoreError.
        """
        if self._is_invented:
            return ""
        asked = time.monotonic()
        try:
            theirs = await store_now(self._store)
        except StoreError as error:
            if self._heard is None or asked - self._heard[1] > _HEARD_SECONDS:
                return f"{error}; until this machine's clock was compared with the store's, nothing is destroyed"
            return _apart(now, self._heard[0] + timedelta(seconds=asked - self._heard[1]))
        if theirs is None:
            return ""
        self._heard = theirs, time.monotonic()
        # The store read its clock at some moment between question and answer.
        waited = timedelta(seconds=self._heard[1] - asked)
        self.ahead = now + waited / 2 - theirs
        return _apart(now, theirs, waited)


def _apart(now: datetime, theirs: datetime, waited: timedelta = timedelta()) -> str:
    """Return the message about two clocks that differ by more than a minute."""
    if now - theirs > _MOST:
        apart = f"{_in_seconds(now - theirs)} ahead of"
    elif theirs - now - waited > _MOST:
        apart = f"{_in_seconds(theirs - now - waited)} behind"
    else:
        return ""
    return (
        f"this machine's clock is {apart} the store's, so nothing is destroyed; correct the one that is wrong "
        f"(here {now:%Y-%m-%dT%H:%M:%SZ}, there {theirs:%Y-%m-%dT%H:%M:%SZ})"
    )


def _in_seconds(apart: timedelta) -> str:
    return f"{round(apart.total_seconds()):,} seconds"
