"""Report once, beside the requests of a process, what in the data directory is not as the site wrote it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from consent_mw.paths import Places
from consent_mw.staff.strange_files import strange_files
from consent_mw.system.days import instant_of
from consent_mw.system.memory import give_back

_log = logging.getLogger("consent_mw")


class FilesCheck:
    """
    A `Chore` that is done once. It reads every line of every journal, and an old site has megabytes of them. Nothing
    depends on it, so no start waits for it.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_done = False

    async def keep_on(self, clock: Callable[[], int]) -> None:
        """As `Chore.keep_on`."""
        await self.run(instant_of(clock()))

    async def run(self, now: datetime) -> None:
        """As `Chore.run`."""
        if not self._is_done:
            self._is_done = True
            for line in await asyncio.to_thread(strange_files, self._places):
                _log.error(line)
            await asyncio.to_thread(give_back)

    async def close(self) -> None:
        """As `Chore.close`."""
