"""From the spool's frames to finished records: each exchange split by purpose and sealed anew, each agent parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from consent_mw.agents import parse_agent
from consent_mw.bundles import AGENT_TO_PARSE, BUNDLE, Bundle, BundleFrame, Part, read_frame
from consent_mw.exceptions import ConsentError, KeyDestroyed, RecordDamaged
from consent_mw.records import Record, Scalar, decode_record
from consent_mw.sealer import Sealer, names_of
from consent_mw.segment import Segment

__all__ = ["Unbundler"]

_DAY_MS: Final = 86_400_000
#: What the application notes comes as a record of its own, whose agent is still to be parsed.
_NOTED: Final = frozenset(("event", "abuse"))

_encode = msgspec.msgpack.Encoder().encode


class Unbundler:
    """Makes records of frames, and keeps nothing of them. For a thread: opening and parsing take time."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def records(self, segment: Segment) -> Iterator[Record]:
        """
        Yield the finished records of a segment, in the order in which they were written.

        A frame that holds nothing it understands counts as lost, in `segment.lost`. What can no longer be opened
        yields nothing: its purpose has ended while it waited.

        Raises:
            SpoolError: The segment cannot be read.
            ConfigurationError: Another keyring sealed it.
            StoreError: The keys cannot be reached.
        """
        for frame in segment.frames():
            try:
                bundle = read_frame(frame)
                if bundle is None:
                    yield self._finished(decode_record(frame))
                else:
                    yield from self._split(bundle)
            except (RecordDamaged, msgspec.MsgspecError, IndexError, UnicodeDecodeError):
                segment.lost += 1

    def _split(self, frame: BundleFrame) -> list[Record]:
        """Return the record of each purpose that an exchange served. Raises RecordDamaged, and as `records`."""
        id_bytes, ring, purpose, sealed = frame
        first = int.from_bytes(id_bytes)
        day = (first >> 80) // _DAY_MS
        try:
            plain = self._sealer.open_bytes(id_bytes, day, purpose, names_of(BUNDLE, purpose), ring, sealed)
        except KeyDestroyed:
            return []
        bundle = Bundle.read(plain)
        facts = bundle.facts
        records: list[Record] = []
        for number, part in enumerate(bundle.parts, first):
            try:
                records.append(self._record(number.to_bytes(16), day, part, bundle, facts))
            except KeyDestroyed:  # of this purpose alone
                continue
        return records

    def _record(self, id_bytes: bytes, day: int, part: Part, bundle: Bundle, facts: Mapping[str, Scalar]) -> Record:
        """Return the record of one purpose. Raises as `records`, and KeyDestroyed."""
        purpose, fields = part.purpose, part.fields(bundle)
        agent = fields.pop(AGENT_TO_PARSE, None)
        if isinstance(agent, str):
            facts = {**facts, **_families(agent)}
        subject = None
        if part.asked and bundle.receipt is not None:
            subject = self._sealer.token(day, purpose, bundle.receipt.encode())
        plain = _encode(fields) if fields else None
        return self._sealer.record_bytes(id_bytes, day, "visit", purpose, subject, facts, plain)

    def _finished(self, record: Record) -> Record:
        """Put the families in the place of the agent, which no store ever sees."""
        if not record.ring or record.kind not in _NOTED:
            return record
        try:
            sealed = msgspec.msgpack.decode(self._sealer.open(record), type=dict[str, Scalar])
            agent = sealed.pop(AGENT_TO_PARSE, None)
            if not isinstance(agent, str):
                return record
            data, plain = {**record.data, **_families(agent)}, _encode(sealed)
            return self._sealer.record(
                record.id, record.kind, record.purpose, subject=record.subject, data=data, plain=plain
            )
        except ConsentError:
            return record  # its key is gone: nobody can read the agent any more


def _families(agent: str) -> dict[str, Scalar]:
    """Return browser, operating system, kind of device and bot, under OpenTelemetry's names where there are."""
    parsed = parse_agent(agent)
    found: dict[str, Scalar] = {
        "user_agent.name": parsed.browser,
        "user_agent.version": parsed.browser_version,
        "user_agent.os.name": parsed.os,
        "device.type": parsed.device,
    }
    if parsed.bot:
        found["user_agent.synthetic.type"] = "bot"
    return {name: value for name, value in found.items() if value}
