"""What a host hears from the others: it reads the store for messages, and believes those of hosts of the site."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from consent_mw.hosts.joining import Joining
from consent_mw.hosts.link import Link
from consent_mw.hosts.messages import (
    Again,
    Beat,
    Chosen,
    Message,
    Place,
    Pub,
    believed,
    chosen_id,
    later,
    messages,
    news,
    publications,
    repeated,
)
from consent_mw.hosts.pulse import Pulse
from consent_mw.hosts.view import View
from consent_mw.records import Query, Record
from consent_mw.stores.pages import pages
from consent_mw.system.bounded_cache import remember
from consent_mw.system.days import instant_of

_log = logging.getLogger("consent_mw")

_MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 3_600_000_000_000
#: How often everything in the store is read; more often while this host lacks something.
_ALL_SECONDS: Final = 3600.0
MISSING_SECONDS: Final = 30.0
#: In between, only what is newer than this is read, once a minute: a host whose clock is further off sends nothing new.
_LATELY: Final = timedelta(minutes=2)
#: And all the time what is newer than the last look by this much, and by what the clocks of hosts are known to differ.
#: Each message is then read three or four times; if every look read all of the two minutes, it would be sixty times.
_NEWLY: Final = timedelta(seconds=5)
#: A start reads what is newer than the last reading of everything less this: clocks of authors may be off.
_OFF: Final = timedelta(days=1)
#: A host that has lacked something for so long asks the others for it.
_ASKING_SECONDS: Final = 120.0
#: Of so many records it is remembered that they were passed over.
_PASSED_OVER: Final = 10_000


class Hearing:
    """
    Read what other hosts say, and keep what is believed.

    Attributes:
        latest: Of each host the newest beat that was heard.
        repeats: Of a message, those that repeat it.
        has_newcomer: Whether a host is new that needs what this one wrote.
        restored: How often the store went back in time since this process began.
    """

    def __init__(self, link: Link, pulse: Pulse, joining: Joining) -> None:
        self._link = link
        self._pulse = pulse
        self._joining = joining
        self.latest: dict[bytes, Beat] = {}
        self.repeats: dict[UUID, set[UUID]] = {}
        self.has_newcomer: bool = False
        self.restored: int = 0
        self._all_at = -_ALL_SECONDS
        self._whole_at = 0.0  # when this host last missed nothing
        self._heard_ns = 0
        self._lately_ns = 0  # when the last two minutes were last read
        self._missing = -1, False  # the keyring's generation, and whether this host missed something at it
        self._is_warned = False  # whether a host with other secrets was logged; reset once an hour
        self._is_asked = False  # whether another host asks that everything is read
        self._asked_for = frozenset[bytes]()  # what was lacking when this host asked last
        self._passed_over: dict[UUID, None] = {}  # each is logged once

    # -- when to read what --------------------------------------------------------------------------------------

    def read_all_next(self) -> None:
        """Read everything next: the store was away, and may come back with other content."""
        self._all_at = -_ALL_SECONDS

    def missed_since(self) -> datetime | None:
        """Return the instant from which on this host may have missed messages; None if it is not known."""
        heard_ns = self._link.keyring.heard_ns
        return instant_of(heard_ns) - _OFF if 0 < heard_ns <= self._link.clock() else None

    async def hear_in_turn(self, since: datetime | None) -> frozenset[UUID] | None:
        """Hear what came since an instant, or what is due: what is new, or everything. See `hear`."""
        now_ns = self._link.clock()
        # A process that stood still, for example on a suspended machine, has missed messages that are no longer new.
        everything = since is None and (
            abs(now_ns - self._heard_ns) > _MINUTE_NS or await asyncio.to_thread(self._is_time_for_all)
        )
        stands = await self.hear(everything=everything, since=since)
        self._heard_ns = now_ns
        return stands

    def _is_time_for_all(self) -> bool:
        now = time.monotonic()
        if not self._is_missing_something():  # a new day's keys are, for some seconds: that alone is no reason
            self._whole_at, self._asked_for = now, frozenset[bytes]()
        elif now - self._whole_at >= _ASKING_SECONDS:
            lacking = self._link.keyring.lacking_of()
            if lacking != self._asked_for:
                self._asked_for, self._pulse.is_asking = lacking, True
        since = max(self._all_at, 0.0 if self._is_asked else self._whole_at)
        return now - self._all_at >= _ALL_SECONDS or now - since >= MISSING_SECONDS

    def _is_missing_something(self) -> bool:
        ring, generation = self._link.keyring, self._link.keyring.generation
        if self._missing[0] != generation:
            view = ring.view
            is_missing = bool(ring.lacking()) or any(
                view.unconfirmed(Place(*place)) for place in ring.file.destroyed() if place in view.pubs
            )
            self._missing = generation, is_missing
        return self._missing[1]

    def _newly(self) -> datetime:
        """Return from when on messages may be new. What comes later than its clock says is heard within a minute."""
        now_ns = self._link.clock()
        if abs(now_ns - self._lately_ns) >= _MINUTE_NS:
            self._lately_ns = now_ns
            return instant_of(now_ns) - _LATELY
        ahead = self._link.store_clock.ahead.total_seconds()
        behind = max((ahead - beat.body.ahead for beat in self._link.keyring.view.beats.values()), default=0.0)
        return instant_of(min(now_ns, self._heard_ns)) - _NEWLY - timedelta(seconds=max(0.0, behind))

    # -- read ---------------------------------------------------------------------------------------------------

    async def hear(self, *, everything: bool = False, since: datetime | None = None) -> frozenset[UUID] | None:
        """
        Read everything in the store, or only what came since an instant, or what is new. Return all ids after a full
        reading, else None. Raises StoreError and OSError.
        """
        began, began_ns, keyring = time.monotonic(), self._link.clock(), self._link.keyring
        stands = await self._read(messages() if everything else news(keyring.identity.id, since or self._newly()))
        # The id of a `Chosen` has the time of the beginning of its day, so a query for new records misses it. It may
        # miss this host's own beat too, which shows that the store has not gone back.
        ids = [chosen_id(place) for place in self._joining.to_ask()]
        if self._pulse.beat is not None and self._pulse.beat not in stands:
            ids.append(self._pulse.beat)
        stands |= await self.ask(ids)
        if everything:
            self._all_at, self._is_warned, self._is_asked = began, False, False
            if abs(began_ns - keyring.heard_ns) > _HOUR_NS // 2:
                await asyncio.to_thread(keyring.book.heard, began_ns)
            if self._pulse.is_lost(stands):
                _log.warning("the store has lost what this host told it before: what it has lost is put back")
                self.restored += 1
                self._pulse.forget()
            return frozenset(stands)
        return await self.hear(everything=True) if self._pulse.is_recent and self._pulse.beat not in stands else None

    async def hear_publications(self, since: datetime | None) -> None:
        """Read what hosts published since an instant, or all of it. Raises StoreError and OSError."""
        await self._read(publications(since))

    async def ask(self, ids: Collection[UUID]) -> set[UUID]:
        """Read the messages with these ids. Return which of them stand in the store. Raises StoreError and OSError."""
        return await asyncio.to_thread(self.take, await self._link.store.fetch(messages(*ids))) if ids else set()

    async def _read(self, query: Query) -> set[UUID]:
        stands: set[UUID] = set()
        async for page in pages(self._link.store, query):
            stands |= await asyncio.to_thread(self.take, page)
        return stands

    # -- believe ------------------------------------------------------------------------------------------------

    def take(self, page: Sequence[Record]) -> set[UUID]:
        """Take what is new on a page. Return the ids of the messages that stand there, or are repeated there."""
        view, sealer = self._link.keyring.view, self._link.sealer
        stands, new = set[UUID](), list[Message]()
        for record in page:
            if view.has(record):
                stands.add(record.id)
                continue
            message = believed(record, sealer)
            if message is None:
                self._pass_over(record)
                continue
            stands.add(message.record.id)
            if isinstance(message.body, Again):
                again, message = message, repeated(message.body, sealer)
                if message is None or self._is_settled(message, view):
                    continue
                self.repeats.setdefault(message.record.id, set()).add(again.record.id)
                stands.add(message.record.id)
                if view.has(message.record):
                    continue
            if isinstance(message.body, Beat):
                if self._is_news(message, message.body, view):
                    new.append(message)
            elif not view.is_over(message):
                new.append(message)
                self._greet(message, view)
        if new:
            self._link.keyring.add(new)
        return stands

    def _is_news(self, message: Message, beat: Beat, view: View) -> bool:
        """Hear a beat, and return whether this host keeps it."""
        identity = self._link.keyring.identity
        self.latest[message.author] = later(beat, self.latest.get(message.author))
        if message.author == identity.id:
            self._pulse.hear(message, beat)
        if message.author in identity.ids or not view.is_news(message):
            return False
        self._is_asked = self._is_asked or beat.asks
        if message.author not in view.beats:
            self._pulse.is_aloud = self.has_newcomer = True
        return True

    def _is_settled(self, message: Message, view: View) -> bool:
        """Whether it is about a choice that this host knows otherwise: what the store has under its one id counts."""
        body = message.body
        return isinstance(body, Chosen) and view.chosen.get(Place(body.day, body.label), body.owner) != body.owner

    def _pass_over(self, record: Record) -> None:
        if record.id in self._passed_over:
            return
        remember(self._passed_over, record.id, None, _PASSED_OVER)
        if not self._is_warned:
            self._is_warned = True
            _log.error(
                "record %s, and maybe others, claims to come from a host of this site and is not signed with its "
                "secret_keys; it is passed over. If one of your hosts has other secret_keys, give it the same",
                record.id,
            )

    def _greet(self, message: Message, view: View) -> None:
        author = message.author
        if isinstance(message.body, Pub) and not (author in view.names or author in self._link.keyring.identity.ids):
            view.names[author] = message.body.name
            self._pulse.is_aloud = self.has_newcomer = True
            _log.warning("the host %s joins, and gets the keys of this site", view.name(author))
