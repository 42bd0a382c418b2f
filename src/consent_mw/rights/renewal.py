"""A restriction outlives the record that asked for it: before that is destroyed, an open request is renewed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from consent_mw.policy.model import REQUESTS
from consent_mw.records import new_id
from consent_mw.retention.calendar import Retention
from consent_mw.rights.desk import Desk
from consent_mw.rights.request import Answer, Case
from consent_mw.system.days import day_of

#: A request is renewed this long before its record ends: a site may be off for some days.
_AHEAD: Final = timedelta(days=14)


async def renew(desk: Desk, retention: Retention, now: datetime) -> int:
    """
    Renew the requests that restrict somebody's data and whose records end soon. Return how many were renewed. The new
    request says when the first was received. The first is answered with the number of the new one.

    Raises:
        KeyDestroyed, StoreError: It could not be kept. Nothing changes.
    """
    restricting = (case for case in await desk.restricting() if case.request.readable)
    ending = [case for case in restricting if _ends_soon(case, retention, now)]
    for case in ending:
        await _renewed(case, desk, int(now.timestamp() * 1e9))
    return len(ending)


def _ends_soon(case: Case, retention: Retention, now: datetime) -> bool:
    registered = case.request.registered
    end = retention.end(day_of(registered), REQUESTS, now)
    return end is not None and end - min(_AHEAD, (end - registered) / 2) <= now


async def _renewed(case: Case, desk: Desk, now_ns: int) -> None:
    request = msgspec.structs.replace(case.request, id=new_id(now_ns))
    answers = [Answer.new(case.request.id, "done", now_ns, renewed=str(request.id))]
    if case.granted is not None:
        answers.append(Answer.new(request.id, "granted", now_ns, by=case.granted.by, reason=case.granted.reason))
    await desk.register(request, answers=answers)
