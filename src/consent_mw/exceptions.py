"""Every error that this package raises, as one short tree. Each error carries its evidence."""

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
    """A key, a path or an option is wrong. Raised at start-up, never in a request."""


class Fault(NamedTuple):
    """
    One fault of a policy: its place, the problem, and how to fix it.

    Attributes:
        line: The line of the file, from 1; 0 if the line is not known, or if no single line is wrong.
    """

    file: str
    place: str
    problem: str
    fix: str
    line: int = 0

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{file}: {self.place}" if self.place else file
        return f"{where}: {self.problem}; {self.fix}"


class PolicyError(ConsentError):
    """The policy cannot be enforced. `faults` holds every fault, not only the first."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class UndeclaredEvent(PolicyError):
    """The application passed `record_event` an event, or a field of an event, that the policy does not declare."""


class IllegibleHeader(ConsentError):
    """A header line of the application that servers may read differently from the gate. Raised with `debug=True`."""


class BadConsentCookie(ConsentError):
    """The consent cookie cannot be trusted. It counts as no choice; `value` is what the browser sent."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{reason}: {value[:80]!r}")
        self.value = value
        self.reason = reason


class StoreError(ConsentError):
    """A store refused or failed. The driver's own error is its `__cause__`."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now. Records that are not written yet stay in the spool and are tried again."""


class KeyringUnreachable(StoreUnavailable):
    """The keys cannot be reached now. A key may still exist, so no record under it counts as destroyed."""


class SchemaError(StoreError):
    """The store holds something that is not ours, or that a newer version wrote. Nothing was changed."""


class RecordDamaged(StoreError):
    """A sealed record was changed after it was sealed, or its content was sealed for another record."""


class KeyDestroyed(ConsentError):
    """The key of a record was destroyed because its purpose ended. The record can no longer be read."""


class AnswerRefused(ConsentError):
    """A request was not answered: it has already ended, or staff may not give this answer."""


class SpoolError(ConsentError):
    """The spool cannot be used: its directory is not writable, or is on a network file system."""


class SpoolFull(SpoolError):
    """The disk budget of the spool is used up. The record was dropped, and the gap is counted."""
