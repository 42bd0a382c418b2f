"""One host of a site: the steps by which it keeps up with the other hosts, through the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Final

from consent_mw.audit import Audit
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.successive_keys import SuccessiveKeyring
from consent_mw.crypto.transit import TransitKeyring
from consent_mw.exceptions import KeyDestroyed, StoreError
from consent_mw.hosts.audit_shelf import AuditShelf
from consent_mw.hosts.hearing import Hearing
from consent_mw.hosts.joining import Joining
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.leftovers import Leftovers
from consent_mw.hosts.link import Link
from consent_mw.hosts.losses import Losses
from consent_mw.hosts.messages import Chosen, Place, chosen_id
from consent_mw.hosts.pulse import Facts, Pulse
from consent_mw.hosts.register import Register, Spools
from consent_mw.hosts.sharing import Sharing
from consent_mw.hosts.shelves import Shelves
from consent_mw.hosts.statements import Statements
from consent_mw.paths import Places
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.lease import lease
from consent_mw.system.days import instant_of
from consent_mw.system.locks import alone
from consent_mw.system.memory import give_back
from consent_mw.system.shelf import Shelf

_log = logging.getLogger("consent_mw")

_SYNC_SECONDS: Final = 2.0
#: How long a start waits for keys of running hosts. A host that is down cannot delay it.
_PATIENCE_SECONDS: Final = 5.0
_TRY_SECONDS: Final = 0.25


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
        link = Link(store, keyring, sealer, clock)
        self._link = link
        self.keyring = keyring
        self._lock = lock
        self._joining = Joining(keyring, lambda: facts().name)
        self._sharing = Sharing(keyring)
        self._pulse = Pulse(link, facts, self._sharing.is_behind)
        self._hearing = Hearing(link, self._pulse, self._joining)
        self._shelves = Shelves(link, shelves)
        self._losses = Losses(link, self._pulse, self._hearing)
        self._statements = Statements(keyring)
        self._leftovers = Leftovers(link, self._hearing)
        self._is_starting = False
        self._trouble = ""
        self._synced = False

    @property
    def restored(self) -> int:
        """How often the store went back in time since this process began."""
        return self._hearing.restored

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
            self._hearing.read_all_next()
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
                    await self._pulse.tell("", left=True)

    async def spools(self, instant: datetime) -> Spools:
        """
        Return which hosts may still hold something in their spools from before `instant` (aware).

        If no host does, this host has read everything that they have shared until now. Raises StoreError and OSError.
        """
        link = self._link
        register = Register(link.store, link.keyring, link.sealer, heard=self._hearing.latest)
        spools = await register.spools(instant, instant_of(link.clock()))
        until = time.monotonic() + _PATIENCE_SECONDS
        while spools.past and not spools.waiting and not await self.sync():
            if time.monotonic() > until:
                raise StoreError(f"{self._lock}: another process of this machine holds it for long; end that process")
            await asyncio.sleep(_TRY_SECONDS)
        return spools

    async def publish(self, label: str) -> None:
        """Publish what is new on one shelf now, and not within seconds. Raises StoreError and OSError."""
        if new := await asyncio.to_thread(self._shelves.due, label):
            await self._link.say(new)

    async def catch_up(self) -> None:
        """
        Take over what other hosts published, before this host decides which revision is in force.

        Raises StoreError and OSError.
        """
        since = await asyncio.to_thread(self._hearing.missed_since)
        await self._hearing.hear_publications(since)
        # The rest follows with the first sync that reads everything; a new host has nothing yet.
        await asyncio.to_thread(self._shelves.take, "" if since is None else "revision")

    async def agree(self, places: Iterable[tuple[int, str]]) -> None:
        """
        Ask for the keys of these places, and wait a few seconds for those of the first day.

        Never raises. A key that does not come stays wanted, and this host seals under its own key meanwhile.
        """
        self._joining.want(places)
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
        self._joining.expect(places)
        until = time.monotonic() + _PATIENCE_SECONDS
        while missing := await asyncio.to_thread(self._joining.not_agreed):
            await self.run()
            if self._trouble or time.monotonic() > until:
                break
            await asyncio.sleep(_TRY_SECONDS)
        for place in missing:
            with suppress(KeyDestroyed, StoreError):
                await asyncio.to_thread(self.keyring.key, *place, create=True)

    def _is_agreed(self) -> bool:
        return self._joining.is_agreed(synced=self._synced)

    # -- its work -----------------------------------------------------------------------------------------------

    async def sync(self) -> bool:
        """Do all steps once; return False if another process of this machine does. Raises StoreError and OSError."""
        with alone(self._lock) as mine:
            if mine:
                await self._sync()
                self._synced = True
            return mine

    async def _sync(self) -> None:
        self._pulse.begin()
        # The site waits for the first sync of its start, for the keys of the day alone. The next one, two seconds
        # later, reads everything, and looks at all living places: an old site has ten thousand.
        since = await asyncio.to_thread(self._hearing.missed_since) if self._is_starting else None
        self._is_starting = False
        stands = await self._hearing.hear_in_turn(since)
        await self._be_oneself()
        if since is None:
            await self._publish()
        fault = await self._link.store_clock.fault(instant_of(self._link.clock()))
        if not fault:
            await self._join(of_all=since is None)
        if since is None:
            await self._share()
            await self._losses.put_back(stands)
            # It states what it holds before it confirms: so it never claims a key of a place that it has confirmed.
            await self._link.say(await asyncio.to_thread(self._statements.of_keys))
            await self._link.say(await asyncio.to_thread(self._statements.of_overwritten))
            await self._leftovers.clear(fault)
        await self._pulse.tell_if_due(fault)
        if stands is not None:
            await asyncio.to_thread(give_back)

    async def _be_oneself(self) -> None:
        identity = self.keyring.identity
        if identity.id in self.keyring.view.retired:
            _log.error("this host was retired by an operator, and is back: it goes on as a new one")
            await asyncio.to_thread(identity.renew)

    async def _join(self, *, of_all: bool) -> None:
        bodies = await asyncio.to_thread(self._joining.due, of_all=of_all)
        await self._link.say(bodies)
        await self._hearing.ask([chosen_id(Place(body.day, body.label)) for body in bodies if isinstance(body, Chosen)])

    async def _publish(self) -> None:
        await asyncio.to_thread(self._shelves.take)
        await self._link.say(await asyncio.to_thread(self._shelves.due))

    async def _share(self) -> None:
        if not await asyncio.to_thread(self._sharing.is_behind):
            return
        async with lease(self._link.store, "hosts") as mine:  # it only saves work: nothing relies on it
            if mine:
                await self._hearing.hear()
                await self._link.say(await asyncio.to_thread(self._sharing.due))
