"""How to keep an exchange that serves some purposes: what each of them may know of it, and under which key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from consent_mw.crypto.sealer import names_of
from consent_mw.log.exchange import Exchange
from consent_mw.log.sealing import Place
from consent_mw.policy.model import ABUSE, Policy
from consent_mw.records import Scalar
from consent_mw.spool.bundles import BUNDLE, layout_of

#: What a frame has around its facts and its parts, and a part around its fields.
_FRAME_BYTES: Final = 64
_SEALED_BYTES: Final = 50

#: Returns the value of one declared field of one purpose, or None to leave it out.
Field: TypeAlias = Callable[[Exchange], Scalar]


class Plan(msgspec.Struct, frozen=True):
    """
    How to keep an exchange that serves these purposes. Made once for each set of them.

    Attributes:
        places: Each purpose, and what its seal is bound to.
        owns: For each purpose whether the visitor was asked about it, so that the sealed part holds their name, and its
            fields, in order.
        layout: The purposes and the names of their fields, encoded.
        more_bytes: What sealing adds to a frame.
    """

    places: tuple[Place, ...]
    owns: tuple[tuple[bool, tuple[Field, ...]], ...]
    layout: msgspec.Raw
    more_bytes: int


def plan_of(allowed: frozenset[str], policy: Policy, fields: Mapping[str, Sequence[tuple[str, Field]]]) -> Plan | None:
    """
    Return how to keep an exchange that serves the `allowed` purposes; None if it leaves no record.

    Args:
        fields: For each logged purpose, the names that its fields have in the spool.
    """
    purposes = [purpose for purpose in fields if purpose in allowed and purpose != ABUSE]
    if not purposes:
        return None
    asked = [policy.purposes[purpose].asked for purpose in purposes]
    names = [[name for name, _ in fields[purpose]] for purpose in purposes]
    return Plan(
        places=tuple((purpose, names_of(BUNDLE, purpose)) for purpose in purposes),
        owns=tuple(
            (yes, tuple(field for _, field in fields[purpose])) for yes, purpose in zip(asked, purposes, strict=True)
        ),
        layout=layout_of(list(zip(purposes, asked, names, strict=True))),
        more_bytes=_FRAME_BYTES + _SEALED_BYTES * len(purposes),
    )
