"""What has ended is destroyed: first the keys, then the rows, then a certificate. Repeated until nothing is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from consent_mw.crypto.day_parts import Span, of_label
from consent_mw.crypto.keyring import Keyring, SeveralKeys
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import KeyDestroyed, SpoolError, StoreError
from consent_mw.hosts.hosts import Hosts
from consent_mw.kinds import NAMING
from consent_mw.paths import Places
from consent_mw.policy.model import REQUESTS, Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.archive import Archive
from consent_mw.retention.calendar import Retention
from consent_mw.retention.certificates import ELSEWHERE, Certificate, Certificates, Tally
from consent_mw.retention.daily_counts import Counting, Restrictions
from consent_mw.retention.deletions import Deletions, Part
from consent_mw.retention.tier import ARCHIVE, LIVE, Stage
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.store_clock import StoreClock
from consent_mw.system.days import QUARTER_SECONDS, day_of, day_text, instant_of, start_of
from consent_mw.system.locks import leased

_log = logging.getLogger("consent_mw")

#: The hosts agree this long ahead on keys of the archive.
_AHEAD: Final = timedelta(days=2)

#: Called after each piece: how many rows are gone, and how many are known to go in all.
Progress: TypeAlias = Callable[[int, int], None]


class Outcome(msgspec.Struct, kw_only=True):
    """
    What one run did.

    Attributes:
        busy: Another process was at it; this one did nothing.
        keys: Keys that were destroyed.
        records: Rows that were deleted, those that went into the archive included.
        archived: Rows that were moved into the archive.
        unreadable: Rows that were to be moved, and could not be opened.
        counted: Days that were counted, each under one purpose.
        certificates: Certificates that were written.
        troubles: What went wrong, each with its place and fix. The next run tries again.
    """

    busy: bool = False
    keys: int = 0
    records: int = 0
    archived: int = 0
    unreadable: int = 0
    counted: int = 0
    certificates: int = 0
    troubles: list[str] = msgspec.field(default_factory=list[str])


@dataclass(slots=True)
class _Site:
    """Where the revisions of a site are, and those of them that were read already."""

    policy: Policy
    places: Places
    names: frozenset[str] = frozenset()
    revisions: Revisions = field(init=False)

    def __post_init__(self) -> None:
        self.revisions = Revisions(self.places.revisions)


class _Keys(NamedTuple):
    """
    The keys of a keyring.

    Attributes:
        at: Its name and generation.
        labels: The days of those that exist, in order, by label.
        live: The days of which one exists, by purpose.
        gone: Where those were that are gone, by purpose and day.
        dead: The days of which all are gone, by purpose.
    """

    at: tuple[str, int]
    labels: Mapping[str, Sequence[int]]
    live: Mapping[str, Set[int]]
    gone: Mapping[str, Mapping[int, str]]
    dead: Mapping[str, Set[int]]

    def has(self, day: int, purpose: str) -> bool:
        """Whether one of that day and purpose exists."""
        return day in self.live.get(purpose, ())

    @classmethod
    def of(cls, keyring: Keyring) -> _Keys:
        """Return the keys of `keyring`. For a thread. Raises StoreError."""
        at = keyring.name, keyring.generation  # before they are listed: what changes meanwhile is listed again
        labels: dict[str, list[int]] = {}
        live: dict[str, set[int]] = {}
        gone: dict[str, dict[int, str]] = {}
        for day, label in keyring.live():
            labels.setdefault(label, []).append(day)
            live.setdefault(of_label(label)[0], set()).add(day)
        for (day, label), place in keyring.destroyed().items():
            places = gone.setdefault(of_label(label)[0], {})  # a day may have had one for each part
            places[day] = f"{places[day]}, {place}" if day in places else place
        dead = {purpose: places.keys() - live.get(purpose, set[int]()) for purpose, places in gone.items()}
        return cls(at, labels, live, gone, dead)


class Destruction:
    """
    Destroys what has ended, in the live store and in the archive. What interrupts a run, the next one completes.

    1. Every key whose part of a day has ended is overwritten. From that moment its records are unreadable, wherever
       they lie: in rows, free pages, logs, the spool, a backup. This needs no room on the disk, and of a store at most
       its clock.
    2. Each day that is over is counted: its aggregates, and a tally of its records, in one durable append. What was
       written down later is counted before the first of its rows is deleted, as far as it may be published.
    3. Rows are deleted, in pieces, each hour's when it has ended, and how many they are is kept before each piece. What
       a law demands moves into the archive instead, and its key dies when that is done.
    4. A certificate is written for each day and purpose when all its keys are gone, with the number that was deleted.
       What comes later still gets one of its own.

    Nothing of all this is done while this machine's clock and that of a shared store are more than a minute apart.

    What a keyring sealed that is not at hand is left alone and never counted: its own machine destroys it, or it is
    given up as lost.
    """

    def __init__(
        self,
        retention: Retention,
        store: Store,
        sealer: Sealer,
        restrictions: Restrictions,
        lock: Path,
        *,
        spool: Spool | None = None,
        archive: Archive | None = None,
        lost: frozenset[str] = frozenset(),
        clock: Callable[[], int] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """
        Args:
            restrictions: Whom no day may count, and what is asked anew before its record ends.
            lock: A file, made if it is missing: of all processes that name it one works at a time.
            spool: Where records may still be on their way.
            archive: None where no revision ever held anything.
            lost: Names of keyrings that will never be at hand again: their rows are deleted anyway.
            clock: From which the instants of all runs come, as `StoreClock` has it.
            hosts: Those that share the store, if any do.
        """
        self.stages: list[Stage] = [Stage(LIVE, store, sealer, retention, lost)]
        if archive:
            self.stages.append(Stage(ARCHIVE, archive.store, archive.sealer, retention.of_archive(), lost))
        self._archive = archive
        self._site: _Site | None = None
        self._certificates = Certificates(store, sealer)
        self._deletions = Deletions(store, sealer)
        self._restrictions = restrictions
        self._clock = StoreClock(store, clock)
        self._hosts = hosts
        self._lock = lock
        self._spool = spool
        self._reported: list[str] = []  # the failures of the last run
        self._searched: dict[tuple[str, str], datetime] = {}  # by place and purpose: before when nothing was left
        self._listed: dict[str, _Keys] = {}  # by place
        # By place: of which keys and certificates it was found, and the days and purposes whose keys are gone.
        self._uncertified: dict[str, tuple[object, Sequence[tuple[int, str]]]] = {}
        self._counting = Counting(self._certificates, self._deletions, restrictions, spool)

    @classmethod
    def of_site(
        cls,
        policy: Policy,
        places: Places,
        store: Store,
        sealer: Sealer,
        restrictions: Restrictions,
        *,
        spool: Spool | None = None,
        lost: frozenset[str] = frozenset(),
        clock: Callable[[], int] | None = None,
        hosts: Hosts | None = None,
    ) -> Destruction:
        """
        Return what destroys the records of the site at `places`, by every revision of it that was published.

        Raises:
            ConfigurationError: The kept revisions cannot be read, or the archive's keys not be used.
        """
        site = _Site(policy, places)
        site.names = site.revisions.names()
        policies = site.revisions.course(policy).published
        archive = Archive.of_site(policies, places, store, sealer)
        lock = places.destruction_lock
        retention = Retention(policies)
        destruction = cls(
            retention,
            store,
            sealer,
            restrictions,
            lock,
            spool=spool,
            archive=archive,
            lost=lost,
            clock=clock,
            hosts=hosts,
        )
        destruction._site = site
        return destruction

    def follow(self) -> None:
        """
        Destroy by what was published meanwhile too. Nothing happens where nothing was; reads the disk.

        Raises:
            ConfigurationError: As `of_site`.
        """
        site = self._site
        if site is None or (names := site.revisions.names()) == site.names:
            return
        policies = site.revisions.course(site.policy).published
        retention = Retention(policies)
        if self._archive is None:
            self._archive = Archive.of_site(policies, site.places, self.stages[0].store, self.stages[0].sealer)
        live = replace(self.stages[0], retention=retention)
        for sealer in (live.sealer, *([self._archive.sealer] if self._archive else [])):
            sealer.follow(policies)
        archive = self._archive
        held = [Stage(ARCHIVE, archive.store, archive.sealer, retention.of_archive(), live.lost)] if archive else []
        self.stages = [live, *held]
        self._searched = {}
        site.names = names

    async def keep_on(self, clock: Callable[[], int], every_seconds: float = 60.0) -> None:
        """
        Destroy what has ended, each minute and with each quarter of an hour, until cancelled. In the minutes between
        two quarters nothing more has ended: only a purpose that is kept for minutes is searched for rows then, and all
        are after a failure. What went wrong is logged once. An archive that this host had alone moves at once: until
        then people are asked to wait for their data.

        Args:
            clock: Nanoseconds since 1970.
        """
        if self._archive and self._archive.earlier and self._archive.earlier.is_there:
            await self.run(instant_of(clock()))
        searched = -1
        while True:
            # With a quarter of an hour ends whatever ends, so none of it waits for a minute that begins in between.
            await asyncio.sleep(min(every_seconds, max(1.0, QUARTER_SECONDS - clock() / 1e9 % QUARTER_SECONDS)))
            now_ns = clock()
            quarter = now_ns // (QUARTER_SECONDS * 1_000_000_000)
            await self.run(instant_of(now_ns), between=quarter == searched and not self._reported)
            searched = quarter

    async def run(self, now: datetime, *, between: bool = False) -> None:
        """
        Destroy what has ended by `now` (aware), by what was published meanwhile too. Never raises.

        Args:
            between: As for `once`.
        """
        try:
            await asyncio.to_thread(self.follow)
            outcome = await self.once(now, between=between)
        except Exception as error:  # noqa: BLE001 - a store or keyring of somebody else's: it is tried again
            outcome = Outcome(troubles=[f"{type(error).__name__}: {error}"])
        if outcome.troubles != self._reported:
            for trouble in outcome.troubles:
                _log.error("not destroyed, and tried again each minute: %s", trouble)
        self._reported = outcome.troubles
        if outcome.keys or outcome.records:
            _log.info("destroyed: %d keys, %d records", outcome.keys, outcome.records)

    async def destroy_keys(self, now: datetime) -> None:
        """
        Destroy the keys that have ended by `now` (aware), before anybody is served: a machine that stood still, or came
        out of an image, holds some that others have destroyed. What goes wrong is left to the runs. Never raises.
        """
        run = _Run(now, lambda gone, all_known: None)
        try:
            with leased(self._lock) as mine:
                if mine and not await self._clock.fault(now):
                    for stage in self.stages:
                        await self._destroy_keys(stage, run, held=False)
        except Exception as error:  # noqa: BLE001 - a store or keyring of somebody else's: a run tries again
            run.outcome.troubles.append(str(error))
        for trouble in run.outcome.troubles:
            _log.error("not destroyed before the start, and tried again each minute: %s", trouble)

    async def close(self) -> None:
        """Release the archive. Closing twice is harmless."""
        if self._archive:
            await self._archive.store.close()

    async def once(
        self, now: datetime, progress: Progress = lambda gone, all_known: None, *, between: bool = False
    ) -> Outcome:
        """
        Destroy what has ended by `now` (aware). Never raises for a store's, a keyring's or the spool's sake.

        Args:
            between: Do not search again for rows of a purpose of which nothing was left, and nothing has ended since.
        """
        run = _Run(now, progress, between=between)
        try:
            with leased(self._lock) as mine:
                if not mine:
                    return Outcome(busy=True)
                await self._all(run)
        except OSError as error:
            run.outcome.troubles.append(f"{error.filename or self._lock}: {error.strerror}; let this user write it")
        return run.outcome

    async def _all(self, run: _Run) -> None:
        if fault := await self._clock.fault(run.now):
            run.outcome.troubles.append(fault)
            return
        for stage in self.stages:
            await self._destroy_keys(stage, run, held=False)
        try:
            # Of the hosts that share a store one works in it at a time; keys are each host's own.
            async with lease(self.stages[0].store, "destruction") as mine:
                run.outcome.busy = not mine
                if mine:
                    await self._all_rows(run)
        except (StoreError, SpoolError) as error:
            run.outcome.troubles.append(str(error))

    async def _all_rows(self, run: _Run) -> None:
        await self._prepare_archive(run)  # first: until it is done, people are asked to wait for their data
        await self._certificates.refresh(day_of(run.now))
        await self._deletions.refresh({stage.where: stage.store for stage in self.stages}, run.now)
        run.outcome.counted += await self._counting.days(self.stages[0], run.now)
        for stage in self.stages:
            if stage.where not in run.unreached:
                await self._move_rows(stage, run)
                await self._destroy_keys(stage, run, held=True)
        is_heard = self._hosts is None or await self._hosts.is_current()
        for stage in self.stages:
            if stage.where not in run.unreached and is_heard:
                await self._certify(stage, run)

    # -- keys ---------------------------------------------------------------------------------------------------

    async def _destroy_keys(self, stage: Stage, run: _Run, *, held: bool) -> None:
        """Destroy the keys that have ended; with `held`, those whose records had to be moved first."""
        try:
            for day, label in stage.retention.ended_among((await self._keys(stage)).labels, run.now):
                if await self._must_go(stage, day, *of_label(label), run, held=held):
                    if of_label(label)[0] == REQUESTS and stage.where == LIVE:
                        await self._renew(stage, run)
                    run.outcome.keys += await asyncio.to_thread(stage.sealer.keyring.destroy, day, label)
        except StoreError as error:
            run.unreached.add(stage.where)
            run.outcome.troubles.append(str(error))

    async def _renew(self, stage: Stage, run: _Run) -> None:
        """Ask anew for the restrictions that end now: the site may have been away when it was time for that."""
        if not run.renewed:
            run.renewed = True
            try:
                await self._restrictions.renew(stage.retention, run.now)
            except (KeyDestroyed, StoreError) as error:  # a key ends on time anyway
                run.outcome.troubles.append(f"restrictions were not renewed, and may end: {error}")

    async def _keys(self, stage: Stage) -> _Keys:
        """Return the keys of a place, listed again only when any process has made or destroyed one."""
        keyring = stage.sealer.keyring
        known = self._listed.get(stage.where)
        if known is None or known.at != (keyring.name, keyring.generation):
            known = self._listed[stage.where] = await asyncio.to_thread(_Keys.of, keyring)
        return known

    async def _must_go(self, stage: Stage, day: int, purpose: str, span: Span, run: _Run, *, held: bool) -> bool:
        """Whether a key that has ended goes now, or with `held` after its records were moved."""
        moves = self._archives(stage) and stage.retention.holds(day, purpose, run.now, span)
        if moves != held:
            return False
        if not held or not run.is_done(stage, day, purpose):
            return not held
        return await self._counting.is_drained(day) and await self._is_handed_over(day, run)

    async def _is_handed_over(self, day: int, run: _Run) -> bool:
        """Whether no other host may still move records of a day into the store, which this one then could not open."""
        if day in run.handed_over:  # a day has a key for each purpose and part of it
            return run.handed_over[day]
        waiting = (await self._hosts.spools(start_of(day + 1))).waiting if self._hosts else ()
        if waiting:
            run.outcome.troubles.append(
                f"keys of {day_text(day)} wait for {', '.join(host.called for host in waiting)}: records of it that a "
                "law demands may wait there; start them, or if one is gone for good: consent-mw hosts retire"
            )
        run.handed_over[day] = not waiting
        return not waiting

    def _archives(self, stage: Stage) -> bool:
        return stage.where == LIVE and self._archive is not None

    def _tallied(self, stage: Stage, run: _Run) -> Iterator[Tally]:
        """Yield the tallies of days and purposes that have ended, in order."""
        tallies = {purpose: self._certificates.tallies(stage.where, purpose) for purpose in stage.retention.purposes}
        for day, purpose in stage.retention.ended_among(tallies, run.now):
            yield tallies[purpose][day]

    # -- the archive of several hosts -----------------------------------------------------------------------------

    async def _prepare_archive(self, run: _Run) -> None:
        """
        See to it that the hosts agree on the archive's keys before a record needs them: what only this host could open
        would be lost with its disk. Then move what this host had in an archive of its own.
        """
        archive, live = self._archive, self.stages[0]
        if archive is None:
            return
        earlier = archive.earlier if archive.earlier and archive.earlier.is_there else None
        days = set(await asyncio.to_thread(earlier.days)) if earlier else set[tuple[int, str]]()
        if self._hosts and isinstance(archive.sealer.keyring, SeveralKeys):
            soon = live.retention.ended_among((await self._keys(live)).labels, run.now + _AHEAD)
            ending = {(day, of_label(label)[0]) for day, label in soon}
            days |= {(day, purpose) for day, purpose in ending if live.retention.holds(day, purpose, run.now + _AHEAD)}
            await self._hosts.expect(await asyncio.to_thread(archive.missing, sorted(days)))
        if earlier and not await asyncio.to_thread(archive.missing, sorted(days)):
            moved = await earlier.move(archive.store, archive.resealed)
            _log.warning("%s: %d records moved into the archive that all hosts share", earlier.path, moved)

    # -- rows ---------------------------------------------------------------------------------------------------

    async def _move_rows(self, stage: Stage, run: _Run) -> None:
        """Delete the rows that have ended, or move them into the archive."""
        run.known += sum(sum(tally.rings.values()) for tally in self._tallied(stage, run))
        for purpose in stage.retention.purposes:
            place, until = (stage.where, purpose), stage.retention.none_ended_since(purpose, run.now)
            if run.between and self._searched.get(place) == until:
                continue
            self._searched.pop(place, None)
            nothing = True
            async for day, window in stage.ended(purpose, run.now):
                nothing = False
                counted = await self._counting.before_it_goes(stage, day, purpose, run.now)
                if counted is None:
                    run.left.add((stage.where, day, purpose))
                    continue
                run.outcome.counted += counted
                async for page in stage.pages(purpose, window):
                    await self._move(stage, day, purpose, page, run)
            if nothing:
                self._searched[place] = until

    async def _move(self, stage: Stage, day: int, purpose: str, page: Sequence[Record], run: _Run) -> None:
        """Delete those of a page that may go here, by their names: what comes between them meanwhile stays."""
        by_ring = await asyncio.to_thread(_by_ring, stage, page)
        names = frozenset(record.id for part in by_ring.values() for record in part if record.kind == NAMING)
        # The archive's own: they are no records of anybody, and no certificate counts them. They tell whose the others
        # of the day are, until the last of these has ended.
        if names and stage.retention.has_ended(day, purpose, run.now):
            await stage.store.delete(Query(kinds=frozenset((NAMING,)), purposes=frozenset((purpose,)), ids=names))
        for ring, ring_records in sorted(by_ring.items()):
            records = [record for record in ring_records if record.kind != NAMING]
            if records:
                await self._move_part(stage, Part(stage.where, day, purpose, ring), records, run)
                run.progress(run.outcome.records, max(run.known, run.outcome.records))

    async def _move_part(self, stage: Stage, part: Part, gone: Sequence[Record], run: _Run) -> None:
        archived = unreadable = 0
        held = [record for record in gone if stage.retention.holding(time_of(record.id), part.purpose, run.now)]
        if self._archive and held and self._archives(stage):
            if not await asyncio.to_thread(self._may_move, self._archive, stage, part):
                run.left.add((part.where, part.day, part.purpose))
                return
            unreadable = await self._archive.keep(held, stage.sealer)
            archived = len(held) - unreadable
        run.outcome.archived += archived
        run.outcome.unreadable += unreadable
        run.outcome.records += await self._deletions.delete(
            stage.store, part, gone, run.now, archived=archived, unreadable=unreadable
        )

    def _may_move(self, archive: Archive, stage: Stage, part: Part) -> bool:
        """Whether each key that opens what is moved is here, and other hosts have those of the archive."""
        keyring = stage.sealer.keyring
        is_whole = not isinstance(keyring, SeveralKeys) or not keyring.lacks(part.day, part.purpose)
        return is_whole and not archive.missing([(part.day, part.purpose)])

    # -- certificates -------------------------------------------------------------------------------------------

    async def _certify(self, stage: Stage, run: _Run) -> None:
        """Write a certificate for each key that is gone, what was deleted besides, and each day that needed no key."""
        keys = await self._keys(stage)
        for day, purpose in await self._uncertified_of(stage, keys):
            if self._is_owed(stage, day, purpose, stage.ring, run):
                place = keys.gone[purpose][day]
                await self._write(Part(stage.where, day, purpose, stage.ring), stage, place, run)
        # What was sealed first: its certificate includes what of the same day was not.
        for part in sorted(self._deletions.owed, key=lambda part: not part.ring):
            if not self._deletions.of(part).records:  # said by now, with what the keyring at hand had sealed
                continue
            ended = part.where == stage.where and stage.retention.has_ended(part.day, part.purpose, run.now)
            waits = part.ring not in stage.lost and keys.has(part.day, part.purpose)
            if ended and not waits and stage.reaches(part.ring) and run.is_done(stage, *part[1:3]):
                of_here = part.ring in stage.sealer.rings
                place = keys.gone.get(part.purpose, {}).get(part.day, "") if of_here else ""
                await self._write(part, stage, place, run)
        for tally in self._tallied(stage, run):
            part = Part(stage.where, tally.day, tally.purpose, "")
            if not keys.has(*part[1:3]) and self._is_owed(stage, *part[1:], run):
                sealed = set(tally.rings) - {"", *stage.lost}
                if not sealed and await self._certificates.is_uncertified(*part[:3]):
                    await self._write(part, stage, "", run)

    async def _uncertified_of(self, stage: Stage, keys: _Keys) -> Sequence[tuple[int, str]]:
        """Return the days and purposes all of whose keys are gone and of which no certificate says so."""
        at = keys.at, self._certificates.changes
        if stage.where not in self._uncertified or self._uncertified[stage.where][0] != at:
            left: list[tuple[int, str]] = []
            for purpose, places in keys.gone.items():
                # Also under the name that the keyring had before the site moved to a store that hosts share.
                rings = [self._certificates.certified(stage.where, purpose, ring) for ring in stage.sealer.rings]
                certified = set[int]().union(*rings)
                left += [(day, purpose) for day in sorted(keys.dead[purpose] - certified)]
                if isinstance(shared := stage.sealer.keyring, SeveralKeys):
                    await asyncio.to_thread(shared.settle, purpose, places.keys() & certified)
            self._uncertified[stage.where] = at, left
        return self._uncertified[stage.where][1]

    def _is_owed(self, stage: Stage, day: int, purpose: str, ring: str, run: _Run) -> bool:
        return (
            not self._certificates.has(stage.where, day, purpose, ring)
            and stage.retention.has_ended(day, purpose, run.now)
            and run.is_done(stage, day, purpose)
        )

    async def _write(self, part: Part, stage: Stage, key: str, run: _Run) -> None:
        """
        Write the certificate of a part; it includes records that were never sealed. Where hosts share keys it waits for
        all of them, so that a day has one certificate.
        """
        rule = stage.retention.rule(part.day, part.purpose, run.now)
        end = stage.retention.end(part.day, part.purpose, run.now)
        if rule is None or end is None:
            return
        holders = ""
        if isinstance(shared := stage.sealer.keyring, SeveralKeys):
            if await asyncio.to_thread(shared.waits_for, part.day, part.purpose):
                return
            if part.ring:
                holders = await asyncio.to_thread(shared.holders, part.day, part.purpose)
            if holders and part.ring in stage.sealer.rings:
                key = key or ELSEWHERE  # this host came when the others had destroyed it
        parts = [part, *([part._replace(ring="")] if part.ring == stage.ring else [])]
        gone = [self._deletions.of(part) for part in parts]
        certificate = Certificate(
            purpose=part.purpose,
            day=part.day,
            where=part.where,
            records=sum(deletion.records for deletion in gone),
            archived=sum(deletion.archived for deletion in gone),
            unreadable=sum(deletion.unreadable for deletion in gone),
            ring=part.ring,
            key=key,
            revision=rule.revision,
            retention=str(rule.retention),
            ended=end,
            destroyed=run.now,
            holders=holders,
        )
        await self._certificates.keep(certificate, *self._deletions.closing(parts, run.now))
        await self._deletions.close(parts)
        run.outcome.certificates += 1


def _by_ring(stage: Stage, page: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of a page that may go here, by the keyring that sealed them. For a thread."""
    rings: dict[str, list[Record]] = {}
    for record in page:
        ring = stage.ring_of(record)
        if stage.reaches(ring):
            rings.setdefault(ring, []).append(record)
    return rings


class _Run:
    """What one run has found so far."""

    def __init__(self, now: datetime, progress: Progress, *, between: bool = False) -> None:
        self.now = now
        self.between = between
        self.progress = progress
        self.outcome = Outcome()
        self.unreached: set[str] = set()  # where keys could not be destroyed: nothing there counts as destroyed
        self.renewed = False  # whether it was seen to that no restriction ends
        self.handed_over: dict[int, bool] = {}  # of each day that was asked for, whether all hosts are past it
        self.known = 0  # rows that are known to go
        self.left: set[tuple[str, int, str]] = set()  # where, day and purpose of rows that could not go yet

    def is_done(self, stage: Stage, day: int, purpose: str) -> bool:
        return (stage.where, day, purpose) not in self.left
