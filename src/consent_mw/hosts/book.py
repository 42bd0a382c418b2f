"""Remember what a host must know about the keys of its site, in an append-only file. The file opens nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import KeyringUnreachable
from consent_mw.hosts.brief import Brief, is_bulky
from consent_mw.hosts.messages import Message, Place, places_of, remembered
from consent_mw.hosts.view import Note, View
from consent_mw.records import decode_record, encode_record
from consent_mw.system import durable
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import unlinked

#: From so many bytes on that a start would have to read message by message, the file gets a new index.
_MUCH_BYTES: Final = 256 << 10


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One line of the file: a verified record, a note, when the whole store was read last, the index, or where it ends.
    """

    record: bytes = b""
    note: Note | None = None
    place: tuple[int, str] = (0, "")
    host: bytes = b""
    heard_ns: int = 0
    index: bytes = b""
    mark: bytes = b""
    behind: int = 0


class _Index(msgspec.Struct, frozen=True, array_like=True):
    """
    The first line of a file: what the lines behind it say, so that a start need not read them.

    Attributes:
        length: The bytes of these lines.
        briefs: Their messages.
        used: The notes "used": of each label, the days.
    """

    length: int
    briefs: list[Brief]
    used: dict[str, list[int]]


_decode: Final = msgspec.json.Decoder(_Line).decode
_encode: Final = msgspec.json.Encoder().encode
_decode_index: Final = msgspec.msgpack.Decoder(_Index).decode
_encode_index: Final = msgspec.msgpack.Encoder().encode


class Book:
    """
    Keep the verified messages of hosts, and this host's own notes, in a file (mode 0600).

    All processes of the host share the file. Messages about a place stay in it until the place is over. The wraps in
    it become noise when the key slot of their place is overwritten.

    When `add` returns, what it added survives a power cut. A torn line is ignored.

    There is a message for each part of each living day. So that a start reads none of them, the file begins with an
    index, which the site's keys sign: it has each of them in brief. Their lines follow, as if there were no index. The
    others come behind.

    Attributes:
        view: The content of the file when it was last read.
        heard_ns: When a process of this host began to read all messages in the store, the last time that it came to the
            end, in nanoseconds since 1970; 0 if it is not known.
    """

    def __init__(self, path: Path, sealer: Sealer) -> None:
        """`sealer` marks and checks what the file holds; it does not need a key of any day."""
        self.path = path
        self.view: View = View()
        self.heard_ns: int = 0
        self._sealer = sealer
        self._read_to = (0, 0)  # inode and bytes
        self._loose_bytes = 0  # of lines with messages that the index could have

    @staticmethod
    def is_line(line: bytes) -> bool:
        """Whether `line` is one of such a file. Raises ValueError or MsgspecError if it cannot be read."""
        entry = _decode(line)
        is_other = entry.note is not None or entry.heard_ns > 0 or bool(entry.index) or entry.behind > 0
        return is_other or bool(entry.record and decode_record(entry.record))

    def read(self) -> View:
        """
        Read what any process has added since the last call, and return the view.

        Raises:
            KeyringUnreachable: The file cannot be read.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                status, (known, done) = os.fstat(file.fileno()), self._read_to
                if known != status.st_ino:
                    self.view, self._loose_bytes = View(), 0
                    done = self._take_index(file)
                file.seek(done)
                content = file.read()
        except FileNotFoundError:
            return self.view
        except OSError as error:
            raise self._failed(error) from error
        for line in content.split(b"\n"):
            if line:
                self._take(line)
        self._read_to = status.st_ino, done + len(content)
        return self.view

    def _take_index(self, file: BinaryIO) -> int:
        """Take the index of a file, if it has one. Return where that begins for which it does not stand."""
        file.readline()  # the empty line that each file begins with
        index = self._index(file.readline())
        if index is None:
            return 0
        file.seek(index.length, os.SEEK_CUR)
        if file.readline() != _end(index.length):  # somebody has taken out a line, or put one in
            return 0
        for brief in index.briefs:
            self.view.take_brief(brief)
        for label, days in index.used.items():
            for day in days:
                self.view.note("used", Place(day, label))
        return file.tell()

    def _index(self, line: bytes) -> _Index | None:
        try:
            entry = _decode(line)
            is_ours = bool(entry.index) and self._sealer.site_keys.vouches(entry.mark, entry.index)
            return _decode_index(entry.index) if is_ours else None
        except (msgspec.MsgspecError, ValueError):
            return None

    def messages(self, ids: Set[UUID]) -> Iterator[Message]:
        """
        Yield the messages of these ids whole, as far as the file has them as they are known.

        Raises:
            KeyringUnreachable: The file cannot be read.
        """
        left = set(ids)
        for _, message in self._lines():
            if message.record.id in left and self.view.has(message.record):
                left.discard(message.record.id)
                yield message

    def _lines(self) -> Iterator[tuple[bytes, Message]]:
        """Yield the lines with messages, one by one: all of them take some 40 MB. Raises as `messages`."""
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                for line in file:
                    if (message := self._message(line)) is not None:
                        yield line, message
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error) from error

    def _message(self, line: bytes) -> Message | None:
        try:
            entry = _decode(line)
            return remembered(decode_record(entry.record), self._sealer) if entry.record else None
        except (msgspec.MsgspecError, ValueError):
            return None

    def add(self, messages: Iterable[Message] = (), notes: Iterable[tuple[Note, Place, bytes]] = ()) -> None:
        """
        Append messages and notes. Call `FileKeyring.announce` afterwards, so that other processes read them.

        Raises:
            KeyringUnreachable: The file cannot be written.
        """
        lines = [_Line(record=encode_record(message.record)) for message in messages]
        lines += [_Line(note=note, place=place, host=host) for note, place, host in notes]
        if not lines:
            return
        try:
            with in_turn(self.path.parent):
                durable.append(self.path, _text(lines))
        except OSError as error:
            raise self._failed(error) from error

    def heard(self, at_ns: int) -> None:
        """Note that all messages in the store were read, from that instant on. Raises as `add`."""
        try:
            with in_turn(self.path.parent):
                durable.append(self.path, _text([_Line(heard_ns=at_ns)]))
        except OSError as error:
            raise self._failed(error) from error

    @property
    def is_long(self) -> bool:
        """Whether a start would read many messages that the index could have."""
        return self._loose_bytes > _MUCH_BYTES

    def compact(self) -> None:
        """
        Replace the file with one that leaves out what is over, and has an index of what it can have.

        Raises:
            KeyringUnreachable: The file cannot be written.
        """
        try:
            with in_turn(self.path.parent):
                durable.replace(self.path, self._compacted(self.read()))
        except OSError as error:
            raise self._failed(error) from error

    def _compacted(self, view: View) -> bytes:
        left, briefs, indexed, others = view.living(), list[Brief](), bytearray(), bytearray()
        kept = set[Place]()
        for line, message in self._lines():
            if message.record.id in left and view.has(message.record):
                left.discard(message.record.id)
                kept.update(places_of(message.body))
                brief = Brief.of(message)
                if brief is not None:
                    briefs.append(brief)
                (others if brief is None else indexed).extend(line.rstrip(b"\n") + b"\n")
        lines = [_Line(record=encode_record(beat.record)) for beat in view.beats.values()]
        shared = sorted((place, host) for place, hosts in view.shared.items() for host in hosts)
        lines += [_Line(note="shared", place=p, host=host) for p, host in shared if p not in view.over]
        lines += [_Line(note="over", place=place) for place in sorted(view.over & kept)]
        lines += [_Line(heard_ns=self.heard_ns)] if self.heard_ns else []
        used: dict[str, list[int]] = {}
        for day, label in sorted(view.used - view.over):
            used.setdefault(label, []).append(day)
        index = _encode_index(_Index(len(indexed), briefs, used))
        first = _Line(index=index, mark=self._sealer.site_keys.mark(index))
        return b"".join((_text([first]), indexed, _end(len(indexed)), others, _text(lines)))

    def _take(self, line: bytes) -> None:
        if (message := self._message(line)) is not None:
            self.view.take(message)
            self._loose_bytes += len(line) if is_bulky(message.body) else 0
            return
        try:
            entry = _decode(line)
        except (msgspec.MsgspecError, ValueError):
            return
        if entry.note is not None:
            self.view.note(entry.note, Place(*entry.place), entry.host)
        self.heard_ns = entry.heard_ns or self.heard_ns

    def _failed(self, error: OSError) -> KeyringUnreachable:
        return KeyringUnreachable(f"{self.path}: cannot be used ({error.strerror}); let this user read and write it")


def _end(length: int) -> bytes:
    """Return the line behind those that an index stands for, which have so many bytes."""
    return _encode(_Line(behind=length)) + b"\n"


def _text(lines: Iterable[_Line]) -> bytes:
    # Each line begins with a line break, so that a torn line does not spoil the next one.
    return b"\n" + b"\n".join(map(_encode, lines)) + b"\n"
