"""Withdrawals and erasures carried out: from store, spool and archive, again and again until each is certified."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.archive import Archive
from consent_mw.exceptions import SpoolError, StoreError
from consent_mw.locks import alone
from consent_mw.places import Places
from consent_mw.policy import ABUSE, RECEIPTS, REQUESTS, Policy
from consent_mw.records import Query, fixed_id, time_of
from consent_mw.retention import Retention, day_of
from consent_mw.rights.certificate import ErasureCertificate, certificates
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.holdings import HELD_KINDS
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.rights.person import LINK, People, Person, tokens
from consent_mw.rights.personal_data import PersonalData
from consent_mw.rights.request import ANSWER, REQUEST, Answer, Case, Request
from consent_mw.sealer import Sealer
from consent_mw.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.pages import every, pages

__all__ = ["Erasure", "ErasureOutcome", "abuse_number"]

_log = logging.getLogger("consent_mw")

#: The ledger is carried out at the start, for a restored backup, and then this often, for what a long exchange that had
#: begun before its visitor's erasure wrote down only afterwards.
_AGAIN: Final = timedelta(hours=1)
#: The spool is handed over within seconds.
_PATIENCE: Final = timedelta(minutes=1)
#: Named with the day, in case a key's day is over while its last records are still on their way.
_DAY: Final = timedelta(days=1)
#: What is as old as the entry was meant too; ids do not tell less apart.
_INSTANT: Final = timedelta(milliseconds=1)
#: What somebody asked, and by which sign-in.
_ASKED: Final = frozenset((REQUEST, ANSWER, LINK))

_Tokens = Mapping[tuple[int, str], frozenset[bytes]]


class ErasureOutcome(msgspec.Struct, kw_only=True):
    """
    What one run did.

    Attributes:
        busy: Another process was at it; this one did nothing.
        done: Certificates of the requests that are now done.
        waiting: Numbers of those that another run must complete: something is still on its way.
        brought_back: Records of a restored backup that were erased again.
        troubles: What went wrong, each with its place and mend. The next run tries again.
    """

    busy: bool = False
    done: list[ErasureCertificate] = msgspec.field(default_factory=list[ErasureCertificate])
    waiting: list[UUID] = msgspec.field(default_factory=list[UUID])
    brought_back: int = 0
    troubles: list[str] = msgspec.field(default_factory=list[str])


class _Place(NamedTuple):
    """A store, when its records end, and the tokens that are looked for in it."""

    store: Store
    retention: Retention
    made: _Tokens

    @property
    def query(self) -> Query:
        subjects = frozenset[bytes]().union(*self.made.values())
        return Query(kinds=HELD_KINDS, purposes=frozenset(purpose for _, purpose in self.made), subjects=subjects)


class _Found(NamedTuple):
    """What a place holds of a person: how many records, under which tokens, and when the last of their keys dies."""

    records: int = 0
    subjects: frozenset[bytes] = frozenset()
    until: datetime | None = None


class Erasure:
    """
    Carries out every open withdrawal and erasure whose sender is known. What interrupts a run, the next one completes.

    1. What waits in the spool is handed over.
    2. The tokens of all their receipts, under every key that lives, are looked for in the store and in the archive.
    3. What is found stands in the ledger before it goes, so that it goes again if a backup brings it back.
    4. When nothing is found any more, and nothing that is older than the request waits in the spool, a certificate is
       written; then the request is answered, or gone with the rest of what its sender had asked.

    Receipts stay, as the proof that a law demands. Abuse stays until the operator has decided: an erasure registers a
    request of its own about it.

    Args:
        hand_over: Brings what lies in the spool to the store; None where another process does.
        personal_data: Erases what the application holds. A request of a site that has one waits for it.
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
    ) -> Erasure:
        """
        Return what erases at the site at `places`, by every declaration that was in force.

        Raises:
            ConfigurationError: The archive's keys cannot be used.
        """
        return cls(
            Retention(policies),
            store,
            sealer,
            Ledger(places.erasures),
            places.erasure_lock,
            spool=spool,
            hand_over=hand_over,
            archive=Archive.of_site(policies, places, sealer.site_keys),
            personal_data=personal_data,
        )

    def __init__(
        self,
        retention: Retention,
        store: Store,
        sealer: Sealer,
        ledger: Ledger,
        lock: Path,
        *,
        spool: Spool | None = None,
        hand_over: Callable[[], Awaitable[object]] | None = None,
        archive: Archive | None = None,
        personal_data: PersonalData | None = None,
    ) -> None:
        self._retention = retention
        self._store = store
        self._sealer = sealer
        self._ledger = ledger
        self._lock = lock
        self._spool = spool
        self._hand_over = hand_over
        self._archive = archive
        self._personal_data = personal_data
        self._desk = Desk(store, sealer, kept_by_store(store))
        self._people = People(store, sealer)
        self._applied: datetime | None = None
        self._told: list[str] = []  # the troubles of the last run

    def follow(self, policies: Sequence[Policy], places: Places) -> None:
        """Erase by these declarations from now on, of which some were published meanwhile. Raises as `of_site`."""
        self._retention = Retention(policies)
        if self._archive is None:
            self._archive = Archive.of_site(policies, places, self._sealer.site_keys)

    @property
    def archive(self) -> Archive | None:
        """Where it erases beside the store; closed with it."""
        return self._archive

    async def close(self) -> None:
        """Release the archive. Closing twice is harmless."""
        if self._archive:
            await self._archive.store.close()

    async def keep_on(self, clock: Callable[[], int], every_seconds: float = 10.0) -> None:
        """
        Carry out what is asked, again and again until cancelled. What went wrong is logged once.

        Args:
            clock: Nanoseconds since 1970.
        """
        while True:
            await asyncio.sleep(every_seconds)
            await self.run(datetime.fromtimestamp(clock() / 1e9, UTC))

    async def run(self, now: datetime) -> None:
        """Carry out what is asked at `now` (aware). Never raises."""
        try:
            outcome = await self.once(now)
        except Exception as error:  # noqa: BLE001 - a store or keyring of somebody else's: it is tried again
            outcome = ErasureOutcome(troubles=[f"{type(error).__name__}: {error}"])
        if outcome.troubles != self._told:
            for trouble in outcome.troubles:
                _log.error("not erased, and tried again: %s", trouble)
        self._told = outcome.troubles

    async def once(self, now: datetime) -> ErasureOutcome:
        """Carry out what is asked at `now` (aware). Never raises for a store's, a keyring's or the spool's sake."""
        outcome = ErasureOutcome()
        try:
            with alone(self._lock) as mine:
                if mine:
                    async with lease(self._store, "erasure") as only:
                        outcome.busy = not only
                        if only:
                            await self._all(now, outcome)
                else:
                    outcome.busy = True
        except OSError as error:
            outcome.troubles.append(f"{self._lock}: cannot be locked ({error.strerror}); let this user write it")
        except (StoreError, SpoolError) as error:
            outcome.troubles.append(str(error))
        return outcome

    async def _all(self, now: datetime, outcome: ErasureOutcome) -> None:
        # At the start before all else: what a restored backup brought back was counted already. Later only afterwards:
        # what comes late of somebody whose request is still open counts for its certificate.
        if self._applied is None:
            await self._brought_back(now, outcome)
        await self._open_cases(now, outcome)
        if self._applied is None or not timedelta() <= now - self._applied < _AGAIN:
            await self._brought_back(now, outcome)

    async def _brought_back(self, now: datetime, outcome: ErasureOutcome) -> None:
        outcome.brought_back += await self._apply_ledger(now)
        self._applied = now

    async def _open_cases(self, now: datetime, outcome: ErasureOutcome) -> None:
        open_cases = [case for case in await self._desk.all() if _is_ours(case)]
        if not open_cases:
            return
        if self._hand_over:
            await self._hand_over()
        certified = await certificates(self._store, self._sealer)
        for case in open_cases:
            try:
                await self._case(case, certified.get(case.request.id), now, outcome)
            except (StoreError, SpoolError) as error:
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

    async def _apply_ledger(self, now: datetime) -> int:
        """Erase again what the ledger says was erased, and return how many records a backup had brought back."""
        await asyncio.to_thread(self._ledger.prune, now)
        count = 0
        for entry in await asyncio.to_thread(self._ledger.entries):
            if entry.tokens:
                query = Query(kinds=HELD_KINDS, subjects=entry.subjects, until=entry.at + _INSTANT)
                count += sum([await _deleted(store, query) for store in self._stores])
            if entry.ids:
                count += await _deleted(self._store, Query(kinds=_ASKED, ids=frozenset(entry.ids)))
        return count

    @property
    def _stores(self) -> list[Store]:
        return [self._store, self._archive.store] if self._archive else [self._store]

    # -- one request --------------------------------------------------------------------------------------------

    async def _erased(self, request: Request, now: datetime) -> ErasureCertificate | None:
        """Erase what is there, and return the certificate if that was all; None if another run must look again."""
        person = await self._people.whole(request.person, request.registered.date() + _DAY)
        places = await self._places(request, person)
        found = [await self._found(place, now) for place in places]
        if not self._entries(request):
            await self._register_abuse(request, person)
        total = await self._delete(request, places, found, now)
        if not await self._application_erased(request) or not await self._is_drained(request):
            return None
        if any([await place.store.fetch(place.query, limit=1) for place in places]):
            return None
        return ErasureCertificate(
            request=request.id,
            kind=request.kind,
            received=request.received,
            done=now.astimezone(UTC),
            records=total,
            purposes=request.purposes,
            unreadable=max((entry.until for entry in self._entries(request) if entry.total), default=None),
            ring=self._sealer.keyring.name,
        )

    async def _places(self, request: Request, person: Person) -> list[_Place]:
        live = await asyncio.to_thread(tokens, self._sealer, person)
        places = [_Place(self._store, self._retention, _meant(live, request.purposes))]
        if self._archive:
            made = _meant(await self._archive.tokens(person), request.purposes)
            places.append(_Place(self._archive.store, self._retention.of_archive(), made))
        return places

    async def _found(self, place: _Place, now: datetime) -> _Found:
        records, subjects, until = 0, set[bytes](), None
        async for page in pages(place.store, place.query):
            records += len(page)
            subjects |= {record.subject for record in page if record.subject}
            for day, purpose in {(day_of(time_of(record.id)), record.purpose) for record in page}:
                end = place.retention.end(day, purpose, now)
                until = max(filter(None, (until, end)), default=None)
        return _Found(records, frozenset(subjects), until)

    async def _delete(self, request: Request, places: Sequence[_Place], found: Sequence[_Found], now: datetime) -> int:
        """Delete what was found, the ledger first; return how many records this request has cost so far."""
        entries = self._entries(request)
        here = sum(each.records for each in found)
        if entries and not here:
            return entries[-1].total
        subjects = frozenset[bytes]().union(*(each.subjects for each in found), _recent(places[0].made, now))
        until = max((each.until for each in found if each.until), default=now + _DAY)
        entry = Entry(
            at=now.astimezone(UTC),
            request=request.id,
            found=here,
            total=here + _before(entries, here),
            until=until,
            tokens=tuple(sorted(subject.hex() for subject in subjects)),
        )
        await asyncio.to_thread(self._ledger.append, entry)
        gone = sum(
            [await place.store.delete(place.query) for place, each in zip(places, found, strict=True) if each.records]
        )
        # What came between looking and deleting went too; what another deletion took meanwhile is counted there.
        entry = msgspec.structs.replace(entry, gone=True, total=entry.total - here + gone, tokens=())
        await asyncio.to_thread(self._ledger.append, entry)
        return entry.total

    def _entries(self, request: Request) -> list[Entry]:
        return [entry for entry in self._ledger.entries() if entry.request == request.id]

    async def _application_erased(self, request: Request) -> bool:
        """Have the application erase what it holds; False where it must be asked elsewhere, or failed."""
        if not request.application or request.purposes or request.person.sign_in is None:
            return True
        if self._personal_data is None:
            return False
        try:
            await self._personal_data.erase(request.person.sign_in)
        except Exception as error:
            raise StoreError(
                f"the application's personal_data.erase() failed ({error!r}); it is asked again"
            ) from error
        return True

    async def _is_drained(self, request: Request) -> bool:
        """Whether the spool of this machine holds nothing any more that is older than the request."""
        spool = self._spool
        if spool is None:
            return True
        oldest = await asyncio.to_thread(lambda: spool.oldest)
        return oldest is None or oldest >= request.registered

    async def _in_the_way(self, request: Request, now: datetime) -> list[str]:
        """Return what an erasure has waited for too long, with its place."""
        if self._spool is None or now < request.registered + _PATIENCE or await self._is_drained(request):
            return []
        return [
            f"request {request.id}: {self._spool.directory} still holds what was written before it; see in the log "
            "which segment stays there, and bring back the keys or the store that it waits for"
        ]

    # -- what follows -------------------------------------------------------------------------------------------

    async def _register_abuse(self, request: Request, person: Person) -> None:
        """Leave the records of abuse to the operator: an erasure asks for them by a request of its own."""
        if request.kind != "erasure" or request.purposes:
            return
        made = await asyncio.to_thread(tokens, self._sealer, person, (ABUSE,))
        subjects = frozenset[bytes]().union(*made.values())
        query = Query(kinds=HELD_KINDS, purposes=frozenset((ABUSE,)), subjects=subjects)
        if subjects and await self._store.fetch(query, limit=1):
            asked = msgspec.structs.replace(
                request, id=abuse_number(request.id), person=person, purposes=(ABUSE,), application=False
            )
            await self._desk.register(asked)

    async def _settle(self, case: Case, certificate: ErasureCertificate, now: datetime) -> None:
        """End a request that is certified: answered, or gone with all that its sender had asked before."""
        request = case.request
        if request.kind == "withdrawal" or request.purposes:
            now_ns = int(now.timestamp() * 1e9)
            await self._desk.register(answers=[Answer.new(request.id, "done", now_ns, records=certificate.records)])
            return
        ids = await self._asked_by(request)
        entry = Entry(
            at=now.astimezone(UTC),
            request=request.id,
            found=0,
            total=certificate.records,
            until=self._retention.end(day_of(now), REQUESTS, now) or now + _DAY,
            ids=tuple(sorted(ids)),
        )
        await asyncio.to_thread(self._ledger.append, entry)
        # Its own record last: as long as it is there, the next run goes on here.
        await self._store.delete(Query(kinds=_ASKED, ids=ids - {request.id}))
        await self._store.delete(Query(kinds=_ASKED, ids=frozenset((request.id,))))

    async def _asked_by(self, request: Request) -> frozenset[UUID]:
        """Return the records of this request, of all that its sender asked and that has ended, and of their sign-in."""
        person = await self._people.whole(request.person, request.registered.date() + _DAY)
        ended = [each for each in await self._desk.of(person) if each.ended]
        made = await asyncio.to_thread(tokens, self._sealer, person, (REQUESTS,))
        links = Query(kinds=frozenset((LINK,)), subjects=frozenset[bytes]().union(*made.values()))
        return frozenset(
            (
                request.id,
                *(each.request.id for each in ended),
                *(answer.id for each in ended for answer in each.answers),
                *(record.id for record in await every(self._store, links)),
            )
        )


async def _deleted(store: Store, query: Query) -> int:
    """Delete what `query` means; nothing is what a store nearly always has, and to look is cheaper."""
    return await store.delete(query) if await store.fetch(query, limit=1) else 0


def abuse_number(erasure: UUID) -> UUID:
    """Return the number of the request about abuse that the erasure of this number registers, if there is any."""
    return fixed_id(day_of(time_of(erasure)), ABUSE, str(erasure))


def _is_ours(case: Case) -> bool:
    """Whether a request is to be carried out here: what is about abuse only after the operator has granted it."""
    request = case.request
    if case.ended or request.kind not in ("withdrawal", "erasure") or not request.person.is_known:
        return False
    return ABUSE not in request.purposes or case.granted is not None


def _meant(made: _Tokens, purposes: Sequence[str]) -> dict[tuple[int, str], frozenset[bytes]]:
    kept = (RECEIPTS, REQUESTS, ABUSE)
    return {key: each for key, each in made.items() if (key[1] in purposes if purposes else key[1] not in kept)}


def _recent(made: _Tokens, now: datetime) -> frozenset[bytes]:
    """Return the tokens of today and yesterday: an exchange that still goes on is written down under one of them."""
    today = day_of(now)
    return frozenset[bytes]().union(*(each for (day, _), each in made.items() if day >= today - 1))


def _before(entries: Sequence[Entry], found: int) -> int:
    """
    Return how many records earlier steps have deleted.

    A step that a crash interrupted did happen if less is found now than it had found: a store deletes all or nothing.
    """
    if not entries:
        return 0
    last = entries[-1]
    return last.total if last.gone or found < last.found else last.total - last.found
