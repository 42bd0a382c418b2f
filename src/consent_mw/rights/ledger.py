"""The ledger of erasures: which tokens were erased, so that a restored backup does not bring anybody back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.exceptions import StoreError
from consent_mw.kinds import HELD
from consent_mw.paths import Places
from consent_mw.records import Record, time_of
from consent_mw.system import durable
from consent_mw.system.ownership import unlinked

#: An entry also means records of its own instant, as ids do not tell shorter times apart.
_INSTANT: Final = timedelta(milliseconds=1)

_log = logging.getLogger("consent_mw")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one step of an erasure is about to delete, written before it does.

    Attributes:
        at: When (aware, UTC). The entry does not mean newer records.
        request: The number of the request that asked for the erasure.
        deletes: The records that it is about to delete, the last eight bytes of each id one after the other. Whatever
            happens then, at the end these are gone, and each counts once.
        elsewhere: How many of them something else had deleted before this step did; known only afterwards.
        until: When the last key of these tokens is gone (aware, UTC); from then on they say nothing.
        tokens: In hexadecimal. They are pseudonyms, and become useless with the keys of their days.
        days: For each token, the day (since 1970, UTC) whose records carry it. It is looked for in that day.
        purposes: How many of the tokens, one after the other, are of each purpose. They are looked for there alone.
        again: For each token that was allowed again since, the instant. Records of that instant or later are not meant.
        ids: Single records to delete too: what the person had asked before.
    """

    at: datetime
    request: UUID
    deletes: bytes = b""
    elsewhere: int = 0
    until: datetime
    tokens: tuple[str, ...] = ()
    days: tuple[int, ...] = ()
    purposes: dict[str, int] = {}
    ids: tuple[UUID, ...] = ()
    again: dict[str, datetime] = {}

    @classmethod
    def parse(cls, line: str | bytes) -> Entry | None:
        """Return the entry that a line holds; None if it is none."""
        try:
            entry = _decode(line)
        except (msgspec.MsgspecError, ValueError):
            return None
        return entry if len(entry.tokens) == len(entry.days) == sum(entry.purposes.values()) else None

    @property
    def text(self) -> str:
        """The entry as a line of the ledger."""
        return msgspec.json.encode(self).decode()

    @property
    def is_for_all(self) -> bool:
        """Whether it says which records are erased, or how many were: the other hosts have to know."""
        return bool(self.tokens or self.ids or self.deletes or self.elsewhere)

    @property
    def places(self) -> Iterator[tuple[tuple[int, str], bytes]]:
        """The day and purpose whose records carry a token, and the token, for each of them."""
        purposes = chain.from_iterable(repeat(purpose, count) for purpose, count in self.purposes.items())
        return zip(zip(self.days, purposes, strict=True), map(bytes.fromhex, self.tokens), strict=True)

    @property
    def before(self) -> dict[bytes, datetime]:
        """The tokens as records carry them, each with the instant before which its records are to be erased."""
        after = self.at + _INSTANT
        return {bytes.fromhex(token): min(after, self.again.get(token, after)) for token in self.tokens}


def listed(ids: Iterable[UUID]) -> bytes:
    """Return `ids` as an entry holds them. Eight bytes, nearly all random, tell those of one person apart."""
    return b"".join(one.bytes[-_ID_BYTES:] for one in ids)


def counted(entries: Sequence[Entry]) -> int:
    """Return how many records these entries of one request deleted, whichever hosts did and wherever they died."""
    ids = {entry.deletes[at : at + _ID_BYTES] for entry in entries for at in range(0, len(entry.deletes), _ID_BYTES)}
    return len(ids) - sum(entry.elsewhere for entry in entries)


class _Ending(msgspec.Struct, frozen=True):
    """The part of an entry that tells whether it may be forgotten; its tokens are most of an entry."""

    until: datetime


_decode = msgspec.json.Decoder(Entry).decode
_decode_ending = msgspec.json.Decoder(_Ending).decode

_ID_BYTES: Final = 8

#: A walk goes through a whole ledger in at most this many looks. A running site looks every ten seconds, so within the
#: hour.
_STEPS: Final = 300
#: The least that one look reads of a short ledger: some ten entries.
_LEAST_BYTES: Final = 4_096


class Erased:
    """What some entries say was erased. If one of these records is there, somebody put it back."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._before: dict[bytes, datetime] = {}
        self._ids: set[UUID] = set()
        for entry in entries:
            self._ids.update(entry.ids)
            for subject, before in entry.before.items():
                self._before[subject] = max(before, self._before.get(subject, before))

    @property
    def ids(self) -> frozenset[UUID]:
        """The single records of all entries."""
        return frozenset(self._ids)

    def has(self, record: Record) -> bool:
        """Whether `record` was erased."""
        if record.id in self._ids:
            return True
        before = self._before.get(record.subject) if record.subject else None
        return before is not None and time_of(record.id) < before and record.kind in HELD


class Ledger:
    """
    An append-only file (mode 0600), one entry a line. It is not part of the backups of the store.

    One process writes at a time: the one that holds the erasure's lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """
        Return the entries of the ledger, oldest first. Lines that are not entries, as a crash may leave one, are left
        out.

        Raises:
            StoreError: The file exists and cannot be read.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(error) from error
        entries: list[Entry] = []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            entry = Entry.parse(line)
            if entry is None:
                _log.warning("%s: line %d is not whole and was left out", self.path, number)
            else:
                entries.append(entry)
        return entries

    def some(self, place: tuple[int, int]) -> tuple[list[Entry], tuple[int, int]]:
        """
        Return the entries at a place of the file, about one in `_STEPS` of it, and the next place: `(0, 0)` after the
        last. A place is the file's number and a byte in it. In another file it means the beginning.

        Raises:
            StoreError: The file exists and cannot be read.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                status = os.fstat(file.fileno())
                file.seek(place[1] if place[0] == status.st_ino else 0)
                lines = file.readlines(max(_LEAST_BYTES, status.st_size // _STEPS))
                end = file.tell()
        except FileNotFoundError:
            return [], (0, 0)
        except OSError as error:
            raise self._failed(error) from error
        behind = (status.st_ino, end) if lines and end < status.st_size else (0, 0)
        # Torn lines are logged at the start, when all are read.
        return [entry for line in lines if (entry := Entry.parse(line))], behind

    def added(self, place: tuple[int, int]) -> tuple[Iterator[tuple[int, bytes]], tuple[int, int]]:
        """
        Return the whole lines behind a place of the file, each with the byte at which it begins, and their end. Places
        are as in `some`: where another process has replaced the file, these are all lines. Raises StoreError.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                status = os.fstat(file.fileno())
                begin = place[1] if place[0] == status.st_ino and place[1] <= status.st_size else 0
                file.seek(begin)
                content = file.read()
        except FileNotFoundError:
            return iter(()), (0, 0)
        except OSError as error:
            raise self._failed(error) from error
        content = content[: content.rfind(b"\n") + 1]
        return _placed(content, begin), (status.st_ino, begin + len(content))

    def line(self, begin: int) -> bytes:
        """Return the line that begins at a byte of the file. Raises StoreError."""
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                file.seek(begin)
                return file.readline().rstrip(b"\n")
        except OSError as error:
            raise self._failed(error) from error

    def append(self, entry: Entry) -> None:
        """
        Write an entry; on return it survives a power cut.

        Raises:
            StoreError: It could not be written, so nothing may be erased.
        """
        self.append_text(entry.text)

    def append_text(self, text: str) -> None:
        """Write an entry as it stands elsewhere. Raises as `append`."""
        # Start a new line, also behind one that a crash tore.
        self._kept(durable.append, f"\n{text}\n".encode())

    def prune(self, now: datetime) -> int:
        """
        Forget the entries whose keys are all gone at `now` (aware), and return how many they were. Raises StoreError.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                lines = [line for line in file.read().splitlines() if line]
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._failed(error) from error
        kept = [line for line in lines if not _is_over(line, now)]
        # The line break at the start: a file of 0 bytes is one that was cut.
        if len(kept) < len(lines):
            self._kept(durable.replace, b"\n" + b"".join(line + b"\n" for line in kept))
        return len(lines) - len(kept)

    def _kept(self, write: Callable[[Path, bytes], None], content: bytes) -> None:
        try:
            write(self.path, content)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path}: the ledger of erasures failed ({error.strerror}); let this user write it, and see that the "
            "disk has room"
        )


def entries_at(places: Places) -> list[Entry]:
    """Return what this host and the others of the site erased. Raises StoreError."""
    return [*Ledger(places.erasures).entries(), *Ledger(places.erasures_of_hosts).entries()]


class Walk:
    """
    Goes through a ledger again and again, a few entries at each look. So a look takes as long in a site of ten days as
    in one of a year. In some hundred looks it reads all entries, also those that were appended since. Where another
    process has replaced the file, it starts again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._place = (0, 0)
        self._met_over = False

    def step(self, now: datetime) -> list[Entry]:
        """
        Return the next entries. At the end of the ledger, forget those whose keys are all gone at `now` (aware), if it
        met any. Raises StoreError.
        """
        entries, self._place = self._ledger.some(self._place)
        self._met_over = self._met_over or any(entry.until <= now for entry in entries)
        if self._met_over and self._place == (0, 0):
            self._ledger.prune(now)
            self._met_over = False
        return [entry for entry in entries if entry.until > now]


def _placed(content: bytes, begin: int) -> Iterator[tuple[int, bytes]]:
    for line in content.splitlines(keepends=True):
        if line.strip():
            yield begin, line.rstrip(b"\n")
        begin += len(line)


def _is_over(line: bytes, now: datetime) -> bool:
    """Whether a line may be forgotten: its keys are gone, or a crash tore it."""
    try:
        return _decode_ending(line).until <= now
    except (msgspec.MsgspecError, ValueError):
        return True
