"""
One finished exchange as the spool carries it: its facts once, and the fields of every purpose that may know of it.

It may wait there longer than some of these purposes last, and a later revision may shorten any of them. So the fields
of each purpose are sealed separately, under that purpose's own key. The facts are those that a store shows in clear,
and every seal is bound to them. The drain makes one record for each purpose. Pure: bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from consent_mw.exceptions import RecordDamaged
from consent_mw.records import Scalar

#: The kind that a bundle is sealed as; no record has this kind.
BUNDLE: Final = "bundle"
#: The field that carries an agent across the spool if only its family is kept: the drain parses it and drops it.
#: Parsing a new one takes a millisecond, which no request shall pay.
AGENT_TO_PARSE: Final = "user_agent.original to parse"

#: MessagePack never begins with this byte, so the first byte tells a bundle's frame from a record's.
_MARK: Final = b"\xc1"
_ID_BYTES: Final = 16
_LENGTH_BYTES: Final = 4

_decoder: msgspec.msgpack.Decoder[Bundle]


class Part(NamedTuple):
    """
    What a bundle holds for one purpose.

    Attributes:
        asked: Whether the visitor is asked about the purpose, so that the record carries their token.
        names: Names of its declared personal fields.
    """

    purpose: str
    asked: bool
    names: tuple[str, ...]

    def fields(self, values: tuple[Scalar, ...]) -> dict[str, Scalar]:
        """Return the fields that have a value."""
        fields = dict(zip(self.names, values, strict=False))
        if None in fields.values():
            return {name: value for name, value in fields.items() if value is not None}
        return fields


class Bundle(msgspec.Struct, frozen=True, array_like=True):
    """
    What every record of an exchange says. Sizes in bytes, time in nanoseconds. The spool holds it in clear, as the
    store will: none of it tells one visitor from another.

    Attributes:
        layout: For each purpose its name, whether it is asked about, and the names of its fields; see `layout_of`.
        blocked: Declared names of the cookies that were removed from the response, one for each Set-Cookie line.
        streamed: Whether the body came in parts, without a length announced before.
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
    layout: msgspec.Raw
    blocked: tuple[str, ...] = ()
    streamed: bool = False

    @classmethod
    def read(cls, facts: bytes) -> Bundle:
        """
        Return the bundle that a frame holds.

        Raises:
            msgspec.MsgspecError: The bytes are not a bundle.
        """
        return _decoder.decode(facts)

    @property
    def facts(self) -> dict[str, Scalar]:
        """What every record of the exchange says. None of it tells one visitor from another."""
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
        if self.streamed:
            facts["http.response.streamed"] = True
        if self.outcome:
            facts["error.type"] = self.outcome
        if self.blocked:
            facts["consent.cookies.blocked"] = " ".join(dict.fromkeys(self.blocked))
        return facts

    @property
    def parts(self) -> tuple[Part, ...]:
        """
        What the bundle holds for each purpose, in the order of their records' ids.

        Raises:
            msgspec.MsgspecError: The layout cannot be decoded.
        """
        return parts_of(bytes(self.layout))


class Own(NamedTuple):
    """
    What only one purpose may know of an exchange. It is sealed under the key of that purpose, and unreadable once that
    key is destroyed.

    Attributes:
        receipt: Random name under which the visitor's receipts are kept; only if the visitor was asked.
        values: The values of its fields, in order.
    """

    receipt: str | None
    values: tuple[Scalar, ...]

    @classmethod
    def read(cls, plain: bytes) -> Own:
        """
        Return what was sealed.

        Raises:
            msgspec.MsgspecError: The bytes cannot be decoded.
        """
        return _owns.decode(plain)


_decoder = msgspec.msgpack.Decoder(Bundle)
_owns = msgspec.msgpack.Decoder(Own)
_sealed = msgspec.msgpack.Decoder(tuple[bytes, ...])
_layouts = msgspec.msgpack.Decoder(tuple[Part, ...])


@lru_cache(maxsize=64)  # one for each set of purposes that a visitor may have allowed
def parts_of(layout: bytes) -> tuple[Part, ...]:
    """Return what bundles of a layout hold for each purpose. Raises msgspec.MsgspecError."""
    return _layouts.decode(layout)


class BundleFrame(NamedTuple):
    """
    A bundle in the spool.

    Attributes:
        id: The id of the first part's record; the ids of the others follow it. 16 bytes.
        ring: Name of the keyring that opens it.
        facts: The encoded `Bundle`. Each seal is bound to these bytes, so that none of them can be changed.
        sealed: The encoded `Own` of each purpose, sealed under its own key for the bundle's id. Empty if that key was
            destroyed before the exchange was kept.
    """

    id: bytes
    ring: str
    facts: bytes
    sealed: bytes

    @property
    def owns(self) -> tuple[bytes, ...]:
        """
        The sealed `Own` of each part, in the order of the parts.

        Raises:
            msgspec.MsgspecError: The bytes cannot be decoded.
        """
        return _sealed.decode(self.sealed)


def layout_of(parts: Sequence[tuple[str, bool, Sequence[str]]]) -> msgspec.Raw:
    """Return the layout of all bundles with these (purpose, asked, field names). It is encoded once for all of them."""
    return msgspec.Raw(msgspec.msgpack.encode(parts))


def frame_head(ring: str) -> bytes:
    """Return the bytes before the id in the frames of this keyring."""
    name = ring.encode()
    return _MARK + bytes([len(name)]) + name


def length_of(facts: bytes) -> bytes:
    """Return the bytes between the id and the facts."""
    return len(facts).to_bytes(_LENGTH_BYTES)


def read_frame(frame: bytes) -> BundleFrame | None:
    """
    Return the bundle in a spool frame, or None if the frame holds a record.

    Raises:
        RecordDamaged: The frame ends before the sealed part. We never write such a frame.
    """
    if frame[:1] != _MARK:
        return None
    ring_end = 2 + frame[1]
    id_end = ring_end + _ID_BYTES
    facts = id_end + _LENGTH_BYTES
    facts_end = facts + int.from_bytes(frame[id_end:facts])
    if len(frame) < facts_end:
        raise RecordDamaged(f"a bundle of {len(frame)} bytes is too short; some were cut off")
    return BundleFrame(frame[ring_end:id_end], frame[2:ring_end].decode(), frame[facts:facts_end], frame[facts_end:])
