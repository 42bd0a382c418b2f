"""What a running site knows of the revisions that are published: which one holds, and which one comes next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.startup_check import early, edited, notes
from consent_mw.policy.timeline import begins
from consent_mw.system.days import EPOCH

_log = logging.getLogger("consent_mw")

#: An instant that does not come: the year 2262, in nanoseconds since 1970.
NEVER: Final = (1 << 63) - 1


class Plan(NamedTuple):
    """
    What comes after the revision that a process works by.

    Attributes:
        following: The revision that takes over, or None.
        from_ns: From when on, in nanoseconds since 1970.
        announced: The announced revision, not yet in force, or None.
        published: Every revision that can be read.
    """

    following: Policy | None
    from_ns: int
    announced: Policy | None
    published: tuple[Policy, ...]


class Publications:
    """
    The published revisions, as one process sees them. Shared by all that works by one of them.

    Attributes:
        in_force: The revision that held at the start.
    """

    def __init__(
        self,
        revisions: Revisions,
        declared: Policy,
        file: Path | None,
        clock: Callable[[], int],
        *,
        trial: bool = False,
        begun: bool = False,
        unknown: str = "",
    ) -> None:
        """
        Args:
            declared: What the site is started with. The first of all is thereby published.
            file: Where it was read from, so that it can be kept; None where it came as a value.
            trial: For development, where nobody was promised anything: other content under a number that was published
                is only told.
            begun: Whether the site was started in this data directory before.
            unknown: Where several hosts share a store: why it is not known what was published on others.

        Raises:
            PolicyError: It was never published, though another revision was; it was, with other content; or what holds
                cannot be read, or does not hold yet.
            ConfigurationError: The kept revisions cannot be read or written.
        """
        self._revisions = revisions
        self._clock = clock
        if unknown:
            _refuse_unannounced(revisions, declared, unknown)
            _log.warning("what was published on other hosts is not known, and asked for again: %s", unknown)
        faults = revisions.check(declared, self._now())
        changed = [] if faults else edited(revisions, declared)
        if faults or (changed and not trial):
            raise PolicyError(*faults, *changed)
        for fault in (*changed, *notes(revisions, declared, self._now(), begun=begun and file is not None)):
            _log.warning("%s", fault)
        self._declared = declared
        self._course = revisions.course(declared)
        self._names: frozenset[str] = frozenset()
        self.in_force: Policy = self._course.at(self._now()) or declared
        if too_early := early(revisions, declared, self._now()):
            _refuse_unreadable(revisions, self.in_force)
            raise PolicyError(*too_early)
        if self.in_force.revision == declared.revision:
            if file is not None and not changed:  # else a trial would make it a published one
                revisions.keep(declared, file.read_text(encoding="utf-8"))
        elif self.in_force.revision > declared.revision:
            _log.warning(
                "%s: is revision %d, which revision %d replaced on %s; that one is in force: put %s in its place",
                *(declared.file, declared.revision, self.in_force.revision, self.in_force.effective),
                self.in_force.file,
            )

    def plan(self, policy: Policy) -> Plan:
        """
        Return what comes after `policy`, by which this process works. Files are read only where one is new.

        Raises:
            ConfigurationError: The kept revisions cannot be read.
        """
        names = self._revisions.names()
        if names != self._names:
            self._course = self._revisions.course(self._declared)
            self._names = names
            for revision in self._revisions.numbers() - {published.revision for published in self._course.published}:
                _log.warning("%s: revision %d cannot be read; restore it", self._revisions.directory, revision)
        now, published = self._now(), self._course.published
        holds, ahead = self._course.at(now), self._course.ahead(now)
        if holds is not None and holds.revision != policy.revision:
            return Plan(holds, 0, ahead, published)
        if ahead is not None:
            return Plan(ahead, (begins(ahead) - EPOCH) // timedelta(microseconds=1) * 1_000, ahead, published)
        return Plan(None, NEVER, None, published)

    def _now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self._clock() // 1_000)


def _refuse_unannounced(revisions: Revisions, declared: Policy, unknown: str) -> None:
    """Raise PolicyError if `declared` may be a revision that no host has announced."""
    if declared.revision > 1 and not revisions.numbers():
        problem = f"nothing was published on this host, and what was on others is not known: {unknown}"
        raise PolicyError(Fault(declared.file, "revision", problem, "start it again when the store can be reached"))


def _refuse_unreadable(revisions: Revisions, policy: Policy) -> None:
    """Raise PolicyError if `policy` only seems to be the first: those before it are there, and cannot be read."""
    lower = [revision for revision in revisions.numbers() if revision < policy.revision]
    if lower:
        revisions.read(max(lower))
