"""Records that still wait in a spool, read beside whoever writes them: nothing is locked, moved or taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from consent_mw.bundles import read_frame
from consent_mw.frames import unpack
from consent_mw.records import Record, decode_record
from consent_mw.segment import SegmentName

__all__ = ["waiting_records"]


def waiting_records(spool: Path) -> Iterator[Record]:
    """
    Yield what stands in the segments below `spool` as records of its own, oldest segment first.

    Exchanges, which become records on their way to the store only, are passed over. So is a segment that was drained
    meanwhile, and the last frame of one that is being written.
    """
    names = sorted(name for path in _entries(spool) if (name := SegmentName.parse(path.name)))
    for name in names:
        try:
            blob = (spool / str(name)).read_bytes()
        except FileNotFoundError:  # drained meanwhile: its records are in the store
            continue
        for frame in unpack(name.marker, blob):
            if isinstance(frame, bytes) and read_frame(frame) is None:
                try:
                    yield decode_record(frame)
                except msgspec.MsgspecError:
                    continue  # the drain says so, with the segment's name


def _entries(spool: Path) -> list[Path]:
    try:
        return list(spool.iterdir())
    except FileNotFoundError:  # no site ran here yet
        return []
