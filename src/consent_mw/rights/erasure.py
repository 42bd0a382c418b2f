"""Carry out withdrawals and erasures in store, spool and archive. Each is repeated until it is certified."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.consent.data_subject import Person, tokens
from consent_mw.consent.receipts import Receipts
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import KeyDestroyed, SpoolError, StoreError
from consent_mw.hosts.register import Spools
from consent_mw.kinds import ANSWER, HELD, LINK, REQUEST
from consent_mw.paths import Places
from consent_mw.policy.model import ABUSE, LINKS, REQUESTS, Policy
from consent_mw.records import Query, Record, fixed_id, time_of
from consent_mw.retention.archive import Archive
from consent_mw.retention.calendar import Retention
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.erasure_certificate import ErasureCertificate, certificates
from consent_mw.rights.extent import Extent, Place
from consent_mw.rights.ledger import Entry, Erased, Ledger, Walk, counted, listed
from consent_mw.rights.open_cases import OpenCases
from consent_mw.rights.people import People
from consent_mw.rights.personal_data import PersonalData
from consent_mw.rights.renewal import renew
from consent_mw.rights.request import Answer, Case, Request
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.pages import pages
from consent_mw.stores.subjects import Subjects, questions, tokens_at_once
from consent_mw.system.days import day_of, instant_of
from consent_mw.system.locks import leased

_log = logging.getLogger("consent_mw")

#: Failures that pass. KeyDestroyed is one: today's key is missing where the clock stepped back for days.
_TROUBLES: Final = (KeyDestroyed, SpoolError, StoreError)
#: How often to check whether a restriction must be renewed, and whether each has its mark.
_RENEWED: Final = timedelta(days=1)
_MARKED: Final = timedelta(minutes=10)
#: How many records one step deletes.
_PAGE: Final = 1_000
#: How many tokens of the ledger one query looks for.
_TOKENS: Final = 10_000
#: The records in the spool normally reach the store within seconds.
_PATIENCE: Final = timedelta(minutes=1)
#: An exchange is a stream or a WebSocket. One that began at most this many days before its visitor's erasure, and ends
#: at most this long after it, is written down under a token that the ledger knows.
_BEGUN_DAYS: Final = 7
_LONGEST: Final = timedelta(days=30)
#: Added to the day, in case a key's day is over while its last records are still on their way.
_DAY: Final = timedelta(days=1)
#: What a person asked, and the links from their sign-in to their receipts.
_ASKED: Final = frozenset((REQUEST, ANSWER, LINK))
_PURPOSES: Final = frozenset((REQUESTS, LINKS))


class ErasureOutcome(msgspec.Struct, kw_only=True):
    """
    The result of one run.

    Attributes:
        busy: Another process was erasing; this one did nothing.
        done: Certificates of the requests that are now done.
        waiting: Numbers of the requests that another run must complete, because something is still on its way.
        brought_back: Records of a restored backup that were erased again.
        troubles: The failures, each with its place and its fix. The next run tries again.
    """

    busy: bool = False
    done: list[ErasureCertificate] = msgspec.field(default_factory=list[ErasureCertificate])
    waiting: list[UUID] = msgspec.field(default_factory=list[UUID])
    brought_back: int = 0
    troubles: list[str] = msgspec.field(default_factory=list[str])


class Erasure:
    """
    Carries out every open withdrawal and erasure whose sender is known. If a run is interrupted, the next one completes
    it.

    1. It moves what waits in the spool to the store.
    2. It looks for the person's tokens, under every key that still exists, in the store and in the archive. This needs
       no receipt and no declaration, so it also finds records that are older than all receipts.
    3. It writes into the ledger what it found, and deletes it afterwards. So it deletes the records again if a backup
       brings them back.
    4. It writes a certificate when it finds nothing any more, and no host's spool holds anything older than the
       request. Then it answers the request, or deletes it with the rest of what its sender had asked.

    Receipts stay, as the proof that a law demands. Records of abuse stay until the operator has decided: an erasure
    registers a separate request about them, and leaves the links by which a member finds it. Earlier requests of the
    sender stay while they are open, because somebody waits for the answer.

    If something was allowed again after the request, it is kept from that moment on. The receipts prove it.

    Args:
        hand_over: Moves the records in the spool to the store; None where another process does.
        personal_data: Erases the data of the application. A request of a site that has such data waits for it.
        spools: Where several hosts share the store: returns whose spools may hold what was written before an instant.
        publish: Tells the other hosts what the ledger says that this one is about to delete.
        others: The ledger of what other hosts erased.
        restored: Returns how often the store was noticed to have gone back in time. Each time the whole ledger is
            applied.
    """

    @classmethod
    def of_site(
        cls,
        policies: Sequence[Policy],
        places: Places,
        store: Store,
        sealer: Sealer,
        *,
        spool: Spool | None = None,
        hand_over: Callable[[], Awaitable[object]] | None = None,
        personal_data: PersonalData | None = None,
        spools: Callable[[datetime], Awaitable[Spools]] | None = None,
        publish: Callable[[], Awaitable[object]] | None = None,
        restored: Callable[[], int] = lambda: 0,
    ) -> Erasure:
        """
        Return the eraser of the site at `places`, for every declaration that was in force.

        Raises:
            ConfigurationError: The archive's keys cannot be used.
        """
        return cls(
            Retention(policies),
            store,
            sealer,
            Ledger(places.erasures),
            places.erasure_lock,
            others=Ledger(places.erasures_of_hosts),
            spool=spool,
            hand_over=hand_over,
            archive=Archive.of_site(policies, places, store, sealer),
            personal_data=personal_data,
            spools=spools,
            publish=publish,
            restored=restored,
        )

    def __init__(
        self,
        retention: Retention,
        store: Store,
        sealer: Sealer,
        ledger: Ledger,
        lock: Path,
        *,
        others: Ledger | None = None,
        spool: Spool | None = None,
        hand_over: Callable[[], Awaitable[object]] | None = None,
        archive: Archive | None = None,
        personal_data: PersonalData | None = None,
        spools: Callable[[datetime], Awaitable[Spools]] | None = None,
        publish: Callable[[], Awaitable[object]] | None = None,
        restored: Callable[[], int] = lambda: 0,
    ) -> None:
        self._spools = spools
        self._publish = publish
        self._restored = restored
        self._retention = retention
        self._store = store
        self._sealer = sealer
        self._ledger = ledger
        self._ledgers = [ledger, *([others] if others else [])]
        self._lock = lock
        self._spool = spool
        self._hand_over = hand_over
        self._archive = archive
        self._personal_data = personal_data
        self._desk = Desk(store, sealer, kept_by_store(store))
        self._people = People(store, sealer)
        self._receipts = Receipts(store, sealer)
        self._extent = Extent(store, sealer, self._receipts)
        self._open = OpenCases(store, sealer, self._desk)
        self._turn = asyncio.Lock()
        self._walks = [Walk(ledger) for ledger in self._ledgers]
        self._applied: int | None = None  # the restoration for which the whole ledger was applied last
        self._renewed: datetime | None = None
        self._marked: datetime | None = None
        self._reported: list[str] = []  # the failures of the last run

    def follow(self, policies: Sequence[Policy], places: Places) -> None:
        """Erase by these declarations from now on, some of them published since. Raises as `of_site`."""
        self._retention = Retention(policies)
        if self._archive is None:
            self._archive = Archive.of_site(policies, places, self._store, self._sealer)

    @property
    def archive(self) -> Archive | None:
        """The archive, from which it erases too. `close` closes it."""
        return self._archive

    async def close(self) -> None:
        """Release the archive. Closing twice is harmless."""
        if self._archive:
            await self._archive.store.close()

    async def keep_on(self, clock: Callable[[], int], every_seconds: float = 10.0) -> None:
        """
        Carry out all requests, again and again until cancelled. Log each failure once.

        Args:
            clock: Nanoseconds since 1970.
        """
        while True:
            await asyncio.sleep(every_seconds)
            await self.run(instant_of(clock()))

    async def run(self, now: datetime) -> None:
        """Carry out all requests at `now` (aware). Never raises."""
        try:
            outcome = await self.once(now)
        except Exception as error:  # noqa: BLE001 - a custom store or keyring may raise anything: it is tried again
            outcome = ErasureOutcome(troubles=[f"{type(error).__name__}: {error}"])
        if outcome.troubles != self._reported:
            for trouble in outcome.troubles:
                _log.error("not erased, and tried again: %s", trouble)
        self._reported = outcome.troubles

    async def once(self, now: datetime) -> ErasureOutcome:
        """
        Carry out all requests at `now` (aware). Never raises for a failure of a store, a keyring or the spool.

        While this process carries out a visitor's own request, this call waits, and looks afterwards.
        """
        outcome = ErasureOutcome()
        try:
            async with self._turn:
                await self._alone(now, outcome)
        except OSError as error:
            outcome.troubles.append(f"{error.filename or self._lock}: {error.strerror}; let this user write it")
        except _TROUBLES as error:
            outcome.troubles.append(str(error))
        return outcome

    async def _alone(self, now: datetime, outcome: ErasureOutcome) -> None:
        with leased(self._lock) as mine:
            outcome.busy = not mine
            if mine:
                async with lease(self._store, "erasure") as only:
                    outcome.busy = not only
                    if only:
                        await self._all(now, outcome)

    async def _all(self, now: datetime, outcome: ErasureOutcome) -> None:
        # Open requests come first. Late records of such a person, and those that a restored backup brought back, are
        # theirs, also at a start: they count for the certificate, each once.
        await self._open_cases(now, outcome)
        outcome.brought_back += await self._look_back(now, frozenset(outcome.waiting))
        if _is_due(self._marked, _MARKED, now):
            await self._put_marks_back()
            self._marked = now
        if _is_due(self._renewed, _RENEWED, now):
            await renew(self._desk, self._retention, now)
            await self._people.renew_links(self._retention, now)
            self._renewed = now

    async def _put_marks_back(self) -> None:
        """Write again the marks that somebody deleted from the store, so that what they stand for holds."""
        requests = [case.request for case in await self._open.unmarked()]
        await self._desk.mark(requests)
        for request in requests:
            _log.error(
                "request %s restricts the use of somebody's data, and its mark was gone from the store: it is there "
                "again; until now commands did not leave these data out. See who writes to the store",
                request.id,
            )  # fmt: skip

    async def _open_cases(self, now: datetime, outcome: ErasureOutcome) -> None:
        open_cases = await self._open.at(now)
        if not open_cases:
            return
        if self._hand_over:
            await self._hand_over()
        certified = await certificates(self._store, self._sealer, open_cases[0].request.registered)
        for case in open_cases:
            try:
                await self._case(case, certified.get(case.request.id), now, outcome)
            except _TROUBLES as error:
                outcome.troubles.append(f"request {case.request.id}: {error}")
                outcome.waiting.append(case.request.id)

    async def _case(
        self, case: Case, certificate: ErasureCertificate | None, now: datetime, outcome: ErasureOutcome
    ) -> None:
        if certificate is None:
            certificate = await self._erased(case.request, now)
            if certificate is None:
                outcome.waiting.append(case.request.id)
                outcome.troubles += await self._in_the_way(case.request, now)
                return
            await self._store.append([certificate.record(self._sealer)], durable=True)
        await self._settle(case, certificate, now)
        outcome.done.append(certificate)

    # -- what a backup brought back -----------------------------------------------------------------------------

    async def _look_back(self, now: datetime, waiting: frozenset[UUID]) -> int:
        """
        Erase again what the ledgers name, but for the requests that wait; return how many records there were.

        At the start, and where the store went back, all entries are applied. In between, check a few at each look. This
        finds a backup that is restored while the site runs. It also finds what a long exchange, which began before its
        visitor's erasure, wrote down only afterwards.
        """
        restored, count = self._restored(), 0
        if whole := self._applied != restored:
            for ledger in self._ledgers:
                await asyncio.to_thread(ledger.prune, now)
                count += await self._erased_again(await asyncio.to_thread(ledger.entries), waiting)
            self._applied = restored
        for walk in () if whole else self._walks:
            count += await self._erased_again(await asyncio.to_thread(walk.step, now), waiting)
        return count

    async def _erased_again(self, entries: Sequence[Entry], waiting: frozenset[UUID]) -> int:
        return await erased_again([entry for entry in entries if entry.request not in waiting], *self._stores)

    @property
    def _stores(self) -> list[Store]:
        return [self._store, self._archive.store] if self._archive else [self._store]

    # -- one request --------------------------------------------------------------------------------------------

    async def _erased(self, request: Request, now: datetime) -> ErasureCertificate | None:
        """Erase what is there. Return the certificate if nothing is left; None if another run must look again."""
        person = await self._people.of(request.person, most=None)
        places = await self._extent.places(request, person, self._retention, self._archive)
        if not self._entries(request):
            await self._register_abuse(request, person)
        for part in [piece for place in places for piece in place.parts]:
            await self._delete(request, part, places, now)
        if not await self._application_erased(request) or not await self._is_drained(request):
            return None
        spools = await self.spools(request.registered)
        if spools.waiting:
            return None
        if spools.past:  # their records may be sealed under keys that have only now arrived
            places = await self._extent.places(request, person, self._retention, self._archive)
        if any([await place.store.fetch(place.query, limit=1) for place in places]):
            return None
        entries = self._entries(request)
        return ErasureCertificate(
            request=request.id,
            kind=request.kind,
            received=request.received,
            done=now.astimezone(UTC),
            records=counted(entries),
            purposes=request.purposes,
            unreadable=max((entry.until for entry in entries if entry.deletes), default=None),
            ring=self._sealer.keyring.name,
            hosts=spools.names,
        )

    async def _delete(self, request: Request, part: Place, places: Sequence[Place], now: datetime) -> None:
        """Write into the ledger what a part has, then delete it, a page at a time, until nothing more has come."""
        if not self._entries(request):  # what comes late is known by the tokens of the last days
            await self._write(self._entry(request, part, (), places, now))
        while page := await part.store.fetch(part.query, limit=_PAGE):
            entry = self._entry(request, part, page, places, now)
            await self._write(entry)
            ids = frozenset(record.id for record in page)
            gone = await part.store.delete(Query(kinds=HELD, purposes=part.query.purposes, ids=ids))
            if gone < len(ids):  # what another deletion removed, that one counts
                await self._write(
                    msgspec.structs.replace(entry, elsewhere=len(ids) - gone, tokens=(), days=(), purposes={}, again={})
                )

    def _entry(
        self, request: Request, part: Place, page: Sequence[Record], places: Sequence[Place], now: datetime
    ) -> Entry:
        """Return the entry of the ledger for a page that is about to go; the first of all has none."""
        subjects = frozenset(record.subject for record in page if record.subject)
        named = [(part, subjects), *((place, self._recent(place, now)) for place in places if not page)]
        keys = {token: key for place in places for key, tokens in place.tokens.items() for token in tokens}
        ordered = sorted(frozenset[bytes]().union(*(some for _, some in named)), key=lambda one: (keys[one][1], one))
        ends = [part.retention.end(day_of(time_of(record.id)), record.purpose, now) for record in page]
        return Entry(
            at=now.astimezone(UTC),
            request=request.id,
            deletes=listed(record.id for record in page),
            until=max([now + _LONGEST, *filter(None, ends)]),
            tokens=tuple(subject.hex() for subject in ordered),
            days=tuple(keys[subject][0] for subject in ordered),
            purposes=dict(Counter(keys[subject][1] for subject in ordered)),
            again={subject.hex(): place.again for place, some in named if place.again for subject in some},
        )

    async def _write(self, entry: Entry) -> None:
        await asyncio.to_thread(self._ledger.append, entry)
        if self._publish:  # another host may complete this, and certifies what this one deleted
            await self._publish()

    def _recent(self, place: Place, now: datetime) -> frozenset[bytes]:
        """Return the tokens of the last days: an exchange that began under one of them may still be running."""
        if place.store is not self._store:
            return frozenset()
        dated = ((day, token) for (day, _), token in place.tokens.items())
        return frozenset[bytes]().union(*(token for day, token in dated if day >= day_of(now) - _BEGUN_DAYS))

    def _entries(self, request: Request) -> list[Entry]:
        """Return what this host and the others noted of a request."""
        return [entry for ledger in self._ledgers for entry in ledger.entries() if entry.request == request.id]

    async def _application_erased(self, request: Request) -> bool:
        """Have the application erase its data. Return False if this process cannot ask it. Raises StoreError."""
        if not request.application or request.person.sign_in is None:
            return True
        if self._personal_data is None:
            return False
        try:
            for purpose in request.purposes:
                await self._personal_data.erase(request.person.sign_in, purpose)
            if not request.purposes:
                await self._personal_data.erase(request.person.sign_in)
        except Exception as error:
            raise StoreError(
                f"the application's personal_data.erase() failed ({error!r}); it is asked again"
            ) from error
        return True

    async def _is_drained(self, request: Request) -> bool:
        """Whether nothing in the spool of this machine is older than the request."""
        spool = self._spool
        if spool is None:
            return True
        oldest = await asyncio.to_thread(lambda: spool.oldest)
        return oldest is None or oldest >= request.registered

    async def spools(self, instant: datetime) -> Spools:
        """Return whose spools may still hold what was written before `instant` (aware). Raises StoreError."""
        return await self._spools(instant) if self._spools else Spools([], [], [])

    async def _in_the_way(self, request: Request, now: datetime) -> list[str]:
        """Return what an erasure has waited for too long, and where."""
        if now < request.registered + _PATIENCE:
            return []
        reasons = [
            f"request {request.id}: {host.called} may still hold what was written before it; see that it runs and "
            f"reaches the store, or if it is gone for good: consent-mw hosts retire {host.id[:8]}"
            for host in (await self.spools(request.registered)).waiting
        ]
        if self._spool and not await self._is_drained(request):
            reasons.append(
                f"request {request.id}: {self._spool.directory} still holds what was written before it; see in the log "
                "which segment stays there, and bring back the keys or the store that it waits for"
            )
        return reasons

    # -- what follows -------------------------------------------------------------------------------------------

    async def _register_abuse(self, request: Request, person: Person) -> None:
        """Leave the records of abuse to the operator: register a separate request for their erasure."""
        if request.kind != "erasure" or request.purposes:
            return
        if await self._has_abuse(person):
            asked = msgspec.structs.replace(
                request, id=abuse_number(request.id), person=person, purposes=(ABUSE,), application=False
            )
            await self._desk.register(asked)

    async def _settle(self, case: Case, certificate: ErasureCertificate, now: datetime) -> None:
        """End a certified request: answer it, or delete it with all that its sender had asked before."""
        request = case.request
        if request.kind == "withdrawal" or request.purposes:
            now_ns = int(now.timestamp() * 1e9)
            await self._desk.register(answers=[Answer.new(request.id, "done", now_ns, records=certificate.records)])
            return
        ids = await self._asked_by(request)
        entry = Entry(
            at=now.astimezone(UTC),
            request=request.id,
            until=self._retention.end(day_of(now), REQUESTS, now) or now + _DAY,
            ids=tuple(sorted(ids)),
        )
        await asyncio.to_thread(self._ledger.append, entry)
        # Delete its own record last. While it is there, the next run continues here.
        await self._store.delete(Query(kinds=_ASKED, purposes=_PURPOSES, ids=ids - {request.id}))
        await self._store.delete(Query(kinds=_ASKED, purposes=_PURPOSES, ids=frozenset((request.id,))))

    async def _asked_by(self, request: Request) -> frozenset[UUID]:
        """Return the ids of this request, of all ended requests and answers of its sender, and of their links."""
        person = await self._people.of(request.person, most=None)
        ended = [case for case in await self._desk.of(person) if case.ended]
        return frozenset(
            (
                request.id,
                *(case.request.id for case in ended),
                *(answer.id for case in ended for answer in case.answers),
                *await self._ended_links(person, request),
            )
        )

    async def _ended_links(self, person: Person, request: Request) -> list[UUID]:
        """
        Return the links of the sign-in that no longer lead to anything. A link to a browser whose choice still holds
        leads to future records. A link to records of abuse leads to what the person may still see.
        """
        if person.sign_in is None:
            return []
        proven = request.person.names if request.channel == "site" else ()  # their cookie is now a refusal
        ended = [name for name in person.names if await self._has_ended(name, name in proven)]
        return await self._people.links_between(person.sign_in, ended)

    async def _has_ended(self, name: str, proven: bool) -> bool:
        """Whether everything was refused under a name, and it no longer leads to any record."""
        latest = await self._receipts.of(name, most=1)
        refused = proven or (bool(latest) and latest[0].name is None)
        return refused and not await self._has_abuse(Person((name,)))

    async def _has_abuse(self, person: Person) -> bool:
        if self._archive and await self._has_any(self._archive.store, await self._archive.tokens(person)):
            return True
        return await self._has_any(self._store, await asyncio.to_thread(tokens, self._sealer, person, (ABUSE,)))

    async def _has_any(self, store: Store, by_day: Subjects) -> bool:
        """Whether a store holds records of abuse that carry one of these tokens."""
        abuse = {key: subjects for key, subjects in by_day.items() if key[1] == ABUSE}
        return any([await store.fetch(query, limit=1) for query in questions(abuse, HELD, tokens_at_once(store))])


async def erased_again(entries: Sequence[Entry], store: Store, *others: Store) -> int:
    """
    Erase the records that `entries` of the ledger name. One query covers many entries. Return how many records were
    there.

    Args:
        others: Stores besides the live one: the archive.

    Raises:
        StoreError: A store failed. It is harmless to repeat the call.
    """
    count = 0
    for some in _by_tokens(entries):
        erased = Erased(some)
        for other in (store, *others):
            for query in questions(_subjects(some), HELD, tokens_at_once(other)):
                count += await _erased_from(other, query, erased)
        if erased.ids:
            count += await _deleted(store, Query(kinds=_ASKED, purposes=_PURPOSES, ids=erased.ids))
    return count


async def _deleted(store: Store, query: Query) -> int:
    """Delete what `query` means. A store nearly always has nothing, and looking first is cheaper."""
    return await store.delete(query) if await store.fetch(query, limit=1) else 0


async def _erased_from(store: Store, query: Query, erased: Erased) -> int:
    """Delete what `query` finds and was erased. Newer records of a token that is still in use stay."""
    count = 0
    async for page in pages(store, query):
        if ids := frozenset(record.id for record in page if erased.has(record)):
            count += await store.delete(Query(kinds=HELD, ids=ids))
    return count


def _subjects(entries: Iterable[Entry]) -> Subjects:
    """Return the tokens of `entries` by the day and purpose whose records carry them."""
    subjects: dict[tuple[int, str], set[bytes]] = {}
    for entry in entries:
        for key, token in entry.places:
            subjects.setdefault(key, set()).add(token)
    return {key: frozenset(tokens) for key, tokens in subjects.items()}


def _by_tokens(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield `entries` in batches whose tokens fit into one query."""
    part: list[Entry] = []
    count = 0
    for entry in entries:
        part.append(entry)
        count += len(entry.tokens) + len(entry.ids)
        if count >= _TOKENS:
            yield part
            part, count = [], 0
    if part:
        yield part


def _is_due(last: datetime | None, every: timedelta, now: datetime) -> bool:
    return last is None or not timedelta() <= now - last < every


def abuse_number(erasure: UUID) -> UUID:
    """Return the number that the request about abuse has, if the erasure of this number registers one."""
    return fixed_id(day_of(time_of(erasure)), ABUSE, str(erasure))
