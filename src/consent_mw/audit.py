"""Record who read personal fields, when, what and why. In this append-only file each entry proves the one before."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from consent_mw.exceptions import ConfigurationError, StoreError
from consent_mw.system import durable
from consent_mw.system.locks import locked
from consent_mw.system.ownership import unlinked

#: The hash before the first entry.
_GENESIS: Final = hashlib.sha256(b"consent-mw audit").hexdigest()
#: A longer line is not ours, and is not read into memory whole.
_LONGEST_BYTES: Final = 65_536
_TEXT_LIMIT: Final = 1_000
_LINE: Final = re.compile(rb'(\{"n":([1-9][0-9]{0,17}),.*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)
#: What to do with a broken chain.
_FIX: Final = (
    "compare it with those of your backups, and find out who changed it; put the whole one back, or move audit.jsonl, "
    "audit.head and audit.seen away and write down why"
)
_HEAD: Final = re.compile(rb"([0-9]{18}) ([0-9]{18}) ([0-9a-f]{64})\n")


class Anchor(NamedTuple):
    """The end of a chain at some time: the number of entries, and the hash of the last one. Written `42:1f3c…`."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """
        Parse the text that `str` writes.

        Raises:
            ConfigurationError: The text is not an anchor.
        """
        match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip())
        if match is None:
            raise ConfigurationError(
                f"{text[:80]!r} is no anchor; give what `consent-mw audit verify` printed, such as 42:1f3c…"
            )
        return cls(int(match[1]), match[2])


class Entry(NamedTuple):
    """One line of the chain: its number, from 1, its facts, without "n" and "hash", and its hash."""

    number: int
    facts: Mapping[str, object]
    hash: str


class Verdict(NamedTuple):
    """
    The result of checking the whole chain.

    Attributes:
        anchor: The end of the chain's valid part.
        broken: The first invalid link; "" if all are valid.
        note: A remark that does not make the chain invalid.
    """

    anchor: Anchor
    broken: str = ""
    note: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with the chain, with the fix, in one line; "" if all of it is valid."""
        return f"the chain is broken at {self.broken}; {_FIX}" if self.broken else ""


class _Head(NamedTuple):
    """The content of the second file: the last entry's number and hash, and where that entry ends in the first file."""

    number: int
    size: int
    hash: str


_START: Final = _Head(0, 0, _GENESIS)


class Audit:
    """
    The chain in a data directory: `audit.jsonl` with one entry per line, and `audit.head` with its end.

    The hash of an entry covers its bytes and the hash before it. So an entry that was changed, removed, inserted or
    moved breaks the chain there. The head shows if entries were cut off the end. A third file, `audit.seen`, holds the
    furthest end that the chain ever had. Keep it out of backups: it shows if an older backup of the other two was put
    back. A person who can write all three files can make the whole chain anew. Only an anchor that was written down
    elsewhere shows that.

    Any number of processes may append and read at once: a lock on the file orders them.
    """

    def __init__(self, path: Path, head: Path) -> None:
        self.path = path
        self.head = head
        self.seen: Path = head.with_suffix(".seen")

    def append(self, facts: Mapping[str, object], *, now: datetime) -> int:
        """
        Add one entry and return its number. When the call returns, the entry survives a power cut.

        A killed writer leaves either a whole entry or a torn one. The next writer cuts off a torn entry, and its own
        entry says so under "cut_bytes". If the head is lost, the next entry says so under "lost".

        Args:
            facts: JSON values by name. Texts are cut after 1,000 characters. "n", "time" and "hash" are reserved.
            now: The current time (aware).

        Raises:
            StoreError: The entry could not be kept, so the access that it records must not happen. Nothing was added.
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
            place = error.filename or self.path
            raise StoreError(
                f"{place}: the access cannot be recorded ({error.strerror}), so nothing is shown; "
                "let this user write it, and see that the disk has room"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """
        Yield the entries in order, without checking them: `verify` does that. Skips lines that are not entries.

        Raises:
            StoreError: The file is there and cannot be read.
        """
        with self._reading() as file:
            yield from entries_of(_lines(file))

    @property
    def end(self) -> Anchor:
        """The end of the chain as its head says, unchecked; number 0 if there is none. Raises OSError."""
        head = self._read_head() or _START
        return Anchor(head.number, head.hash)

    def lines(self) -> list[bytes]:
        """Return the whole lines of the file, unchecked. Raises StoreError as `entries`."""
        with self._reading() as file:
            return [line for line in _lines(file) if line.endswith(b"\n")]

    def verify(self, anchor: Anchor | None = None) -> Verdict:
        """
        Check every link, and that the chain ends where its head says.

        Args:
            anchor: An earlier end of the chain, written down at that time. The chain must still run through it.

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
        return verdict._replace(broken=f"{gone} (as {self.seen} has seen it, so an older chain was put here)")

    def copied(self) -> tuple[bytes, bytes]:
        """
        Return the bytes of both files, the chain and its head, at one moment; both empty if there is no chain.

        Raises:
            StoreError: They cannot be read.
        """
        with self._reading() as file:
            try:
                return file.read(), self.head.read_bytes()
            except FileNotFoundError:
                return b"", b""

    def check_copy(self, chain: bytes) -> None:
        """Refuse a copy of another chain than the one here. Raises StoreError: it is another, or cannot be read."""
        with self._reading() as file:
            here = file.read()
        if not here.startswith(chain) and not chain.startswith(here):
            raise self._another()

    def put_back(self, chain: bytes, head: bytes) -> bool:
        """
        Write a copy of a chain if it continues the one here. Return whether the one here is as long or longer.

        A chain never goes backwards: if the one here is as long or longer, nothing is written.

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
                    raise self._another()
                durable.write_at(fd, chain[size:], size)
                durable.overwrite(self.head, head)
                return False
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror}); let this user write it") from error

    def _another(self) -> StoreError:
        return StoreError(
            f"{self.path}: is another chain than the one of the backup, so the backup is of another site, or the chain "
            "was begun anew since; if the backup is this site's, move audit.jsonl, audit.head and audit.seen away, and "
            "write down why"
        )

    # -- the two files ------------------------------------------------------------------------------------------

    def _settled(self, fd: int) -> tuple[_Head, dict[str, object]]:
        """Return the end to continue from, and remarks for the next entry about the state of the files."""
        size = os.fstat(fd).st_size
        head = self._read_head()
        if head is None:
            self._write_head(_START)
            return (_START, {}) if size == 0 else (self._scanned(fd), {"lost": self.head.name})
        if size > head.size:
            rest = os.pread(fd, min(size - head.size, _LONGEST_BYTES), head.size)
            whole = _linked_to(rest, head)
            # A writer was killed between the two files. Repair the head now: after a second such kill two entries would
            # be beyond it.
            if whole is not None:
                self._write_head(whole)
                return whole, {}
            if b"\n" not in rest and len(rest) < _LONGEST_BYTES:
                os.ftruncate(fd, head.size)
                return head, {"cut_bytes": len(rest)}
        _end_line(fd, size)
        return head, {}

    def _scanned(self, fd: int) -> _Head:
        """Return the valid part's end, for a file without a head. End the file with a line break if it lacks one."""
        _end_line(fd, os.fstat(fd).st_size)
        with open(os.dup(fd), "rb") as file:
            file.seek(0)
            anchor = _checked(file, None, None).anchor
        return _Head(anchor.number, os.fstat(fd).st_size, anchor.hash)

    def _read_head(self) -> _Head | None:
        try:
            with open(self.head, "rb", opener=unlinked) as file:
                match = _HEAD.fullmatch(file.read())
        except FileNotFoundError:
            return None
        return _Head(int(match[1]), int(match[2]), match[3].decode()) if match else None

    def _write_head(self, head: _Head) -> None:
        durable.overwrite(self.head, b"%018d %018d %s\n" % (head.number, head.size, head.hash.encode()))

    def _see(self, chain: int, before: _Head, end: Anchor) -> None:
        """Note the end, unless an end was seen that is further, or that belongs to another chain."""
        seen = self._read_seen()
        if seen is None or seen == Anchor(before.number, before.hash) or self._runs_through(chain, seen, before):
            durable.overwrite(self.seen, str(end).encode() + b"\n")

    @staticmethod
    def _runs_through(chain: int, seen: Anchor, before: _Head) -> bool:
        """Whether the seen end is only older: a writer that was killed before it noted the end leaves it so."""
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

    @property
    def has_seen(self) -> bool:
        """Whether `audit.seen` says an end, or is not there. Raises OSError."""
        return not self.seen.exists() or self._read_seen() is not None

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
            place = error.filename or self.path
            raise StoreError(f"{place}: cannot be read ({error.strerror}); let this user read it") from error


def _end_line(fd: int, size: int) -> None:
    """End the last line with a line break if it lacks one, so that the next entry begins a new line."""
    if size and os.pread(fd, 1, size - 1) != b"\n":
        durable.write_at(fd, b"\n", size)


def _shortened(facts: Mapping[str, object]) -> dict[str, object]:
    """Return the facts with long texts cut, and with characters replaced that UTF-8 cannot encode."""
    return {name: _text(value) if isinstance(value, str) else value for name, value in facts.items()}


def _text(value: str) -> str:
    return value[:_TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")


# -- links ---------------------------------------------------------------------------------------------------------


def _linked(body: bytes, before: str) -> tuple[bytes, str]:
    """Return an entry's line and its hash, which covers the hash before it and the entry's own bytes."""
    body = body[:-1]
    digest = _digest(body, before)
    return b'%s,"hash":"%s"}\n' % (body, digest.encode()), digest


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def _linked_to(line: bytes, head: _Head) -> _Head | None:
    """Return the head after `line`, if `line` is exactly the one entry that follows `head`; else None."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[2]) != head.number + 1 or _digest(match[1], head.hash) != match[3].decode():
        return None
    return _Head(head.number + 1, head.size + len(line), match[3].decode())


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of the file. A line that is too long to be ours comes in pieces."""
    while line := file.readline(_LONGEST_BYTES):
        yield line


def entries_of(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Yield the entries that lines hold, without checking them. Skips lines that are not entries."""
    for line in lines:
        with suppress(msgspec.MsgspecError, ValueError):
            facts = msgspec.json.decode(line, type=dict[str, object])
            digest = str(facts.pop("hash", ""))
            yield Entry(int(str(facts.pop("n", 0))), facts, digest)


def followed(lines: Iterable[bytes]) -> Verdict:
    """Check every link of a chain from its first line. Where it should end is not known."""
    return _followed(io.BytesIO(b"".join(lines)), None, None)


def _checked(file: IO[bytes], head: _Head | None, anchor: Anchor | None) -> Verdict:
    verdict = _followed(file, head, anchor)
    return verdict if verdict.broken else _ended(verdict, head, anchor)


def _followed(file: IO[bytes], head: _Head | None, anchor: Anchor | None) -> Verdict:
    """Follow the chain to its end or to the first invalid link. Holds one line in memory."""
    at, size, before, note = 0, 0, _GENESIS, ""
    for at, line in enumerate(_lines(file), 1):
        end = Anchor(at - 1, before)
        match = _LINE.fullmatch(line)
        if match is None and b"\n" not in line and not file.read(1):
            at, note = at - 1, f"the last {len(line)} bytes are a torn entry: its writer was stopped"
            break
        if match is None:
            return Verdict(end, f"entry {at}: its line was changed, or is none of ours")
        before, size = match[3].decode(), size + len(line)
        problem = _misplaced(match, at, end.hash) or _unlike(_Head(at, size, before), head, anchor)
        if problem:
            return Verdict(end, f"entry {at}: {problem}")
    return Verdict(Anchor(at, before), note=note)


def _misplaced(match: re.Match[bytes], at: int, before: str) -> str:
    """Return what is wrong with the link of one line to the one before, or ""."""
    number = int(match[2])
    if number > at:
        return f"missing or moved; number {number} stands in its place"
    if number < at:
        return f"inserted or moved; it says that it is number {number}"
    if _digest(match[1], before) != match[3].decode():
        return "it was changed"
    if "lost" in msgspec.json.decode(match[1] + b"}", type=dict[str, object]):
        return "when it was written the head was lost; entries before it may be missing"
    return ""


def _unlike(here: _Head, head: _Head | None, anchor: Anchor | None) -> str:
    """Return how an entry differs from what the head and the anchor say about its number, or ""."""
    if anchor and anchor.number == here.number and anchor.hash != here.hash:
        return "not the one of the anchor; the chain was made anew, up to here or beyond"
    if head and head.number == here.number and head != here:
        return "not the one of the head; one of them was changed"
    return ""


def _ended(verdict: Verdict, head: _Head | None, anchor: Anchor | None) -> Verdict:
    """Compare the end of a whole chain with its head and the anchor."""
    number = verdict.anchor.number
    if anchor and anchor.number > number:
        return verdict._replace(broken=f"entry {number + 1}: missing; the anchor says that there were {anchor.number}")
    if head is None and number:
        return verdict._replace(broken=f"entry {number + 1}: the head is lost; entries from here on may be missing")
    if head and head.number > number:
        return verdict._replace(broken=f"entry {number + 1}: missing; the head says that there were {head.number}")
    # One entry more is normal: a writer that was killed between the two files leaves it.
    if head and head.number < number - 1:
        return verdict._replace(broken=f"entry {head.number + 1}: beyond the head; one of them was changed")
    return verdict
