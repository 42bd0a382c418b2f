"""How to keep an exchange that serves some purposes: what each of them may know of it, and under which key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from consent_mw.crypto.sealer import names_of
from consent_mw.log.exchange import Exchange
from consent_mw.policy.model import ABUSE, Policy
from consent_mw.records import Scalar
from consent_mw.spool.bundles import BUNDLE, layout_of

#: Returns the value of one declared field of one purpose, or None to leave it out.
Field: TypeAlias = Callable[[Exchange], Scalar]


class Seal(msgspec.Struct, frozen=True):
    """
    What is sealed for one purpose, under its own key.

    Attributes:
        names: What the seal is bound to, besides the facts of the exchange.
        fields: Its fields, in order.
        asked: Whether the visitor was asked about the purpose, so that the sealed part holds their name.
    """

    purpose: str
    names: bytes
    fields: tuple[Field, ...]
    asked: bool


class Plan(msgspec.Struct, frozen=True):
    """
    How to keep an exchange that serves these purposes. Made once for each set of them.

    Attributes:
        seals: One for each purpose.
        layout: The purposes and the names of their fields, encoded.
    """

    seals: tuple[Seal, ...]
    layout: msgspec.Raw


def plan_of(allowed: frozenset[str], policy: Policy, fields: Mapping[str, Sequence[tuple[str, Field]]]) -> Plan | None:
    """
    Return how to keep an exchange that serves the `allowed` purposes; None if it leaves no record.

    Args:
        fields: For each logged purpose, the names that its fields have in the spool.
    """
    purposes = [purpose for purpose in fields if purpose in allowed and purpose != ABUSE]
    seals = [
        Seal(
            purpose=purpose,
            names=names_of(BUNDLE, purpose),
            fields=tuple(field for _, field in fields[purpose]),
            asked=policy.purposes[purpose].asked,
        )
        for purpose in purposes
    ]
    layout = layout_of([(seal.purpose, seal.asked, [name for name, _ in fields[seal.purpose]]) for seal in seals])
    return Plan(tuple(seals), layout) if seals else None
