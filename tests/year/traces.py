"""What should have come of each exchange: a trace for each record, and what became of it since."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

#: Yes, no, or what the documents leave open (an exchange that nobody saw to its end, say).
Known = Literal["yes", "no", "maybe"]


@dataclass(slots=True, eq=False)
class Trace:
    """
    A record that an exchange leaves, or may leave.

    Attributes:
        mark: The consent under which it was collected; None where it carries no mark.
        sure: Whether the documents promise that it was kept.
        erased: Whether its person had it erased; "maybe" where the documents leave it open.
        erased_at: When that was, or may have been, for the first time.
        doubted: Whether it was "maybe" before it was "yes".
        loose: Why it may be missing, where it may.
        gone: It ended and was seen gone.
    """

    kind: str
    purpose: str
    path: str
    at: datetime
    mark: str | None = None
    sure: bool = True
    topic: str = ""
    status: int = 200
    choice: str = "none"
    erased: Known = "no"
    erased_at: datetime | None = None
    doubted: bool = False
    loose: str = ""
    gone: bool = False

    def erase(self, erased: Known, now: datetime) -> None:
        """Note that its person has it erased now, or may."""
        if self.erased == "no":
            self.erased, self.erased_at = erased, now
        elif self.erased == "maybe" and erased == "yes":
            self.erased, self.doubted = erased, True

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.kind, self.purpose, self.path, millisecond(self.at)


@dataclass(slots=True, eq=False)
class Restricting:
    """A request that keeps somebody's data from being used while it is open."""

    number: str
    kind: str
    at: datetime
    mark: str | None
    member: str | None
    open: Known = "yes"


@dataclass(slots=True)
class Standing:
    """What a browser's consent cookie says."""

    kind: str = ""
    revision: int = 0
    given: datetime | None = None
    answers: dict[str, bool] = field(default_factory=dict[str, bool])
    signalled: bool = False
    mark: str | None = None


def millisecond(instant: datetime) -> int:
    """Return milliseconds since 1970: ids tell no less apart."""
    return round(instant.timestamp() * 1000)
