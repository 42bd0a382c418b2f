"""The paths of all files in a data directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.lock_probe import lock_fault
from consent_mw.system.ownership import check_directory, check_file, make_directory

#: The default name of the data directory, beside the policy's file.
DATA_DIRECTORY = "consent-data"


@dataclass(frozen=True, slots=True)
class Places:
    """The files and directories that a site keeps below `directory`."""

    directory: Path

    @classmethod
    def beside(cls, policy_file: Path) -> Places:
        """Return the places of the site whose policy file is `policy_file`."""
        return cls(policy_file.parent / DATA_DIRECTORY)

    def prepare(self) -> None:
        """
        Create the directory (mode 0700) if it is missing.

        Raises:
            ConfigurationError: The directory cannot be created, or this user cannot write it; or another user could
                put files into it, see `check`; or locks do not hold there.
        """
        fix = "give a directory that this user may write"
        try:
            make_directory(self.directory)
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory}: the data directory cannot be made ({error.strerror}); {fix}"
            ) from error
        self.check()
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{self.directory}: the data directory is not writable; {fix}")
        if fault := self.lock_fault:
            raise ConfigurationError(fault)

    @property
    def lock_fault(self) -> str:
        """What is wrong with the locks here, with the fix; "" if they hold between processes."""
        fault = lock_fault(self.directory)
        fix = "give a directory on a local disk (directory=): else the store and the keys are damaged"
        return f"{self.directory}: locks do not hold here, {fault}; {fix}" if fault else ""

    def check(self) -> None:
        """
        Refuse files and directories that another user of this machine could replace, such as the keys.

        A missing one is accepted. A file may not be a link. A directory may be a link that this user or root owns.

        Raises:
            ConfigurationError: Another user could replace one, or it cannot be examined. The message has the command
                that fixes it.
        """
        place = self.directory
        try:
            for place in (self.directory, self.spool, *self._shelves):
                if os.path.lexists(place):  # a link that leads nowhere or to itself is there, and cannot be used
                    check_directory(place, self.directory)
            for place in self._files():
                check_file(place)
        except OSError as error:
            raise ConfigurationError(
                f"{place}: cannot be looked at ({error.strerror}); give a directory of this user"
            ) from error

    @property
    def emptied(self) -> list[str]:
        """
        What was cut to 0 bytes, one line each, with the fix. Otherwise only locks and SQLite's logs are empty. The
        store refuses its own file, and is left out.
        """
        kept = (path for place in self._shelves if place.is_dir() for path in sorted(place.iterdir()))
        fine = {self.database, *self._unbegun_chain}
        return [line for path in (*self._contents(), *kept) if path not in fine and (line := cut_off(path))]

    @property
    def _unbegun_chain(self) -> tuple[Path, ...]:
        """The files of an audit chain whose first entry could not be written, as on a full disk: they are empty."""
        files = (self.audit, self.audit_head)
        is_begun = self._audit_seen.exists() or any(file.exists() and file.stat().st_size for file in files)
        return () if is_begun else files

    @property
    def _audit_seen(self) -> Path:
        return self.audit_head.with_suffix(".seen")

    @property
    def _shelves(self) -> tuple[Path, ...]:
        """The directories of what is kept in a file each."""
        return self.wordings, self.revisions, self.audit_of_hosts

    def _contents(self) -> Iterator[Path]:
        yield from (
            self.keys,
            self.archive_keys,
            self.site_keys,
            self.rings,
            self.audit,
            self.audit_head,
            self._audit_seen,
            self.erasures,
            self.erasures_of_hosts,
            self.host_identity,
            self.host_book,
            self.database,
            self.archive,
            self.keyring_name,
        )

    def _files(self) -> Iterator[Path]:
        yield from self._contents()
        yield from (self.drain_lock, self.erasure_lock, self.destruction_lock, self.requests_lock, self.hosts_lock)
        yield self.site_lock
        for database in (self.database, self.archive):
            yield from (database.with_name(f"{database.name}{ending}") for ending in ("-wal", "-shm", "-journal"))

    @property
    def database(self) -> Path:
        """The file of the embedded store."""
        return self.directory / "consent.sqlite3"

    @property
    def keys(self) -> Path:
        """The file keyring. Keep it out of every backup: a restored key is a key that was not destroyed."""
        return self.directory / "keys"

    @property
    def site_keys(self) -> Path:
        """The keys that sign records. They can be made again from `secret_keys`, except those of removed secrets."""
        return self.directory / "site-keys"

    @property
    def rings(self) -> Path:
        """The names of the keyrings that were used here. Contains no keys."""
        return self.directory / "rings.jsonl"

    @property
    def erasures_of_hosts(self) -> Path:
        """The ledger of what other hosts of the site erased."""
        return self.directory / "erasures-of-hosts.jsonl"

    @property
    def audit_of_hosts(self) -> Path:
        """The audit chains of all hosts of the site, as each told the others."""
        return self.directory / "audit-of-hosts"

    @property
    def keyring_name(self) -> Path:
        """The name of the keyring in a key service, for a start while the service is away. Contains no keys."""
        return self.directory / "keyring-name"

    @property
    def host_identity(self) -> Path:
        """
        The key that signs this host's messages to the other hosts of the site.

        Keep it out of every backup: a copy would become another host.
        """
        return self.directory / "host-identity"

    @property
    def host_book(self) -> Path:
        """What this host knows about the other hosts and their keys. Every key in it is wrapped."""
        return self.directory / "hosts.jsonl"

    @property
    def site_lock(self) -> Path:
        """The lock of all processes that serve the site or drain for it, which `restore` takes alone."""
        return self.directory / "site.lock"

    @property
    def hosts_lock(self) -> Path:
        """The lock of the process that exchanges messages with the other hosts, one on the machine at a time."""
        return self.directory / "hosts.lock"

    @property
    def drain_lock(self) -> Path:
        """The lock of the process that drains for the workers of this machine."""
        return self.directory / "drain.lock"

    @property
    def spool(self) -> Path:
        """The directory of segments that wait for the store."""
        return self.directory / "spool"

    @property
    def wordings(self) -> Path:
        """The directory of the words that visitors were shown. Receipts refer to them."""
        return self.directory / "wordings"

    @property
    def revisions(self) -> Path:
        """The directory of every declaration that was in force."""
        return self.directory / "revisions"

    @property
    def audit(self) -> Path:
        """The audit chain: who read personal fields."""
        return self.directory / "audit.jsonl"

    @property
    def audit_head(self) -> Path:
        """The end of the audit chain."""
        return self.directory / "audit.head"

    @property
    def archive(self) -> Path:
        """The store of records that a law demands to keep after their purpose ended. Used for nothing else."""
        return self.directory / "archive.sqlite3"

    @property
    def archive_keys(self) -> Path:
        """The archive's own file keyring. Keep it out of backups too."""
        return self.directory / "archive-keys"

    @property
    def erasures(self) -> Path:
        """The ledger of erasures, which are repeated after a backup was restored. Keep it out of that backup."""
        return self.directory / "erasures.jsonl"

    @property
    def erasure_lock(self) -> Path:
        """The lock of the process that erases, one on the machine at a time."""
        return self.directory / "erasure.lock"

    @property
    def destruction_lock(self) -> Path:
        """The lock of the process that destroys what has ended, one on the machine at a time."""
        return self.directory / "destruction.lock"

    @property
    def requests_lock(self) -> Path:
        """The lock of the process that answers a visitor's request, one on the machine at a time."""
        return self.directory / "requests.lock"


def cut_off(path: Path) -> str:
    """What is wrong with a file that is never empty, if it is, with the fix; else ""."""
    if not path.is_file() or path.stat().st_size:
        return ""
    return f"{path}: is empty (0 bytes), so its content was cut off; put it back from a copy, or else remove it"
