"""Frames on the local disk until a store has them. They survive a SIGKILL, and a write never fails a request."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from consent_mw.exceptions import ConfigurationError, SpoolError
from consent_mw.spool.frames import HEADER_BYTES
from consent_mw.spool.gaps import Gap, Reason
from consent_mw.spool.lent import Lent, Seal, Taken
from consent_mw.spool.ongoing import SUFFIX, Ongoing, left_by_the_dead
from consent_mw.spool.segment import OpenSegment, Segment, SegmentName
from consent_mw.system.locks import Lease, Shared
from consent_mw.system.mounts import network_file_system
from consent_mw.system.ownership import make_directory, unlinked

_MEBIBYTE = 1 << 20
_BREAKER_SECONDS = 1.0
# A thread of the drain counts every second. A request counts if no such thread runs, or if it has stopped.
_COUNT_SECONDS = 3.0
# While this many segments wait, a drain has enough to do. More rotation would only make more small files.
_BACKLOG = 64
_LEASE = "drain.lock"
# Reserved frames that are not for a right of a visitor may use one part of this many of the reserve.
_SHARE = 4
_monotonic = time.monotonic


class Backlog(NamedTuple):
    """What waits for the store, of all processes: its bytes, and when its oldest part was begun (aware, UTC)."""

    bytes: int
    oldest: datetime | None


class Spool:
    """
    A directory of append-only segments. Each process has one open; one process of the machine at a time drains them.

    What `write` acknowledged survives a SIGKILL of the process. A power cut may take what was written since the last
    `sync`, unless it was written with `durable`. A segment is removed only when its reader discards it. So a crash
    between the store's commit and that moment yields its frames once more. They are then appended again, which is
    harmless because records have ids.

    A child after a fork begins its own segment and counts its own gaps. Threads may share a spool.

    Attributes:
        lent: The ring that the process that drains keeps, if there is one: `hand` appends to it.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        budget_bytes: int = 256 * _MEBIBYTE,
        reserve_bytes: int = 16 * _MEBIBYTE,
        segment_bytes: int = 8 * _MEBIBYTE,
        sync_interval: timedelta = timedelta(seconds=1),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        Create the directory (mode 0700) if it is missing, and check that it can be used.

        Args:
            directory: On a local file system, shared by the workers of one machine.
            budget_bytes: The most that the segments of all processes may take together. Each process counts the others'
                every second to three, so they may overshoot by what they write in that time.
            reserve_bytes: The part of the budget that is kept for `right` frames. `reserved` frames may use a quarter
                of it.
            segment_bytes: A segment that has grown to this size is closed.
            sync_interval: How often the drain calls `sync`; the spool has no timer of its own.
            clock: Nanoseconds since 1970, for the names of segments and the times of gaps.

        Raises:
            ConfigurationError: The reserve takes the whole budget.
            SpoolError: The directory is not writable, or is on a network file system.
        """
        if not 0 <= reserve_bytes < budget_bytes:
            raise ConfigurationError(f"reserve_bytes={reserve_bytes}: must be less than budget_bytes={budget_bytes}")
        self.directory: Path = Path(directory)
        self.sync_interval = sync_interval
        self._budget = budget_bytes
        self._reserve = reserve_bytes
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._site_lock: Path | None = None
        self._staying: Shared | None = None
        _prepare(self.directory)
        self._start()
        self._surveyed()
        _spools.add(self)

    def stay(self, lock: Path) -> None:
        """
        Hold `lock` until `close`, together with all processes of the site, so that nobody replaces its files meanwhile.

        Raises:
            SpoolError: It cannot be made or locked.
        """
        self._site_lock = lock
        try:
            self._staying = Shared(lock)
        except OSError as error:
            raise SpoolError(f"{lock}: cannot be locked ({error.strerror}); see that it is this user's") from error

    def _leave(self) -> None:
        if self._staying is not None:
            self._staying.close()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._segment: OpenSegment | None = None
        self._retired: list[OpenSegment] = []
        self._ongoing = Ongoing(self.directory)
        self._held: dict[Path, Segment] = {}
        self._lease: Lease | None = None
        self._gaps: dict[Reason, Gap] = {}
        self._broken_until = 0.0  # monotonic seconds
        self._counted_until = 0.0
        self._used = 0  # bytes of all segments in the directory
        # How many bytes ordinary frames may add to the open segment before more than the time must be checked.
        self._room = 0
        self.lent: Lent | None = None

    def write(
        self, frames: Sequence[bytes], *, durable: bool = False, reserved: bool = False, right: bool = False
    ) -> bool:
        """
        Append `frames` in one `os.write`. Never raises for an error of the disk.

        Args:
            durable: Wait until the frames are on the disk (measured: 180 microseconds and more).
            reserved: The frames may use a quarter of the reserve when the rest of the budget is full.
            right: The frames may use all of the reserve. For records of a visitor's rights (a withdrawal, an erasure):
                nothing that strangers send may leave them without room.

        Returns:
            Whether all frames are kept and, with `durable`, known to be on the disk. A frame is not kept when the
            budget is full, and for a second after an error of the disk. Each such frame is counted in the gap.
        """
        with self._lock:
            kept, segment, reason = self._append(frames, self._limit(reserved=reserved, right=right))
            if kept < len(frames):
                self._lose(len(frames) - kept, reason)
                return False
            if not durable or segment is None:
                return True
            try:
                copy = segment.copy()
            except OSError:
                return False
        return self._synced(segment, copy)

    def append(self, frame: bytes) -> bool:
        """As `write` of one ordinary frame, in the fewest steps, since every request waits for it."""
        size = HEADER_BYTES + len(frame)
        with self._lock:
            segment = self._segment
            if segment is not None and size <= self._room and _monotonic() < self._counted_until:
                self._room -= size
                self._used += size
                try:
                    if segment.append_one(frame):
                        return True
                except OSError:
                    pass
                self._break()
                self._lose(1, "disk")
                return False
        return self.write([frame])

    def hand(self, payload: bytes, size: int) -> bool:
        """
        Let the process that keeps the ring seal `payload`, and write it where `append` would have written it. What this
        acknowledges survives a SIGKILL of either of the two processes. Return False if `append` must do it.

        Args:
            size: What it takes in the spool then.
        """
        with self._lock:
            lent, segment = self.lent, self._segment
            if lent is None or segment is None or size > self._room or _monotonic() >= self._counted_until:
                return False
            if not lent.ring.append(payload):
                return False
            self._room -= size
            self._used += size
            segment.frames += 1
            segment.dirty = True
            return True

    def lend(self, keyring: str, seal: Seal) -> bool:
        """
        Lend a ring to the process that drains, if one listens and has none of ours yet, and return whether it has one
        now. Waits for its answer: call it in a thread. Never raises for an error of the system.

        Args:
            keyring: The name of the keyring that `seal` seals under.
            seal: Seals what is in the ring when this process takes it back.
        """
        if self.lent is not None:
            return True
        try:
            lent = Lent(self.directory, keyring, seal)
        except (OSError, AttributeError):
            return False
        with self._lock:
            self.lent = lent
            if self._segment is not None:
                self._share(self._segment)
        lent.watch(self._take_back)
        return True

    def begin(self, id_bytes: bytes, frame: bytes) -> None:
        """
        Keep `frame` from now until `end`. After a crash, the next process that takes over the spool moves it to the
        store. If the disk fails, only this copy is lost: its complete record is still to come.
        """
        with self._lock, suppress(OSError):
            self._ongoing.begin(id_bytes, frame, self._clock())

    def end(self, id_bytes: bytes) -> None:
        """Forget what began under this id, once its complete record was written."""
        with self._lock, suppress(OSError):
            self._ongoing.end(id_bytes, self._clock())

    def sync(self) -> bool:
        """
        Sync everything written so far to the disk; return False if the disk refused. Call it from a thread: it waits
        for the disk, and writers do not wait for it.
        """
        self._write_ahead()
        try:
            with self._lock:
                segment = self._segment if self._segment and self._segment.dirty else None
                copy = segment.copy() if segment else -1
                retired, self._retired = self._retired, []
                ongoing = self._ongoing.copy() if self._ongoing.dirty else -1
        except OSError:
            return False
        fine = self._synced(segment, copy) if segment else True
        for old in retired:
            fine = self._let_go(old) and fine
        if ongoing >= 0:
            _bring_to_disk(ongoing)
        return fine

    def rotate(self) -> None:
        """
        Release what this process has written, for the process that holds the lease. Every worker without the lease
        calls this now and then. If many segments already wait, it does nothing. Raises SpoolError.
        """
        waiting = len(self._surveyed()[1])
        self._write_ahead()
        with self._lock:
            if self._segment and self._segment.size and waiting <= _BACKLOG:
                self._retire()
        self.sync()

    def closed(self) -> list[Segment]:
        """
        Return the oldest segments (64 at most) to which no process appends. Each is locked by this process. Oldest
        first.

        They are this process's own, rotated now, those that other workers released, and those of dead processes. A
        segment that is neither discarded nor released is returned again.

        Raises:
            SpoolError: The directory cannot be read.
        """
        self._take_over()
        self.rotate()
        self._held = {path: segment for path, segment in self._held.items() if segment.is_held}
        names = self._surveyed()[1]
        try:
            for name in names:
                path = self.directory / str(name)
                if len(self._held) < _BACKLOG and path not in self._held and (segment := Segment.adopt(path, name)):
                    self._held[path] = segment
        except OSError as error:
            raise self._failed(error) from error
        return [self._held[path] for path in sorted(self._held)]

    def _take_over(self) -> None:
        """Write down the exchanges that were going on in processes that are dead. Raises SpoolError."""
        try:
            with os.scandir(self.directory) as entries:
                paths = [Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX)]
            for path in sorted(paths):
                for frame in left_by_the_dead(path):
                    if not self.note(frame):
                        return  # no room: try again later
        except OSError as error:
            raise self._failed(error) from error

    @contextmanager
    def lease(self) -> Generator[bool]:
        """
        Give True to one process of the machine at a time, and False at once to every other. A frozen holder loses it
        after a minute; the segments that it had taken wait for it.

        When it ends, segments that were not discarded are released, so that the next holder finds them.

        Raises:
            SpoolError: The directory is gone.
        """
        try:
            lease = Lease.take(self.directory / _LEASE)
        except OSError as error:
            raise self._failed(error) from error
        if lease is None:
            yield False
            return
        self._lease = lease
        try:
            yield True
        finally:
            self._release()

    def takes(self) -> bool:
        """Whether an ordinary frame would be written now. Begins a segment for it if there is none."""
        with self._lock:
            try:
                return self._admitted(HEADER_BYTES, self._limit(reserved=False, right=False)) is not None
            except OSError:
                self._break()
                return False

    @property
    def backlog(self) -> Backlog:
        """What waits now, from one look at the directory. Raises SpoolError."""
        waiting, names = self._surveyed()
        return Backlog(waiting, names[0].created if names else None)

    @property
    def is_tight(self) -> bool:
        """Whether all but the reserve is used, as far as this process has counted."""
        return self._used >= self._budget - self._reserve

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all segments, of every process, now. Raises SpoolError."""
        return self._surveyed()[0]

    @property
    def oldest(self) -> datetime | None:
        """When the oldest segment was begun (aware, UTC), by the clock of its process. Raises SpoolError."""
        names = self._surveyed()[1]
        return names[0].created if names else None

    def lose(self, frames: int, reason: Reason = "key") -> None:
        """Count frames that could not even be written here, for example because their key is gone."""
        with self._lock:
            self._lose(frames, reason)

    def note(self, frame: bytes) -> bool:
        """
        Append the record of a gap, or of an exchange that a crash broke off, using the reserve. If it cannot be kept,
        that does not count as another loss: try again later.
        """
        with self._lock:
            return self._append([frame], self._budget)[0] == 1

    def take_gap(self) -> Gap | None:
        """
        Return and forget what this process lost for one reason since the last call; None if there is nothing (more).
        """
        with self._lock:
            return self._gaps.popitem()[1] if self._gaps else None

    def give_back(self, gap: Gap) -> None:
        """Count a gap again if its record could not be written."""
        with self._lock:
            self._add(gap)

    def close(self) -> None:
        """Sync, and release everything for the next process. A later write begins a new segment, locked too."""
        self._take_back(self.lent)
        with self._lock:
            self._retire()
            self._ongoing.close()
        self.sync()
        self._release()
        self._leave()

    def _limit(self, *, reserved: bool, right: bool) -> int:
        """Return how many bytes the spool may hold for such frames to be accepted."""
        if right:
            return self._budget
        return self._budget - self._reserve + (self._reserve // _SHARE if reserved else 0)

    def _append(self, frames: Sequence[bytes], limit: int) -> tuple[int, OpenSegment | None, Reason]:
        """Return how many frames were kept, the segment that has them, and why the others were not."""
        # Nearly every request writes one frame.
        size = (len(frames[0]) if len(frames) == 1 else sum(map(len, frames))) + HEADER_BYTES * len(frames)
        try:
            segment = self._admitted(size, limit)
            if segment is None:
                return 0, None, "disk" if time.monotonic() < self._broken_until else "full"
            before = segment.size
            kept = segment.append(frames)
        except OSError:
            self._break()
            return 0, None, "disk"
        self._used += segment.size - before
        self._room = min(self._segment_bytes - segment.size, self._budget - self._reserve - self._used)
        if kept < len(frames):
            self._break()
        return kept, segment, "disk"

    def _admitted(self, size: int, limit: int) -> OpenSegment | None:
        """Return the segment to append to; None while the breaker is open or the budget is full. Raises OSError."""
        now = time.monotonic()
        if now < self._broken_until:
            return None
        if now >= self._counted_until:
            self._survey()
        if self._used + size > limit:
            return None
        if self._segment and self._segment.size >= self._segment_bytes:
            self._retire()
        if self._segment is None:
            self._segment = OpenSegment(self.directory, self._clock())
            self._share(self._segment)
        return self._segment

    def _leave_gone(self) -> None:
        if self._segment and self._segment.is_gone():
            self._lose(self._segment.frames, "removed")
            self._segment.frames = 0
            self._retire()

    def _survey(self) -> list[SegmentName]:
        """Count the directory's bytes and return its segments, oldest first. Raises OSError."""
        names: list[SegmentName] = []
        used = 0
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if name := SegmentName.parse(entry.name):
                    try:
                        size = entry.stat().st_size
                    except FileNotFoundError:  # discarded by another process
                        continue
                    names.append(name)
                    used += size
        self._used = used
        self._room = 0
        self._counted_until = time.monotonic() + _COUNT_SECONDS
        self._leave_gone()
        return sorted(names)

    def _surveyed(self) -> tuple[int, list[SegmentName]]:
        with self._lock:
            try:
                names = self._survey()
            except OSError as error:
                raise self._failed(error) from error
            return self._used, names

    def _break(self) -> None:
        # Leave the segment as it is: its reader cuts a torn tail, and the next write begins another segment.
        self._retire()
        self._broken_until = time.monotonic() + _BREAKER_SECONDS

    def _lose(self, frames: int, reason: Reason) -> None:
        self._add(Gap.at(frames, self._clock(), reason))

    def _add(self, gap: Gap) -> None:
        known = self._gaps.get(gap.reason)
        self._gaps[gap.reason] = known + gap if known else gap

    def _share(self, segment: OpenSegment) -> None:
        """Have the process that keeps the ring write into this segment. If that fails, take the ring back."""
        if self.lent is not None:
            try:
                segment.lend(self.lent)
            except OSError:
                lent, self.lent = self.lent, None
                lent.close()

    def _take_back(self, lent: Lent | None) -> None:
        """Write out what is in the ring, and lend it no more: the process that keeps it has ended, or this one does."""
        with self._lock:
            if lent is not None and lent is self.lent:
                self._write_out()
                self.lent = None
                lent.close()

    def _write_ahead(self) -> None:
        """As `_write_out`, but the sealing does not keep requests waiting. For a thread without the lock."""
        with self._lock:
            lent = self.lent
            waiting = lent.ring.waiting() if lent else None
        if lent is None or waiting is None:
            return
        taken = lent.sealed(*waiting)
        with self._lock:
            if lent is self.lent and self._segment is not None:  # else it has been written out meanwhile
                self._take(lent, taken, self._segment)

    def _write_out(self) -> None:
        """Write what is in the ring into the open segment, as its keeper would have."""
        if self.lent is not None and self._segment is not None:
            self._take(self.lent, self.lent.sealed(*self.lent.ring.waiting()), self._segment)

    def _take(self, lent: Lent, taken: Taken, segment: OpenSegment) -> None:
        kept = 0
        with suppress(OSError):
            kept = segment.append(taken.frames) if taken.frames else 0
        segment.frames -= kept  # `hand` has counted them
        if taken.lost:
            self._lose(taken.lost, "key")
        if kept < len(taken.frames):
            self._lose(len(taken.frames) - kept, "disk")
        lent.took(taken)

    def _retire(self) -> None:
        if self._segment and self.lent is not None:
            self.lent.ring.segment = 0  # first: what its keeper writes from now on does not count as taken
            self._write_out()
        if self._segment:
            self._retired.append(self._segment)
            self._segment = None
            self._room = 0

    def _synced(self, segment: OpenSegment, copy: int) -> bool:
        try:
            segment.sync(copy)
        except OSError:
            # The kernel marks pages as clean even if it could not write them (fsync(2)): begin another segment.
            with self._lock:
                self._break()
            return False
        with self._lock:
            # A removed file still accepts frames, but they never reach the disk. One that is no longer ours may be
            # removed.
            removed = segment is self._segment and segment.is_gone()
            self._leave_gone()
        return not removed

    def _let_go(self, segment: OpenSegment) -> bool:
        try:
            return not segment.dirty or self._synced(segment, segment.copy())
        except OSError:
            return False
        finally:
            segment.close()

    def _release(self) -> None:
        for segment in self._held.values():
            segment.release()
        self._held = {}
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    def _failed(self, error: OSError) -> SpoolError:
        return SpoolError(f"{self.directory}: the spool failed ({error.strerror}); see that the directory is there")

    def forget(self) -> None:
        """Begin again in a forked child: close what it inherited, so that the parent's locks end with the parent."""
        for segment in (self._segment, *self._retired, *self._held.values()):
            if segment:
                segment.forget()
        if self.lent is not None:
            self.lent.forget()
        self._ongoing.forget()
        if self._lease is not None:
            self._lease.forget()
        self._leave()
        self._start()
        if self._site_lock is not None:
            with suppress(SpoolError):
                self.stay(self._site_lock)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _forget_all() -> None:
    for spool in list(_spools):
        spool.forget()


os.register_at_fork(after_in_child=_forget_all)


def _bring_to_disk(copy: int) -> None:
    """Sync the file and close `copy`. If the disk refuses, the complete record still follows at the exchange's end."""
    try:
        with suppress(OSError):
            os.fdatasync(copy)
    finally:
        os.close(copy)


def _prepare(directory: Path) -> None:
    try:
        make_directory(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")
        os.close(unlinked(directory / _LEASE, os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise SpoolError(
            f"{directory}: the spool cannot be kept here ({error.strerror}); give a directory that this user may write"
        ) from error
    if kind := network_file_system(directory):
        raise SpoolError(
            f"{directory}: the spool lies on a network file system ({kind}); give a directory on a local disk"
        )
