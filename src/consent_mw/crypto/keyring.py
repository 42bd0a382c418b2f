"""One key per part of a day and purpose: made once, shared by the workers of a machine, destroyed for good."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import stat
from collections.abc import Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable
from unicodedata import category

from consent_mw.crypto.key_slots import GENERATION, PAGE, KeySlots, empty_slots, header, identity, offset, slot
from consent_mw.exceptions import ConfigurationError, ConsentError, KeyDestroyed, KeyringUnreachable
from consent_mw.system.days import day_text
from consent_mw.system.durable import sync_directory, write_at
from consent_mw.system.locks import locked
from consent_mw.system.mounts import network_file_system
from consent_mw.system.ownership import check_directory, check_file, unlinked

_log = logging.getLogger("consent_mw")

__all__ = ["FileKeyring", "ForeignKeyring", "Keyring", "MemoryKeyring", "SeveralKeys", "keys_of", "rings_of"]

KEY_BYTES = 32
#: Of a keyring's name: it stands in each record, and stores keep names of 100 characters.
LONGEST_NAME = 100
_GROWTH = 1024  # slots, 128 KiB: five purposes fill them in 200 days, in 70 where days have parts


class Keyring(Protocol):
    """
    Where the keys live. A day is whole days since 1970-01-01 UTC. For the key of a part of a day the purpose is
    followed by its hours, "marketing 15:00-24:00": a keyring need not know, since that is another name.

    Destroying a key is how a purpose ends, so a keyring must never leave a second copy of one: no backup, no
    replica, no snapshot that outlives `destroy`.
    """

    @property
    def name(self) -> str:
        """What `Record.ring` holds: unlike that of every other keyring, and never changing."""
        ...

    @property
    def generation(self) -> int:
        """
        A number that differs after any process made or destroyed a key. A caller that caches a key compares it before
        each use, so reading it must be cheap.
        """
        ...

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """
        Return the key (32 bytes) of that day and purpose.

        Args:
            create: Make the key if there never was one; on return it survives a power cut.

        Raises:
            KeyDestroyed: It was destroyed, or with create=False there is none.
            StoreError: The keys cannot be reached.
        """
        ...

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key that exists, sorted."""
        ...

    def destroy(self, day: int, purpose: str) -> bool:
        """
        Destroy a key; return whether there was one. On return no process is given it again, and it is on no disk.

        Raises:
            StoreError: The keys cannot be reached. Whether the key still exists is not known: try again.
        """
        ...

    def destroyed(self) -> dict[tuple[int, str], str]:
        """
        Return where each key was that is known to be destroyed, such as "slot 17", by day and purpose.

        What a crash kept from being certified is found here, so a keyring remembers for a month at least.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Keys stay. Closing twice is harmless."""
        ...


@runtime_checkable
class SeveralKeys(Protocol):
    """What a keyring of several hosts has besides: where these could not agree in time, a place has several keys."""

    @property
    def rings(self) -> frozenset[str]:
        """All names under which it ever sealed; `name` is one of them."""
        ...

    def keys(self, day: int, purpose: str) -> Sequence[bytes]:
        """Return every key of that day and purpose: first that of `key`. Raises as `key` with create=False."""
        ...

    def lacking(self) -> frozenset[str]:
        """Return the hosts whose keys may have sealed what still lives, and are not here. Raises StoreError."""
        ...

    def lacks(self, day: int, purpose: str) -> Sequence[str]:
        """
        Return the hosts at work whose keys may have sealed something of a day and purpose, and are not here. Raises
        StoreError.
        """
        ...

    def is_agreed(self, day: int, label: str) -> bool:
        """
        Whether what is sealed here under the key of a place can be opened by the other hosts, as far as there are any.
        True of a place that is destroyed. Raises StoreError.
        """
        ...

    def waits_for(self, day: int, purpose: str) -> Sequence[str]:
        """Return the hosts that have not said that their part of a day and purpose is gone. Raises StoreError."""
        ...

    def holders(self, day: int, purpose: str) -> str:
        """Return who held keys of a day and purpose, in words. Raises StoreError."""
        ...

    def settle(self, purpose: str, days: Set[int]) -> None:
        """Forget what is known of days of a purpose that are certified. Raises StoreError."""
        ...


def rings_of(keyring: Keyring) -> frozenset[str]:
    """Return the names of the keyrings whose records `keyring` opens."""
    return keyring.rings if isinstance(keyring, SeveralKeys) else frozenset((keyring.name,))


def keys_of(keyring: Keyring, day: int, purpose: str) -> Sequence[bytes]:
    """Return every key of a day and purpose, at least one; the first seals. Raises KeyDestroyed and StoreError."""
    if isinstance(keyring, SeveralKeys):
        return keyring.keys(day, purpose)
    return (keyring.key(day, purpose, create=False),)


def fits(name: str) -> bool:
    """Whether every store can keep `name` as that of a keyring."""
    try:
        return 0 < len(name.encode()) <= LONGEST_NAME and all(category(char) != "Cc" for char in name)
    except UnicodeEncodeError:  # half of a character
        return False


class ForeignKeyring:
    """
    A keyring of somebody else's, whose own errors count as keys out of reach: no page is lost to them.

    What it raises from this package's tree, such as KeyDestroyed, stays as it is.
    """

    def __init__(self, keyring: Keyring) -> None:
        """Raises ConfigurationError if its name does not fit into a record."""
        self._keyring = keyring
        self.name: str = keyring.name
        if not fits(self.name):
            raise ConfigurationError(
                f"keyring={keyring!r}: its name {self.name[:80]!r} stands in each record: give it one of 1 to "
                f"{LONGEST_NAME} bytes, without control characters"
            )

    @property
    def generation(self) -> int:
        """See `Keyring.generation`."""
        with self._in_reach():
            return self._keyring.generation

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`."""
        with self._in_reach():
            return self._keyring.key(day, purpose, create=create)

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key that exists, sorted."""
        with self._in_reach():
            return self._keyring.live()

    def destroy(self, day: int, purpose: str) -> bool:
        """Destroy a key; return whether there was one."""
        with self._in_reach():
            return self._keyring.destroy(day, purpose)

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return where each key was that is known to be destroyed."""
        with self._in_reach():
            return self._keyring.destroyed()

    def close(self) -> None:
        """Release what it holds. Keys stay."""
        with self._in_reach():
            self._keyring.close()

    @contextmanager
    def _in_reach(self) -> Generator[None]:
        try:
            yield
        except ConsentError:
            raise
        except Exception as error:
            raise KeyringUnreachable(
                f"keyring {self.name}: {type(error).__name__}: {error}; see that it is there"
            ) from error


def _destroyed(day: int, purpose: str) -> KeyDestroyed:
    return KeyDestroyed(f'there is no key for purpose "{purpose}" on {day_text(day)}: it was destroyed, or never made')


class MemoryKeyring:
    """Keys of this process alone, gone with it: for tests and throwaway use. A fork's new keys are not shared."""

    def __init__(self) -> None:
        self.name: str = f"memory-{os.urandom(8).hex()}"
        self.generation: int = 0
        self._keys: dict[tuple[int, str], bytes | None] = {}

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`."""
        if create and (day, purpose) not in self._keys:
            self._keys.setdefault((day, purpose), os.urandom(KEY_BYTES))
            self.generation += 1
        key = self._keys.get((day, purpose))
        if key is None:
            raise _destroyed(day, purpose)
        return key

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key that exists, sorted."""
        return sorted(place for place, key in self._keys.items() if key is not None)

    def destroy(self, day: int, purpose: str) -> bool:
        """Destroy a key; return whether there was one."""
        if self._keys.get((day, purpose)) is None:
            return False
        self.generation += 1
        self._keys[day, purpose] = None
        return True

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return the day and purpose of each key that was destroyed; they were in memory."""
        return {place: "memory" for place, key in self._keys.items() if key is None}

    def close(self) -> None:
        """Do nothing: the keys go with the process."""


#: The keys that exist, and the slots of those that are gone; see `Keyring.live` and `Keyring.destroyed`.
_Listing: TypeAlias = tuple[list[tuple[int, str]], dict[tuple[int, str], str]]


class FileKeyring:
    """
    Keys in one preallocated file (mode 0600) with a fixed slot for each, shared by all processes of a machine.

    A slot is written and destroyed in place and fsynced: measured, a key in a table or in a file written by
    temp-and-rename was found on the disk 200 times of 200, one overwritten here never. That holds where the file
    system overwrites in place (ext4, xfs); on btrfs, zfs or a snapshotted volume put the file on a partition that does.
    Leave the file out of every backup: a restored key is a key that was not destroyed.

    Workers see each other's changes at once, through a counter in the header that is mapped into memory. A worker
    that remembers a destroyed key drops it at its next use; the bytes in its memory are not wiped.

    **Days.** A destroyed key leaves a tombstone in its slot, and that day and purpose get no new key. A tombstone
    may make room for a key at least 400 days younger when no other slot is free; a clock that steps back further
    than that may get a fresh key for an old day, which opens nothing that was sealed before. A clock that steps
    back less seals under the key of the past day, made if it is missing and not tombstoned, and ends with that day.

    **Damage.** A slot that fails its checksum loses that one key. The next `destroy` wipes it whatever it was, so
    that nothing outlives its day because it could not be named.

    Making a key fsyncs once (a disk's latency) in whichever process meets a new day and purpose first.
    """

    TOMBSTONE_DAYS = 400

    def __init__(self, path: Path | str, *, name: str = "local") -> None:
        """
        Open the file, or make it. Several processes may do so at once.

        Args:
            path: The key file, on a local file system.
            name: First part of the keyring's name; the file's own random id is the second.

        Raises:
            ConfigurationError: The file is not a key file, is damaged, newer, readable by others, a symbolic link,
                somebody else's, where somebody else could replace it or on a network file system, or cannot be opened.
                It was not changed.
        """
        self.path: Path = Path(path)
        if kind := network_file_system(self.path.parent):
            raise self._refused(f"lies on a network file system ({kind})", "keep the key file on a local disk")
        try:
            check_directory(self.path.parent)
            check_file(self.path)
            with self._locked(fcntl.LOCK_EX, os.O_CREAT) as fd:
                self._check_kind(os.fstat(fd))
                if os.fstat(fd).st_size == 0:
                    self._initialise(fd)
                self._id = self._check_header(os.pread(fd, PAGE, 0))
                if os.fstat(fd).st_size < offset(_GROWTH):
                    raise self._refused("was cut off", "put the whole file back; only if it was never used, remove it")
                self._map = mmap.mmap(fd, PAGE, access=mmap.ACCESS_READ)
                # In the byte order of this machine: it only has to differ.
                self._counter = memoryview(self._map)[GENERATION].cast("Q")
                self._slots = KeySlots.read(b"")  # until a key is asked for: an old site has thousands
                self._listed: tuple[KeySlots | None, _Listing] = None, ([], {})
        except OSError as error:
            raise self._refused(
                f"cannot be opened ({error.strerror})", "give a path in a directory that this user may write"
            ) from error
        self._name = f"{name}-{self._id.hex()}"

    @property
    def name(self) -> str:
        """The given name and the file's random id: "local-3f2a..."."""
        return self._name

    @property
    def generation(self) -> int:
        """The counter in the file's header, read from shared memory (a twentieth of a microsecond)."""
        return self._counter[0]

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`. A purpose's name has at most 80 bytes."""
        slots = self._current()
        if create and slots.number(day, purpose) is None:
            slots = self._with_new_key(day, purpose)
        number = slots.number(day, purpose)
        key = None if number is None else slots.key(number)
        if key is None:
            raise _destroyed(day, purpose)
        return key

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key that exists, sorted."""
        return list(self._listing()[0])

    def destroy(self, day: int, purpose: str) -> bool:
        """Overwrite a key in place, and every damaged slot; return whether there was a key. See `Keyring.destroy`."""
        with self._in_use(fcntl.LOCK_EX) as fd:
            before = self._read(fd)
            number = before.number(day, purpose)
            is_live = number is not None and before.is_live(number)
            wiped = dict.fromkeys(before.damaged, empty_slots(1))
            if number is not None and is_live:
                wiped[number] = slot(day, purpose, None)
            if before.damaged:
                _log.error(
                    "%s: %d of its keys were damaged, and what they sealed can be neither read nor erased; look at the "
                    "disk: they were overwritten now",
                    self.path,
                    len(before.damaged),
                )
            if wiped:
                self._overwrite(fd, wiped)
            self._slots = self._read(fd)
        return is_live

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return the slot of each tombstone, as "slot 17", by day and purpose."""
        return dict(self._listing()[1])

    def announce(self) -> None:
        """Have every process drop what it remembers, as if a key had changed. Raises StoreError."""
        with self._in_use(fcntl.LOCK_EX) as fd:
            self._overwrite(fd, {})

    def close(self) -> None:
        """Release the mapping. The keys stay in the file. Closing twice is harmless."""
        self._counter.release()
        self._map.close()

    def _current(self) -> KeySlots:
        if self._map[GENERATION] != self._slots.generation:
            # A writer of the file holds its lock from before the counter moves until the slot is on the disk.
            with self._in_use(fcntl.LOCK_SH) as fd:
                self._slots = self._read(fd)
        return self._slots

    def _listing(self) -> _Listing:
        """Return what `live` and `destroyed` do: several ask for the thousands of slots of an old site at a time."""
        slots, (of, listing) = self._current(), self._listed
        if slots is not of:
            listing = slots.live, {place: f"slot {number}" for place, number in slots.destroyed.items()}
            self._listed = slots, listing
        return listing

    def _with_new_key(self, day: int, purpose: str) -> KeySlots:
        with self._in_use(fcntl.LOCK_EX) as fd:
            self._slots = self._read(fd)
            if self._slots.number(day, purpose) is None:  # else another worker was first
                try:
                    new = slot(day, purpose, os.urandom(KEY_BYTES))
                except ValueError as error:
                    raise ConfigurationError(str(error)) from error
                self._overwrite(fd, {self._vacancy(fd, day): new})
                self._slots = self._read(fd)
            return self._slots

    def _vacancy(self, fd: int, day: int) -> int:
        now = self._slots
        if now.free:
            return min(now.free)
        tombstones = ((day, number) for (day, _), number in now.destroyed.items())
        oldest, number = min(tombstones, default=(day, -1))
        if oldest <= day - self.TOMBSTONE_DAYS:
            return number
        write_at(fd, empty_slots(_GROWTH), offset(now.size))
        return now.size

    def _overwrite(self, fd: int, slots: Mapping[int, bytes]) -> None:
        # The counter first: dying between the two, every worker reads again for nothing; the other way round,
        # they would go on using a destroyed key.
        count = int.from_bytes(self._map[GENERATION], "little") + 1
        os.pwrite(fd, count.to_bytes(8, "little"), GENERATION.start)
        for number, content in slots.items():
            os.pwrite(fd, content, offset(number))
        os.fsync(fd)

    def _read(self, fd: int) -> KeySlots:
        return KeySlots.read(os.pread(fd, os.fstat(fd).st_size, 0), self._slots)

    def _initialise(self, fd: int) -> None:
        os.fchmod(fd, 0o600)
        # Written, not only allocated: a full disk must not stop a key from being overwritten later.
        write_at(fd, header(os.urandom(8)) + empty_slots(_GROWTH), 0)
        sync_directory(self.path.parent)

    def _check_kind(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._refused("is not a regular file", "give the key file a path of its own")
        if status.st_size and stat.S_IMODE(status.st_mode) & 0o077:
            raise self._refused("may be read by other users", f"chmod 600 {self.path}")

    def _check_header(self, page: bytes) -> bytes:
        try:
            return identity(page)
        except ValueError as error:
            fix = "give another path, or move it away: what its keys sealed cannot be read without it"
            raise self._refused(str(error), fix) from error

    def _refused(self, problem: str, fix: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: the key file {problem}; {fix}")

    @contextmanager
    def _in_use(self, how: int) -> Generator[int]:
        try:
            with self._locked(how) as fd:
                if identity(os.pread(fd, PAGE, 0)) != self._id:
                    fix = "put it back, or restart"
                    raise KeyringUnreachable(f"{self.path}: the key file was replaced while in use; {fix}")
                yield fd
        except (OSError, ValueError) as error:
            raise KeyringUnreachable(f"{self.path}: the key file failed ({error}); see that it is there") from error

    @contextmanager
    def _locked(self, how: int, flags: int = 0) -> Generator[int]:
        # Opened anew each time: flock belongs to the open file, which a forked child would share with its parent.
        fd = unlinked(self.path, os.O_RDWR | flags)
        try:
            with locked(fd, how):
                yield fd
        finally:
            os.close(fd)
