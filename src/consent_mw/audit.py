"""Who read personal fields, when, what and why: an append-only file in which each entry vouches for the one before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from consent_mw.exceptions import ConfigurationError, StoreError
from consent_mw.system import durable
from consent_mw.system.locks import locked
from consent_mw.system.ownership import unlinked

__all__ = ["Anchor", "Audit", "Entry", "Verdict"]

#: What the first entry vouches for.
_GENESIS: Final = hashlib.sha256(b"consent-mw audit").hexdigest()
#: A longer line is none of ours; it is not read into memory whole.
_LONGEST_BYTES: Final = 65_536
_TEXT_LIMIT: Final = 1_000
_LINE: Final = re.compile(rb'(\{"n":([1-9][0-9]{0,17}),.*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)
_HEAD: Final = re.compile(rb"([0-9]{18}) ([0-9]{18}) ([0-9a-f]{64})\n")


class Anchor(NamedTuple):
    """The end of a chain at some time: how many entries, and the hash of the last. Written `42:1f3c…`."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """
        Read what `str` wrote.

        Raises:
            ConfigurationError: It is no anchor.
        """
        found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip())
        if found is None:
            raise ConfigurationError(
                f"{text[:80]!r} is no anchor; give what `consent-mw audit verify` printed, such as 42:1f3c…"
            )
        return cls(int(found[1]), found[2])


class Entry(NamedTuple):
    """One line of the chain: its number from 1, and what it says, "n" and "hash" left out."""

    number: int
    facts: Mapping[str, object]


class Verdict(NamedTuple):
    """
    What a check of the whole chain found.

    Attributes:
        anchor: The end of the chain as far as it holds.
        broken: The first link that does not hold, "" if all do.
        note: What is worth knowing and breaks nothing.
    """

    anchor: Anchor
    broken: str = ""
    note: str = ""


class _Head(NamedTuple):
    """What the second file holds: the last entry's number and hash, and where it ends in the first file."""

    number: int
    size: int
    hash: str


_START: Final = _Head(0, 0, _GENESIS)


class Audit:
    """
    The chain in a data directory: `audit.jsonl`, one entry a line, and `audit.head`, which holds its end.

    The hash of an entry covers its bytes and the hash before it, so an entry that was changed, removed, inserted or
    moved breaks the chain there. What was cut off the end is missed by the head. `audit.seen` beside them, which
    belongs to no backup, holds the furthest end that there ever was: a restored backup of the two is shown by it.
    Whoever may write all three can make the whole chain anew: only an anchor that was written down elsewhere shows
    that.

    Any number of processes may append and read at once: a lock on the file orders them.
    """

    def __init__(self, path: Path, head: Path) -> None:
        self.path = path
        self.head = head
        self.seen: Path = head.with_suffix(".seen")

    def append(self, facts: Mapping[str, object], *, now: datetime) -> int:
        """
        Add one entry and return its number. On return it survives a power cut.

        A writer that was killed leaves either a whole entry or a torn one; a torn one is cut off by the next, whose
        entry says so under "cut_bytes". If the head is lost, the next entry says so under "lost".

        Args:
            facts: JSON values by name; of a text the first 1,000 characters are kept. "n", "time" and "hash" are ours.
            now: Aware.

        Raises:
            StoreError: It could not be kept, so what it was to tell must not happen. Nothing was added.
        """
        try:
            with self._locked(fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT) as fd:
                head, remarks = self._settled(fd)
                time = now.astimezone(UTC).isoformat(timespec="milliseconds")
                entry = {"n": head.number + 1, "time": time, **_shortened(facts), **remarks}
                line, digest = _linked(msgspec.json.encode(entry), head.hash)
                size = os.fstat(fd).st_size
                durable.write_at(fd, line, size)
                self._write_head(_Head(head.number + 1, size + len(line), digest))
                self._see(fd, head, Anchor(head.number + 1, digest))
                return head.number + 1
        except OSError as error:
            raise StoreError(
                f"{self.path}: the access cannot be recorded ({error.strerror}), so nothing is shown; "
                "let this user write it, and see that the disk has room"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """
        Yield the entries in order, believing each: whether they hold is for `verify`. Lines that are none are left out.

        Raises:
            StoreError: The file is there and cannot be read.
        """
        with self._reading() as file:
            for line in _lines(file):
                with suppress(msgspec.MsgspecError, ValueError):
                    facts = msgspec.json.decode(line, type=dict[str, object])
                    facts.pop("hash", None)
                    yield Entry(int(str(facts.pop("n", 0))), facts)

    def verify(self, anchor: Anchor | None = None) -> Verdict:
        """
        Check every link, and that the chain ends where its head says.

        Args:
            anchor: An end that was written down before: the chain must still run through it.

        Raises:
            StoreError: The files are there and cannot be read.
        """
        with self._reading() as file:
            head = self._read_head()
            verdict = _checked(file, head, anchor)
            seen = None if verdict.broken else self._read_seen()
            if seen is None:
                return verdict
            file.seek(0)
            gone = _checked(file, head, seen).broken
        if not gone:
            return verdict
        mend = "put the longer one back, or remove the file and write down why"
        return verdict._replace(broken=f"{gone} (as {self.seen} has seen it, so an older chain was put here; {mend})")

    def copied(self) -> tuple[bytes, bytes]:
        """
        Return the bytes of both files, the chain and its head, of one moment; none where there is no chain.

        Raises:
            StoreError: They cannot be read.
        """
        with self._reading() as file:
            try:
                return file.read(), self.head.read_bytes()
            except FileNotFoundError:
                return b"", b""

    def put_back(self, chain: bytes, head: bytes) -> bool:
        """
        Take the copy of a chain where it goes on from the one that is here, and return whether the one that is here is
        as long or longer. A chain never goes backwards.

        Raises:
            StoreError: The two are different chains, or the files cannot be written. Nothing was changed.
        """
        try:
            with self._locked(fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT) as fd:
                size = os.fstat(fd).st_size
                here = os.pread(fd, size, 0)
                if here.startswith(chain):
                    return True
                if not chain.startswith(here):
                    raise StoreError(
                        f"{self.path}: is another chain than the one of the backup; move audit.jsonl, audit.head and "
                        "audit.seen away, and write down why"
                    )
                durable.write_at(fd, chain[size:], size)
                durable.overwrite(self.head, head)
                return False
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror}); let this user write it") from error

    # -- the two files ------------------------------------------------------------------------------------------

    def _settled(self, fd: int) -> tuple[_Head, dict[str, object]]:
        """Return the end to go on from, and what the next entry has to say about how it was found."""
        size = os.fstat(fd).st_size
        head = self._read_head()
        if head is None:
            self._write_head(_START)
            return (_START, {}) if size == 0 else (self._scanned(fd), {"lost": self.head.name})
        if size > head.size:
            rest = os.pread(fd, min(size - head.size, _LONGEST_BYTES), head.size)
            whole = _linked_to(rest, head)
            if whole is not None:  # killed between the two files; twice in a row, and two entries would be beyond it
                self._write_head(whole)
                return whole, {}
            if b"\n" not in rest and len(rest) < _LONGEST_BYTES:
                os.ftruncate(fd, head.size)
                return head, {"cut_bytes": len(rest)}
        _end_line(fd, size)
        return head, {}

    def _scanned(self, fd: int) -> _Head:
        """Return the end of what holds, for a file whose head is gone, and leave the file ending with a line."""
        _end_line(fd, os.fstat(fd).st_size)
        with open(os.dup(fd), "rb") as file:
            file.seek(0)
            anchor = _checked(file, None, None).anchor
        return _Head(anchor.number, os.fstat(fd).st_size, anchor.hash)

    def _read_head(self) -> _Head | None:
        try:
            with open(self.head, "rb", opener=unlinked) as file:
                found = _HEAD.fullmatch(file.read())
        except FileNotFoundError:
            return None
        return _Head(int(found[1]), int(found[2]), found[3].decode()) if found else None

    def _write_head(self, head: _Head) -> None:
        durable.overwrite(self.head, b"%018d %018d %s\n" % (head.number, head.size, head.hash.encode()))

    def _see(self, chain: int, before: _Head, end: Anchor) -> None:
        """Note the end, unless the chain was further before, or another one."""
        seen = self._read_seen()
        if seen is None or seen == Anchor(before.number, before.hash) or self._runs_through(chain, seen, before):
            durable.overwrite(self.seen, str(end).encode() + b"\n")

    @staticmethod
    def _runs_through(chain: int, seen: Anchor, before: _Head) -> bool:
        """Whether what was seen is only behind, as a writer leaves it that was killed before it noted the end."""
        if seen.number >= before.number:
            return False
        with open(os.dup(chain), "rb") as file:
            file.seek(0)
            return not _checked(file, None, seen).broken.endswith("up to here or beyond")

    def _read_seen(self) -> Anchor | None:
        try:
            with open(self.seen, encoding="ascii", opener=unlinked) as file:
                return Anchor.parse(file.read())
        except (FileNotFoundError, ConfigurationError, UnicodeDecodeError):
            return None

    @contextmanager
    def _locked(self, how: int, flags: int) -> Generator[int]:
        fd = unlinked(self.path, flags)
        try:
            with locked(fd, how):
                yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _reading(self) -> Generator[IO[bytes]]:
        try:
            with self._locked(fcntl.LOCK_SH, os.O_RDONLY) as fd, open(os.dup(fd), "rb") as file:
                yield file
        except FileNotFoundError:
            with open(os.devnull, "rb") as file:
                yield file
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror}); let this user read it") from error


def _end_line(fd: int, size: int) -> None:
    """Let what comes next begin on a line of its own, whatever was done to the last one."""
    if size and os.pread(fd, 1, size - 1) != b"\n":
        durable.write_at(fd, b"\n", size)


def _shortened(facts: Mapping[str, object]) -> dict[str, object]:
    """Texts capped, and with what UTF-8 cannot carry replaced."""
    return {name: _text(value) if isinstance(value, str) else value for name, value in facts.items()}


def _text(value: str) -> str:
    return value[:_TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")


# -- links ---------------------------------------------------------------------------------------------------------


def _linked(body: bytes, before: str) -> tuple[bytes, str]:
    """Return an entry's line, and its hash: of the hash before it and of its own bytes."""
    body = body[:-1]
    digest = _digest(body, before)
    return b'%s,"hash":"%s"}\n' % (body, digest.encode()), digest


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def _linked_to(line: bytes, head: _Head) -> _Head | None:
    """Return the head after `line`, if that is exactly the one entry that follows `head`."""
    found = _LINE.fullmatch(line)
    if found is None or int(found[2]) != head.number + 1 or _digest(found[1], head.hash) != found[3].decode():
        return None
    return _Head(head.number + 1, head.size + len(line), found[3].decode())


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of the file; one that is too long to be ours comes in pieces."""
    while line := file.readline(_LONGEST_BYTES):
        yield line


def _checked(file: IO[bytes], head: _Head | None, anchor: Anchor | None) -> Verdict:
    """Follow the chain to its end or to the first link that does not hold. Memory for one line."""
    at, size, before, note = 0, 0, _GENESIS, ""
    for at, line in enumerate(_lines(file), 1):
        end = Anchor(at - 1, before)
        found = _LINE.fullmatch(line)
        if found is None and b"\n" not in line and not file.read(1):
            at, note = at - 1, f"the last {len(line)} bytes are a torn entry: its writer was stopped"
            break
        if found is None:
            return Verdict(end, f"entry {at}: its line was changed, or is none of ours")
        before, size = found[3].decode(), size + len(line)
        problem = _misplaced(found, at, end.hash) or _unlike(_Head(at, size, before), head, anchor)
        if problem:
            return Verdict(end, f"entry {at}: {problem}")
    return _ended(Verdict(Anchor(at, before), note=note), head, anchor)


def _misplaced(found: re.Match[bytes], at: int, before: str) -> str:
    """Return what is wrong with the link of one line to the one before, or ""."""
    number = int(found[2])
    if number > at:
        return f"missing or moved; number {number} stands in its place"
    if number < at:
        return f"inserted or moved; it says that it is number {number}"
    if _digest(found[1], before) != found[3].decode():
        return "it was changed"
    if "lost" in msgspec.json.decode(found[1] + b"}", type=dict[str, object]):
        return "when it was written the head was lost; entries before it may be missing"
    return ""


def _unlike(here: _Head, head: _Head | None, anchor: Anchor | None) -> str:
    """Return how an entry differs from what the head and the anchor say of its number, or ""."""
    if anchor and anchor.number == here.number and anchor.hash != here.hash:
        return "not the one of the anchor; the chain was made anew, up to here or beyond"
    if head and head.number == here.number and head != here:
        return "not the one of the head; one of them was changed"
    return ""


def _ended(verdict: Verdict, head: _Head | None, anchor: Anchor | None) -> Verdict:
    """Hold the end of a whole chain against its head and the anchor."""
    number = verdict.anchor.number
    if anchor and anchor.number > number:
        return verdict._replace(broken=f"entry {number + 1}: missing; the anchor says that there were {anchor.number}")
    if head is None and number:
        return verdict._replace(broken=f"entry {number + 1}: the head is lost; entries from here on may be missing")
    if head and head.number > number:
        return verdict._replace(broken=f"entry {number + 1}: missing; the head says that there were {head.number}")
    # One more is what a writer leaves that was killed between the two files.
    if head and head.number < number - 1:
        return verdict._replace(broken=f"entry {head.number + 1}: beyond the head; one of them was changed")
    return verdict
