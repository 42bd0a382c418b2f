"""A host without a server: the real parts in a directory of its own, on a clock and over a store that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.hosts import hosts
from consent_mw.hosts.hosts import Hosts
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.pulse import Facts
from consent_mw.hosts.register import Register
from consent_mw.paths import Places
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Record, new_id
from consent_mw.rights.ledger import Ledger
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.stores.base import Store
from consent_mw.system.days import DAY_NS

hosts._TRY_SECONDS = 0.05  # type: ignore[misc]  # a quarter of a second for each key of a test is most of its time

SECRET = b"a secret of this site"
DAY = 20_780
LABELS = ("analytics", "receipts")


class _Clock:
    """That of a host, compared with the store's unless it is `invented`."""

    def __init__(self, host: OneHost, *, invented: bool) -> None:
        self._host = host
        self.invented = invented

    def __call__(self) -> int:
        return self._host.now_ns


class OneHost:
    """A host at a clock that does not move."""

    def __init__(
        self, directory: Path, store: Store, secrets: Sequence[bytes] = (SECRET,), *, invented: bool = True
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.places = Places(directory)
        self.site_keys = SiteKeys.kept(self.places.site_keys, secrets)
        self.now_ns = DAY * DAY_NS + DAY_NS // 2
        self.oldest: float | None = None  # of what waits in its spool
        self.store = store
        self.clock = _Clock(self, invented=invented)
        self.begin()

    def begin(self) -> None:
        """Start it, again where it ran before."""
        self.keyring = SharedKeyring.of_site(self.places, self.site_keys)
        self.sealer = Sealer(self.keyring, self.site_keys)
        self.signing = Sealer.without_keys(self.site_keys)
        clock, lock = self.clock, self.places.hosts_lock
        self.revisions, self.wordings = Revisions(self.places.revisions), Wordings(self.places.wordings)
        self.ledger, self.ledger_of_others = Ledger(self.places.erasures), Ledger(self.places.erasures_of_hosts)
        erasures = LedgerShelf(self.ledger, self.ledger_of_others, clock)
        shelves = (self.revisions, self.wordings, erasures)
        self.hosts = Hosts(self.store, self.keyring, self.signing, lock, self.facts, clock, shelves)
        self.register = Register(self.store, self.keyring, self.signing)

    def facts(self) -> Facts:
        return Facts(self.places.directory.name, "1", 1, self.oldest, self.places.archive.exists())

    async def agree(self, *days: int) -> None:
        await self.hosts.agree([(day, label) for day in days or (DAY,) for label in LABELS])

    def seal(self, plain: bytes = b"x") -> Record:
        return self.sealer.record(new_id(self.now_ns), "visit", "analytics", plain=plain)

    def token(self, value: bytes = b"kim") -> bytes:
        return self.sealer.token(DAY, "analytics", value)


async def settle(*hosts: OneHost, times: int = 3) -> None:
    for _ in range(times):
        for host in hosts:
            await host.hosts.sync()


async def beside(work: Coroutine[Any, Any, object], *others: OneHost) -> None:
    """Do something while the other hosts run."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await settle(*others, times=1)
        await asyncio.sleep(0.02)
    await task


async def start(*hosts: OneHost) -> None:
    """Start hosts at the same moment."""
    await beside(_all(*hosts), *hosts)


async def _all(*hosts: OneHost) -> None:
    await asyncio.gather(*(host.agree() for host in hosts))
