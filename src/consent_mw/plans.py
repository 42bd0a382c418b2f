"""How an exchange is kept: which of its purposes are sealed together, and under whose key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final, TypeAlias

import msgspec

from consent_mw.bundles import BUNDLE, frame_head, layout_of
from consent_mw.exchange import Exchange
from consent_mw.policy import ABUSE, Policy
from consent_mw.records import Scalar
from consent_mw.retention import Retention, start_of
from consent_mw.sealer import names_of

__all__ = ["Field", "Plan", "Plans", "Seal"]

#: Of what no revision ends.
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

#: What one declared field of one purpose yields: a value, or None to leave it out.
Field: TypeAlias = Callable[[Exchange], Scalar]


class Seal(msgspec.Struct, frozen=True):
    """
    What is sealed together: the fields of purposes that end together, so that nothing of any outlives its key.

    Attributes:
        purpose: Whose key seals it.
        names: What the seal is bound to.
        fields: Of all these purposes, in order.
        asked: Whether the visitor's receipt is told under it.
        records: How many purposes these are.
    """

    purpose: str
    names: bytes
    fields: tuple[Field, ...]
    asked: bool
    records: int


class Plan(msgspec.Struct, frozen=True):
    """
    How an exchange of one day is kept that serves these purposes. Made once a day for each set of them.

    Attributes:
        day: Since 1970, UTC.
        last: What seals the bundle: the purposes whose key is destroyed last.
        apart: What is sealed apart, within it.
        head: What the frame begins with.
        layout: The purposes, the names of their fields and their seals, encoded.
        records: How many an exchange becomes.
    """

    day: int
    last: Seal
    apart: tuple[Seal, ...]
    head: bytes
    layout: msgspec.Raw
    records: int


class Plans:
    """Makes plans, for one policy. What a plan needs of other revisions is when they end what is collected today."""

    def __init__(
        self, policy: Policy, ring: str, fields: Mapping[str, Sequence[tuple[str, Field]]], retention: Retention
    ) -> None:
        """
        Args:
            ring: Name of the keyring.
            fields: For each purpose that is logged, the names under which its fields cross the spool.
            retention: By every revision that was in force.
        """
        self._policy = policy
        self._ring = ring
        self._fields = fields
        self._retention = retention

    def of(self, allowed: frozenset[str], day: int) -> Plan | None:
        """Return how an exchange is kept that serves the `allowed` purposes; None where it leaves no record."""
        purposes = [purpose for purpose in self._fields if purpose in allowed and purpose != ABUSE]
        if not purposes:
            return None
        first, *sooner = self._ending_together(purposes, day)
        last = self._sealed_together(first, told=False)
        apart: list[Seal] = []
        seal_of = dict.fromkeys(purposes, 0)
        for group in sooner:
            seal = self._sealed_together(group, told=last.asked)
            if seal.fields or seal.asked:  # else there is nothing to hide
                apart.append(seal)
                seal_of.update(dict.fromkeys(group, len(apart)))
        layout = [
            (each, self._policy.purposes[each].asked, [name for name, _ in self._fields[each]], seal_of[each])
            for each in purposes
        ]
        head = frame_head(self._ring, last.purpose, len(purposes))
        return Plan(day, last, tuple(apart), head, layout_of(layout), len(purposes))

    def _ending_together(self, purposes: Sequence[str], day: int) -> list[list[str]]:
        """Return the purposes whose keys of `day` are destroyed together, those last to go first."""
        latest = sorted(purposes, key=lambda purpose: self._gone(purpose, day), reverse=True)  # stable: in their order
        return [list(group) for _, group in groupby(latest, key=lambda purpose: self._gone(purpose, day))]

    def _gone(self, purpose: str, day: int) -> tuple[bool, datetime]:
        """What sorts purposes by when their key of `day` is destroyed. One for an archive waits for the drain."""
        midnight = start_of(day + 1)
        end = self._retention.end(day, purpose, midnight)
        return self._retention.holds(day, purpose, midnight), end or _NEVER

    def _sealed_together(self, purposes: Sequence[str], *, told: bool) -> Seal:
        """Return what seals the fields of `purposes`, and the receipt's name unless it is `told` beside them."""
        return Seal(
            purpose=purposes[0],
            names=names_of(BUNDLE, purposes[0]),
            fields=tuple(field for purpose in purposes for _, field in self._fields[purpose]),
            asked=not told and any(self._policy.purposes[purpose].asked for purpose in purposes),
            records=len(purposes),
        )
