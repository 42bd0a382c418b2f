"""Remember what a host must know about the keys of its site, in an append-only file. The file opens nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from consent_mw.exceptions import KeyringUnreachable
from consent_mw.hosts.messages import Message, Place
from consent_mw.hosts.view import Note, View
from consent_mw.records import Record, decode_record, encode_record
from consent_mw.system import durable
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import unlinked


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file: a verified record, or a note."""

    record: bytes = b""
    note: Note | None = None
    place: tuple[int, str] = (0, "")
    host: bytes = b""


_decode: Final = msgspec.json.Decoder(_Line).decode
_encode: Final = msgspec.json.Encoder().encode


class Book:
    """
    Keep the verified messages of hosts, and this host's own notes, in a file (mode 0600).

    All processes of the host share the file. Messages about a place stay in it until the place is over. The wraps in
    it become noise when the key slot of their place is overwritten.

    When `add` returns, what it added survives a power cut. A torn line is ignored.

    Attributes:
        view: The content of the file when it was last read.
    """

    def __init__(self, path: Path, remembered: Callable[[Record], Message | None]) -> None:
        """`remembered`: returns the message of a record that this host kept, and None for any other."""
        self.path = path
        self.view: View = View()
        self._remembered = remembered
        self._read_to = (0, 0)  # inode and bytes

    @staticmethod
    def is_line(line: bytes) -> bool:
        """Whether `line` is one of such a file. Raises ValueError or MsgspecError if it cannot be read."""
        entry = _decode(line)
        return entry.note is not None or bool(entry.record and decode_record(entry.record))

    def read(self) -> View:
        """
        Read what any process has added since the last call, and return the view.

        Raises:
            KeyringUnreachable: The file cannot be read.
        """
        try:
            with open(self.path, "rb", opener=unlinked) as file:
                inode, (known, done) = os.fstat(file.fileno()).st_ino, self._read_to
                if known != inode:
                    self.view, done = View(), 0
                file.seek(done)
                content = file.read()
        except FileNotFoundError:
            return self.view
        except OSError as error:
            raise self._failed(error) from error
        for line in content.split(b"\n"):
            if line:
                self._take(line)
        self._read_to = inode, done + len(content)
        return self.view

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

    def compact(self) -> None:
        """
        Replace the file with one that leaves out what is over.

        Raises:
            KeyringUnreachable: The file cannot be written.
        """
        try:
            with in_turn(self.path.parent):
                view = self.read()
                lines = [_Line(record=encode_record(m.record)) for m in view.messages.values() if not view.is_over(m)]
                lines += [_Line(record=encode_record(beat.record)) for beat in view.beats.values()]
                lines += [_Line(note="used", place=place) for place in sorted(view.used - view.over)]
                shared = sorted((place, host) for place, hosts in view.shared.items() for host in hosts)
                lines += [_Line(note="shared", place=p, host=host) for p, host in shared if p not in view.over]
                kept = {place for m in view.messages.values() if not view.is_over(m) for place in m.places}
                lines += [_Line(note="over", place=place) for place in sorted(view.over & kept)]
                durable.replace(self.path, _text(lines))
        except OSError as error:
            raise self._failed(error) from error

    def _take(self, line: bytes) -> None:
        try:
            entry = _decode(line)
            record = decode_record(entry.record) if entry.record else None
        except (msgspec.MsgspecError, ValueError):
            return
        if entry.note is not None:
            self.view.note(entry.note, Place(*entry.place), entry.host)
        elif record is not None and (message := self._remembered(record)):
            self.view.take(message)

    def _failed(self, error: OSError) -> KeyringUnreachable:
        return KeyringUnreachable(f"{self.path}: cannot be used ({error.strerror}); let this user read and write it")


def _text(lines: Iterable[_Line]) -> bytes:
    # Each line begins with a line break, so that a torn line does not spoil the next one.
    return b"\n" + b"\n".join(map(_encode, lines)) + b"\n"
