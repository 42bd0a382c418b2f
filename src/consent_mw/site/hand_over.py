"""Move records from the spool to the store at once, because a visitor asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from consent_mw.exceptions import ConsentError

_log = logging.getLogger("consent_mw")

_BETWEEN_SECONDS: Final = 0.1


class Handing:
    """
    Single flight: joins the hand-over that is under way, or starts one. Any number of visitors cause one at a time.

    Args:
        hand_over: Moves the records of the spool to the store, like `Drain.once`.
        oldest: Returns when the oldest waiting segment was begun, like `Spool.oldest`.
    """

    def __init__(
        self, hand_over: Callable[[], Awaitable[object]], oldest: Callable[[], datetime | None] = lambda: None
    ) -> None:
        self._hand_over = hand_over
        self._oldest = oldest
        self._handing: asyncio.Task[bool] | None = None

    async def over(self) -> bool:
        """Move the spool's records to the store, unless another process does; return whether the store is there."""
        if self._handing is None or self._handing.done():
            self._handing = asyncio.ensure_future(self._quietly())
        return await asyncio.shield(self._handing)

    async def until(self, moment: datetime, *, seconds: float) -> bool:
        """
        Repeat the move until nothing older than `moment` (aware) waits, but no longer than `seconds`.

        Another process may be moving records, or still writing some. Return whether all of them are in the store.
        """
        try:
            async with asyncio.timeout(seconds):
                while await self.over():
                    if await asyncio.to_thread(self._is_over, moment):
                        return True
                    await asyncio.sleep(_BETWEEN_SECONDS)
        except TimeoutError:
            pass
        except ConsentError as error:
            _log.warning("it cannot be told what waits in the spool: %s", error)
        return False

    def _is_over(self, moment: datetime) -> bool:
        oldest = self._oldest()
        return oldest is None or oldest >= moment

    async def _quietly(self) -> bool:
        try:
            await self._hand_over()
            return True
        except Exception as error:  # noqa: BLE001 - a store of somebody else's: whatever it raises, the page is served
            _log.warning("records stay in the spool: %s", error)
            return False
