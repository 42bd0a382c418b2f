"""Where everything stands in a data directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.lock_probe import lock_fault
from consent_mw.system.ownership import check_directory, check_file, make_directory

__all__ = ["DATA_DIRECTORY", "Places"]

#: What the data directory is called unless another is given; it stands beside the policy's file.
DATA_DIRECTORY = "consent-data"


@dataclass(frozen=True, slots=True)
class Places:
    """The files and directories that a site keeps below `directory`."""

    directory: Path

    @classmethod
    def beside(cls, policy_file: Path) -> Places:
        """Return the places of the site whose policy is `policy_file`."""
        return cls(policy_file.parent / DATA_DIRECTORY)

    def prepare(self) -> None:
        """
        Make the directory (mode 0700) if it is missing.

        Raises:
            ConfigurationError: It cannot be made, or this user cannot write it; or another user could put files of
                their own into it, see `check`; or locks do not hold there.
        """
        mend = "give a directory that this user may write"
        try:
            make_directory(self.directory)
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory}: the data directory cannot be made ({error.strerror}); {mend}"
            ) from error
        self.check()
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{self.directory}: the data directory is not writable; {mend}")
        if fault := self.lock_fault:
            raise ConfigurationError(fault)

    @property
    def lock_fault(self) -> str:
        """What is wrong with the locks here, with the fix; "" where they hold between processes."""
        fault = lock_fault(self.directory)
        mend = "give a directory on a local disk (directory=): else the store and the keys are damaged"
        return f"{self.directory}: locks do not hold here, {fault}; {mend}" if fault else ""

    def check(self) -> None:
        """
        Refuse what lets another user of this machine replace the keys, or what else is kept. What is not there is fine.

        A file is never reached by a link; a directory may be, by one of this user or of root.

        Raises:
            ConfigurationError: Another user could, or it cannot be seen; the message has the command that ends it.
        """
        place = self.directory
        try:
            for place in (self.directory, self.spool, self.wordings, self.revisions):
                if place.exists():
                    check_directory(place, self.directory)
            for place in self._files():
                check_file(place)
        except OSError as error:
            raise ConfigurationError(
                f"{place}: cannot be looked at ({error.strerror}); give a directory of this user"
            ) from error

    def _files(self) -> Iterator[Path]:
        yield from (
            self.keys,
            self.archive_keys,
            self.site_keys,
            self.rings,
            self.audit,
            self.audit_head,
            self.audit_head.with_suffix(".seen"),
            self.erasures,
            self.host_identity,
            self.host_book,
        )
        yield from (self.drain_lock, self.erasure_lock, self.destruction_lock, self.requests_lock, self.hosts_lock)
        for database in (self.database, self.archive):
            yield database
            yield from (database.with_name(f"{database.name}{ending}") for ending in ("-wal", "-shm", "-journal"))

    @property
    def database(self) -> Path:
        """The embedded store."""
        return self.directory / "consent.sqlite3"

    @property
    def keys(self) -> Path:
        """The file keyring. Leave it out of every backup: a restored key is a key that was not destroyed."""
        return self.directory / "keys"

    @property
    def site_keys(self) -> Path:
        """What signs the records. `secret_keys` bring it back, but for what was taken out of them."""
        return self.directory / "site-keys"

    @property
    def rings(self) -> Path:
        """Names of the keyrings that were used here, and no keys."""
        return self.directory / "rings.jsonl"

    @property
    def host_identity(self) -> Path:
        """What signs what this host says to others of the same site. Of no backup: a copy would be another host."""
        return self.directory / "host-identity"

    @property
    def host_book(self) -> Path:
        """What this host knows of the others, and of whose keys; no key lies in it unwrapped."""
        return self.directory / "hosts.jsonl"

    @property
    def hosts_lock(self) -> Path:
        """Held by whoever speaks with the other hosts: one process of the machine at a time."""
        return self.directory / "hosts.lock"

    @property
    def drain_lock(self) -> Path:
        """Held by the process that drains for the workers of this machine."""
        return self.directory / "drain.lock"

    @property
    def spool(self) -> Path:
        """The directory of segments that wait for the store."""
        return self.directory / "spool"

    @property
    def wordings(self) -> Path:
        """The directory of the words that visitors were shown, for the receipts that name them."""
        return self.directory / "wordings"

    @property
    def revisions(self) -> Path:
        """The directory of every declaration that was in force."""
        return self.directory / "revisions"

    @property
    def audit(self) -> Path:
        """The chain of who read personal fields."""
        return self.directory / "audit.jsonl"

    @property
    def audit_head(self) -> Path:
        """Where that chain ends."""
        return self.directory / "audit.head"

    @property
    def archive(self) -> Path:
        """The store of what a law demands beyond its purpose. Used for nothing else."""
        return self.directory / "archive.sqlite3"

    @property
    def archive_keys(self) -> Path:
        """The archive's own file keyring. Of no backup either."""
        return self.directory / "archive-keys"

    @property
    def erasures(self) -> Path:
        """The ledger of erasures, which are carried out again after a restored backup. Keep it out of that backup."""
        return self.directory / "erasures.jsonl"

    @property
    def erasure_lock(self) -> Path:
        """Held by whoever erases: one process of the machine at a time."""
        return self.directory / "erasure.lock"

    @property
    def destruction_lock(self) -> Path:
        """Held by whoever destroys what has ended: one process of the machine at a time."""
        return self.directory / "destruction.lock"

    @property
    def requests_lock(self) -> Path:
        """Held by whoever answers a request of a visitor: one process of the machine at a time."""
        return self.directory / "requests.lock"
