"""What lies in the spool, brought to the store at once for a visitor who asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from consent_mw.exceptions import ConsentError

__all__ = ["Handing"]

_log = logging.getLogger("consent_mw")

_BETWEEN_SECONDS: Final = 0.1


class Handing:
    """
    Joins the hand-over that is under way, or begins one: any number of visitors who ask cause one at a time.

    Args:
        hand_over: As `Drain.once`.
        oldest: When the oldest of what waits was begun, as `Spool.oldest`.
    """

    def __init__(
        self, hand_over: Callable[[], Awaitable[object]], oldest: Callable[[], datetime | None] = lambda: None
    ) -> None:
        self._hand_over = hand_over
        self._oldest = oldest
        self._handing: asyncio.Task[bool] | None = None

    async def over(self) -> bool:
        """Hand over what lies in the spool, unless another process is at it; return whether the store is there."""
        if self._handing is None or self._handing.done():
            self._handing = asyncio.ensure_future(self._quietly())
        return await asyncio.shield(self._handing)

    async def until(self, moment: datetime, *, seconds: float) -> bool:
        """
        Hand over again and again until nothing waits that is older than `moment` (aware), but no longer than `seconds`.

        Another process may be at it, or write still. Return whether all of it is in the store.
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
