"""What links a host to the others of its site: the store, its keyring, the site's mark, and its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

from consent_mw.crypto.sealer import Sealer
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Again, Beat, Body, Chosen, Message, messages, written
from consent_mw.records import Record
from consent_mw.stores.base import Store
from consent_mw.stores.store_clock import StoreClock

#: So many messages go to the store, or are asked of it, at once.
BATCH: Final = 200


class Link:
    """
    What links a host to the others of its site.

    Args:
        sealer: Marks and checks messages; it does not need a key of any day.
        clock: Returns nanoseconds since 1970.

    Attributes:
        store_clock: Compares the host's clock with the store's.
    """

    def __init__(self, store: Store, keyring: SharedKeyring, sealer: Sealer, clock: Callable[[], int]) -> None:
        self.store = store
        self.keyring = keyring
        self.sealer = sealer
        self.clock = clock
        self.store_clock: StoreClock = StoreClock(store, clock)

    async def say(self, bodies: Sequence[Body]) -> list[Message]:
        """Write messages to the store durably, and then to the book. Raises StoreError and OSError."""
        identity, now = self.keyring.identity, self.clock()
        records = [written(body, identity, self.sealer, now) for body in bodies]
        said = [Message(identity.id, body, record) for body, record in zip(bodies, records, strict=True)]
        for first in range(0, len(records), BATCH):
            await self.store.append(records[first : first + BATCH], durable=True)
        # Another host's `Chosen` may have been in the store first. Then that one counts, and not ours.
        if kept := [message for message in said if not isinstance(message.body, Chosen | Beat | Again)]:
            await asyncio.to_thread(self.keyring.add, kept)
        return said

    async def ask(self, ids: Collection[UUID]) -> list[Record]:
        """Return what the store has under these ids. Raises StoreError."""
        return list(await self.store.fetch(messages(*ids), limit=BATCH))

    async def delete(self, ids: Sequence[UUID]) -> None:
        """Delete these messages from the store. Raises StoreError."""
        for first in range(0, len(ids), BATCH):
            await self.store.delete(messages(*ids[first : first + BATCH]))
