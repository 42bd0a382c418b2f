"""Whose data nobody may use now: those who asked for a correction, a restriction or an erasure that is not done yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from consent_mw.rights.desk import Desk
from consent_mw.rights.person import tokens
from consent_mw.rights.request import Case
from consent_mw.sealer import Sealer

__all__ = ["restricted", "restricted_by"]


async def restricted(desk: Desk, sealer: Sealer) -> frozenset[bytes]:
    """
    Return the tokens, under every key that lives, of each person under restriction: records with one of these subjects
    are left out of statistics, exports, the log and disclosures. Destruction goes on all the same.

    Raises:
        StoreError: The store or the keyring cannot be reached: then nobody's data may be used.
    """
    return await restricted_by(await desk.all(), sealer)


async def restricted_by(cases: Iterable[Case], sealer: Sealer) -> frozenset[bytes]:
    """Return the tokens of each person whom one of `cases` restricts. Raises StoreError."""
    restricting = [case for case in cases if case.restricts]
    values = dict.fromkeys(value for case in restricting for value in case.request.person.values)
    made = await asyncio.to_thread(tokens, sealer, values)
    return frozenset[bytes]().union(*made.values())
