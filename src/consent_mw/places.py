"""Where everything stands in a data directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from consent_mw.exceptions import ConfigurationError

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
            ConfigurationError: It cannot be made, or this user cannot write it.
        """
        mend = "give a directory that this user may write"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory}: the data directory cannot be made ({error.strerror}); {mend}"
            ) from error
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{self.directory}: the data directory is not writable; {mend}")

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
        """What signs the records. `secret_keys` bring it back, so a backup need not hold it."""
        return self.directory / "site-keys"

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
