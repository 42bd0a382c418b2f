"""What a restored store holds of days that were destroyed after the backup: it goes before anybody counts it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from consent_mw.kinds import DELETION, ENDING
from consent_mw.policy.model import RECEIPTS
from consent_mw.records import Query, Record
from consent_mw.retention.certificates import part_of
from consent_mw.retention.deletions import Deletion, Part
from consent_mw.retention.tier import LIVE
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages
from consent_mw.system.days import start_of

_BOOKKEEPING: Final = Query(kinds=frozenset((DELETION,)), purposes=frozenset((RECEIPTS,)))


async def destroyed_again(certificates: Iterable[Record], stores: Mapping[str, Store]) -> int:
    """
    Delete what `certificates`, written after the backup, have counted, and return how much there was. A certificate of
    its own would count it twice.

    Args:
        stores: By place, the live one and the archive if there is one.

    Raises:
        StoreError: A store failed. It is harmless to repeat the call.
    """
    parts = {part for certificate in certificates for part in _parts(certificate)}
    count = 0
    for part in sorted(parts):
        if store := stores.get(part.where):
            count += await _deleted(store, part)
    async for page in pages(stores[LIVE], _BOOKKEEPING):
        if said := frozenset(record.id for record in page if Deletion.read(record).part in parts):
            await stores[LIVE].delete(Query(kinds=_BOOKKEEPING.kinds, purposes=_BOOKKEEPING.purposes, ids=said))
    return count


def _parts(certificate: Record) -> list[Part]:
    """Return what a certificate counts: that of a keyring at hand also what was not sealed."""
    part = part_of(certificate.data)
    return [part, part._replace(ring="")] if certificate.data["certificate.key"] else [part]


async def _deleted(store: Store, part: Part) -> int:
    count, purposes = 0, frozenset((part.purpose,))
    day = Query(kinds=ENDING, purposes=purposes, since=start_of(part.day), until=start_of(part.day + 1))
    async for page in pages(store, day):
        if ids := frozenset(record.id for record in page if record.ring == part.ring):
            count += await store.delete(Query(kinds=ENDING, purposes=purposes, ids=ids))
    return count
