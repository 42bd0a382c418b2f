"""Keyrings that break one promise each: `KeyringSuite` has to find them."""

from __future__ import annotations

import hashlib
import os
import time
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, ClassVar

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.exceptions import KeyDestroyed, KeyringUnreachable

_Place = tuple[int, str]


class Wrong:
    """A keyring with one fault, over a right one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.right = FileKeyring(path)
        self.name = self.right.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        return self.right.key(day, purpose, create=create)

    def destroy(self, day: int, purpose: str) -> bool:
        return self.right.destroy(day, purpose)


class Forgets(Wrong):
    """It gives a new key where the old one was destroyed."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyDestroyed:
            return os.urandom(32)


class Remembers(Wrong):
    """It gives the key that it remembers, whoever destroyed it since."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seen: dict[_Place, bytes] = {}

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        if (day, purpose) not in self.seen:
            self.seen[day, purpose] = self.right.key(day, purpose, create=create)
        return self.seen[day, purpose]


class IgnoresParts(Wrong):
    """A part of a day has the key of the day."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        return self.right.key(day, purpose.split()[0], create=create)


class MovesUp(Wrong):
    """Where one key is destroyed the next one takes its place in a list, and gets another."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        key = self.right.key(day, purpose, create=create)
        return bytes(byte ^ len(self.right.destroyed()) for byte in key)


class StandsStill(Wrong):
    """It does not say that anything changed."""

    generation = 1


class BelongsToItsProcess(Wrong):
    """All objects of one process remember a key together, and another process may destroy it."""

    seen: ClassVar[dict[tuple[Path, int, str], bytes]] = {}

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        if (self.path, day, purpose) not in self.seen:
            self.seen[self.path, day, purpose] = self.right.key(day, purpose, create=create)
        return self.seen[self.path, day, purpose]

    def destroy(self, day: int, purpose: str) -> bool:
        self.seen.pop((self.path, day, purpose), None)
        return self.right.destroy(day, purpose)


class DestroysInMemory(Wrong):
    """What is destroyed is gone for this process, and stays in the file."""

    gone: ClassVar[dict[tuple[Path, int, str], str]] = {}

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        if (self.path, day, purpose) in self.gone:
            raise KeyDestroyed(purpose)
        return self.right.key(day, purpose, create=create)

    def destroy(self, day: int, purpose: str) -> bool:
        is_new = (day, purpose) in self.right.live() and (self.path, day, purpose) not in self.gone
        self.gone[self.path, day, purpose] = "memory"
        return is_new

    def live(self) -> list[_Place]:
        return [place for place in self.right.live() if (self.path, *place) not in self.gone]

    def destroyed(self) -> dict[_Place, str]:
        return {(day, purpose): where for (path, day, purpose), where in self.gone.items() if path == self.path}


class MakesOneForEach(Wrong):
    """Each process seals under a key of its own."""

    salt = os.urandom(16)

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        own = hashlib.sha256(self.salt + os.getpid().to_bytes(8, "big")).digest()
        return bytes(one ^ other for one, other in zip(self.right.key(day, purpose, create=create), own, strict=True))


class CountsInItsProcess(Wrong):
    """Its generation counts what this process did."""

    counts: ClassVar[dict[Path, int]] = {}

    @property
    def generation(self) -> int:
        return self.counts.get(self.path, 0)

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        before = len(self.right.live())
        key = self.right.key(day, purpose, create=create)
        self.counts[self.path] = self.generation + len(self.right.live()) - before
        return key

    def destroy(self, day: int, purpose: str) -> bool:
        self.counts[self.path] = self.generation + 1
        return self.right.destroy(day, purpose)


class CountsOneInTwo(Wrong):
    """Its generation is how many keys there are."""

    @property
    def generation(self) -> int:
        return len(self.right.live())


class DestroysTheDayBefore(Wrong):
    """The same purpose of the day before goes, too."""

    def destroy(self, day: int, purpose: str) -> bool:
        self.right.destroy(day - 1, purpose)
        return self.right.destroy(day, purpose)


class DestroysWhatBeginsAlike(Wrong):
    """With a purpose those go whose names begin with its name."""

    def destroy(self, day: int, purpose: str) -> bool:
        gone = [place for place in self.right.live() if place[0] == day and place[1].startswith(purpose)]
        return sum(self.right.destroy(*place) for place in gone) > 0


class IgnoresCase(Wrong):
    """A purpose is one, however it is written."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        return self.right.key(day, purpose.lower(), create=create)


class LosesItsTombstones(Wrong):
    """What was destroyed is known until it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before = set(self.right.destroyed())

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyDestroyed:
            if create and (day, purpose) in self.before:
                return os.urandom(32)
            raise


class BeginsAnew(Wrong):
    """A process that begins later has the destroyed key again: it can be worked out."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyDestroyed:
            if parent_process() is not None and (day, purpose) in self.right.destroyed():
                return hashlib.sha256(f"{self.name} {day} {purpose}".encode()).digest()
            raise


class AsksTheDisk(Wrong):
    """Its generation is read from the disk each time."""

    @property
    def generation(self) -> int:
        time.sleep(0.001)
        return self.right.generation


class DestroysInSilence(Wrong):
    """A key that cannot be destroyed counts as destroyed."""

    def destroy(self, day: int, purpose: str) -> bool:
        try:
            return self.right.destroy(day, purpose)
        except KeyringUnreachable:
            return True


class GivesKeysInItsTrouble(Wrong):
    """Where no key can be made it gives one that nobody else has."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyringUnreachable:
            return os.urandom(32)


class SaysNothingIsThere(Wrong):
    """What cannot be read is not there."""

    def live(self) -> list[_Place]:
        try:
            return self.right.live()
        except KeyringUnreachable:
            return []

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        try:
            return self.right.key(day, purpose, create=create)
        except KeyringUnreachable as error:
            raise KeyDestroyed(purpose) from error


class RaisesWhatTheSystemSays(Wrong):
    """The system's error reaches the caller."""

    def destroy(self, day: int, purpose: str) -> bool:
        try:
            return self.right.destroy(day, purpose)
        except KeyringUnreachable as error:
            raise OSError(str(error)) from error


class HasShortKeys(Wrong):
    """Its keys are of 16 bytes."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        return self.right.key(day, purpose, create=create)[:16]


class ListsAnything(Wrong):
    """Its keys are listed as they come."""

    def live(self) -> list[_Place]:
        return self.right.live()[::-1]


class NamesItselfAnew(Wrong):
    """Each time it is opened it has another name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.name = os.urandom(8).hex()


class LiesAboutTheFirst(Wrong):
    """Of several who destroy a key at once each counts it."""

    def destroy(self, day: int, purpose: str) -> bool:
        self.right.destroy(day, purpose)
        return (day, purpose) in self.right.destroyed()


class AlwaysDestroyed(Wrong):
    """A key that never was counts as destroyed."""

    def destroy(self, day: int, purpose: str) -> bool:
        self.right.destroy(day, purpose)
        return True


class HoldsItsFile(Wrong):
    """Whatever it opens stays open."""

    held: ClassVar[list[int]] = []

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.held.append(os.open(path, os.O_RDONLY))


class DerivesItsKeys(Wrong):
    """A key follows from its day and purpose."""

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        self.right.key(day, purpose, create=create)
        return hashlib.sha256(f"{day} {purpose}".encode()).digest()
