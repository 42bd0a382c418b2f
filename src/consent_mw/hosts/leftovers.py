"""The messages that are over, which a host deletes from the store and from its book."""

from __future__ import annotations

import asyncio
from typing import Final

from consent_mw.hosts.hearing import Hearing
from consent_mw.hosts.link import Link

_HOUR_NS: Final = 3_600_000_000_000


class Leftovers:
    """What is over."""

    def __init__(self, link: Link, hearing: Hearing) -> None:
        self._link = link
        self._hearing = hearing
        self._nothing_over = -1, 0  # the keyring's generation and the hour, when nothing was over

    async def clear(self, fault: str) -> None:
        """
        Delete the messages that are over, here and in the store. Raises StoreError and OSError.

        Args:
            fault: What is wrong with this host's clock.
        """
        keyring = self._link.keyring
        generation, view = keyring.generation, keyring.view
        if not fault:
            view.at_ns = self._link.clock()
        known = generation, view.at_ns // _HOUR_NS  # what was published for a while may wait an hour
        if known == self._nothing_over:
            return
        over = view.ended()
        await self._link.delete([*over, *(again for one in over for again in self._hearing.repeats.pop(one, ()))])
        if len(over) > len(view.forget_former_holds()) or keyring.book.is_long:
            await asyncio.to_thread(keyring.book.compact)
            await asyncio.to_thread(keyring.file.announce)
        else:
            self._nothing_over = known
