"""What waits in a spool, for a reader that neither writes it nor moves it to the store."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import msgspec

from consent_mw.exceptions import RecordDamaged, SpoolError
from consent_mw.records import Record, decode_record
from consent_mw.spool.bundles import read_frame
from consent_mw.spool.frames import unpack_from
from consent_mw.spool.segment import SegmentName
from consent_mw.system.ownership import regular


def waiting_records(directory: Path, kinds: Collection[str]) -> list[Record]:
    """
    Return the records of these kinds that wait in the spool at `directory`, as they were written. Exchanges are
    skipped, since they are not records yet, and so is what is being written at this moment. May take a while, so call
    it in a thread. Call it before you ask the store: a drain moves records from here to there.

    Raises:
        SpoolError: A segment cannot be read.
    """
    try:
        names = sorted(name for entry in os.scandir(directory) if (name := SegmentName.parse(entry.name)))
        return [record for name in names for record in _records(directory / str(name), name) if record.kind in kinds]
    except FileNotFoundError:
        return []  # no spool yet
    except OSError as error:
        raise SpoolError(f"{directory}: the spool cannot be read ({error.strerror}); let this user read it") from error


def _records(path: Path, name: SegmentName) -> Iterator[Record]:
    try:
        fd = regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return  # a drain has moved it to the store
    try:
        read = partial(_read, fd)
        for piece in unpack_from(name.marker, read, os.fstat(fd).st_size):
            if isinstance(piece, bytes) and (record := _record(piece)):
                yield record
    finally:
        os.close(fd)


def _read(fd: int, at: int, length: int) -> bytes:
    return os.pread(fd, length, at)


def _record(frame: bytes) -> Record | None:
    try:
        return decode_record(frame) if read_frame(frame) is None else None
    except (RecordDamaged, msgspec.MsgspecError, IndexError, UnicodeDecodeError):
        return None  # the drain counts it
