"""Which keyrings a data directory has worked with: so that one that is lost, or another in its place, is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from consent_mw.crypto.keyring import Keyring, MemoryKeyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.system import durable
from consent_mw.system.ownership import unlinked

Where: TypeAlias = Literal["live", "archive"]


class KnownRing(msgspec.Struct, frozen=True, kw_only=True):
    """
    One keyring that was used here.

    Attributes:
        where: Whose keys it holds: those of the live store, or of the archive.
        given: Whether the site gave it as `keyring=`; else it is the file in the data directory.
        lost: Whether the operator has given it up.
    """

    where: Where
    ring: str
    given: bool = False
    lost: bool = False


_decode: Final = msgspec.json.Decoder(KnownRing).decode


def lost_ring(file: Path, name: str) -> str:
    """What to say of a keyring whose keys should be in `file`, with the fix."""
    return (
        f"{file}: the keys of keyring {name} are not here: what it sealed can be neither read nor erased; put its key "
        f"file back, or give it up: consent-mw purge --lost {name}"
    )


class KnownRings:
    """An append-only file (mode 0600), one keyring a line. It holds names and no keys."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def is_line(line: bytes) -> bool:
        """Whether `line` is one of such a file. Raises ValueError or MsgspecError if it cannot be read."""
        return bool(_decode(line).ring)

    def used(self, where: Where) -> list[KnownRing]:
        """
        Return the keyrings that were used there and not given up, the latest last. A torn line is left out.

        Raises:
            ConfigurationError: The file is there and cannot be read.
        """
        lost = self.given_up
        return [known for known in self._all() if known.where == where and known.ring not in lost]

    @property
    def given_up(self) -> frozenset[str]:
        """The names of those that the operator has given up. Raises as `used`."""
        return frozenset(known.ring for known in self._all() if known.lost)

    @property
    def names(self) -> frozenset[str]:
        """The names of all that were ever used here, also of those that were given up. Raises as `used`."""
        return frozenset(known.ring for known in self._all())

    def missing(self, where: Where, *names: str) -> list[str]:
        """Return the names of those that were used there and are none of `names`. Raises as `used`."""
        return list(dict.fromkeys(known.ring for known in self.used(where) if known.ring not in names))

    def remember(self, where: Where, keyring: Keyring, *, given: bool = False) -> None:
        """
        Remember that `keyring` works here. Keys in memory are not meant to be there again, and leave no trace.

        Raises:
            ConfigurationError: The file cannot be read or written.
        """
        if isinstance(keyring, MemoryKeyring) or keyring.name.startswith("memory-"):
            return
        if all(used.ring != keyring.name for used in self.used(where)):
            self._append(KnownRing(where=where, ring=keyring.name, given=given))

    def give_up(self, name: str) -> None:
        """Remember that a keyring will never be at hand again. Raises as `remember`."""
        known = next((known_ring for known_ring in self._all() if known_ring.ring == name), None)
        if known is not None and name not in self.given_up:
            self._append(KnownRing(where=known.where, ring=name, lost=True))

    def _all(self) -> list[KnownRing]:
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(error) from error
        rings: list[KnownRing] = []
        for line in lines:
            try:
                rings.append(_decode(line))
            except (msgspec.MsgspecError, ValueError):
                continue
        return rings

    def _append(self, ring: KnownRing) -> None:
        try:
            durable.append(self.path, b"\n" + msgspec.json.encode(ring) + b"\n")
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: cannot be used ({error.strerror}); let this user read and write it")
