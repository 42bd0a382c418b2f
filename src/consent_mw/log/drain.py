"""From the spool to the store, in the background. One process of a machine drains at a time, at a limited pace."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from itertools import islice
from math import inf
from typing import Any, Final, Protocol
from uuid import UUID

from consent_mw.cookies.pending import Pending
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import (
    ConfigurationError,
    ConsentError,
    SchemaError,
    SpoolError,
    StoreUnavailable,
)
from consent_mw.kinds import GAP
from consent_mw.log.drain_process import DrainProcess
from consent_mw.log.duty_cycle import AT_ONCE, Pace, rest
from consent_mw.log.sealing import Sealing
from consent_mw.log.unbundler import Unbundler
from consent_mw.policy.model import NECESSARY, Policy
from consent_mw.records import Query, Record, encode_record, new_id
from consent_mw.spool.gaps import Gap, mark_of
from consent_mw.spool.segment import Segment
from consent_mw.spool.spool import Backlog, Spool
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages
from consent_mw.stores.store_clock import StoreClock
from consent_mw.system.days import DAY_NS, instant_of
from consent_mw.system.loops import asyncio_loop, running_loop

_log = logging.getLogger("consent_mw")

_BATCH: Final = 500
#: Batches that are made while the store still has one. Now and then the store takes twice as long, to checkpoint its
#: log.
_AHEAD: Final = 2
# A thread that asks a busy thread for the GIL waits 5 ms, unless that thread sleeps; 0 seconds are not enough.
_PIECE: Final = 50
_MOMENT_SECONDS: Final = 1e-6
_TICK_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: A paced drain releases the lease now and then, so that the workers take turns.
_TURN_SECONDS: Final = 5.0
_EXPIRE_SECONDS: Final = 60.0
#: The bytes that wait after half a second of some 150 exchanges a second. From there on, requests meet the drain's
#: slices so often that their slowest hundredth takes longer.
_BUSY_BYTES: Final = 32 << 10
_STAY: Final = "records stay in the spool"
_UNKEPT: Final = "records are lost and only counted"
_LOST: Final = "records are lost"
_ENDED: Final = (
    'their purpose ended while they waited in the spool, as every gap of reason "ended" will say; '
    "hand over more often than the shortest retention"
)
#: A clock may have stepped back since a segment was begun.
_STEP: Final = timedelta(days=1)


class Chore(Protocol):
    """Runs beside the drain, while the drain runs. It makes sure that only one of all processes works at a time."""

    def keep_on(self, clock: Callable[[], int]) -> Coroutine[Any, Any, None]:
        """Call `run` again and again until cancelled. `clock` returns nanoseconds since 1970."""
        ...

    async def run(self, now: datetime) -> None:
        """Do all work that is due at `now` (aware). Failures are logged, and the next run tries again."""
        ...

    async def close(self) -> None:
        """Release its resources. Harmless when called twice."""
        ...


class Drain:
    """
    Moves finished records to the store. A segment is removed only after the store has committed all of it. So after a
    crash its records are sent again, and the store keeps the first of each id.

    It runs two tasks on the application's loop. One task keeps: every `spool.sync_interval` it syncs the spool to the
    disk and writes down what was lost, whatever the store does. The other task moves records to the store, at its
    `pace`, and tries less often the longer the store cannot be reached. Opening, parsing and sealing run in a thread,
    at most 500 records a batch.

    Args:
        hands_over: False if `consent-mw drain` moves the records; this process then only keeps.
        process: Drains instead of this process while the site is busy; None if it cannot be given what it needs.
        lends: Whether the process that drains, if there is one, also seals and writes for this one (`Spool.lend`).
        stop_seconds: How long `stop` may take. What is left then waits in the spool for the next start.
        chores: What runs beside it, each as a task of its own.
        drain_chores: The same, but only while this process moves the records; the other process runs them too.
        first: Called before the first request, with an instant. Never raises.
        agree: Where several hosts share their keys: makes them agree on the keys that will be needed, ahead of time.

    Attributes:
        handed_over: Number of records that the store has taken from this process since the start.
        loop: The loop on which it runs; None if it does not run. A loop that ended without `stop` stays here, stopped.
        poll_published: Called in a thread at each keeping: checks whether anything was published since.
        by_itself: False if nothing runs in the background and a caller uses `run_once` instead: a test with its own
            clock.
    """

    def __init__(
        self,
        policy: Policy,
        spool: Spool,
        store: Store,
        sealer: Sealer,
        pending: Pending | None = None,
        clock: Callable[[], int] = time.time_ns,
        *,
        hands_over: bool = True,
        process: DrainProcess | None = None,
        lends: bool = False,
        pace: Pace | None = None,
        stop_seconds: float = 5.0,
        chores: Sequence[Chore] = (),
        drain_chores: Sequence[Chore] = (),
        poll_published: Callable[[], None] = lambda: None,
        agree: Callable[[Iterable[tuple[int, str]]], Awaitable[None]] | None = None,
        first: Callable[[datetime], Awaitable[None]] | None = None,
    ) -> None:
        self._policy = policy
        self._spool = spool
        self._store = store
        self._sealer = sealer
        self._unbundler = Unbundler(sealer)
        self._pending = pending
        self._clock = clock
        self._store_clock = StoreClock(store, clock)
        self._hands_over = hands_over
        self._pace = pace or Pace()
        self._stop_seconds = stop_seconds
        self._chores = chores
        self._drain_chores = drain_chores
        self._process = process
        self._lends = lends
        self._is_spared = False  # whether the other process moves the records
        self.handed_over: int = 0
        self.poll_published: Callable[[], None] = poll_published
        self._agree = agree
        self._first = first
        self.by_itself: bool = True
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._prepared = -1
        self._expire_at = 0.0  # in monotonic seconds, because the clock may step back
        self._pause = _TICK_SECONDS
        self._troubles: dict[str, str] = {}

    def follow(self, policy: Policy, sealer: Sealer, pending: Pending) -> None:
        """Work by another revision of the policy from now on. The next keeping prepares its keys."""
        self._policy, self._sealer, self._pending = policy, sealer, pending
        self._unbundler = Unbundler(sealer)
        self._prepared = -1

    # -- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, on the running loop or the one beside it, unless it runs already."""
        if self.loop is None or not self.loop.is_running():
            self.loop = loop = asyncio_loop()
            if not self.by_itself:
                return
            if loop is running_loop():
                self._begin_tasks(loop)
            else:
                loop.call_soon_threadsafe(self._begin_tasks, loop)

    def _begin_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        work = [self._keep_on(), self._hand_on()] if self._hands_over else [self._keep_on()]
        work += [chore.keep_on(self._clock) for chore in self._chores]
        self._tasks = tuple(loop.create_task(coroutine, name="consent-mw drain") for coroutine in work)
        self._tasks[0].add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._tasks and task is self._tasks[0]:
            self.loop = None

    async def begin(self) -> None:
        """
        Open the store, so that no request has to, and start. A failure of the store is logged once and tried again.
        """
        try:
            await self._store.open()
        except Exception as error:  # noqa: BLE001 - a custom store: whatever it raises, the site starts
            self._tell("the store cannot be opened, records stay in the spool", error)
        if self._first:
            await self._first(instant_of(self._clock()))
        await self._prepare_keys()
        self.start()

    async def _prepare_keys(self) -> None:
        """Prepare the keys of today and tomorrow, for every purpose. Each new day this is done again."""
        day = self._clock() // DAY_NS
        if day != self._prepared:
            self._prepared = day
            policy, days = self._policy, [day, day + 1]
            if self._agree:
                await self._agree(self._sealer.needed(days, policy.purposes, with_tokens=policy.with_tokens))
                days = [day]  # tomorrow's keys come from the host that makes them first
            await asyncio.to_thread(self._sealer.prepare, days, policy.purposes, with_tokens=policy.with_tokens)

    async def stop(self, *, insists: bool = False) -> int:
        """
        Move what waits to the store, as far as it takes it within `stop_seconds`, and end. Return the bytes that are
        left in the spool; 0 if moving them is another process's work.

        Args:
            insists: Whether to try again, within that time, while anything is left: the store may come back, or another
                process of this machine may end that was moving records.
        """
        tasks, self._tasks = self._tasks, ()
        self.loop = None
        await _cancelled(tasks)
        if self._process is not None:
            await asyncio.to_thread(self._process.end)
        try:
            async with asyncio.timeout(self._stop_seconds):
                if self._pending is not None:
                    await self._pending.settle()
                await self._keep()
                if self._hands_over:
                    await self._tick(AT_ONCE)
                while insists and await self._left():
                    await asyncio.sleep(_AGAIN_SECONDS)
                    await self._tick(AT_ONCE)
        except TimeoutError:
            _log.warning("the store took too long; what it did not take stays in the spool for the next start")
        await asyncio.to_thread(self._spool.close)
        for chore in (*self._chores, *self._drain_chores):
            await chore.close()
        await self._close_store()
        return await self._left()

    async def _left(self) -> int:
        with suppress(SpoolError):
            return (await asyncio.to_thread(lambda: self.backlog))[0] if self._hands_over else 0
        return 0

    async def run_once(self) -> None:
        """
        Do all background work once, one step after the other, at the clock's present time: sync what was written to the
        disk, look for what was published, move everything that waits to the store, and run each chore.

        Never raises: failures are logged, as in the background.
        """
        await self._keep()
        if self._hands_over:
            self._expire_at = 0.0
            await self._tick(AT_ONCE)
        for chore in (*self._drain_chores, *self._chores):
            await chore.run(instant_of(self._clock()))

    async def _keep_on(self) -> None:
        while True:
            await asyncio.sleep(self._spool.sync_interval.total_seconds())
            await self._keep()

    async def _hand_on(self) -> None:
        chores: list[asyncio.Task[None]] = []
        try:
            while True:
                await asyncio.sleep(self._pause)
                self._is_spared = self._process is not None and await asyncio.to_thread(self._spared_by, self._process)
                if self._is_spared:
                    await _cancelled(chores)
                    chores, self._pause = [], _TICK_SECONDS
                    continue
                chores = chores or [asyncio.create_task(chore.keep_on(self._clock)) for chore in self._drain_chores]
                fine = await self._tick(self._pace)
                self._pause = _TICK_SECONDS if fine else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        finally:
            await _cancelled(chores)

    def _spared_by(self, process: DrainProcess) -> bool:
        """Whether the other process moves the records now. Starts that process if this site is busy."""
        try:
            waiting, seconds = self._behind()
        except SpoolError:
            return False
        return process.is_at_work(busy=waiting >= _BUSY_BYTES, late=self._pace.is_late(waiting, seconds))

    async def _keep(self) -> None:
        """Sync to the disk what was written, and write down what was lost. Never raises."""
        try:
            hands_over = self._hands_over and not self._is_spared
            await asyncio.to_thread(self._spool.sync if hands_over else self._spool.rotate)
            await self._prepare_keys()
            if self._lends and self._policy.seal:
                await asyncio.to_thread(self._spool.lend, self._sealer.keyring.name, Sealing(self._sealer).of_ring)
        except ConsentError as error:
            self._tell("the spool cannot be used", error)
        try:
            await asyncio.to_thread(self.poll_published)
        except Exception as error:  # noqa: BLE001 - whatever is in that directory, records are still kept
            self._tell("what is published cannot be read", error)
        refused = False
        while gap := self._spool.take_gap():
            refused = refused or gap.reason == "disk"
            if not await self._written(gap):
                self._spool.give_back(gap)
                break
        if refused:
            self._tell(_UNKEPT, f"{self._spool.directory} takes nothing: full, over its quota or read-only; see to it")
        else:
            self._troubles.pop(_UNKEPT, None)

    async def _tick(self, pace: Pace) -> bool:
        try:
            await self.once(pace)
        except Exception as error:  # noqa: BLE001 - a custom store: whatever it raises, it is tried again
            self._tell(_STAY, error)
            if not isinstance(error, SpoolError):
                await self._close_store()
            return False
        if self._troubles.pop(_STAY, None):
            _log.warning("records go to the store again")
        return True

    async def _close_store(self) -> None:
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._store.close()
        except Exception as error:  # noqa: BLE001 - as above; it is opened again, or the process ends
            _log.warning("the store did not close: %s", error or "it took too long")

    def _tell(self, what: str, error: Exception | str) -> None:
        """Log a failure once, not every half minute while it lasts."""
        if self._troubles.get(what) != str(error):
            self._troubles[what] = str(error)
            trace = error if isinstance(error, Exception) and not isinstance(error, ConsentError) else None
            _log.warning("%s: %s", what, error, exc_info=trace)

    # -- its work -----------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> Backlog:
        """How far behind it is: what waits, of all processes. Raises SpoolError."""
        return self._spool.backlog

    async def once(self, pace: Pace = AT_ONCE) -> int:
        """
        Move what waits now to the store, unless another process of this machine drains, and return how many records.

        With a pace it stops after some seconds, between two segments. The next process that drains continues.

        Raises:
            StoreError: The store did not take the records; they stay in the spool.
            SpoolError: The spool's directory is gone.
        """
        with self._spool.lease() as mine:
            if not mine:
                await asyncio.to_thread(self._spool.rotate)
                return 0
            return await self.turn(pace)

    async def turn(self, pace: Pace = AT_ONCE) -> int:
        """As `once`, for a caller that holds the spool's lease."""
        await self._expire()
        until = time.monotonic() + _TURN_SECONDS
        count = 0
        for segment in await asyncio.to_thread(self._spool.closed):
            try:
                count += await self._segment(segment, pace)
            except (SpoolError, ConfigurationError) as error:  # a bad block, another keyring: try the others
                self._tell(f"{segment.path.name} stays in the spool", error)
                segment.release()
            if pace.share < 1.0 and time.monotonic() > until:
                break
        return count

    async def _expire(self) -> None:
        """
        Forget what waited in vain, once a minute: a deletion waits for the disk, and others wait for the deletion.
        """
        if self._pending is not None and time.monotonic() >= self._expire_at:
            # What waits in a shared store may belong to another host. A clock that is ahead must not end it.
            if not await self._store_clock.fault(instant_of(self._clock())):
                await self._pending.expire(self._clock())
            self._expire_at = time.monotonic() + _EXPIRE_SECONDS

    async def _segment(self, segment: Segment, pace: Pace) -> int:
        count = 0
        share = pace.share_at(*await asyncio.to_thread(self._behind))
        async with aclosing(self._batches(self._unbundler.records(segment), pace.slice_seconds, share)) as batches:
            async for batch in batches:
                began = time.monotonic()
                # Each batch is on the store's disk before the next. Syncing only the last would not cover the earlier
                # ones where the server died in between and came back, or where two stores share the batches.
                await self._append(batch)
                count += len(batch)
                self.handed_over += len(batch)
                await _rest(min(time.monotonic() - began, pace.store_seconds), share)
        if segment.gaps:
            await self._tell_lost(segment)
        if not segment.ended:
            self._troubles.pop(_LOST, None)
        await asyncio.to_thread(segment.discard)
        return count

    async def _tell_lost(self, segment: Segment) -> None:
        """
        Record once in the store what was lost of a segment. A process that was killed since may have done so already.
        """
        if segment.lost:
            _log.error("%s: %d frames or more are damaged and lost", segment.path.name, segment.lost)
        if segment.ended:
            self._tell(_LOST, _ENDED)
        since = segment.created - _STEP
        query = Query(kinds=frozenset((GAP,)), purposes=frozenset((NECESSARY,)), since=since)
        known = {mark_of(record.id) async for page in pages(self._store, query) for record in page}
        gaps = [gap.late_record(self._clock(), segment.marker, self._sealer) for gap in segment.gaps]
        if new := [record for record in gaps if mark_of(record.id) not in known]:
            await self._append(new)

    async def _batches(
        self, records: Iterator[Record], slice_seconds: float, share: float
    ) -> AsyncGenerator[list[Record]]:
        """Yield the records in batches. In a hurry, the next ones are made while the store has the one before."""
        if share < 1.0:
            while batch := await self._batch(records, slice_seconds, share):
                yield batch
            return
        ready: asyncio.Queue[list[Record]] = asyncio.Queue(_AHEAD)
        wanted = True

        async def make() -> None:
            try:
                while wanted and (batch := await self._batch(records, slice_seconds, share)):
                    await ready.put(batch)
            finally:
                await ready.put([])

        making = asyncio.create_task(make())
        try:
            while batch := await ready.get():
                yield batch
            await making  # raises the error that stopped the reading
        finally:
            # The segment is released next, and a thread cannot be stopped while it reads.
            wanted = False
            while not ready.empty():
                ready.get_nowait()
            await asyncio.gather(making, return_exceptions=True)

    async def _batch(self, records: Iterator[Record], slice_seconds: float, share: float) -> list[Record]:
        batch: list[Record] = []
        while len(batch) < _BATCH:
            read, worked = await asyncio.to_thread(_slice, records, _BATCH - len(batch), slice_seconds)
            batch += read
            await _rest(worked, share)
            if not read:
                break
        return batch

    def _behind(self) -> tuple[int, float]:
        """Return how many bytes wait, and for how many seconds the oldest of them has waited."""
        waiting, oldest = self._spool.backlog
        return waiting, self._clock() / 1e9 - oldest.timestamp() if oldest else 0.0

    async def _append(self, batch: list[Record]) -> None:
        """
        Move a batch to the store. Records that the store refuses for good must not block the rest for ever. They are
        narrowed down to single records, each reported as a gap. That gap itself tells a bad record from a store that
        takes nothing at all.
        """
        try:
            await self._store.append(batch, durable=True)
        except (StoreUnavailable, SchemaError):
            raise
        except Exception as error:  # noqa: BLE001 - StoreError, or whatever a custom store raises
            if len(batch) == 1:
                await self._store.append([_refusal(batch[0], self._sealer)], durable=True)
                _log.error("the store refuses record %s, which is lost: %s", batch[0].id, error)
            else:
                middle = len(batch) // 2
                await self._append(batch[:middle])
                await self._append(batch[middle:])

    async def _written(self, gap: Gap) -> bool:
        """Write a loss as a record: into the spool if that accepts frames again, otherwise into the store."""
        # Dated on the day on which it is written: the loss may be older than gaps are kept.
        record = gap.record(self._sealer, new_id(self._clock()))
        if self._spool.note(encode_record(record)):
            return True
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._store.append([record], durable=True)
        except Exception:  # noqa: BLE001 - a custom store: the gap is written later
            return False
        return True


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _rest(worked_seconds: float, share: float) -> None:
    if share < 1.0:
        await asyncio.sleep(rest(worked_seconds, share))


def _slice(records: Iterator[Record], most: int, seconds: float) -> tuple[list[Record], float]:
    """Return the next records, as many as fit into `seconds` of this thread's work, and that work in seconds."""
    if seconds == inf:
        return _hurried(records, most), 0.0
    began = time.thread_time()
    read: list[Record] = []
    for record in islice(records, most):
        read.append(record)
        if time.thread_time() - began >= seconds:
            break
    return read, time.thread_time() - began


def _hurried(records: Iterator[Record], most: int) -> list[Record]:
    """As `_slice`, unmeasured. Rests for moments, in which the store's thread may have the GIL."""
    read: list[Record] = []
    while len(read) < most and (piece := list(islice(records, min(_PIECE, most - len(read))))):
        read += piece
        time.sleep(_MOMENT_SECONDS)
    return read


def _refusal(record: Record, sealer: Sealer) -> Record:
    """Return the gap that replaces a record: at the record's instant, and the same at each try."""
    at_ns = (record.id.int >> 80) * 1_000_000
    return Gap.at(1, at_ns, "refused").record(sealer, UUID(int=record.id.int ^ 1))
