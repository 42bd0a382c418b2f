"""One host of a site: the messages that it sends to the other hosts through the store, and how it handles theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Final, NamedTuple
from uuid import UUID

from consent_mw.audit import Audit
from consent_mw.crypto.archive_keys import archive_label
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.successive_keys import SuccessiveKeyring
from consent_mw.crypto.transit import TransitKeyring
from consent_mw.crypto.wrapping import key_id, public_part, wrapped
from consent_mw.exceptions import KeyDestroyed, StoreError
from consent_mw.hosts.audit_shelf import AuditShelf
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import (
    Again,
    Beat,
    Body,
    Chosen,
    Confirm,
    Holds,
    Message,
    Place,
    Pub,
    Published,
    Runs,
    Wraps,
    believed,
    chosen_id,
    context,
    digest_of_public,
    later,
    messages,
    news,
    publications,
    repeated,
    runs,
    written,
)
from consent_mw.hosts.register import Register, Spools
from consent_mw.hosts.view import View, Wrap
from consent_mw.paths import Places
from consent_mw.records import Record, encode_record
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.stores.pages import pages
from consent_mw.stores.store_clock import StoreClock
from consent_mw.system.bounded_cache import remember
from consent_mw.system.days import instant_of
from consent_mw.system.locks import alone
from consent_mw.system.memory import give_back
from consent_mw.system.shelf import Kept, Shelf

_log = logging.getLogger("consent_mw")

_SYNC_SECONDS: Final = 2.0
_BEAT_NS: Final = 60_000_000_000
_HOUR_NS: Final = 3_600_000_000_000
#: The interval if there are other hosts: an erasure waits until each has reported that its spool is past it.
_AMONG_OTHERS_NS: Final = 10_000_000_000
#: How often everything in the store is read; more often while this host lacks something.
_ALL_SECONDS: Final = 3600.0
_MISSING_SECONDS: Final = 30.0
#: In between, only what is newer than this is read, once a minute: a host whose clock is further off sends nothing new.
_LATELY: Final = timedelta(minutes=2)
_LATELY_NS: Final = 60_000_000_000
#: And all the time what is newer than the last look by this much, and by what the clocks of hosts are known to differ.
#: Each message is then read three or four times; if every look read all of the two minutes, it would be sixty times.
_NEWLY: Final = timedelta(seconds=5)
#: A start reads what is newer than the last reading of everything less this: clocks of authors may be off.
_OFF: Final = timedelta(days=1)
#: How long a start waits for keys of running hosts. A host that is down cannot delay it.
_PATIENCE_SECONDS: Final = 5.0
_TRY_SECONDS: Final = 0.25
#: A host that has lacked something for so long asks the others for it.
_ASKING_SECONDS: Final = 120.0
_BATCH: Final = 200
#: Of so many records it is remembered that they were passed over.
_PASSED_OVER: Final = 10_000
#: Of so many of its latest beats a process knows when it sent them. A store that went back may show older ones.
_SENT: Final = 16


def _runs(by_label: Mapping[str, Iterable[int]]) -> dict[str, Runs]:
    return {label: runs(days) for label, days in by_label.items()}


class Facts(NamedTuple):
    """
    The state of this host.

    Attributes:
        oldest: Time of the oldest entry in its spool, in seconds since 1970; None if the spool is empty.
        unshared: Whether an archive on its disk is still to move into the store.
        ring: The name of the key service under whose keys it seals; empty if it has its keys on its disk.
    """

    name: str
    version: str
    revision: int
    oldest: float | None
    unshared: bool = False
    ring: str = ""


class Hosts:
    """
    Synchronise this host with the other hosts of its site, every two seconds.

    Only one process of the machine does it at a time. The steps:

    1. Hear: read the messages of hosts with the site's keys. Ignore everything else in the store.
    2. Join: publish this host's public part for each live place, so that others can wrap keys for it. Propose a key
       for each place where none was chosen. The proposal that reached the store first counts.
    3. Share: wrap each key that this host knows for each host that lacks it. First note the recipients on the disk.
    4. Take over what any host published: revisions, the words that visitors were shown, and the audit chains.
    5. Put back what the store has lost, for example after a backup was restored.
    6. Confirm what this host has overwritten.

    Each step may be interrupted and repeated. While this host's clock is wrong, it does not join.

    Attributes:
        restored: How often the store went back in time since this process began.
    """

    @classmethod
    def of_site(
        cls,
        places: Places,
        store: Store,
        keyring: Keyring,
        site_keys: SiteKeys,
        *,
        revision: Callable[[], int],
        oldest: Callable[[], datetime | None],
        clock: Callable[[], int],
        shelves: Sequence[Shelf] = (),
        among_hosts: bool = False,
    ) -> Hosts | None:
        """
        Return the host whose data is at `places`; None if it shares nothing with other hosts.

        If a key service holds the keys, the host shares everything else: its messages then are about no key.

        Args:
            revision: Returns the number of the policy's revision in force.
            oldest: Returns the time of the oldest entry in the spool. Called in a thread.
            clock: Returns nanoseconds since 1970.
            shelves: What every host must have if one host has it.
            among_hosts: Whether the store is one that hosts share. If it is not known, the directory tells.
        """
        service = "" if isinstance(keyring, SharedKeyring) else keyring.name
        if isinstance(keyring, SuccessiveKeyring) and isinstance(keyring.old, SharedKeyring):
            keyring = keyring.old
        elif isinstance(keyring, TransitKeyring | SuccessiveKeyring) and (among_hosts or places.host_book.exists()):
            keyring = SharedKeyring.of_site(places, site_keys)
        if not isinstance(keyring, SharedKeyring):
            return None
        identity = keyring.identity
        chain = Audit(places.audit, places.audit_head)
        shelves = (*shelves, AuditShelf(chain, places.audit_of_hosts, lambda: identity.id.hex(), clock))

        def facts() -> Facts:
            waits = oldest()
            moves = archive_beside(store) is not None and places.archive.exists()
            oldest_at = waits.timestamp() if waits else None
            return Facts(gethostname(), version("consent-mw"), revision(), oldest_at, moves, service)

        return cls(store, keyring, Sealer.without_keys(site_keys), places.hosts_lock, facts, clock, shelves)

    def __init__(
        self,
        store: Store,
        keyring: SharedKeyring,
        sealer: Sealer,
        lock: Path,
        facts: Callable[[], Facts],
        clock: Callable[[], int],
        shelves: Sequence[Shelf] = (),
    ) -> None:
        """
        Args:
            sealer: Marks and checks messages; it does not need a key of any day.
            lock: The path of the lock file. The file is created if it is missing.
            facts: Returns the state of this host. Called in a thread.
            clock: Returns nanoseconds since 1970.
            shelves: What every host must have if one host has it.
        """
        self._shelves = shelves
        self.restored: int = 0
        self._refused: set[str] = set()  # names of what was published and cannot be kept here; each is logged once
        self._store = store
        self.keyring = keyring
        self._sealer = sealer
        self._lock = lock
        self._facts = facts
        self._clock = clock
        self._store_clock = StoreClock(store, clock)
        self._wanted: frozenset[Place] = frozenset()
        self._expected: frozenset[Place] = frozenset()  # what the archive will need
        self._run = b""
        self._beat_ns = 0
        self._beats: set[UUID] = set()  # this host's beats in the store; the next beat replaces them
        self._beat: UUID | None = None
        self._sent: deque[float] = deque(maxlen=_SENT)  # as `Beat.at`, before the store has it
        self._latest: dict[bytes, Beat] = {}  # of each host the newest beat that was heard
        self._all_at = -_ALL_SECONDS
        self._whole_at = 0.0  # when this host last missed nothing
        self._heard_ns = 0
        self._lately_ns = 0  # when the last two minutes were last read
        self._is_starting = False
        self._missing = -1, False  # the keyring's generation, and whether this host missed something at it
        self._nothing_to_share = -1  # the keyring's generation at which there was nothing to share
        self._nothing_to_confirm = -1, b""  # the same for what to confirm, and this host
        self._nothing_to_join: object = None  # the same for what to join, with all that it depends on
        self._nothing_over = -1, 0  # the same for what to clear, and the hour
        self._is_warned = False  # whether a host with other secrets was logged; reset once an hour
        self._nothing_to_state = -1, b""  # the same for the keys that this host holds
        self._is_doubtful = False  # whether a host is new that needs what this one wrote
        self._looked_after_at = -_MISSING_SECONDS
        self._is_aloud = self._is_asking = self._is_asked = False  # as in `Beat`; and whether another host asks
        self._asked_for = frozenset[bytes]()  # what was lacking when this host asked last
        self._passed_over: dict[UUID, None] = {}  # each is logged once
        self._repeats: dict[UUID, set[UUID]] = {}  # of a message, those that repeat it
        self._trouble = ""
        self._synced = False

    # -- its life -----------------------------------------------------------------------------------------------

    async def keep_on(self, clock: Callable[[], int]) -> None:
        """Run until cancelled; see `Chore.keep_on`."""
        while True:
            await self.run()
            await asyncio.sleep(_SYNC_SECONDS)

    async def run(self, now: object = None) -> None:
        """Do all steps once. Never raises: a failure is logged once, and the next call tries again."""
        try:
            await self.sync()
        except Exception as error:  # noqa: BLE001 - a store of somebody else's: it is tried again
            if self._trouble != str(error):
                self._trouble = str(error)
                _log.warning("keys are not shared with the other hosts, and tried again: %s", error)
            self._all_at = -_ALL_SECONDS  # read everything: the store may come back with other content
            return
        if self._trouble:
            self._trouble = ""
            _log.warning("keys are shared with the other hosts again")

    async def is_current(self) -> bool:
        """Do all steps once, and return whether this host knows the others' messages. Never raises."""
        await self.run()
        return not self._trouble

    async def close(self) -> None:
        """
        Announce that this host ends, and the state of its spool. Never raises, and waits a few seconds at most.

        If another process of the host still runs, that one announces the host again.
        """
        if self._synced:
            with suppress(Exception):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._say_how_it_is("", left=True)

    async def spools(self, instant: datetime) -> Spools:
        """
        Return which hosts may still hold something in their spools from before `instant` (aware).

        If no host does, this host has read everything that they have shared until now. Raises StoreError and OSError.
        """
        register = Register(self._store, self.keyring, self._sealer, heard=self._latest)
        spools = await register.spools(instant, instant_of(self._clock()))
        until = time.monotonic() + _PATIENCE_SECONDS
        while spools.past and not spools.waiting and not await self.sync():
            if time.monotonic() > until:
                raise StoreError(f"{self._lock}: another process of this machine holds it for long; end that process")
            await asyncio.sleep(_TRY_SECONDS)
        return spools

    async def publish(self, label: str) -> None:
        """Publish what is new on one shelf now, and not within seconds. Raises StoreError and OSError."""
        if new := await asyncio.to_thread(self._unpublished, label):
            await self._say(new)

    async def agree(self, places: Iterable[tuple[int, str]]) -> None:
        """
        Ask for the keys of these places, and wait a few seconds for those of the first day.

        Never raises. A key that does not come stays wanted, and this host seals under its own key meanwhile.
        """
        self._wanted = frozenset(Place(*place) for place in places)
        until = time.monotonic() + _PATIENCE_SECONDS
        self._is_starting = not self._synced
        await self.run()
        while not self._trouble and time.monotonic() < until and not await asyncio.to_thread(self._is_agreed):
            await asyncio.sleep(_TRY_SECONDS)
            await self.run()

    async def expect(self, places: Iterable[tuple[int, str]]) -> None:
        """
        Ask for the keys that the archive will need, and wait a few seconds for them. Never raises. Where a key does not
        come, this host's own one goes to the other hosts, and takes its place.

        Args:
            places: The day and label of each, as the archive calls them.
        """
        self._expected = frozenset(Place(day, archive_label(label)) for day, label in places)
        until = time.monotonic() + _PATIENCE_SECONDS
        while missing := await asyncio.to_thread(self._not_agreed):
            await self.run()
            if self._trouble or time.monotonic() > until:
                break
            await asyncio.sleep(_TRY_SECONDS)
        for place in missing:
            with suppress(KeyDestroyed, StoreError):
                await asyncio.to_thread(self.keyring.key, *place, create=True)

    def _not_agreed(self) -> list[Place]:
        try:
            return [place for place in self._expected if not self.keyring.is_agreed(*place)]
        except StoreError:
            return []

    def _is_agreed(self) -> bool:
        view, ring = self.keyring.view, self.keyring
        first = min((place.day for place in self._wanted), default=0)
        for place in self._wanted:
            if place.day == first:
                try:
                    secret = ring.file.key(*place, create=False)
                except KeyDestroyed:
                    continue
                owner = view.chosen.get(place)
                # Nothing is chosen. Not synced: another process of this host is at it, so wait. Synced: something else
                # blocks the choice, and waiting does not help.
                if not self._synced if owner is None else not ring.key_of(place, owner, secret):
                    return False
        return True

    # -- its work -----------------------------------------------------------------------------------------------

    async def sync(self) -> bool:
        """Do all steps once; return False if another process of this machine does. Raises StoreError and OSError."""
        with alone(self._lock) as mine:
            if mine:
                await self._sync()
                self._synced = True
            return mine

    async def _sync(self) -> None:
        if not self._run:
            self._run = self.keyring.identity.begin_run()
        now_ns = self._clock()
        # The site waits for the first sync of its start, for the keys of the day alone. The next one, two seconds
        # later, reads everything, and looks at all living places: an old site has ten thousand.
        since = await asyncio.to_thread(self._missed_since) if self._is_starting else None
        self._is_starting = False
        # A process that stood still, for example on a suspended machine, has missed messages that are no longer new.
        everything = since is None and (
            abs(now_ns - self._heard_ns) > _BEAT_NS or await asyncio.to_thread(self._is_time_for_all)
        )
        stands = await self._hear(everything=everything, since=since)
        self._heard_ns = now_ns
        await self._be_oneself()
        if since is None:
            await self._publish()
        fault = await self._store_clock.fault(instant_of(self._clock()))
        if not fault:
            await self._join(of_all=since is None)
        if since is None:
            await self._share()
            if doubtful := await asyncio.to_thread(self._doubtful, stands):
                await self._put_back(doubtful)
            await self._state()  # before it confirms: so it never claims a key of a place that it has confirmed
            await self._confirm()
            await self._clear(fault)
        await self._tell_how_it_is(fault)
        if stands is not None:
            await asyncio.to_thread(give_back)

    def _doubtful(self, stands: Set[UUID] | None) -> Set[UUID]:
        """
        Return the messages that the store may have lost: those that were not met when everything was read, and this
        host's own when a host is new, since that one has nothing but the store.
        """
        now = time.monotonic()
        # Of many that come at once, for example when a fleet is replaced, one look is for all.
        if stands is None and not (self._is_doubtful and now - self._looked_after_at >= _MISSING_SECONDS):
            return frozenset()
        self._is_doubtful = False
        if stands is None:
            self._looked_after_at = now
        return self._own() if stands is None else self.keyring.view.living() - stands

    def _is_time_for_all(self) -> bool:
        now = time.monotonic()
        if not self._is_missing_something():  # a new day's keys are, for some seconds: that alone is no reason
            self._whole_at, self._asked_for = now, frozenset[bytes]()
        elif now - self._whole_at >= _ASKING_SECONDS and self._asked_for != (lacking := self.keyring.lacking_of()):
            self._asked_for, self._is_asking = lacking, True
        since = max(self._all_at, 0.0 if self._is_asked else self._whole_at)
        return now - self._all_at >= _ALL_SECONDS or now - since >= _MISSING_SECONDS

    def _is_missing_something(self) -> bool:
        ring, generation = self.keyring, self.keyring.generation
        if self._missing[0] != generation:
            view = ring.view
            is_missing = bool(ring.lacking()) or any(
                view.unconfirmed(Place(*place)) for place in ring.file.destroyed() if place in view.pubs
            )
            self._missing = generation, is_missing
        return self._missing[1]

    # -- hear ---------------------------------------------------------------------------------------------------

    def _missed_since(self) -> datetime | None:
        """Return the instant from which on this host may have missed messages; None if it is not known."""
        heard_ns = self.keyring.heard_ns
        return instant_of(heard_ns) - _OFF if 0 < heard_ns <= self._clock() else None

    async def _hear(self, *, everything: bool = False, since: datetime | None = None) -> frozenset[UUID] | None:
        """
        Read everything in the store, or only what came since an instant, or what is new. Return all ids after a full
        reading, else None.
        """
        began, began_ns = time.monotonic(), self._clock()
        query = messages() if everything else news(self.keyring.identity.id, since or self._newly())
        stands: set[UUID] = set()
        async for page in pages(self._store, query):
            stands |= await asyncio.to_thread(self._take, page)
        # The id of a `Chosen` has the time of the beginning of its day, so a query for new records misses it. It may
        # miss this host's own beat too, which shows that the store has not gone back.
        ids = [chosen_id(place) for place in self._wanted | (self._expected - self.keyring.view.chosen.keys())]
        if self._beat is not None and self._beat not in stands:
            ids.append(self._beat)
        if ids:
            page = await self._store.fetch(messages(*ids))
            stands |= await asyncio.to_thread(self._take, page)
        if everything:
            self._all_at, self._is_warned, self._is_asked = began, False, False
            if abs(began_ns - self.keyring.heard_ns) > _HOUR_NS // 2:
                await asyncio.to_thread(self.keyring.book.heard, began_ns)
            if self._beat is not None and self._beat not in stands:
                _log.warning("the store has lost what this host told it before: what it has lost is put back")
                self.restored += 1
                self._beat, self._beat_ns = None, 0
            return frozenset(stands)
        is_recent = abs(self._clock() - self._beat_ns) < _BEAT_NS
        return await self._hear(everything=True) if is_recent and self._beat not in stands else None

    def _newly(self) -> datetime:
        """Return from when on messages may be new. What comes later than its clock says is heard within a minute."""
        now_ns = self._clock()
        if abs(now_ns - self._lately_ns) >= _LATELY_NS:
            self._lately_ns = now_ns
            return instant_of(now_ns) - _LATELY
        ahead = self._store_clock.ahead.total_seconds()
        behind = max((ahead - beat.body.ahead for beat in self.keyring.view.beats.values()), default=0.0)
        return instant_of(min(now_ns, self._heard_ns)) - _NEWLY - timedelta(seconds=max(0.0, behind))

    def _take(self, page: Sequence[Record]) -> set[UUID]:
        """Take what is new on a page. Return the ids of the messages that stand there, or are repeated there."""
        view = self.keyring.view
        stands, new = set[UUID](), list[Message]()
        for record in page:
            if view.has(record):
                stands.add(record.id)
                continue
            message = believed(record, self._sealer)
            if message is None:
                self._pass_over(record)
                continue
            stands.add(message.record.id)
            if isinstance(message.body, Again):
                again, message = message, repeated(message.body, self._sealer)
                if message is None or self._is_settled(message, view):
                    continue
                self._repeats.setdefault(message.record.id, set()).add(again.record.id)
                stands.add(message.record.id)
                if view.has(message.record):
                    continue
            if isinstance(message.body, Beat):
                self._hear_beat(message, message.body)
                if message.author not in self.keyring.identity.ids and view.is_news(message):
                    new.append(message)
                    self._is_asked = self._is_asked or message.body.asks
                    if message.author not in view.beats:
                        self._is_aloud = self._is_doubtful = True
            elif not view.is_over(message):
                new.append(message)
                self._greet(message, view)
        if new:
            self.keyring.add(new)
        return stands

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
        if isinstance(message.body, Pub) and author not in view.names and author not in self.keyring.identity.ids:
            view.names[author] = message.body.name
            self._is_aloud = self._is_doubtful = True
            _log.warning("the host %s joins, and gets the keys of this site", view.name(author))

    def _hear_beat(self, message: Message, beat: Beat) -> None:
        identity = self.keyring.identity
        self._latest[message.author] = later(beat, self._latest.get(message.author))
        if message.author != identity.id:
            return
        if identity.has_run(beat.run) and not self._is_of_a_clone(beat):
            self._beats.add(message.record.id)
            if beat.left:  # another process of this host has ended
                self._beat, self._beat_ns = None, 0
            elif self._beat is not None and message.record.id > self._beat:  # once this process has sent its own beat
                self._beat, self._beat_ns = message.record.id, int(beat.at * 1e9)
        else:
            _log.error(
                "another machine says that it is this host: one of them is a copy, or was restored. This one goes on "
                "as a new host; keep %s out of images and backups",
                self.keyring.book.path.parent,
            )
            identity.renew()

    def _is_of_a_clone(self, beat: Beat) -> bool:
        """Whether a copy of this machine sent it, made while it ran: the copy goes on under the name of our run."""
        return beat.run == self._run and bool(self._sent) and beat.at > min(self._sent) and beat.at not in self._sent

    async def _be_oneself(self) -> None:
        identity = self.keyring.identity
        if identity.id in self.keyring.view.retired:
            _log.error("this host was retired by an operator, and is back: it goes on as a new one")
            await asyncio.to_thread(identity.renew)

    # -- say ----------------------------------------------------------------------------------------------------

    async def _say(self, bodies: Sequence[Body]) -> list[Message]:
        """Write messages to the store durably, and then to the book."""
        identity, now = self.keyring.identity, self._clock()
        records = [written(body, identity, self._sealer, now) for body in bodies]
        said = [Message(identity.id, body, record) for body, record in zip(bodies, records, strict=True)]
        for first in range(0, len(records), _BATCH):
            await self._store.append(records[first : first + _BATCH], durable=True)
        # Another host's `Chosen` may have been in the store first. Then that one counts, and not ours.
        if kept := [message for message in said if not isinstance(message.body, Chosen | Beat | Again)]:
            await asyncio.to_thread(self.keyring.add, kept)
        return said

    async def _join(self, *, of_all: bool) -> None:
        bodies = await asyncio.to_thread(self._to_join, of_all=of_all)
        if not bodies:
            return
        await self._say(bodies)
        if ids := [chosen_id(Place(body.day, body.label)) for body in bodies if isinstance(body, Chosen)]:
            await asyncio.to_thread(self._take, await self._store.fetch(messages(*ids)))

    def _to_join(self, *, of_all: bool) -> list[Body]:
        ring, me, wanted = self.keyring, self.keyring.identity.id, self._wanted | self._expected
        known, view = (ring.generation, me, wanted), ring.view  # in this order: what comes meanwhile is looked at next
        if known == self._nothing_to_join:
            return []
        gone = set(ring.file.destroyed()) if of_all else set[tuple[int, str]]()
        places = set(wanted)
        if of_all:
            places.update(map(Place._make, ring.file.live()))
            places.update(place for place in view.places if not view.is_confirmed(place))
        by_day: dict[int, dict[str, tuple[bytes, bytes]]] = {}
        for day, label in sorted(place for place in places - gone if me not in view.pubs.get(place, {})):
            try:
                secret = ring.file.key(day, label, create=True)
            except KeyDestroyed:
                gone.add((day, label))
                continue
            by_day.setdefault(day, {})[label] = public_part(secret), key_id(secret)
        name = self._facts().name
        pubs: list[Body] = [Pub(name=name, day=day, parts=parts) for day, parts in by_day.items()]
        open_places = sorted(wanted - view.chosen.keys() - gone)
        if of_all and not pubs and not open_places:
            self._nothing_to_join = known
        return [*pubs, *(Chosen(day=day, label=label, owner=me) for day, label in open_places)]

    # -- what is published --------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """
        Take over what other hosts published, before this host decides which revision is in force.

        Raises StoreError and OSError.
        """
        since = await asyncio.to_thread(self._missed_since)
        async for page in pages(self._store, publications(since)):
            await asyncio.to_thread(self._take, page)
        # The rest follows with the first sync that reads everything; a new host has nothing yet.
        shelves = self._shelves if since is None else [shelf for shelf in self._shelves if shelf.label == "revision"]
        await asyncio.to_thread(self._take_published, shelves)

    async def _publish(self) -> None:
        await asyncio.to_thread(self._take_published, self._shelves)
        if new := await asyncio.to_thread(self._unpublished):
            await self._say(new)

    def _take_published(self, shelves: Sequence[Shelf]) -> None:
        for shelf in shelves:
            published = self.keyring.view.published.get(shelf.label, {})
            missing = published.keys() - shelf.names() - self._refused
            due = [said for name, said in published.items() if name in missing] if missing else []
            for said in self._whole([said for said in due if not 0 < said.until_ns < self._clock()]):
                self._put(shelf, said)

    def _whole(self, published: Sequence[Published]) -> list[Published]:
        """Return what was published with its text, which of some only the book has. It is read once for all."""
        briefs = self.keyring.view.briefs
        short = {(said.shelf, said.name) for said in published if not said.text}
        ids = {
            number
            for number, brief in briefs.items()
            if isinstance(brief.body, Published) and (brief.body.shelf, brief.body.name) in short
        }
        bodies = [message.body for message in self.keyring.book.messages(ids)] if short else []
        texts = {(body.shelf, body.name): body for body in bodies if isinstance(body, Published)}
        return [texts.get((said.shelf, said.name), said) for said in published]

    def _put(self, shelf: Shelf, said: Published) -> None:
        try:
            shelf.take(said.name, Kept(said.text, said.at_ns, said.until_ns))
        except ValueError as error:
            self._refused.add(said.name)
            _log.error("the %s %s, which another host has, %s", shelf.label, said.name, error)
        else:
            if shelf.label == "revision":
                _log.info("the revision %s was published on another host", said.name)

    def _unpublished(self, label: str = "") -> list[Body]:
        """Return messages with what is new on all shelves, or on one."""
        known = self.keyring.view.published
        return [
            Published(shelf=shelf.label, name=name, **shelf.kept(name)._asdict())
            for shelf in self._shelves
            if label in ("", shelf.label)
            for name in sorted(shelf.names() - known.get(shelf.label, {}).keys())
        ]

    # -- share --------------------------------------------------------------------------------------------------

    async def _share(self) -> None:
        if not await asyncio.to_thread(self._to_share):
            return
        async with lease(self._store, "hosts") as mine:  # it only saves work: nothing relies on it
            if mine:
                await self._hear()
                wraps = await asyncio.to_thread(lambda: self._wraps(self._to_share()))
                await self._say(wraps)

    def _to_share(self) -> list[Wrap]:
        ring, generation = self.keyring, self.keyring.generation
        if generation == self._nothing_to_share:
            return []
        view, me, missing = ring.view, ring.identity.id, list[Wrap]()
        others = view.names.keys() - view.retired.keys() - {me}
        for place in map(Place._make, ring.file.live()) if others else ():
            hosts = view.pubs.get(place, {}).keys() - view.retired.keys() - view.confirms.get(place, {}).keys() - {me}
            hosts -= {former for former in hosts & ring.identity.ids if self._is_own(place, former)}
            owners = view.in_use(place, me) if hosts else []
            wraps = [Wrap(place, owner, to) for to in sorted(hosts) for owner in owners if owner != to]
            missing += [wrap for wrap in wraps if wrap not in view.wraps and self._key(wrap) is not None]
        if not missing:
            self._nothing_to_share = generation
        return missing

    def _wraps(self, wanted: Sequence[Wrap]) -> list[Body]:
        # The recipients are on the disk before any wrap exists: the host lists them when it confirms, after it has
        # overwritten the slot.
        self.keyring.add(notes=sorted({("shared", wrap.place, wrap.to) for wrap in wanted}))
        by_day: dict[tuple[bytes, int], list[tuple[str, bytes, bytes]]] = {}
        publics = self._publics({(wrap.to, wrap.place.day) for wrap in wanted})
        for wrap in wanted:
            key, (public, _) = self._key(wrap), self.keyring.view.pubs[wrap.place][wrap.to]
            public = publics.get(public, public)
            if key is None:  # destroyed meanwhile
                continue
            try:
                enc = wrapped(key, public, context(wrap.place, wrap.owner, wrap.to, public))
            except ValueError as error:
                _log.error("%s: nothing can be wrapped for it: %s", self.keyring.view.name(wrap.to), error)
                continue
            by_day.setdefault((wrap.to, wrap.place.day), []).append((wrap.place.label, wrap.owner, enc))
        return [Wraps(day=day, to=to, keys=keys) for (to, day), keys in by_day.items()]

    def _is_own(self, place: Place, host: bytes) -> bool:
        try:
            secret = self.keyring.file.key(*place, create=False)
        except KeyDestroyed:
            return True
        return self.keyring.view.is_own(place, host, self.keyring.identity.ids, secret)

    def _publics(self, of: Set[tuple[bytes, int]]) -> dict[bytes, bytes]:
        """Return the public parts, by their digests, of these hosts and days that are here in brief."""
        briefs = self.keyring.view.briefs.values()
        ids = {brief.id for brief in briefs if isinstance(brief.body, Pub) and (brief.author, brief.body.day) in of}
        bodies = [message.body for message in self.keyring.book.messages(ids)] if ids else []
        parts = [part for body in bodies if isinstance(body, Pub) for part in body.parts.values()]
        return {digest_of_public(public): public for public, _ in parts}

    def _key(self, wrap: Wrap) -> bytes | None:
        try:
            secret = self.keyring.file.key(*wrap.place, create=False)
        except KeyDestroyed:
            return None
        return self.keyring.key_of(wrap.place, wrap.owner, secret)

    # -- the end ------------------------------------------------------------------------------------------------

    async def _put_back(self, doubtful: Set[UUID]) -> None:
        """
        Write again which of these messages the store has lost, and under another id that whose own is taken by
        something else.
        """
        ids = sorted(doubtful)
        for first in range(0, len(ids), _BATCH):
            lost = await self._lost(ids[first : first + _BATCH])
            if not lost:
                continue
            records = await asyncio.to_thread(self._records, lost)
            await self._store.append(records, durable=True)
            taken = await self._lost(lost)
            if again := [record for record in records if record.id in taken]:
                _log.warning(
                    "the store does not show message %s of a host any more, or another one of %d, since it was altered "
                    "there: it is written again under another id",
                    again[0].id, len(again),
                )  # fmt: skip
                await self._say([Again(record=encode_record(record)) for record in again])
            self._is_asking = True

    async def _lost(self, ids: Collection[UUID]) -> set[UUID]:
        """Return the messages of which the store does not have exactly the record that is known here."""
        view, there = self.keyring.view, await self._store.fetch(messages(*ids), limit=_BATCH)
        return set(ids).difference(record.id for record in there if view.has(record))

    def _records(self, ids: Set[UUID]) -> list[Record]:
        view = self.keyring.view
        records = [view.messages[number].record for number in ids if number in view.messages]
        in_brief = ids & view.briefs.keys()
        return records + [message.record for message in (self.keyring.book.messages(in_brief) if in_brief else ())]

    def _own(self) -> set[UUID]:
        """Return the messages of this host that are not over."""
        view, mine = self.keyring.view, self.keyring.identity.ids
        own = {number for number, message in view.messages.items() if message.author in mine}
        own |= {number for number, brief in view.briefs.items() if brief.author in mine}
        return own.difference(view.ended())

    async def _state(self) -> None:
        """State which keys this host holds, if it holds others than it said last."""
        if holds := await asyncio.to_thread(self._to_state):
            await self._say([holds])

    def _to_state(self) -> Holds | None:
        ring, me, generation = self.keyring, self.keyring.identity.id, self.keyring.generation
        if (generation, me) == self._nothing_to_state:
            return None
        view, places, used = ring.view, dict[str, list[int]](), dict[str, list[int]]()
        for place in map(Place._make, ring.file.live()):
            places.setdefault(place.label, []).append(place.day)
            if place in view.used or view.chosen.get(place) == me:
                used.setdefault(place.label, []).append(place.day)
        known = view.holds(me)
        holds = Holds(number=known.number + 1, places=_runs(places), used=_runs(used))
        if (holds.places, holds.used) == (known.places, known.used):
            self._nothing_to_state = generation, me
            return None
        return holds

    async def _confirm(self) -> None:
        if bodies := await asyncio.to_thread(self._to_confirm):
            await self._say(bodies)

    def _to_confirm(self) -> list[Body]:
        ring, me, generation = self.keyring, self.keyring.identity.id, self.keyring.generation
        if (generation, me) == self._nothing_to_confirm:
            return []
        view = ring.view
        owed = sorted(
            Place(day, label)
            for day, label in ring.file.destroyed()
            if label in view.labels.get(day, ()) and (day, label) not in view.over
        )
        bodies: list[Body] = [
            Confirm(day=place.day, label=place.label, shared=sorted(view.shared.get(place, ())))
            for place in owed
            if me not in view.confirms.get(place, {})
        ]
        if not bodies:
            self._nothing_to_confirm = generation, me
        return bodies

    async def _clear(self, fault: str) -> None:
        """Delete the messages that are over, here and in the store."""
        generation, view = self.keyring.generation, self.keyring.view
        if not fault:
            view.at_ns = self._clock()
        known = generation, view.at_ns // _HOUR_NS  # what was published for a while may wait an hour
        if known == self._nothing_over:
            return
        over = view.ended()
        gone = [*over, *(again for number in over for again in self._repeats.pop(number, ()))]
        for first in range(0, len(gone), _BATCH):
            await self._store.delete(messages(*gone[first : first + _BATCH]))
        if len(over) > len(view.forget_former_holds()) or self.keyring.book.is_long:
            await asyncio.to_thread(self.keyring.book.compact)
            await asyncio.to_thread(self.keyring.file.announce)
        else:
            self._nothing_over = known

    async def _tell_how_it_is(self, fault: str) -> None:
        others = self.keyring.view.names.keys() - self.keyring.view.retired.keys() - {self.keyring.identity.id}
        is_due = abs(self._clock() - self._beat_ns) >= (_AMONG_OTHERS_NS if others else _BEAT_NS)
        if is_due or (others and (self._is_aloud or self._is_asking)):
            await self._say_how_it_is(fault)

    async def _say_how_it_is(self, fault: str, *, left: bool = False) -> None:
        # In this order: what is shared, the clock, the spool. So each value is exact or claims too little about what
        # was written before.
        unshared, now_ns = bool(await asyncio.to_thread(self._to_share)), self._clock()
        facts = await asyncio.to_thread(self._facts)
        ahead = self._store_clock.ahead.total_seconds()
        self._sent.append(now_ns / 1e9)
        (said,) = await self._say(
            [
                Beat(
                    **facts._replace(unshared=facts.unshared or unshared)._asdict(),
                    run=self._run,
                    at=now_ns / 1e9,
                    fault=fault,
                    ahead=ahead,
                    left=left,
                    began=self._beat is None,
                    holds=self.keyring.view.holds(self.keyring.identity.id).number,
                    is_aloud=self._is_aloud,
                    asks=self._is_asking,
                )
            ]
        )
        self._is_aloud = self._is_asking = False
        if self._beats:
            await self._store.delete(messages(*self._beats))
        self._beat, self._beats = said.record.id, {said.record.id}
        self._beat_ns = now_ns
