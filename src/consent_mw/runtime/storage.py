"""The storage of a site: its files, its store, its spool and its keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.keyring import FileKeyring, ForeignKeyring, Keyring, rings_of
from consent_mw.crypto.known_keyrings import KnownRings, Where
from consent_mw.crypto.sealer import PlainSealer, Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.transit import TransitKeyring
from consent_mw.hosts.hosts import Hosts
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.succession import after_own_keys
from consent_mw.paths import Places
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.retention.archive import Archive
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.runtime.options import Options
from consent_mw.spool.spool import Spool
from consent_mw.stores import each_of, earlier_stores, is_shared, site_store, store_from, without_password
from consent_mw.stores.base import Store
from consent_mw.stores.used import UsedStores, canonical

_log = logging.getLogger("consent_mw")

#: How long a start waits for what other hosts have published.
_START_SECONDS: Final = 10.0

_JOINED = """%s: what this site kept here before it had another store is still read, erased and destroyed here; leave it
where it is, or move it: consent-mw store move (and if it is gone for good, take it out of stores.json)"""
_GONE = """%s: this site kept its records here, and the file is gone. Stop the site and put it back, or restore a
backup: consent-mw restore; else it goes on with a new one, in which nothing is"""
_MISSING_RING = """%s: the keyring %s was used here before, and now it is %s: what the first one sealed cannot be read,
requests among it, and those visitors cannot be erased. Put its key file back and start again; if it is gone for good,
say so: consent-mw purge --lost %s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """
    The disks, stores and keys that all revisions of a site share.

    Attributes:
        among_hosts: Whether hosts of the site report to each other through the store.
        clock: Returns nanoseconds since 1970.
    """

    places: Places
    revisions: Revisions
    wordings: Wordings
    store: Store
    spool: Spool
    keyring: Keyring
    site_keys: SiteKeys
    among_hosts: bool
    clock: Callable[[], int]

    @classmethod
    def of(cls, options: Options, places: Places, secret_keys: tuple[bytes, ...]) -> Storage:
        """
        Return the storage that these options name.

        Args:
            secret_keys: The secrets that the keys of the site are derived from, oldest to newest.

        Raises:
            ConfigurationError, SpoolError: The keys, the store or the directory cannot be used.
        """
        for line in places.emptied:
            _log.error(line)
        site_keys = SiteKeys.kept(places.site_keys, secret_keys)
        logs = each_of(options.log_store)
        if options.store is None or isinstance(options.store, str):
            named_logs = [url for url in logs if isinstance(url, str)]
            _use(places, options.store or f"sqlite:///{places.database}", named_logs)
        storage = cls(
            places=places,
            revisions=Revisions(places.revisions),
            wordings=Wordings(places.wordings),
            store=site_store(places.database, options.store, options.log_store),
            spool=Spool(
                places.spool,
                budget_bytes=options.spool_bytes,
                reserve_bytes=options.spool_bytes // 16,
                segment_bytes=min(8 << 20, options.spool_bytes // 8),
                sync_interval=options.sync_interval,
                clock=options.clock,
            ),
            keyring=_keyring(options, places, site_keys),
            site_keys=site_keys,
            among_hosts=is_shared(options.store),
            clock=options.clock,
        )
        storage.spool.stay(places.site_lock)
        for url in earlier_stores(places.database, options.store or f"sqlite:///{places.database}", *logs):
            _log.warning(_JOINED, without_password(url).removeprefix("sqlite:///"))
        return storage

    def sealer(self, policy: Policy) -> Sealer:
        """Return the sealer of records under a policy."""
        if policy.seal:
            return Sealer(self.keyring, self.site_keys)
        _log.warning(
            "%s: log.seal = false: personal fields are written as they are, and nothing can be destroyed for good; "
            "remove it, unless this is a test",
            policy.file,
        )
        return PlainSealer(self.keyring, self.site_keys)

    def know_keyrings(self, archive: Archive | None, *, given: bool) -> None:
        """
        Remember the keyrings in use here, and log which of those used before are missing now.

        Args:
            given: Whether the live keyring is the application's own.

        Raises:
            ConfigurationError: The list cannot be read or written.
        """
        known, keyrings = KnownRings(self.places.rings), {self.places.keys: self.keyring}
        if archive is not None:
            keyrings[self.places.archive_keys] = archive.sealer.keyring
        for file, keyring in keyrings.items():
            where: Where = "live" if file == self.places.keys else "archive"
            at_hand = {*rings_of(keyring), *([archive.earlier.ring] if archive and archive.earlier else [])}
            for name in known.missing(where, *at_hand):
                _log.error(_MISSING_RING, file, name, keyring.name, name)
            known.remember(where, keyring, given=where == "live" and given)

    def hosts(self, revision: Callable[[], int]) -> Hosts | None:
        """
        Return the part that this host keeps of what several hosts share; None if the site has only one host.

        Args:
            revision: Returns the number of the revision in force.
        """
        return Hosts.of_site(
            self.places,
            self.store,
            self.keyring,
            self.site_keys,
            revision=revision,
            oldest=lambda: self.spool.backlog.oldest,
            clock=self.clock,
            shelves=(self.revisions, self.wordings, LedgerShelf.of_site(self.places, self.clock)),
            among_hosts=self.among_hosts,
        )

    def catch_up(self, hosts: Hosts) -> str:
        """Fetch what other hosts have published; return why that failed, or an empty text."""

        async def asked() -> str:
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await hosts.catch_up()
            except Exception as error:  # noqa: BLE001 - a store of somebody else's: whatever it raises
                return str(error) or f"the store did not answer within {_START_SECONDS:.0f} seconds"
            finally:
                await self.store.close()  # on this loop; later work opens it on its own loop
            return ""

        with ThreadPoolExecutor(1) as one:  # a thread, because the caller may or may not be on a loop
            return one.submit(asyncio.run, asked()).result()


def _use(places: Places, url: str, logs: Sequence[str]) -> None:
    """Note the stores of this start, and log where its file was there at an earlier one and is not now."""
    path, used = getattr(store_from(url), "path", None), UsedStores.beside(places.database)
    # This lock is taken once the store was opened: a process that ended before it, or never served, kept nothing.
    had_begun = used.store == canonical(url) and places.destruction_lock.exists()
    if had_begun and isinstance(path, Path) and not path.exists():
        _log.error(_GONE, path)
    used.use(url, logs)


def _keyring(options: Options, places: Places, site_keys: SiteKeys) -> Keyring:
    if isinstance(options.keyring, str):
        service = TransitKeyring(options.keyring, kept=places.keyring_name, clock=options.clock)
        return after_own_keys(service, places, site_keys, among_hosts=is_shared(options.store))
    if options.keyring is not None:
        return ForeignKeyring(options.keyring)
    if is_shared(options.store) or places.host_book.exists():  # a site that had a database brings this file along
        return SharedKeyring.of_site(places, site_keys)
    return FileKeyring(places.keys)
