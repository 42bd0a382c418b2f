"""What a site under test has kept, opened: records of the store and of the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import SHOWN
from consent_mw.records import Query, Record, time_of
from consent_mw.runtime.runtime import Runtime
from consent_mw.staff.opened_record import opened
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every

__all__ = ["Kept", "hand_over", "kept"]

_HANDED_OVER_SECONDS: Final = 10.0
_BETWEEN_SECONDS: Final = 0.01
_HEAD: Final = ("time", "kind", "purpose", "id")


class Kept(NamedTuple):
    """
    A record that was kept, opened: `data` holds its clear and its sealed fields.

    Where the sealed ones cannot be read, "sealed" in it says why: "destroyed", "of another keyring" or "unreadable".
    """

    time: datetime
    kind: str
    purpose: str
    data: dict[str, Any]


async def kept(store: Store, sealer: Sealer, kinds: Collection[str]) -> list[Kept]:
    """
    Return what a store holds of these kinds, or of all that `consent-mw log` shows, oldest first. What is not as the
    site wrote it is left out.
    """
    records = await every(store, Query(kinds=frozenset(kinds or SHOWN)))
    return [_opened(record, sealer) for record in sealer.whole(records)]


async def hand_over(runtime: Runtime) -> None:
    """Bring what the spool holds to the store: the application's own drain may be at it, and then does it."""
    with suppress(TimeoutError):  # records that cannot be moved, such as a segment of another keyring, are not found
        async with asyncio.timeout(_HANDED_OVER_SECONDS):
            await runtime.drain.once()
            while runtime.spool.waiting_bytes:
                await asyncio.sleep(_BETWEEN_SECONDS)
                await runtime.drain.once()


def _opened(record: Record, sealer: Sealer) -> Kept:
    data = {name: value for name, value in opened(record, sealer).items() if name not in _HEAD}
    return Kept(time_of(record.id), record.kind, record.purpose, data)
