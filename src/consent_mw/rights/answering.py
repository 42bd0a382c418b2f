"""What staff may answer to a request. If two people answer at once, the first answer holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

from consent_mw.exceptions import AnswerRefused, ConfigurationError
from consent_mw.policy.model import ABUSE
from consent_mw.rights.desk import Desk
from consent_mw.rights.request import Answer, Case, Outcome
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.system.locks import alone

#: An answer takes some milliseconds; a waiting one gives up after this time.
_PATIENCE_SECONDS: Final = 10.0
_TRY_SECONDS: Final = 0.05
_LEASE: Final = "answers"


def needs_decision(case: Case) -> bool:
    """
    Return whether the operator has to decide the request.

    This is so for an erasure of records of abuse, which the site keeps for its own sake; and for a restriction, which
    holds at once and continues when it is granted.
    """
    request = case.request
    return request.kind == "restriction" or (request.kind == "erasure" and ABUSE in request.purposes)


def check_answer(case: Case, outcome: Outcome) -> None:
    """
    Check that staff may give this answer.

    Raises:
        AnswerRefused: The request has ended, was decided already, or staff may not answer it in this way.
    """
    if case.ended is not None:
        raise _refused(case, f"was answered already: {_as_answered(case.ended)}")
    if case.granted is not None and outcome != "done":
        raise _refused(case, f"was decided already: {_as_answered(case.granted)}; it is carried out")
    if outcome == "granted" and not needs_decision(case):
        raise _refused(
            case, "needs no decision: restrictions and erasures of abuse records are granted, others answered"
        )
    carried_out = case.request.kind in ("withdrawal", "erasure") and case.request.person.is_known
    if outcome == "done" and carried_out:
        if needs_decision(case) and case.granted is None:
            raise _refused(case, "waits for a decision: grant it, and the site carries it out; or refuse it")
        raise _refused(case, "is carried out and answered by the site itself; run it, or `consent-mw drain`")
    if outcome == "granted" and not case.request.person.is_known:
        raise _refused(
            case, "does not say whose records are meant; register it again with --receipt, and refuse this one"
        )
    if outcome == "refused" and case.request.kind == "withdrawal" and carried_out:
        raise _refused(case, "is a withdrawal, which nobody has to agree to; the site carries it out")


async def give(answer: Answer, desk: Desk, store: Store, lock: Path) -> Case:
    """
    Keep `answer` and return its case as it was before. If several people answer at once, on any host, the first wins.

    Args:
        lock: A file, created if it is missing. Of all processes that name it, one answers at a time.

    Raises:
        AnswerRefused: As `check_answer`, which also sees what others have answered meanwhile; or no such request
            exists.
        ConfigurationError: The lock cannot be acquired.
        StoreError, KeyDestroyed: The answer could not be kept.
    """
    async with _alone(lock, store):
        case = await desk.one(answer.request)
        if case is None:
            raise AnswerRefused(f"request {answer.request}: is not kept here any more; see `consent-mw requests --all`")
        check_answer(case, answer.outcome)
        await desk.register(answers=[answer])
        return case


@asynccontextmanager
async def _alone(lock: Path, store: Store) -> AsyncGenerator[None]:
    """
    Let one answer through at a time, on this machine and among all clients of the store. Raises ConfigurationError.
    """
    try:
        for _ in range(int(_PATIENCE_SECONDS / _TRY_SECONDS)):
            with alone(lock) as mine:
                async with lease(store, _LEASE) if mine else nullcontext(False) as only:
                    if only:
                        yield
                        return
            await asyncio.sleep(_TRY_SECONDS)
    except OSError as error:
        raise ConfigurationError(f"{lock}: cannot be locked ({error.strerror}); let this user write it") from error
    raise ConfigurationError(f"{lock}: somebody else answers at this moment; nothing was kept, try again")


def _refused(case: Case, why: str) -> AnswerRefused:
    return AnswerRefused(f"request {case.request.id}: {why}")


def _as_answered(answer: Answer) -> str:
    who = answer.by or "the site"
    return f"{answer.outcome} on {answer.given.astimezone().isoformat(sep=' ', timespec='minutes')} by {who}"
