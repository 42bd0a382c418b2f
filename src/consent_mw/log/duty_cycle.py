"""How much of a process's time the drain may take. Pure: work and backlog in, a rest out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pace:
    """
    Work a little, rest more, and hurry once the backlog is old or large.

    Work is counted in processor seconds. Opening, parsing and sealing hold the GIL, and a thread that holds it keeps
    the requests waiting. A record costs some 20 microseconds without its agent. So a seventh of one process still moves
    about 7,000 a second, more than the same process can serve. A slice of half a millisecond is the longest that a
    request may meet. While a site is busy one request in ten meets one, so this is what their slowest hundredth waits
    for. Smaller slices cost more to begin than they are worth.

    Attributes:
        share: The most of the wall time that work may take.
        hurried_share: The same while more than `many_bytes` wait, or the oldest for longer than `late_seconds`. Half,
            so that requests are slowed but served, and the spool does not reach its budget (four times `many_bytes`).
        slice_seconds: How long to work without a rest in between.
        store_seconds: The most that counts of the time in which the store has a batch. SQLite takes about 10
            milliseconds for 500 records. Beyond that we wait for a disk or a server and take no processor time.
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
    """Return the seconds to rest after this much work, so that work stays below `share` of work and rest together."""
    return max(0.0, worked_seconds) * (1.0 / share - 1.0)


#: For a process of its own, for shutting down, and for a caller that waits for the result.
AT_ONCE: Final = Pace(share=1.0, hurried_share=1.0, slice_seconds=float("inf"))
