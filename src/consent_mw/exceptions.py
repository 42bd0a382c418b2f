"""Every error that this package raises: one short tree, and each carries its evidence."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "AnswerRefused",
    "BadConsentCookie",
    "ConfigurationError",
    "ConsentError",
    "Fault",
    "IllegibleHeader",
    "KeyDestroyed",
    "KeyringUnreachable",
    "PolicyError",
    "RecordDamaged",
    "SchemaError",
    "SpoolError",
    "SpoolFull",
    "StoreError",
    "StoreUnavailable",
    "UndeclaredEvent",
]


class ConsentError(Exception):
    """Anything that this package refuses."""


class ConfigurationError(ConsentError):
    """The set-up is wrong: a key, a path, an option. Raised at start-up, never in a request."""


class Fault(NamedTuple):
    """
    One thing that is wrong in a policy: where it stands, what it is, and how to mend it.

    Attributes:
        line: Of the file, from 1; 0 where it is not known, or no line is to blame.
    """

    file: str
    place: str
    problem: str
    mend: str
    line: int = 0

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{file}: {self.place}" if self.place else file
        return f"{where}: {self.problem}; {self.mend}"


class PolicyError(ConsentError):
    """A policy that cannot be enforced. `faults` holds every fault that was found, not only the first."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class UndeclaredEvent(PolicyError):
    """`record_event` was given an event, or a field of one, that the policy does not declare."""


class IllegibleHeader(ConsentError):
    """The application sent a header line that servers could read otherwise than the gate. Raised with `debug=True`."""


class BadConsentCookie(ConsentError):
    """A consent cookie that cannot be believed. It counts as no choice; `value` is what was sent."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{reason}: {value[:80]!r}")
        self.value = value
        self.reason = reason


class StoreError(ConsentError):
    """A store refused or failed. The driver's own error is its `__cause__`."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now. What was to be written stays in the spool and is tried again."""


class KeyringUnreachable(StoreUnavailable):
    """The keys cannot be reached now. Whether one still exists is not known, so nothing of it counts as destroyed."""


class SchemaError(StoreError):
    """The store holds something that is not ours, or was written by a newer version. Nothing was touched."""


class RecordDamaged(StoreError):
    """What was sealed was changed since, or sealed for another record."""


class KeyDestroyed(ConsentError):
    """The key that sealed a record is gone, and with it the record: its purpose ended."""


class AnswerRefused(ConsentError):
    """A request was not answered: it has ended, or this answer is not staff's to give."""


class SpoolError(ConsentError):
    """The spool cannot be used: its directory is not writable, or lies on a network file system."""


class SpoolFull(SpoolError):
    """The disk budget of the spool is used up; the record was dropped and the gap is counted."""
