"""From the spool to the store, in the background: one process of a machine at a time, gently."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
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

__all__ = ["Chore", "Drain"]

_log = logging.getLogger("consent_mw")

_BATCH: Final = 500
#: Batches that are made while the store still has one. Now and then it takes twice as long, to copy its own log.
_AHEAD: Final = 2
# Whoever asks a busy thread for Python's lock waits 5 ms, unless that thread sleeps; 0 seconds are not enough.
_PIECE: Final = 50
_MOMENT_SECONDS: Final = 1e-6
_TICK_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: A paced drain gives the lease up now and then, so that the workers take turns.
_TURN_SECONDS: Final = 5.0
_EXPIRE_SECONDS: Final = 60.0
#: What waits after half a second of some 150 exchanges a second: from there on requests meet the drain's slices often
#: enough that their slowest hundredth is longer for it.
_BUSY_BYTES: Final = 32 << 10
_STAY: Final = "records stay in the spool"
_LOST: Final = "records are lost"
_ENDED: Final = (
    'their purpose ended while they waited in the spool, as every gap of reason "ended" will say; '
    "hand over more often than the shortest retention"
)
#: A clock may have stepped back since a segment was begun.
_STEP: Final = timedelta(days=1)


class Chore(Protocol):
    """What goes on beside the drain for as long as it runs. It sees to it that of all processes one works at a time."""

    def keep_on(self, clock: Callable[[], int]) -> Coroutine[Any, Any, None]:
        """Call `run` again and again until cancelled; `clock` tells nanoseconds since 1970."""
        ...

    async def run(self, now: datetime) -> None:
        """Do what there is to do at `now` (aware). What goes wrong is logged, and tried again the next time."""
        ...

    async def close(self) -> None:
        """Release what it holds. Closing twice is harmless."""
        ...


class Drain:
    """
    Hands finished records to the store. A segment goes only after the store has committed all of it, so that what
    a crash interrupts is handed over again: a store keeps the first of each id.

    Two tasks on the application's loop. One keeps: every `spool.sync_interval` it brings what was written to the disk
    and writes down what was lost, whatever the store does. The other hands over, at its `pace`, and tries less often
    the longer the store is away. Opening, parsing and sealing run in a thread, at most 500 records a batch.

    Args:
        hands_over: False where `consent-mw drain` does that: this process then only keeps.
        process: Drains in the place of this process while the site is busy; None where it cannot be told what to use.
        stop_seconds: How long `stop` may take. What is left then waits in the spool for the next start.
        chores: What goes on beside it, each as a task of its own.
        drain_chores: The same, but only while it is this process that hands over: the other one does them too.
        first: What is done before the first request, at an instant: never raises.
        agree: Where several hosts share their keys: has them agree on those that will be needed, ahead of time.

    Attributes:
        handed_over: Records that the store has taken from here since the start.
        loop: On which it runs; None where it does not. A loop that was left without an end stays here, stopped.
        poll_published: Called in a thread each time that the drain keeps: whether anything was published meanwhile.
        by_itself: False where nothing goes on in the background, and somebody calls `run_once` instead: a test that
            lets time pass by a clock of its own.
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
        self._is_spared = False  # whether the other process hands over
        self.handed_over: int = 0
        self.poll_published: Callable[[], None] = poll_published
        self._agree = agree
        self._first = first
        self.by_itself: bool = True
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._prepared = -1
        self._expire_at = 0.0  # monotonic seconds: the clock may step back
        self._pause = _TICK_SECONDS
        self._troubles: dict[str, str] = {}

    def follow(self, policy: Policy, sealer: Sealer, pending: Pending) -> None:
        """Work for another revision of the policy from now on. Its keys are made ready with the next keeping."""
        self._policy, self._sealer, self._pending = policy, sealer, pending
        self._unbundler = Unbundler(sealer)
        self._prepared = -1

    # -- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, on the running loop or the one beside it, unless it runs already."""
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
        self._tasks = tuple(loop.create_task(each, name="consent-mw drain") for each in work)
        self._tasks[0].add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._tasks and task is self._tasks[0]:
            self.loop = None

    async def begin(self) -> None:
        """Open the store, so that no request has to, and begin. A store in trouble is said once and tried again."""
        try:
            await self._store.open()
        except Exception as error:  # noqa: BLE001 - a store of somebody else's: whatever it raises, the site starts
            self._tell("the store cannot be opened, records stay in the spool", error)
        if self._first:
            await self._first(instant_of(self._clock()))
        await self._prepare_keys()
        self.start()

    async def _prepare_keys(self) -> None:
        """Have the keys of today and tomorrow ready, for every purpose; looked at again with each new day."""
        day = self._clock() // DAY_NS
        if day != self._prepared:
            self._prepared = day
            policy, days = self._policy, [day, day + 1]
            if self._agree:
                await self._agree(self._sealer.needed(days, policy.purposes, with_tokens=policy.with_tokens))
                days = [day]  # those of tomorrow come from whoever is first
            await asyncio.to_thread(self._sealer.prepare, days, policy.purposes, with_tokens=policy.with_tokens)

    async def stop(self) -> None:
        """Hand over what is there, as far as the store takes it within `stop_seconds`, and end."""
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
        except TimeoutError:
            _log.warning("the store took too long; what it did not take stays in the spool for the next start")
        await asyncio.to_thread(self._spool.close)
        for chore in (*self._chores, *self._drain_chores):
            await chore.close()
        await self._close_store()

    async def run_once(self) -> None:
        """
        Do once, at the present of the clock and one after the other, all that goes on in the background: bring what was
        written to the disk, look for what was published, hand over everything that waits, and run each chore.

        Never raises: what goes wrong is logged, as in the background.
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
                chores = chores or [asyncio.create_task(each.keep_on(self._clock)) for each in self._drain_chores]
                fine = await self._tick(self._pace)
                self._pause = _TICK_SECONDS if fine else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        finally:
            await _cancelled(chores)

    def _spared_by(self, process: DrainProcess) -> bool:
        """Whether the other process hands over now. It is begun where this site is busy."""
        try:
            waiting, seconds = self._behind()
        except SpoolError:
            return False
        return process.is_at_work(busy=waiting >= _BUSY_BYTES, late=self._pace.is_late(waiting, seconds))

    async def _keep(self) -> None:
        """Bring to the disk what was written, and write down what was lost. Never raises."""
        try:
            hands_over = self._hands_over and not self._is_spared
            await asyncio.to_thread(self._spool.sync if hands_over else self._spool.rotate)
            await self._prepare_keys()
        except ConsentError as error:
            self._tell("the spool cannot be used", error)
        try:
            await asyncio.to_thread(self.poll_published)
        except Exception as error:  # noqa: BLE001 - whatever lies in that directory, records are kept on
            self._tell("what is published cannot be read", error)
        while gap := self._spool.take_gap():
            if not await self._written(gap):
                self._spool.give_back(gap)
                return

    async def _tick(self, pace: Pace) -> bool:
        try:
            await self.once(pace)
        except Exception as error:  # noqa: BLE001 - a store of somebody else's: whatever it raises, it is tried again
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
        """Say it once, not every half minute for as long as the trouble lasts."""
        if self._troubles.get(what) != str(error):
            self._troubles[what] = str(error)
            trace = error if isinstance(error, Exception) and not isinstance(error, ConsentError) else None
            _log.warning("%s: %s", what, error, exc_info=trace)

    # -- its work -----------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> Backlog:
        """How far behind it is: what waits, of every process. Raises SpoolError."""
        return self._spool.backlog

    async def once(self, pace: Pace = AT_ONCE) -> int:
        """
        Hand over what waits now, if no other process of this machine is at it, and return how many records.

        With a pace it stops after some seconds, between two segments, and leaves the rest to whoever comes next.

        Raises:
            StoreError: The store did not take them; they stay in the spool.
            SpoolError: The spool's directory is gone.
        """
        with self._spool.lease() as mine:
            if not mine:
                await asyncio.to_thread(self._spool.rotate)
                return 0
            return await self.turn(pace)

    async def turn(self, pace: Pace = AT_ONCE) -> int:
        """As `once`, for who holds the spool's lease."""
        await self._expire()
        until = time.monotonic() + _TURN_SECONDS
        count = 0
        for segment in await asyncio.to_thread(self._spool.closed):
            try:
                count += await self._segment(segment, pace)
            except (SpoolError, ConfigurationError) as error:  # a bad block, another keyring: the others go on
                self._tell(f"{segment.path.name} stays in the spool", error)
                segment.release()
            if pace.share < 1.0 and time.monotonic() > until:
                break
        return count

    async def _expire(self) -> None:
        """Forget what waited in vain, once a minute: a deletion waits for the disk, and others for it."""
        if self._pending is not None and time.monotonic() >= self._expire_at:
            # What waits in a shared store may be another host's: a clock that is ahead must not end it.
            if not await self._store_clock.fault(instant_of(self._clock())):
                await self._pending.expire(self._clock())
            self._expire_at = time.monotonic() + _EXPIRE_SECONDS

    async def _segment(self, segment: Segment, pace: Pace) -> int:
        count = 0
        share = pace.share_at(*await asyncio.to_thread(self._behind))
        async with aclosing(self._batches(self._unbundler.records(segment), pace.slice_seconds, share)) as batches:
            async for batch in batches:
                began = time.monotonic()
                # Each is on the store's disk before the next. The last one could take those before it along, but not
                # where the server died in between and came back, nor where two stores share the batches.
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
        """Have the store know what is lost of a segment, once: whoever was killed since may have told it already."""
        if segment.lost:
            _log.error("%s: %d frames or more are damaged and lost", segment.path.name, segment.lost)
        if segment.ended:
            self._tell(_LOST, _ENDED)
        since = segment.created - _STEP
        query = Query(kinds=frozenset((GAP,)), purposes=frozenset((NECESSARY,)), since=since)
        told = {mark_of(record.id) async for page in pages(self._store, query) for record in page}
        found = [gap.found(self._clock(), segment.marker, self._sealer) for gap in segment.gaps]
        if new := [record for record in found if mark_of(record.id) not in told]:
            await self._append(new)

    async def _batches(
        self, records: Iterator[Record], slice_seconds: float, share: float
    ) -> AsyncGenerator[list[Record]]:
        """Yield the records in batches. In a hurry the next are made while the store has the one before."""
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
            await making  # raises what kept a record from being read
        finally:
            # The segment is let go next, and a thread cannot be stopped in the middle of it.
            wanted = False
            while not ready.empty():
                ready.get_nowait()
            await asyncio.gather(making, return_exceptions=True)

    async def _batch(self, records: Iterator[Record], slice_seconds: float, share: float) -> list[Record]:
        batch: list[Record] = []
        while len(batch) < _BATCH:
            found, worked = await asyncio.to_thread(_slice, records, _BATCH - len(batch), slice_seconds)
            batch += found
            await _rest(worked, share)
            if not found:
                break
        return batch

    def _behind(self) -> tuple[int, float]:
        """Return the bytes that wait, and for how many seconds the oldest of them does."""
        waiting, oldest = self._spool.backlog
        return waiting, self._clock() / 1e9 - oldest.timestamp() if oldest else 0.0

    async def _append(self, batch: list[Record]) -> None:
        """
        Hand over a batch. What the store refuses for good must not hold up the rest for ever: it is narrowed down to
        single records, each a gap. That gap itself tells a bad record from a store that takes nothing at all.
        """
        try:
            await self._store.append(batch, durable=True)
        except (StoreUnavailable, SchemaError):
            raise
        except Exception as error:  # noqa: BLE001 - StoreError, or whatever a store of somebody else's raises
            if len(batch) == 1:
                await self._store.append([_refusal(batch[0], self._sealer)], durable=True)
                _log.error("the store refuses record %s, which is lost: %s", batch[0].id, error)
            else:
                middle = len(batch) // 2
                await self._append(batch[:middle])
                await self._append(batch[middle:])

    async def _written(self, gap: Gap) -> bool:
        """What was lost is itself a record: into the spool where it takes something again, else into the store."""
        # Of the day on which it is written: what was lost may be older than gaps are kept.
        record = gap.record(self._sealer, new_id(self._clock()))
        if self._spool.note(encode_record(record)):
            return True
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._store.append([record], durable=True)
        except Exception:  # noqa: BLE001 - a store of somebody else's: the gap is written later
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
    found: list[Record] = []
    for record in islice(records, most):
        found.append(record)
        if time.thread_time() - began >= seconds:
            break
    return found, time.thread_time() - began


def _hurried(records: Iterator[Record], most: int) -> list[Record]:
    """As `_slice`, unmeasured, and resting for moments in which the store's thread beside it may have Python's lock."""
    found: list[Record] = []
    while len(found) < most and (piece := list(islice(records, min(_PIECE, most - len(found))))):
        found += piece
        time.sleep(_MOMENT_SECONDS)
    return found


def _refusal(record: Record, sealer: Sealer) -> Record:
    """The gap that stands for a record; of the same instant, and the same each time."""
    at_ns = (record.id.int >> 80) * 1_000_000
    return Gap.at(1, at_ns, "refused").record(sealer, UUID(int=record.id.int ^ 1))
