"""What a command reads records from, and on whose errand: the log of a site, or the archive that a law demands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from consent_mw.cli.access import asked, from_whom
from consent_mw.cli.archive_list import ReadArchive, archive_of, laws_of
from consent_mw.cli.instant import Instant
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.site_options import log_store, where
from consent_mw.cli.terminal import FAULT, complain
from consent_mw.crypto.keyring import Keyring
from consent_mw.paths import Places
from consent_mw.records import Query
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand
from consent_mw.staff.existing_site import check_purposes, existing_store
from consent_mw.stores import is_shared
from consent_mw.stores.base import Store


class Source(NamedTuple):
    """An existing store, the keyring that opens its records (None if there is none), and the errand."""

    store: Store
    keyring: Keyring | None
    errand: Errand


class SourceOptions(NamedTuple):
    """The options that say which records are read, why, and by whom, as they were typed."""

    directory: Path
    url: str | None
    ring: str | None
    log_urls: Sequence[str]
    archive: bool
    basis: str | None
    since: datetime | None
    until: datetime | None
    reason: str | None
    name: str

    @property
    def places(self) -> Places:
        """The files of the site."""
        return Places(self.directory)

    def query(self, kinds: Sequence[str], purposes: Sequence[str]) -> Query:
        """Return what is asked of the store."""
        return Query(kinds=frozenset(kinds), purposes=frozenset(purposes) or None, since=self.since, until=self.until)

    def source(self, command: str, purposes: Sequence[str]) -> Source:
        """
        Return what `command` reads the records of `purposes` from.

        Raises:
            ConfigurationError: There is no such store, or no such purpose.
            click.UsageError: The archive is read without a legal basis, or options do not go together.
        """
        since, until = (time.isoformat() if time else "" for time in (self.since, self.until))
        errand = Errand(command, purposes, self.reason, self.name, since, until)
        if self.archive:
            return self._archive(errand)
        if self.basis is not None:
            raise click.UsageError("a legal basis opens the archive; add --archive, or give a --reason instead")
        store = existing_store(self.places, self.url, self.log_urls)
        check_purposes(self.places, purposes)
        return Source(store, keyring_at(self.places, self.ring), asked(errand))

    def _archive(self, errand: Errand) -> Source:
        if self.reason is not None:
            raise click.UsageError("--reason does not go with --archive; give a --basis")
        if len(errand.purposes) != 1:
            raise click.UsageError("the archive is read for one purpose; add --purpose")
        archive, laws = self.existing_archive(), laws_of(self.places, errand.purposes[0])
        errand = errand._replace(basis=_stated(self.basis), laws=laws)
        complain(*(f"note: {errand.purposes[0]} is held by: {law}" for law in laws))
        return Source(*archive, errand)

    def existing_archive(self) -> ReadArchive:
        """
        Return the archive that is meant.

        Raises:
            ConfigurationError: There is none.
            click.UsageError: Options do not go together.
        """
        shared = self.url is not None and is_shared(self.url)
        others = {"--store": self.url, "--log-store": self.log_urls or None, "--keyring": self.ring}
        for option, value in others.items():
            if value is not None and (not shared or option == "--log-store"):
                raise click.UsageError(f"{option} does not go with --archive, which has a file and keys of its own")
        return archive_of(self.places, self.url, self.ring)


def source_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that say what it reads. It gets them as one value, `options`."""

    @wraps(command)
    def with_options(**values: Any) -> int:
        options = SourceOptions(**{name: values.pop(name) for name in SourceOptions._fields})
        if options.since and options.until and options.since >= options.until:
            raise click.UsageError("--since is not before --until")
        return command(options=options, **values)

    until = click.option("--until", type=Instant(), help="Up to this time, without it.")
    since = click.option("--since", type=Instant(), help="From this time on: 2026-11-23 or 2026-11-23T09:00+09:00.")
    basis = click.option("--basis", help="The legal basis for --archive, such as an order with its number; recorded.")
    archive = click.option(
        "--archive",
        is_flag=True,
        help="Read what a law demands to be kept longer, instead of the log; of several hosts with --store.",
    )
    return where(ring_option(log_store(archive(basis(since(until(from_whom(with_options))))))))


def exit_code_of(access: Access) -> int:
    """Return the exit code of a reading, and say what could not be opened. A destroyed key is not an error."""
    if access.records == 0 and access.demanded:
        complain("note: the archive holds no record of this purpose and period")
    for why, count in sorted(access.closed.items()):
        complain(f"note: the personal fields of {count} records are missing: {_WHY[why]}")
    return FAULT if access.unreadable or access.changed else 0


_WHY = {
    "sealed": "they stay sealed; to read them give --purpose and --reason",
    "destroyed": "they were destroyed",
    "of another keyring": "another keyring sealed them, or the key file is gone; read them where it is",
    "unreadable": "they were changed since they were sealed, or the keyring cannot be reached",
}


def _stated(basis: str | None) -> str:
    """Return the basis; asked for at a terminal where it is missing. Raises click.UsageError where there is none."""
    if basis is None and sys.stdin.isatty() and sys.stderr.isatty():
        basis = click.prompt("On what legal basis? It is recorded", default="", show_default=False, err=True)
    if not (basis or "").strip():
        raise click.UsageError("the archive is opened on a legal basis only; add --basis 'the order and its number'")
    return str(basis).strip()
