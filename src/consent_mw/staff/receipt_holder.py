"""Find the holder of a receipt by its name, which staff got on the phone, in a letter or from a downloaded file."""

from __future__ import annotations

import asyncio

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.kinds import HELD, RECEIPT
from consent_mw.stores.base import Store
from consent_mw.stores.subjects import questions, tokens_at_once


async def receipt_holder(name: str, store: Store, sealer: Sealer) -> Person:
    """
    Return the person who holds the receipts with this name.

    Also searches the collected records, which may be kept longer than the receipts.

    Raises:
        ConfigurationError: Nothing is kept here under that name.
        StoreError: The store or the keyring cannot be reached.
    """
    person = Person((name,))
    subjects = await asyncio.to_thread(tokens, sealer, person)
    if not any(
        [await store.fetch(query, limit=1) for query in questions(subjects, HELD | {RECEIPT}, tokens_at_once(store))]
    ):
        raise ConfigurationError(
            f'no receipt called "{name}" is kept here; its name stands in the downloaded file as pii_principal_id'
        )
    return person
