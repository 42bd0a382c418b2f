"""Carry out a submission: take the choice, and deliver, drop or keep the cookies that wait."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, TypeAlias

from consent_mw.consent.choice import Choice
from consent_mw.consent.permissions import Verdict
from consent_mw.consent.request_consent import RequestConsent, Shown
from consent_mw.cookies.pending import Pending, Waiting, hush, hushed
from consent_mw.exceptions import StoreError
from consent_mw.site.forms import Answers, WaitingAnswer

_log = logging.getLogger("consent_mw")

#: Writes the receipt of a new choice to the disk, and returns whether the choice counts.
Keep: TypeAlias = Callable[[], Awaitable[bool]]


class NotSaved(Exception):
    """The receipt of a choice could not be written. The choice was undone, and no waiting cookie was touched."""


class Waitings(NamedTuple):
    """The cookies that wait for one visitor at one moment; empty if nothing is kept for this visitor."""

    kept_by: Pending | None
    session: str | None
    now_ns: int

    async def read(self) -> list[Waiting]:
        """
        Return the waiting cookies, oldest first.

        Raises:
            StoreError: The store cannot be reached now.
        """
        if self.kept_by is None or self.session is None:
            return []
        return await self.kept_by.waiting(self.session, self.now_ns)

    async def deliver(self, waiting: Collection[Waiting]) -> list[bytes]:
        """Return the Set-Cookie lines of `waiting`, without those that another tab has already claimed."""
        if self.kept_by is None or self.session is None or not waiting:
            return []
        return await self.kept_by.claim(self.session, [cookie.id for cookie in waiting], self.now_ns)

    async def drop(self, waiting: Collection[Waiting]) -> None:
        """Forget `waiting`."""
        if self.kept_by is not None and self.session is not None and waiting:
            await self.kept_by.drop(self.session, [cookie.id for cookie in waiting], self.now_ns)


async def choose(
    consent: RequestConsent, said: Answers | WaitingAnswer, waitings: Waitings, shown: Shown, keep: Keep
) -> list[bytes]:
    """
    Take a visitor's answer, keep its receipt, and return the Set-Cookie lines that it releases.

    A new choice also settles the waiting cookies: those that it allows are delivered, those that it refuses are
    dropped, and the rest still wait.

    Raises:
        NotSaved: The receipt could not be kept.
        StoreError: Waiting cookies cannot be reached now. The choice itself was taken.
    """
    if isinstance(said, Answers):
        if consent.pending is not None:
            # Refusals for this visit do not outlast a new choice.
            consent.pending, consent.pending_changed = hush(consent.pending, ()), bool(hushed(consent.pending))
        consent.choose(said.choice, purposes=said.purposes, cookies=said.cookies, shown=shown)
        return await _settle(consent, waitings, keep)
    waiting = await waitings.read()
    named = [cookie for cookie in waiting if said.ids is None or cookie.id in said.ids]
    if said.answer == "refuse":
        await waitings.drop(named)
        if consent.pending is not None:
            consent.pending = hush(
                consent.pending, hushed(consent.pending) | {cookie.declared.purpose for cookie in named}
            )
            consent.pending_changed = True
        return []
    if said.answer in ("purpose", "never"):
        _answer_purposes(consent, {cookie.declared.purpose for cookie in named}, said.answer == "purpose", shown)
        return await _settle(consent, waitings, keep)
    # An old open page may ask about a cookie that a later choice has refused: the later choice counts.
    refused = [cookie for cookie in named if consent.explain(cookie.name).verdict is Verdict.BLOCKED]
    await waitings.drop(refused)
    return await waitings.deliver([cookie for cookie in named if cookie not in refused])


async def take_back(
    consent: RequestConsent, said: Answers | Collection[str], waitings: Waitings, shown: Shown, keep: Keep
) -> list[bytes]:
    """
    Withdraw consent and return the Set-Cookie lines that this releases.

    `said` is a whole choice, or the purposes to withdraw. Unlike `choose` this succeeds while waiting cookies cannot
    be reached: they are gone after ten minutes.
    """
    try:
        if isinstance(said, Answers):
            return await choose(consent, said, waitings, shown, keep)
        if said:
            consent.withdraw(*said, shown=shown)
        return await _settle(consent, waitings, keep)
    except NotSaved:
        return []
    except StoreError as error:
        _log.warning("waiting cookies cannot be reached: %s", error)
        return []


def _answer_purposes(consent: RequestConsent, purposes: Collection[str], allow: bool, shown: Shown) -> None:
    if consent.choice is Choice.PROMPT and purposes:
        (consent.grant if allow else consent.withdraw)(*purposes, shown=shown)


async def _settle(consent: RequestConsent, waitings: Waitings, keep: Keep) -> list[bytes]:
    if consent.changed and not await keep():
        raise NotSaved
    by_verdict: dict[Verdict, list[Waiting]] = {}
    for cookie in await waitings.read():
        by_verdict.setdefault(consent.explain(cookie.name).verdict, []).append(cookie)
    await waitings.drop(by_verdict.get(Verdict.BLOCKED, ()))
    return await waitings.deliver(by_verdict.get(Verdict.KEPT, ()))
