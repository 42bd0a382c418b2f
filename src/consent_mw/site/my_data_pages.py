"""The page of a visitor's own data: what the site holds, to read and to save, and what visitors may ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Final, NamedTuple

from starlette.responses import RedirectResponse, Response

from consent_mw._asgi import Scope
from consent_mw.consent.data_subject import Person
from consent_mw.consent.request_consent import Shown
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import StoreError
from consent_mw.hosts.register import Spools
from consent_mw.log.receipt_keeper import ReceiptKeeper
from consent_mw.policy.model import Policy, Purpose
from consent_mw.records import Scalar, time_of
from consent_mw.rights.contact import contact_of
from consent_mw.rights.desk import Desk, kept_by_spool, kept_by_store
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.holdings import Holdings, Registry
from consent_mw.rights.people import People
from consent_mw.rights.personal_data import PersonalData, PersonalItems, SignIn, by_purpose
from consent_mw.rights.repeats import Repeats
from consent_mw.rights.request import REQUEST_KINDS
from consent_mw.rights.withdrawal import NOTHING_REMOVED, Removed
from consent_mw.site.form_posts import Posts
from consent_mw.site.forms import BadForm
from consent_mw.site.hand_over import Handing
from consent_mw.site.identity import Identity
from consent_mw.site.my_data_actions import Actions, NotKept
from consent_mw.site.my_data_documents import my_data_document, my_data_table, state_of
from consent_mw.site.my_data_forms import (
    BODY_LIMIT_BYTES,
    MESSAGE_LIMIT,
    Action,
    Ask,
    CorrectContact,
    Erase,
    Lift,
    Withdraw,
    read,
)
from consent_mw.site.my_data_outcome import Outcome, Outcomes
from consent_mw.site.reader_queue import Busy, Readers
from consent_mw.site.rendering import PERSONAL, Rendering
from consent_mw.site.status_token import Slip, Slips
from consent_mw.site.throttle import Throttle
from consent_mw.site.visit import Visit
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.system.days import instant_of

_log = logging.getLogger("consent_mw")

#: The most records that the page itself shows; the download has all of them.
_SHOWN: Final = 40
_PATIENCE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 5
_WITHIN: Final = timedelta(minutes=10)
_NAME: Final = "my-data"
_CSV: Final = "text/csv; charset=utf-8"


class MyData(NamedTuple):
    """
    The parts that the page needs.

    Attributes:
        client: Returns from a scope the network that a request came from, for counting; "" if it is not known.
        removed: The purposes that only earlier revisions asked visitors about.
    """

    identity: Identity
    registry: Registry
    actions: Actions
    outcomes: Outcomes
    spools: Callable[[datetime], Awaitable[Spools]]
    handing: Handing
    client: Callable[[Scope], str]
    removed: Mapping[str, Removed]

    @classmethod
    def of_site(
        cls,
        policies: Sequence[Policy],
        store: Store,
        sealer: Sealer,
        spool: Spool,
        erasure: Erasure,
        hand_over: Callable[[], Awaitable[object]],
        keeper: ReceiptKeeper,
        *,
        client: Callable[[Scope], str],
        subject: SignIn | None = None,
        personal_data: PersonalData | None = None,
        removed: Mapping[str, Removed] = NOTHING_REMOVED,
    ) -> MyData:
        """Return the parts for a running site; `policies` are all declarations that have been in force."""
        keep = kept_by_store(store) if keeper.in_store else kept_by_spool(spool)
        handing = Handing(hand_over, lambda: spool.oldest)
        desk = Desk(store, sealer, keep)
        return cls(
            identity=Identity(People(store, sealer), sealer, keep, subject),
            registry=Registry(policies, store, sealer, archive=erasure.archive, personal_data=personal_data),
            actions=Actions(desk, erasure.once, handing, Repeats(spool), keeper, personal_data),
            outcomes=Outcomes(store, desk, sealer),
            spools=erasure.spools,
            handing=handing,
            client=client,
            removed=removed,
        )


class MyDataPages:
    """
    Answers `/my-data`.

    Args:
        readers: The queue of visitors who read their own data. Other pages share it.
        shown: Returns, for a language, what the receipt of a withdrawal says that the visitor was shown.
    """

    def __init__(
        self,
        rendering: Rendering,
        policy: Policy,
        parts: MyData,
        *,
        posts: Posts,
        slips: Slips,
        readers: Readers,
        shown: Callable[[str], Shown],
    ) -> None:
        self._rendering = rendering
        self._policy = policy
        self._parts = parts
        # The purposes that records may belong to, including removed ones as they were last declared.
        self._declared = {name: removed.purpose for name, removed in parts.removed.items()} | dict(policy.purposes)
        self._posts = posts
        self._slips = slips
        self._shown = shown
        self._readers = readers
        # Also counted by network, whatever proves the identity: a new receipt costs only one request. The spool bounds
        # how much space the requests may take.
        self._strangers = Throttle(most=5, within=_WITHIN)
        self._persons = Throttle(most=30, within=_WITHIN)
        self._networks = Throttle(most=60, within=_WITHIN)

    # -- reading ------------------------------------------------------------------------------------------------

    async def page(self, visit: Visit) -> Response:
        """Answer with what the site holds about the visitor. An unknown visitor gets the form."""
        try:
            holdings, complete = await self._holdings(visit)
            done = await self._done(visit)
        except Busy:
            return self._unreadable(visit)
        except StoreError as error:
            _log.warning("a visitor's data cannot be read: %s", error)
            return self._unreadable(visit)
        if visit.form == "json" or visit.query.get("download") == "json":
            return await asyncio.to_thread(self._as_json, visit, holdings, done, complete=complete)
        if not holdings.person.is_known:
            status = 404 if visit.form == "csv" else 200
            context = self._common(visit, done) | {"elsewhere": visit.consent.consent.allows_something}
            return self._rendering.page(visit, "my_data_unknown.html", context, status=status)
        if visit.form == "csv" and not complete:
            return self._unreadable(visit)  # a table cannot say that something is missing
        if visit.form == "csv":
            return await asyncio.to_thread(self._as_csv, visit, holdings)
        context = self._context(visit, holdings, done) | {"complete": complete}
        return self._rendering.page(visit, "my_data.html", context, file=f"{_NAME}.html")

    async def _holdings(self, visit: Visit) -> tuple[Holdings, bool]:
        """Move the spool's records to the store; then return what is held, and whether that is all of it."""
        identity, now = self._parts.identity, _now(visit)
        proof = await identity.proof(visit.scope, visit.consent, visit.now_ns)
        if not proof.is_known:
            return Holdings(proof), True
        complete = await self._parts.handing.until(now, seconds=_PATIENCE_SECONDS)
        async with self._turn(visit, proof.values[-1]):
            person = await identity.of(proof)
            return await self._parts.registry.of(person, now), complete

    def _turn(self, visit: Visit, person: str) -> AbstractAsyncContextManager[None]:
        return self._readers.turn(person, self._parts.client(visit.scope))

    async def _done(self, visit: Visit) -> Outcome | None:
        slip = self._slips.read(visit.query.get("done", ""))
        if slip is None:
            return None
        async with self._turn(visit, str(slip.number)):
            return await self._outcome_at(slip, visit)

    async def _outcome_at(self, slip: Slip, visit: Visit) -> Outcome:
        outcome = await self._parts.outcomes.of(slip, self._policy)
        if outcome.is_going_on:
            outcome = outcome._replace(elsewhere=bool((await self._parts.spools(time_of(slip.number))).waiting))
        return outcome._replace(beyond=bool(await self._parts.registry.reach.beyond(_now(visit))))

    def _unreadable(self, visit: Visit) -> Response:
        """Return the page without what is held. Earlier requests are on the disk anyway."""
        headers = {**PERSONAL, "retry-after": str(_RETRY_SECONDS)}
        slip = self._slips.read(visit.query.get("done", ""))
        done = self._parts.outcomes.registered(slip, self._policy) if slip else None
        if visit.wants_json:
            problem = {"error": "away"} | ({"done": done.document(self._policy.time_zone)} if done else {})
            return self._rendering.data(problem, status=503, headers=headers)
        context = self._common(visit, done)
        return self._rendering.page(visit, "my_data_away.html", context, status=503, headers=headers)

    def _as_json(self, visit: Visit, holdings: Holdings, done: Outcome | None, *, complete: bool) -> Response:
        zone = self._policy.time_zone
        if not holdings.person.is_known:
            said: dict[str, object]
            said = {"error": "unknown", "kinds": list(REQUEST_KINDS)} if done is None else {"done": done.document(zone)}
            return self._rendering.data(said, status=404 if done is None else 200)
        document = my_data_document(holdings, self._policy, self._declared, visit.language, _now(visit))
        document |= {"complete": complete and holdings.is_whole, "out_of_reach": bool(holdings.beyond)}
        if done is not None:
            document["done"] = done.document(zone)
        return self._rendering.data(document, file=f"{_NAME}.json")

    def _as_csv(self, visit: Visit, holdings: Holdings) -> Response:
        headers = {**PERSONAL, "content-disposition": f'attachment; filename="{_NAME}.csv"'}
        return Response(my_data_table(holdings, self._policy, _now(visit)), headers=headers, media_type=_CSV)

    def _context(self, visit: Visit, holdings: Holdings, done: Outcome | None) -> dict[str, object]:
        rows = ((row, held.purpose) for held in holdings.held for row in held.rows)
        latest = nlargest(_SHOWN, rows, key=lambda row: str(row[0]["id"]))  # an id fixes the order in time
        permissions, held = visit.consent.permissions, {holding.purpose for holding in holdings.held}
        asked = {purpose.name for purpose in self._policy.asked}
        shown = holdings.application is not None
        return self._common(visit, done) | {
            "holdings": holdings,
            "application": _groups(holdings.application, self._policy) if holdings.application is not None else [],
            "unshown": [
                purpose for purpose in self._policy.by_application if not shown or purpose.answered_by != "my_data"
            ],
            "declared": self._declared,
            "records": latest,
            "more": sum(held.records for held in holdings.held) - len(latest),
            "given": [purpose for purpose in self._policy.asked if permissions.answer(purpose.name)],
            "removed": [removed.purpose for name, removed in self._parts.removed.items() if name in held - asked],
            "now": _now(visit),
            "state_of": state_of,
            "contacts": [
                (item, value, case.request)
                for case in holdings.cases
                for item, value in contact_of(case.request, holdings.cases)._asdict().items()
                if value
            ],
            "restricting": [case for case in holdings.cases if case.restricts],
        }

    def _common(self, visit: Visit, done: Outcome | None) -> dict[str, object]:
        return {
            "zone": self._policy.time_zone,
            "done": done,
            "slip": visit.query.get("done", "") if done else "",
            "again": visit.query.get("again", ""),
            "proof": self._posts.guard.proof(visit),
            "action": f"{visit.base}/{_NAME}{visit.suffix}",
            "kinds": REQUEST_KINDS,
            "message_limit": MESSAGE_LIMIT,
        }

    # -- asking -------------------------------------------------------------------------------------------------

    async def post(self, visit: Visit) -> Response:
        """Carry out what a visitor asks for, and redirect to the page that shows the outcome."""
        fields = await self._posts.fields(visit, page=f"/{_NAME}", limit_bytes=BODY_LIMIT_BYTES)
        if isinstance(fields, Response):
            return fields
        try:
            action = read(fields, self._policy, self._parts.removed)
            proof = await self._parts.identity.proof(visit.scope, visit.consent, visit.now_ns)
            if not (proof.is_known or isinstance(action, Ask)):
                return self._posts.refused(visit, 403, "nobody")
            return await self._counted(visit, action, proof)
        except Busy:
            return self._away(visit, "away")
        except BadForm as error:
            return self._posts.bad(visit, error)
        except StoreError as error:
            _log.warning("a visitor's request cannot be judged: %s", error)
            return self._away(visit, "away")
        except NotKept as error:
            _log.error("a visitor's request was not kept, and they were told so: %s", error)
            return self._away(visit, "not-kept")

    async def _counted(self, visit: Visit, action: Action, proof: Person) -> Response:
        """Carry out an action that is not asked for too often. One that was not registered does not count."""
        counts: list[tuple[Throttle, str]] = []
        for throttle, name in self._budgets(visit, action, proof):
            if wait_seconds := throttle.admit(name, visit.now_ns):
                _give_back(counts, visit.now_ns)
                return self._posts.refused(visit, 429, "often", headers={"retry-after": str(wait_seconds)})
            counts.append((throttle, name))
        try:
            return await self._carried_out(visit, action, await self._person(visit, action, proof))
        except BaseException:
            _give_back(counts, visit.now_ns)
            raise

    def _budgets(self, visit: Visit, action: Action, proof: Person) -> list[tuple[Throttle, str]]:
        """
        Return the throttles that an action counts for.

        Withdrawal and erasure have none: they must be as easy as consent was (GDPR, article 7(3); PIPA, 37).
        """
        if isinstance(action, Withdraw | Erase):
            return []
        network = self._parts.client(visit.scope)
        if not proof.is_known:
            return [(self._strangers, network)]
        return [(self._persons, proof.values[-1]), (self._networks, network)]

    async def _person(self, visit: Visit, action: Action, proof: Person) -> Person:
        """
        Return the person who asks.

        If the action is about an earlier request, the result includes their other browsers, since they may have sent it
        from one of these. Other actions do not read the store: later code identifies the person again if it matters.
        """
        if not isinstance(action, Lift | CorrectContact):
            return proof
        async with self._turn(visit, proof.values[-1]):
            return await self._parts.identity.of(proof)

    async def _carried_out(self, visit: Visit, action: Action, person: Person) -> Response:
        done = await self._parts.actions.carry_out(action, visit, person, self._shown(visit.language))
        lang = f"&lang={visit.language}" if "lang" in visit.query else ""
        target = f"{visit.base}/{_NAME}?done={self._slips.write(done.slip)}{lang}"
        if visit.wants_json:
            outcome = await self._outcome(done.slip, visit)
            response = self._rendering.data({"done": outcome.document(self._policy.time_zone), "address": target})
        else:
            response = RedirectResponse(target, 303, dict(PERSONAL))
        response.raw_headers += [(b"set-cookie", line) for line in done.lines]
        return response

    async def _outcome(self, slip: Slip, visit: Visit) -> Outcome:
        try:
            return await self._outcome_at(slip, visit)
        except StoreError:
            return self._parts.outcomes.registered(slip, self._policy)

    def _away(self, visit: Visit, why: str) -> Response:
        return self._posts.refused(visit, 503, why, headers={"retry-after": str(_RETRY_SECONDS)})


def _give_back(counts: Iterable[tuple[Throttle, str]], now_ns: int) -> None:
    for throttle, name in counts:
        throttle.give_back(name, now_ns)


def _now(visit: Visit) -> datetime:
    return instant_of(visit.now_ns)


class _Group(NamedTuple):
    """What the application holds for one purpose. Each row has an item's name for corrections, its name, its value."""

    name: str
    purpose: Purpose | None
    rows: list[tuple[str, str, Scalar]]


def _groups(held: PersonalItems, policy: Policy) -> list[_Group]:
    """Return the application's items by purpose, in the order of the policy; items without a purpose come first."""
    items = by_purpose(held)
    answered = {purpose.name: purpose for purpose in policy.answered}
    groups: list[_Group] = []
    for name in dict.fromkeys(([""] if "" in items else []) + list(answered) + list(items)):
        rows = [(f"{name}.{item}" if name else item, item, value) for item, value in items.get(name, {}).items()]
        groups.append(_Group(name, answered.get(name), rows))
    return groups
