"""What is still to be answered, and by when: the order and the counts of the operator's list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.policy.model import Policy
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.request import Case
from consent_mw.stores.base import Store


class Queue(msgspec.Struct, frozen=True):
    """
    How many requests wait for an answer.

    Attributes:
        open: Requests whose senders wait for something, including overdue ones.
        overdue: Open requests whose last day is over.
        next_due: The earliest last day among open requests that are not overdue, in the policy's time zone; or None.
    """

    open: int = 0
    overdue: int = 0
    next_due: date | None = None


async def waiting(store: Store, policy: Policy, sealer: Sealer) -> list[Case]:
    """
    Return the requests whose senders wait, the earliest due first. Opens nothing sealed.

    Raises:
        StoreError: The store cannot be reached.
    """
    desk = Desk(store, sealer, kept_by_store(store))
    return in_order([case for case in await desk.all(opened=False) if case.is_owed], policy)


async def queue_of(store: Store, policy: Policy, now: datetime, sealer: Sealer) -> Queue:
    """Return how many requests wait for an answer at `now` (aware). As `waiting`."""
    cases = await waiting(store, policy, sealer)
    due = [case.due(policy) for case in cases if not case.is_overdue(policy, now)]
    return Queue(open=len(cases), overdue=len(cases) - len(due), next_due=due[0] if due else None)


def in_order(cases: Iterable[Case], policy: Policy) -> list[Case]:
    """
    Return `cases` in order: what must be answered, the earliest last day first; then restrictions in force; then what
    has ended, the latest first.
    """
    every = list(cases)
    still_open = [case for case in every if case.ended is None]
    still_open.sort(key=lambda case: (not case.is_owed, case.due(policy), case.request.id))
    return [*still_open, *sorted((case for case in every if case.ended), key=_ended_at, reverse=True)]


def _ended_at(case: Case) -> int:
    return case.ended.id.int if case.ended else 0
