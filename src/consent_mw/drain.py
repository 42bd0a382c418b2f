"""From the spool to the store, in the background: one process of a machine at a time, gently."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.agents import parse_agent
from consent_mw.bundles import AGENT_TO_PARSE, BUNDLE, Bundle, BundleFrame, Part, read_frame
from consent_mw.exceptions import ConsentError, KeyDestroyed, RecordDamaged, StoreError
from consent_mw.pending import Pending
from consent_mw.policy import NECESSARY, Policy
from consent_mw.records import Record, Scalar, decode_record, new_id
from consent_mw.sealer import Sealer
from consent_mw.segment import Segment
from consent_mw.spool import Gap, Spool
from consent_mw.stores.base import Store

__all__ = ["Drain"]

_log = logging.getLogger("consent_mw")

_BATCH: Final = 500
_TICK_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_EXPIRE_EVERY_NS: Final = 60_000_000_000
_DAY_NS: Final = 86_400_000_000_000
_DAY_MS: Final = 86_400_000
#: What the application notes comes as a record of its own, whose agent is still to be parsed.
_NOTED: Final = frozenset(("event", "abuse"))


class Drain:
    """
    Hands finished records to the store. A segment goes only after the store has committed all of it, so that what
    a crash interrupts is handed over again: a store keeps the first of each id.
    """

    def __init__(
        self,
        policy: Policy,
        spool: Spool,
        store: Store,
        sealer: Sealer,
        pending: Pending | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._policy = policy
        self._spool = spool
        self._store = store
        self._sealer = sealer
        self._pending = pending
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._prepared = -1
        self._expire_at_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = _TICK_SECONDS

    # -- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, on the running loop, unless it runs already."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._loop is not loop or self._task.done():
            self._loop = loop
            self._task = loop.create_task(self._run(), name="consent-mw drain")

    async def begin(self) -> None:
        """Open the store, so that no request has to, and begin. A store in trouble is said once and tried again."""
        await self._prepare_keys()
        try:
            await self._store.open()
        except StoreError as error:
            _log.error("the store cannot be opened, records stay in the spool: %s", error)
        self.start()

    async def _prepare_keys(self) -> None:
        """Have the keys of today and tomorrow ready, for every purpose; looked at again with each new day."""
        day = self._clock() // _DAY_NS
        if day != self._prepared:
            self._prepared = day
            await asyncio.to_thread(self._sealer.prepare, (day, day + 1), self._policy.purposes)

    async def stop(self) -> None:
        """Hand over what is there, as far as the store takes it, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._pending is not None:
            await self._pending.settle()
        await self._tick()
        await self._store.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            fine = await self._tick()
            self._pause = _TICK_SECONDS if fine else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _tick(self) -> bool:
        try:
            await self._prepare_keys()
            await self.once()
        except StoreError as error:
            _log.warning("records stay in the spool: %s", error)
            await self._store.close()
            return False
        except ConsentError as error:
            _log.warning("the spool cannot be read: %s", error)
            return False
        return True

    # -- its work -----------------------------------------------------------------------------------------------

    async def once(self) -> int:
        """
        Hand over what waits now, if no other process of this machine is at it, and return how many records.

        Raises:
            StoreError: The store did not take them; they stay in the spool.
            SpoolError: The spool's directory is gone.
        """
        with self._spool.lease() as mine:
            if not mine:
                await asyncio.to_thread(self._spool.rotate)
                return 0
            await self._expire()
            return sum([await self._segment(segment) for segment in await asyncio.to_thread(self._spool.closed)])

    async def _expire(self) -> None:
        """Forget what waited in vain, once a minute: a deletion waits for the disk, and others for it."""
        now_ns = self._clock()
        if self._pending is not None and now_ns >= self._expire_at_ns:
            self._expire_at_ns = now_ns + _EXPIRE_EVERY_NS
            await self._pending.expire(now_ns)

    async def _segment(self, segment: Segment) -> int:
        count = 0
        records = self._records(segment)
        while batch := await asyncio.to_thread(lambda: list(islice(records, _BATCH))):
            await self._store.append(batch)
            count += len(batch)
        if segment.damaged_bytes:
            _log.error("%s: %d bytes are damaged and lost", segment.path.name, segment.damaged_bytes)
        gap = self._spool.take_gap()
        if gap is not None:
            await self._keep_gap(gap)
        segment.discard()
        return count

    def _records(self, segment: Segment) -> Iterator[Record]:
        for frame in segment.frames():
            try:
                bundle = read_frame(frame)
                if bundle is None:
                    yield self._finished(decode_record(frame))
                else:
                    yield from self._split(bundle)
            except (msgspec.MsgspecError, IndexError, UnicodeDecodeError):
                _log.error("%s: a frame holds no record and is lost", segment.path.name)

    def _split(self, frame: BundleFrame) -> Iterator[Record]:
        """
        Yield the record of each purpose that an exchange served.

        What can no longer be opened yields nothing: the first of its purposes has ended while it waited here.

        Raises:
            ConfigurationError: Another keyring sealed it.
            StoreError: The keys cannot be reached.
        """
        try:
            plain = self._sealer.open_bytes(UUID(int=frame.number), BUNDLE, frame.purpose, frame.ring, frame.sealed)
        except KeyDestroyed:
            return
        except RecordDamaged as error:
            _log.error("an exchange is lost: %s", error)
            return
        bundle = Bundle.read(plain)
        day = (frame.number >> 80) // _DAY_MS
        for number, part in enumerate(bundle.parts, frame.number):
            with suppress(KeyDestroyed):  # of this purpose alone
                yield self._record(UUID(int=number), day, part, bundle)

    def _record(self, record_id: UUID, day: int, part: Part, bundle: Bundle) -> Record:
        data = bundle.facts
        agent = part.fields.pop(AGENT_TO_PARSE, None)
        if isinstance(agent, str):
            data |= families(agent)
        subject = None
        if part.asked and bundle.receipt is not None:
            subject = self._sealer.token(day, part.purpose, bundle.receipt.encode())
        if not part.fields:
            return Record(record_id, "visit", part.purpose, subject, "", data, b"")
        sealed = self._sealer.seal(record_id, "visit", part.purpose, msgspec.msgpack.encode(part.fields))
        return Record(record_id, "visit", part.purpose, subject, self._sealer.keyring.name, data, sealed)

    def _finished(self, record: Record) -> Record:
        """Put the families in the place of the agent, which no store ever sees."""
        if not record.sealed or record.kind not in _NOTED:
            return record
        try:
            sealed = msgspec.msgpack.decode(self._sealer.open(record), type=dict[str, Scalar])
            agent = sealed.pop(AGENT_TO_PARSE, None)
            if not isinstance(agent, str):
                return record
            blob = self._sealer.seal(record.id, record.kind, record.purpose, msgspec.msgpack.encode(sealed))
        except ConsentError:
            return record  # its key is gone: nobody can read the agent any more
        return msgspec.structs.replace(record, data={**record.data, **families(agent)}, sealed=blob)

    async def _keep_gap(self, gap: Gap) -> None:
        """What was lost is itself a record: how many, and from when to when."""
        data: dict[str, Scalar] = {"gap.records": gap.frames, "gap.first_ns": gap.first_ns, "gap.last_ns": gap.last_ns}
        record = Record(new_id(gap.last_ns), "gap", NECESSARY, None, "", data, b"")
        try:
            await self._store.append([record], durable=True)
        except StoreError:
            self._spool.give_back(gap)
            raise


def families(agent: str) -> dict[str, Scalar]:
    """Return browser, operating system, kind of device and bot, under OpenTelemetry's names where there are."""
    parsed = parse_agent(agent)
    found: dict[str, Scalar] = {
        "user_agent.name": parsed.browser,
        "user_agent.version": parsed.browser_version,
        "user_agent.os.name": parsed.os,
        "device.type": parsed.device,
    }
    if parsed.bot:
        found["user_agent.synthetic.type"] = "bot"
    return {name: value for name, value in found.items() if value}
