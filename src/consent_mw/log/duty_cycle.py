"""How much of a process's time the drain may take. Pure: work and backlog in, a rest out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["AT_ONCE", "Pace", "rest"]


@dataclass(frozen=True, slots=True)
class Pace:
    """
    Work a little, rest the more, and hurry once the backlog is old or large.

    Work is counted in the processor's seconds: opening, parsing and sealing hold Python's lock, and what holds it
    keeps the requests waiting, in whatever thread it runs. A record costs some 20 microseconds without its agent, so
    that a seventh of one process still moves about 7,000 a second, more than the same process can serve. A slice of
    half a millisecond is what a request may meet at the worst. While a site is busy one in ten meets one, so it is
    what their slowest hundredth waits for; smaller ones cost more to begin than they are worth.

    Attributes:
        share: Most of the wall time that work may take.
        hurried_share: The same while more than `many_bytes` wait, or the oldest for longer than `late_seconds`. Half,
            so that requests are slowed but served, and the spool's budget (four times `many_bytes`) is not reached.
        slice_seconds: Work without a rest in between.
        store_seconds: Most that counts of the time in which the store has a batch: SQLite takes about 10 milliseconds
            for 500 records, and beyond that we wait for a disk or a server and take nobody's time.
    """

    share: float = 0.15
    hurried_share: float = 0.5
    late_seconds: float = 180.0
    many_bytes: int = 64 << 20
    slice_seconds: float = 0.0005
    store_seconds: float = 0.02

    def share_at(self, waiting_bytes: int, behind_seconds: float) -> float:
        """Return the share for a backlog of that size and age."""
        return self.hurried_share if self.is_late(waiting_bytes, behind_seconds) else self.share

    def is_late(self, waiting_bytes: int, behind_seconds: float) -> bool:
        """Whether a backlog of that size and age is too large or too old."""
        return waiting_bytes > self.many_bytes or behind_seconds > self.late_seconds


def rest(worked_seconds: float, share: float) -> float:
    """Return the seconds to rest after so much work, so that it stays below `share` of work and rest together."""
    return max(0.0, worked_seconds) * (1.0 / share - 1.0)


#: For a process of its own, for shutting down, and for whoever waits for the result.
AT_ONCE: Final = Pace(share=1.0, hurried_share=1.0, slice_seconds=float("inf"))
