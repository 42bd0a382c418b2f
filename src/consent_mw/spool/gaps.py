"""Gaps: what was lost, how much of it and why, and the record that reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import GAP
from consent_mw.policy.model import NECESSARY
from consent_mw.records import Record, Scalar, new_id, new_id_number

_REST: Final = (1 << 62) - 1  # of an id: its random bits

#: Why frames were lost: the budget was full, the disk refused, somebody removed a segment, the key was destroyed before
#: the write, the purpose ended while the frame waited, a segment is damaged, or the store takes everything but this.
Reason: TypeAlias = Literal["full", "disk", "removed", "key", "ended", "damaged", "refused", "undeclared"]


@dataclass(frozen=True, slots=True)
class Gap:
    """How many frames were lost and why, and the instants (nanoseconds since 1970) of the first and the last."""

    frames: int
    first_ns: int
    last_ns: int
    reason: Reason = "disk"

    @classmethod
    def at(cls, frames: int, at_ns: int, reason: Reason) -> Gap:
        """Return a gap of frames that were lost at one instant."""
        return cls(frames, at_ns, at_ns, reason)

    def __add__(self, other: Gap) -> Gap:
        """Return one gap that covers both."""
        first_ns, last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)
        return Gap(self.frames + other.frames, first_ns, last_ns, self.reason)

    def record(self, sealer: Sealer, record_id: UUID | None = None) -> Record:
        """Return the record that reports the gap, dated at its last instant unless another id is given."""
        data: dict[str, Scalar] = {
            "gap.records": self.frames,
            "gap.reason": self.reason,
            "gap.first_ns": self.first_ns,
            "gap.last_ns": self.last_ns,
        }
        return sealer.record(record_id or new_id(self.last_ns), GAP, NECESSARY, data=data)

    def late_record(self, now_ns: int, marker: bytes, sealer: Sealer) -> Record:
        """
        Return the record of a loss that is found only now, in the segment with this marker, which may be old.

        The record is kept as long as anything else that is written today. A reader that finds the loss again recognises
        it by its `mark_of`.
        """
        number = new_id_number(now_ns) & ~_REST | _rest(marker, self.reason)
        return self.record(sealer, UUID(int=number))


def mark_of(record_id: UUID) -> int:
    """Return the part of a gap record's id that does not depend on when it was written."""
    return record_id.int & _REST


def _rest(marker: bytes, reason: Reason) -> int:
    return (int.from_bytes(marker) & _REST) ^ (reason == "ended")
