"""The clock of this machine beside that of a store which several share: whose is wrong destroys nothing of anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from consent_mw.exceptions import StoreError
from consent_mw.stores.base import Store

__all__ = ["StoreClock", "Timed", "store_now"]

_MOST: Final = timedelta(seconds=60)
_HEARD_SECONDS: Final = 86_400.0


@runtime_checkable
class Timed(Protocol):
    """What a store may have beside the five verbs, if several hosts share its place: one clock for all."""

    async def now(self) -> datetime | None:
        """Return the instant by the place's own clock, aware; None if it has none. Raises as `Store.fetch`."""
        ...


async def store_now(store: Store) -> datetime | None:
    """Return the instant by the clock of `store`; None where it has none of its own. Raises StoreError."""
    return await store.now() if isinstance(store, Timed) else None


class StoreClock:
    """
    Compares this machine's clock with the store's. While the store is away its clock is taken to run on as it did,
    for a day. A store without a clock is never asked.

    Args:
        clock: This machine's. One with a true attribute `invented`, as a test has it, is compared with nothing.

    Attributes:
        ahead: By how much this machine's was ahead of the store's when they were compared last.
    """

    def __init__(self, store: Store, clock: Callable[[], int] | None = None) -> None:
        self._store = store
        self._is_invented = bool(getattr(clock, "invented", False))
        self._heard: tuple[datetime, float] | None = None  # the store's, and when that was, in monotonic seconds
        self.ahead = timedelta()

    async def fault(self, now: datetime) -> str:
        """
        Return why nothing may be destroyed by `now`, read from this machine's clock just before; empty if it may.

        That is when both are more than a minute apart, or were not compared for a day. Never raises StoreError.
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
        # It was read at some moment between question and answer.
        waited = timedelta(seconds=self._heard[1] - asked)
        self.ahead = now + waited / 2 - theirs
        return _apart(now, theirs, waited)


def _apart(now: datetime, theirs: datetime, waited: timedelta = timedelta()) -> str:
    """Return what is to be said of two clocks that are more than a minute apart."""
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
