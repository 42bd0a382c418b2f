"""Carry out what a visitor asks for on the page of their data: first register it on the disk, then do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from consent_mw.consent.choice import Choice
from consent_mw.consent.data_subject import NOBODY, Person
from consent_mw.consent.request_consent import Shown
from consent_mw.exceptions import ConsentError
from consent_mw.log.receipt_keeper import ReceiptKeeper
from consent_mw.policy.model import ABUSE
from consent_mw.rights.contact import contact_item
from consent_mw.rights.desk import Desk
from consent_mw.rights.personal_data import PersonalData, PersonalItems, items_of
from consent_mw.rights.repeats import Repeats
from consent_mw.rights.request import Answer, Case, Request, RequestKind
from consent_mw.site.choosing import take_back
from consent_mw.site.forms import Answers, BadForm
from consent_mw.site.hand_over import Handing
from consent_mw.site.my_data_forms import (
    Action,
    Ask,
    Correct,
    CorrectContact,
    Dispute,
    Erase,
    EraseAbuse,
    Lift,
    Restrict,
    Withdraw,
)
from consent_mw.site.status_token import Slip
from consent_mw.site.visit import Visit
from consent_mw.system.days import instant_of

_log = logging.getLogger("consent_mw")

#: How long a visitor waits for an erasure that is done at once. After that it goes on in the background.
_PATIENCE_SECONDS: Final = 2.0
#: Requests of identified visitors that the page itself answers, so that staff need not look at them.
_PERSONAL_KINDS: Final[frozenset[RequestKind]] = frozenset(("access", "complaint"))


class NotKept(Exception):
    """The request could not be written to the disk. Nothing was done, and the answer must not claim otherwise."""


class Done(NamedTuple):
    """The result of an action: the slip that leads to it, and the Set-Cookie lines that a choice released."""

    slip: Slip
    lines: tuple[bytes, ...] = ()


class Actions:
    """
    Args:
        erase: Carries out open withdrawals and erasures, like `Erasure.once`.
        handing: Moves the records that an erasure must find to the store.
        keeper: Keeps the receipt of what remains of a choice.
        personal_data: The data that the application itself holds.
    """

    def __init__(
        self,
        desk: Desk,
        erase: Callable[[datetime], Awaitable[object]],
        handing: Handing,
        repeats: Repeats,
        keeper: ReceiptKeeper,
        personal_data: PersonalData | None = None,
    ) -> None:
        self._desk = desk
        self._repeats = repeats
        self._keeper = keeper
        self._erase = erase
        self._handing = handing
        self._personal_data = personal_data
        self._erasing = asyncio.Lock()
        self._coming: asyncio.Task[None] | None = None  # the run that has not begun
        self._running: set[asyncio.Task[None]] = set()

    async def carry_out(self, action: Action, visit: Visit, person: Person, shown: Shown) -> Done:
        """
        Do what a visitor asks for.

        Args:
            person: The person who proved to be asking; only `Ask` may come from an unknown person.

        Raises:
            BadForm: The action is about something that this person does not have.
            NotKept: The request could not be kept.
            StoreError: The store cannot be reached, so the request cannot be checked.
        """
        now_ns = visit.now_ns
        match action:
            case Ask():
                return await self._ask(action, person, now_ns)
            case Withdraw():
                return await self._withdraw(action, visit, person, shown)
            case Erase():
                return await self._erase_all(visit, person, shown)
            case EraseAbuse():
                request = Request.new(
                    "erasure", "site", now_ns, person=person, purposes=(ABUSE,), message=action.message
                )
                return await self._registered("erase-abuse", request)
            case Correct():
                return await self._correct(action, person, now_ns)
            case CorrectContact():
                return await self._correct_contact(action, person, now_ns)
            case Dispute():
                item = str(action.record) if action.record else ""
                request = Request.new(
                    "correction", "site", now_ns, person=person, message=action.message, item=item, email=action.email
                )
                return await self._registered("dispute", request)
            case Restrict():
                request = Request.new("restriction", "site", now_ns, person=person, message=action.message)
                return await self._registered("restrict", request)
            case Lift():
                return await self._lift(action, person, now_ns)

    async def _registered(self, name: str, request: Request, *answers: Answer) -> Done:
        await self._keep(request, answers=answers)
        return Done(Slip(name, request.id))

    async def _keep(self, *requests: Request, answers: tuple[Answer, ...] = ()) -> None:
        try:
            kept = await self._desk.register(*requests, answers=answers)
        except ConsentError as error:
            raise NotKept(str(error)) from error
        if not kept:
            raise NotKept("the spool did not take it")

    async def _ask(self, action: Ask, person: Person, now_ns: int) -> Done:
        known = person.is_known and action.kind in _PERSONAL_KINDS
        request = Request.new(
            action.kind,
            "site" if known else "form",
            now_ns,
            person=person if known else NOBODY,
            email=action.email,
            phone=action.phone,
            message=action.message,
        )
        return await self._registered("ask", request)

    # -- withdrawals and erasures -------------------------------------------------------------------------------

    async def _withdraw(self, action: Withdraw, visit: Visit, person: Person, shown: Shown) -> Done:
        policy = visit.consent.permissions.policy
        asked = [purpose.name for purpose in policy.asked]
        theirs = [purpose.name for purpose in policy.answered if purpose.name in action.purposes]
        ours = tuple(name for name in action.purposes if name not in theirs)
        if theirs or not action.purposes:
            done = await self._withdraw_from_application(tuple(theirs), visit, person)
            if done and theirs and not ours:
                return done
        request = Request.new("withdrawal", "site", visit.now_ns, person=person, purposes=ours)
        number = await self._kept_once(request, visit)
        visit.consent.withdrawal_kept = True
        # The policy no longer asks about removed purposes, so their choice cannot change.
        named = [name for name in ours if name in asked]
        said = named if action.purposes else Answers(Choice.REJECT, {}, {})
        lines = await self._taken_back(said, visit, person, shown)
        return Done(Slip("withdraw", number), tuple(lines))

    async def _withdraw_from_application(self, purposes: tuple[str, ...], visit: Visit, person: Person) -> Done | None:
        """Let the application erase what it holds by consent for `purposes`, or for all; None if it holds nothing."""
        may = [purpose.name for purpose in visit.consent.permissions.policy.answered if purpose.may_be_withdrawn]
        if not may or self._personal_data is None or person.sign_in is None:
            if purposes:
                raise BadForm(
                    422, "purpose", (*(purpose.name for purpose in visit.consent.permissions.policy.asked), "all")
                )
            return None
        request = Request.new(
            "withdrawal", "site", visit.now_ns, person=person, purposes=purposes or tuple(may), application=True
        )
        number = await self._kept_once(request, visit)
        await self._erased_soon(visit.now_ns)
        return Done(Slip("withdraw", number))

    async def _erase_all(self, visit: Visit, person: Person, shown: Shown) -> Done:
        application = self._personal_data is not None and person.sign_in is not None
        request = Request.new("erasure", "site", visit.now_ns, person=person, application=application)
        number = await self._kept_once(request, visit)
        visit.consent.withdrawal_kept = True
        lines = await self._taken_back(Answers(Choice.REJECT, {}, {}), visit, person, shown)
        await self._erased_soon(visit.now_ns)
        return Done(Slip("erase", number), tuple(lines))

    async def _taken_back(self, said: Answers | list[str], visit: Visit, person: Person, shown: Shown) -> list[bytes]:
        """Withdraw what the kept request names. The receipt of what remains is written before the answer."""
        consent, agent = visit.consent, visit.headers.get("user-agent", "")
        before = consent.consent

        async def keep() -> bool:
            return await self._keeper.stands(consent, consent.consent, before, agent, person.sign_in)

        return await take_back(consent, said, visit.waitings, shown, keep)

    async def _kept_once(self, request: Request, visit: Visit) -> UUID:
        """Keep a request, unless it is a repeat of one that was kept before, and return its number."""
        changes = visit.consent.proven.changes
        number = self._repeats.number_of(request, changes)
        if number is None:
            await self._keep(request)
            self._repeats.keep(request, changes)
        return number or request.id

    async def _erased_soon(self, now_ns: int) -> None:
        """Start the erasure and wait a moment: a small one is done before the visitor reads the answer."""
        if self._coming is None or self._coming.done():  # otherwise the next run finds this request too
            self._coming = asyncio.ensure_future(self._erase_quietly(now_ns))
            self._running.add(self._coming)
            self._coming.add_done_callback(self._running.discard)
        await asyncio.wait([self._coming], timeout=_PATIENCE_SECONDS)

    async def _erase_quietly(self, now_ns: int) -> None:
        async with self._erasing:
            self._coming = None
            await self._handing.over()
            try:
                await self._erase(instant_of(now_ns))
            except Exception:  # noqa: BLE001 - a store of somebody else's: what is registered is tried again anyway
                _log.exception("an erasure is not complete; it goes on in the background")

    # -- corrections --------------------------------------------------------------------------------------------

    async def _correct(self, action: Correct, person: Person, now_ns: int) -> Done:
        held = items_of(await self._application(person))
        if action.item not in held:
            raise BadForm(422, "item", sorted(held))
        request = Request.new("correction", "site", now_ns, person=person, item=action.item, value=action.value)
        await self._keep(request)
        if await self._corrected(action, person):
            try:
                await self._keep(answers=(Answer.new(request.id, "done", now_ns),))
            except NotKept as error:
                _log.warning("a correction is done, and its request stays open: %s", error)
        return Done(Slip("correct", request.id))

    async def _correct_contact(self, action: CorrectContact, person: Person, now_ns: int) -> Done:
        """Keep the correction beside the request. No record is rewritten: a reader of the request reads both."""
        own = [case.request.id for case in await self._desk.of(person) if case.request.email or case.request.phone]
        if action.number not in own:
            raise BadForm(422, "number", map(str, own))
        item = contact_item(action.item, action.number)
        request = Request.new("correction", "site", now_ns, person=person, item=item, value=action.value)
        return await self._registered("correct", request, Answer.new(request.id, "done", now_ns))

    async def _application(self, person: Person) -> PersonalItems:
        if self._personal_data is None or person.sign_in is None:
            return {}
        try:
            return await self._personal_data.read(person.sign_in)
        except Exception as error:
            _log.exception("personal_data= failed to read")
            raise NotKept("the application could not be asked") from error

    async def _corrected(self, action: Correct, person: Person) -> bool:
        """Whether the application made the correction. If it did not, the request stays open for staff."""
        if self._personal_data is None or person.sign_in is None:
            return False
        try:
            return await self._personal_data.correct(person.sign_in, action.item, action.value)
        except Exception:  # noqa: BLE001 - the application's own code: the request is kept already
            _log.exception("personal_data= failed to correct %.80r; the request stays open", action.item)
            return False

    # -- restrictions -------------------------------------------------------------------------------------------

    async def _lift(self, action: Lift, person: Person, now_ns: int) -> Done:
        own = [case.request.id for case in await self._desk.of(person) if _is_liftable(case)]
        meant = own if action.number is None else [action.number]
        if not meant or not set(meant) <= set(own):
            raise BadForm(422, "number", map(str, own))
        await self._keep(answers=tuple(Answer.new(number, "done", now_ns) for number in meant))
        return Done(Slip("lift", meant[-1]))


def _is_liftable(case: Case) -> bool:
    return case.request.kind == "restriction" and case.ended is None
