"""The keys that sign every record of a site. They come from `secret_keys`, so all hosts of a site have the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Final

from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import cut_off
from consent_mw.system import durable
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import unlinked

KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_TAG_BYTES: Final = 16
#: A mark is the id of its key, and a tag.
MARK_BYTES: Final = _ID_BYTES + _TAG_BYTES

# BLAKE2b's personalisation keeps the uses of a key apart.
_SITE: Final = b"consent-mw site"
_NAME: Final = b"consent-mw s-id"
_MARK: Final = b"consent-mw mark"


class SiteKeys:
    """
    Signs records, and checks whether a record is as this site wrote it.

    The keys of a day die on the calendar and belong to one host. These keys stay, so they can sign records that outlive
    a day's key (certificates, counts), and one host can check what another wrote. They open nothing.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """
        Args:
            keys: 32 bytes each, oldest to newest: the last signs, all are believed.
        """
        self.keys: tuple[bytes, ...] = tuple(keys)
        # A hash that has taken in its key: to copy it is faster than to key a new one.
        self._begun = {_id(key): blake2b(key=key, digest_size=_TAG_BYTES, person=_MARK) for key in keys}
        self._newest = _id(keys[-1]) if keys else b""

    @classmethod
    def random(cls) -> SiteKeys:
        """Return a new key that is kept nowhere, for tests and throwaway use."""
        return cls([os.urandom(KEY_BYTES)])

    @classmethod
    def made_of(cls, secret_keys: Sequence[bytes]) -> SiteKeys:
        """Return the keys that come from `secret_keys`, oldest to newest. They tell nothing about those."""
        return cls([blake2b(key, digest_size=KEY_BYTES, person=_SITE).digest() for key in secret_keys])

    @classmethod
    def read(cls, path: Path) -> SiteKeys:
        """
        Return the keys in the file. If it is missing, return none; then no record counts as written by this site.

        Raises:
            ConfigurationError: It cannot be read, or is not a file of site keys.
        """
        return cls(_read(path))

    @classmethod
    def kept(cls, path: Path, secret_keys: Sequence[bytes] = ()) -> SiteKeys:
        """
        Return the keys in the file, including those of `secret_keys` (oldest to newest). On return they survive a power
        cut. If neither has a key, a random one is made.

        Raises:
            ConfigurationError: The file cannot be read or written, or is not a file of site keys.
        """
        derived = cls.made_of(secret_keys).keys
        try:
            with in_turn(path.parent):
                known = _read(path)
                keys = [*(key for key in known if key not in derived), *derived] or [os.urandom(KEY_BYTES)]
                if keys != known:
                    durable.replace(path, b"".join(key.hex().encode() + b"\n" for key in keys))
        except OSError as error:
            raise _refused(path, f"cannot be written ({error.strerror})", "let this user write it") from error
        return cls(keys)

    def mark(self, message: bytes) -> bytes:
        """
        Return the signature (20 bytes) of `message`.

        Raises:
            ConfigurationError: No key is left.
        """
        if not self._newest:
            raise ConfigurationError("there are no site keys here; run this in the site's data directory")
        tag = self._begun[self._newest].copy()
        tag.update(message)
        return self._newest + tag.digest()

    def vouches(self, mark: bytes, message: bytes) -> bool:
        """Whether one of the keys made this mark for this message."""
        begun = self._begun.get(mark[:_ID_BYTES])
        if begun is None:
            return False
        tag = begun.copy()
        tag.update(message)
        return compare_digest(mark[_ID_BYTES:], tag.digest())


def _id(key: bytes) -> bytes:
    return blake2b(key, digest_size=_ID_BYTES, person=_NAME).digest()


def _read(path: Path) -> list[bytes]:
    """Return the keys in a file; none if the file is missing. Raises ConfigurationError."""
    try:
        with open(path, "rb", opener=unlinked) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            keys = [bytes.fromhex(line.decode()) for line in file.read().split()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})", "let this user read it") from error
    except ValueError:
        keys, mode = [b""], 0
    if line := cut_off(path):
        raise ConfigurationError(line)
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise _refused(path, "holds something else", "move it away; the site writes a new one when it starts")
    if mode & 0o077:
        raise _refused(path, "may be read by other users, who could sign what they write", f"chmod 600 {path}")
    return keys


def _refused(path: Path, problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: the file of site keys {problem}; {fix}")
