"""What is still to be answered, and by when: the order of the operator's list, and its counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

import msgspec

from consent_mw.keyring import MemoryKeyring
from consent_mw.policy import Policy
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.request import Case
from consent_mw.sealer import Sealer
from consent_mw.stores.base import Store

__all__ = ["Queue", "in_order", "queue_of"]


class Queue(msgspec.Struct, frozen=True):
    """
    How much is to be answered.

    Attributes:
        open: Requests that have not ended, the overdue ones included.
        overdue: Those whose last day is over.
        next_due: The earliest last day of those that are open and not overdue, in the policy's time zone; or None.
    """

    open: int = 0
    overdue: int = 0
    next_due: date | None = None


async def queue_of(store: Store, policy: Policy, now: datetime) -> Queue:
    """
    Return how much is to be answered at `now` (aware). Opens nothing that is sealed, and needs no keys.

    Raises:
        StoreError: The store cannot be reached.
    """
    desk = Desk(store, Sealer(MemoryKeyring()), kept_by_store(store))
    waiting = [case for case in await desk.all(opened=False) if case.ended is None]
    late = [case for case in waiting if case.is_overdue(policy, now)]
    return Queue(
        open=len(waiting),
        overdue=len(late),
        next_due=min((case.due(policy) for case in waiting if case not in late), default=None),
    )


def in_order(cases: Iterable[Case], policy: Policy) -> list[Case]:
    """Return the open ones by their last day, the earliest first; then those that have ended, the latest first."""
    every = list(cases)
    waiting = sorted(
        (case for case in every if case.ended is None), key=lambda case: (case.due(policy), case.request.id)
    )
    return [*waiting, *sorted((case for case in every if case.ended), key=_ended_at, reverse=True)]


def _ended_at(case: Case) -> int:
    return case.ended.id.int if case.ended else 0
