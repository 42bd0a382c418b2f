"""Check whether a store's records are as the site wrote them: read, check and count each record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import (
    KINDS,
)
from consent_mw.records import Query, Record
from consent_mw.rights.ledger import Erased
from consent_mw.stores.base import Store
from consent_mw.stores.other_kinds import others
from consent_mw.stores.pages import pages

#: How many changed records are named. A person who can write to the store can change any number.
_NAMED: Final = 10


class Wholeness(msgspec.Struct):
    """
    The result of the check.

    Attributes:
        records: How many records were read.
        changed: How many of them are not as this site wrote them. Nothing else reads those.
        named: The first of the changed records: id, kind and purpose as the store has them.
        brought_back: How many records were erased according to the ledger of erasures. A backup or a person brought
            them back.
    """

    records: int = 0
    changed: int = 0
    named: list[str] = []
    brought_back: int = 0

    def faults(self, place: str) -> list[str]:
        """Return the faults, one line each. `place` names the store in them."""
        lines: list[str] = []
        if self.changed:
            lines.append(
                f"{place}: {self.changed} records were changed since the site wrote them, or somebody else wrote them; "
                f"nothing of them is shown or counted: {', '.join(self.named)}"
                + (", …" if self.changed > len(self.named) else "")
            )
        if self.brought_back:
            lines.append(
                f"{place}: {self.brought_back} records that were erased are there again; the running site erases them "
                "within the hour, and so does `consent-mw drain`"
            )
        return lines


async def examined(store: Store, sealer: Sealer, erased: Erased) -> Wholeness:
    """
    Read every record of `store` and return the result of the check.

    Args:
        erased: The content of the ledger of erasures.

    Raises:
        StoreError: The store cannot be reached.
    """
    wholeness = Wholeness()
    async for page in pages(store, Query(kinds=frozenset(KINDS))):
        await asyncio.to_thread(_add, wholeness, page, sealer, erased)
    strange = await others(store, frozenset(KINDS))
    if strange:
        wholeness.records += strange
        wholeness.changed += strange
        wholeness.named.append(f"{strange} of a kind that is none of ours")
    return wholeness


def _add(wholeness: Wholeness, page: Sequence[Record], sealer: Sealer, erased: Erased) -> None:
    whole = {record.id for record in sealer.whole(page)}
    changed = [record for record in page if record.id not in whole]
    wholeness.records += len(page)
    wholeness.changed += len(changed)
    wholeness.named += [
        f"{record.id} ({record.kind}, {record.purpose})" for record in changed[: _NAMED - len(wholeness.named)]
    ]
    wholeness.brought_back += sum(record.id in whole and erased.has(record) for record in page)
