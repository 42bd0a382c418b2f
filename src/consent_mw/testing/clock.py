"""A clock that stands where a test sets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from consent_mw.system.days import EPOCH

__all__ = ["Clock"]

_MICROSECOND_NS: Final = 1_000


class Clock:
    """
    The `clock` of a middleware under test: `ConsentMiddleware(app, ..., clock=clock)`.

    It moves only when you move it, except for a microsecond with each reading, so records keep their order.

    Args:
        now: Its instant, aware; the present by default.
    """

    #: So that no store's own clock is compared with it.
    invented: Final = True

    def __init__(self, now: datetime | None = None) -> None:
        self._now_ns = 0
        self.set(now or datetime.now(UTC))

    def __call__(self) -> int:
        """Return the nanoseconds since 1970, as `time.time_ns` does."""
        self._now_ns += _MICROSECOND_NS
        return self._now_ns

    @property
    def now(self) -> datetime:
        """Where it stands: aware, UTC, to the microsecond. Looking does not move it."""
        return EPOCH + timedelta(microseconds=self._now_ns // _MICROSECOND_NS)

    def set(self, now: datetime) -> None:
        """
        Put it at `now`, which may be before where it stands.

        Raises:
            ValueError: `now` has no time zone.
        """
        if now.tzinfo is None:
            raise ValueError(f"{now!r} has no time zone; write datetime(..., tzinfo=UTC)")
        self._now_ns = (now - EPOCH) // timedelta(microseconds=1) * _MICROSECOND_NS

    def advance(self, duration: timedelta) -> None:
        """Move it on by `duration`, or back by a negative one."""
        self.set(self.now + duration)
