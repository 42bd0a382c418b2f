"""
One finished exchange as the spool carries it: its facts once, and the fields of every purpose that may know of it.

It may wait there longer than the shortest of these purposes lasts. So the bundle is sealed under the key that is
destroyed last, and what belongs to purposes that end sooner is sealed apart within it, under theirs. The drain splits
it into one record a purpose. Pure: bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from consent_mw.exceptions import RecordDamaged
from consent_mw.records import Scalar

__all__ = [
    "AGENT_TO_PARSE",
    "BUNDLE",
    "Apart",
    "Bundle",
    "BundleFrame",
    "Part",
    "frame_head",
    "layout_of",
    "read_frame",
]

#: What a bundle is sealed as; no record has this kind.
BUNDLE: Final = "bundle"
#: The name under which an agent crosses the spool that is kept as a family only: the drain parses it and drops it.
#: Parsing a new one takes a millisecond that no request shall pay.
AGENT_TO_PARSE: Final = "user_agent.original to parse"

#: MessagePack never begins with this byte, so a record's frame is told from a bundle's by its first.
_MARK: Final = b"\xc1"
_ID_BYTES: Final = 16
_COUNT_BYTES: Final = 2

_decoder: msgspec.msgpack.Decoder[Bundle]


class Part(NamedTuple):
    """
    Which of a bundle's values one purpose gets.

    Attributes:
        asked: Whether the visitor is asked about the purpose, so that the record carries their token.
        names: Of its declared personal fields.
        values: Where theirs are.
        seal: In the values of the bundle itself (0), or in those of its first, second, ... part that is sealed apart.
        key: The purpose whose key sealed that part; None for the bundle itself.
    """

    purpose: str
    asked: bool
    names: tuple[str, ...]
    values: slice
    seal: int
    key: str | None

    def fields(self, values: tuple[Scalar, ...]) -> dict[str, Scalar]:
        """Return the fields that had a value, from all values under its seal."""
        fields = dict(zip(self.names, values[self.values], strict=False))
        if None in fields.values():
            return {name: value for name, value in fields.items() if value is not None}
        return fields


class Bundle(msgspec.Struct, frozen=True, array_like=True):
    """
    An exchange. Sizes in bytes, time in nanoseconds.

    Attributes:
        receipt: Random name of the visitor's receipt; only where a purpose that was asked about ends last.
        layout: For each purpose its name, whether it is asked about, the names of its fields and its seal; see
            `layout_of`.
        values: Of the fields of the purposes that end last, in order.
        blocked: Declared names of the cookies that were kept from the answer, one for each of its lines.
        apart: Sealed `Apart`s of the purposes that end sooner, each under the key of the first purpose of its number
            in the layout, for the bundle's id. Empty bytes where that key was gone when the exchange was kept.
    """

    method: str
    status: int
    received_bytes: int
    sent_bytes: int
    duration_ns: int
    choice: str | None
    revision: int
    route: str | None
    protocol: str | None
    outcome: str
    receipt: str | None
    layout: msgspec.Raw
    values: tuple[Scalar, ...]
    blocked: tuple[str, ...] = ()
    apart: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, plain: bytes) -> Bundle:
        """
        Return the bundle that was sealed.

        Raises:
            msgspec.MsgspecError: The bytes are no bundle.
        """
        return _decoder.decode(plain)

    @property
    def facts(self) -> dict[str, Scalar]:
        """What every record of the exchange says: nothing in it tells one visitor from another."""
        facts: dict[str, Scalar] = {
            "http.request.method": self.method,
            "http.response.status_code": self.status,
            "http.request.body.size": self.received_bytes,
            "http.response.body.size": self.sent_bytes,
            "http.server.request.duration": round(self.duration_ns / 1e9, 6),
            "consent.choice": self.choice,
            "consent.revision": self.revision,
        }
        if self.route:
            facts["http.route"] = self.route
        if self.protocol:
            facts["network.protocol.name"] = self.protocol
        if self.outcome:
            facts["error.type"] = self.outcome
        if self.blocked:
            facts["consent.cookies.blocked"] = " ".join(dict.fromkeys(self.blocked))
        return facts

    @property
    def parts(self) -> tuple[Part, ...]:
        """
        What each purpose gets, in the order of their records' ids.

        Raises:
            msgspec.MsgspecError: The layout is none.
        """
        return _parts(bytes(self.layout))


class Apart(NamedTuple):
    """
    What of an exchange must not outlive purposes that end before the last.

    Attributes:
        receipt: As in `Bundle`, for the purposes here; None where the bundle itself has it.
        values: Of the fields of these purposes, in order.
    """

    receipt: str | None
    values: tuple[Scalar, ...]

    @classmethod
    def read(cls, plain: bytes) -> Apart:
        """
        Return what was sealed apart.

        Raises:
            msgspec.MsgspecError: The bytes are nothing of the kind.
        """
        return _aparts.decode(plain)


_decoder = msgspec.msgpack.Decoder(Bundle)
_aparts = msgspec.msgpack.Decoder(Apart)
_layouts = msgspec.msgpack.Decoder(tuple[tuple[str, bool, tuple[str, ...], int], ...])


@lru_cache(maxsize=64)  # one for each set of purposes that a visitor may have allowed
def _parts(layout: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    ends: dict[int, int] = {}
    keys: dict[int, str] = {}
    for purpose, asked, names, seal in _layouts.decode(layout):
        start = ends.get(seal, 0)
        ends[seal] = start + len(names)
        key = keys.setdefault(seal, purpose) if seal else None
        parts.append(Part(purpose, asked, names, slice(start, ends[seal]), seal, key))
    return tuple(parts)


class BundleFrame(NamedTuple):
    """
    A sealed bundle in the spool.

    Attributes:
        id: Of the record of the first part; those of the others follow it. 16 bytes.
        ring: Name of the keyring that opens it.
        purpose: Whose key sealed it.
        records: How many it holds, also for who can no longer open it.
    """

    id: bytes
    ring: str
    purpose: str
    records: int
    sealed: bytes


def layout_of(parts: Sequence[tuple[str, bool, Sequence[str], int]]) -> msgspec.Raw:
    """Return the layout of all bundles with these (purpose, asked, field names, seal), encoded once for all of them."""
    return msgspec.Raw(msgspec.msgpack.encode(parts))


def frame_head(ring: str, purpose: str, records: int) -> bytes:
    """Return what stands before the id and the sealed bytes in the frames of this keyring, purpose and number."""
    names = (ring.encode(), purpose.encode())
    return _MARK + b"".join(bytes([len(name)]) + name for name in names) + records.to_bytes(_COUNT_BYTES)


def read_frame(frame: bytes) -> BundleFrame | None:
    """
    Return the bundle in a spool frame, or None where it holds a record.

    Raises:
        RecordDamaged: The frame ends before what is sealed, as none does that we wrote.
    """
    if frame[:1] != _MARK:
        return None
    ring_end = 2 + frame[1]
    purpose_end = ring_end + 1 + frame[ring_end]
    head_end = purpose_end + _COUNT_BYTES
    id_end = head_end + _ID_BYTES
    if len(frame) < id_end:
        raise RecordDamaged(f"a bundle of {len(frame)} bytes is too short; some were cut off")
    return BundleFrame(
        frame[head_end:id_end],
        frame[2:ring_end].decode(),
        frame[ring_end + 1 : purpose_end].decode(),
        int.from_bytes(frame[purpose_end:head_end]),
        frame[id_end:],
    )
