"""From the spool's frames to finished records: exchanges split by purpose and sealed again, agents parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import urandom
from typing import Final, TypeAlias

import msgspec

from consent_mw.crypto.sealer import NONCE_BYTES, Sealer, encoded, names_of
from consent_mw.exceptions import KeyDestroyed, RecordDamaged
from consent_mw.kinds import ABUSE, EVENT, VISIT
from consent_mw.log.user_agents import parse_agent
from consent_mw.records import Record, Scalar, decode_record
from consent_mw.spool.bundles import AGENT_TO_PARSE, BUNDLE, Bundle, BundleFrame, Own, Part, read_frame
from consent_mw.spool.segment import Segment
from consent_mw.system.days import DAY_MILLISECONDS

_MS_NS: Final = 1_000_000
#: What the application notes arrives as a record of its own, whose agent is still to be parsed.
_NOTED: Final = frozenset((EVENT, ABUSE))

#: What the records of one exchange share: the common facts, those facts encoded for the marks, and a nonce.
_Shared: TypeAlias = tuple[Mapping[str, Scalar], msgspec.Raw | None, bytes]

_encode = msgspec.msgpack.Encoder().encode


class Unbundler:
    """Makes records from frames, and stores none of them. Call it in a thread: opening and parsing take time."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def records(self, segment: Segment) -> Iterator[Record]:
        """
        Yield the finished records of a segment, in the order in which they were written.

        A frame that cannot be understood counts as lost, in `segment.lost`. A record that can no longer be opened,
        since its purpose ended while it waited, counts in `segment.ended`. Each record of an exchange counts
        separately.

        Raises:
            SpoolError: The segment cannot be read.
            ConfigurationError: Another keyring sealed it.
            StoreError: The keys cannot be reached.
        """
        for frame in segment.frames():
            try:
                bundle = read_frame(frame)
                if bundle is not None:
                    yield from self._split(bundle, segment)
                elif record := self._finished(decode_record(frame), segment):
                    yield record
            except (RecordDamaged, msgspec.MsgspecError, IndexError, UnicodeDecodeError):
                segment.lost += 1

    def _split(self, frame: BundleFrame, segment: Segment) -> list[Record]:
        """Return the record of each purpose that an exchange served. Raises RecordDamaged, and as `records`."""
        first = int.from_bytes(frame.id)
        at_ms = first >> 80
        day = at_ms // DAY_MILLISECONDS
        self._check_ring(frame)
        bundle = Bundle.read(frame.facts)
        facts, parts = bundle.facts, bundle.parts
        # Their keys differ, so one nonce is enough for all. What all of them say is encoded once.
        shared = facts, encoded(facts) if len(parts) > 1 else None, urandom(NONCE_BYTES)
        records: list[Record] = []
        for number, part, sealed in zip(range(first, first + len(parts)), parts, frame.owns, strict=True):
            if not sealed:  # its key was missing at the time of writing, and that was counted then
                continue
            try:
                own = Own.read(self._opened(frame, day, part.purpose, sealed))
                records.append(self._record(number.to_bytes(16), day, part, own, shared))
            except KeyDestroyed:  # the key of this purpose only
                segment.lose(1, at_ms * _MS_NS)
            except RecordDamaged:
                segment.lost += 1
        return records

    def _check_ring(self, frame: BundleFrame) -> None:
        if frame.ring not in self._sealer.rings:
            self._opened(frame, 0, "", b"")  # it raises the error

    def _opened(self, frame: BundleFrame, day: int, purpose: str, sealed: bytes) -> bytes:
        names = names_of(BUNDLE, purpose) + frame.facts
        return self._sealer.open_bytes(frame.id, day, purpose, names, frame.ring, sealed)

    def _record(self, id_bytes: bytes, day: int, part: Part, own: Own, shared: _Shared) -> Record:
        """Return the record of one purpose. Raises as `records`, and KeyDestroyed."""
        purpose, fields = part.purpose, part.fields(own.values)
        facts, said, nonce = shared
        agent = fields.pop(AGENT_TO_PARSE, None)
        if isinstance(agent, str):
            facts, said = {**facts, **_families(agent)}, None
        subject = None
        if part.asked and own.receipt is not None:
            subject = self._sealer.token(day, purpose, own.receipt.encode())
        plain = _encode(fields) if fields else None
        return self._sealer.record_bytes(id_bytes, day, VISIT, purpose, subject, facts, plain, nonce, said)

    def _finished(self, record: Record, segment: Segment) -> Record | None:
        """
        Return a record that arrived as one; None if its key is gone. Then it has ended, and no store gets it.

        Raises as `records`.
        """
        if not record.ring:
            return record
        at_ms = record.id.int >> 80
        try:
            if record.kind in _NOTED:
                return self._with_families(record)
            if record.ring in self._sealer.rings:
                self._sealer.open(record)
        except KeyDestroyed:
            segment.lose(1, at_ms * _MS_NS)
            return None
        except RecordDamaged:
            pass  # every reader of the record finds the damage
        return record

    def _with_families(self, record: Record) -> Record:
        """Replace the agent, which no store gets, with its families. Raises as `records`, and KeyDestroyed."""
        try:
            sealed = msgspec.msgpack.decode(self._sealer.open(record), type=dict[str, Scalar])
        except RecordDamaged:
            return record  # every reader of the record finds the damage
        agent = sealed.pop(AGENT_TO_PARSE, None)
        if not isinstance(agent, str):
            return record
        data, plain = {**record.data, **_families(agent)}, _encode(sealed)
        return self._sealer.record(
            record.id, record.kind, record.purpose, subject=record.subject, data=data, plain=plain
        )


def _families(agent: str) -> dict[str, Scalar]:
    """Return browser, operating system, kind of device and bot, under OpenTelemetry's names where they exist."""
    parsed = parse_agent(agent)
    families: dict[str, Scalar] = {
        "user_agent.name": parsed.browser,
        "user_agent.version": parsed.browser_version,
        "user_agent.os.name": parsed.os,
        "device.type": parsed.device,
    }
    if parsed.bot:
        families["user_agent.synthetic.type"] = "bot"
    return {name: value for name, value in families.items() if value}
