"""Who holds a receipt whose name was read to staff: on the phone, from a letter, from a downloaded file."""

from __future__ import annotations

import asyncio

from consent_mw.exceptions import ConfigurationError
from consent_mw.policy import RECEIPTS
from consent_mw.records import Query, time_of
from consent_mw.rights.person import People, Person, tokens
from consent_mw.sealer import Sealer
from consent_mw.stores.base import Store

__all__ = ["receipt_holder"]


async def receipt_holder(name: str, store: Store, sealer: Sealer) -> Person:
    """
    Return who holds the receipt called `name`, with the receipts that it superseded.

    Raises:
        ConfigurationError: No receipt of that name is kept here.
        StoreError: The store or the keyring cannot be reached.
    """
    made = await asyncio.to_thread(tokens, sealer, Person((name,)), (RECEIPTS,))
    subjects = frozenset[bytes]().union(*made.values())
    query = Query(kinds=frozenset(("receipt",)), purposes=frozenset((RECEIPTS,)), subjects=subjects)
    found = await store.fetch(query) if subjects else ()
    if not found:
        raise ConfigurationError(
            f'no receipt called "{name}" is kept here; its name stands in the downloaded file as pii_principal_id'
        )
    return await People(store, sealer).whole(Person((name,)), time_of(found[-1].id).date())
