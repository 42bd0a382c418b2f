"""What the store has lost of the messages, which a host puts back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Set
from uuid import UUID

from consent_mw.hosts.hearing import MISSING_SECONDS, Hearing
from consent_mw.hosts.link import BATCH, Link
from consent_mw.hosts.messages import Again
from consent_mw.hosts.pulse import Pulse
from consent_mw.records import Record, encode_record

_log = logging.getLogger("consent_mw")


class Losses:
    """What the store may have lost."""

    def __init__(self, link: Link, pulse: Pulse, hearing: Hearing) -> None:
        self._link = link
        self._pulse = pulse
        self._hearing = hearing
        self._looked_after_at = -MISSING_SECONDS

    async def put_back(self, stands: Set[UUID] | None) -> None:
        """
        Write again what the store has lost, and under another id that whose own is taken by something else. Raises
        StoreError and OSError.

        Args:
            stands: What was met if everything was just read, else None.
        """
        ids = sorted(await asyncio.to_thread(self._doubtful, stands))
        for first in range(0, len(ids), BATCH):
            lost = await self._lost(ids[first : first + BATCH])
            if not lost:
                continue
            records = await asyncio.to_thread(self._records, lost)
            await self._link.store.append(records, durable=True)
            taken = await self._lost(lost)
            if again := [record for record in records if record.id in taken]:
                _log.warning(
                    "the store does not show message %s of a host any more, or another one of %d, since it was altered "
                    "there: it is written again under another id",
                    again[0].id, len(again),
                )  # fmt: skip
                await self._link.say([Again(record=encode_record(record)) for record in again])
            self._pulse.is_asking = True

    def _doubtful(self, stands: Set[UUID] | None) -> Set[UUID]:
        """
        Return the messages that the store may have lost: those that were not met when everything was read, and this
        host's own when a host is new, since that one has nothing but the store.
        """
        now = time.monotonic()
        # Of many that come at once, for example when a fleet is replaced, one look is for all.
        if stands is None and not (self._hearing.has_newcomer and now - self._looked_after_at >= MISSING_SECONDS):
            return frozenset()
        self._hearing.has_newcomer = False
        if stands is None:
            self._looked_after_at = now
        return self.own() if stands is None else self._link.keyring.view.living() - stands

    async def _lost(self, ids: Collection[UUID]) -> set[UUID]:
        """Return the messages of which the store does not have exactly the record that is known here."""
        view, there = self._link.keyring.view, await self._link.ask(ids)
        return set(ids).difference(record.id for record in there if view.has(record))

    def _records(self, ids: Set[UUID]) -> list[Record]:
        view, book = self._link.keyring.view, self._link.keyring.book
        records = [view.messages[number].record for number in ids if number in view.messages]
        in_brief = ids & view.briefs.keys()
        return records + [message.record for message in (book.messages(in_brief) if in_brief else ())]

    def own(self) -> set[UUID]:
        """Return the messages of this host that are not over."""
        view, mine = self._link.keyring.view, self._link.keyring.identity.ids
        own = {number for number, message in view.messages.items() if message.author in mine}
        own |= {number for number, brief in view.briefs.items() if brief.author in mine}
        return own.difference(view.ended())
