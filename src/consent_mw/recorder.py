"""One finished exchange becomes records, one a purpose, minimised and sealed, in one write to the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from consent_mw.client import Proxies, mask
from consent_mw.consent import Consent
from consent_mw.exceptions import ConsentError
from consent_mw.exchange import Exchange
from consent_mw.policy import ABUSE, RECEIPTS, Policy
from consent_mw.records import Record, Scalar, encode_parts, encode_record, new_id, new_id_number
from consent_mw.redaction import clean, origin, redact_query, redact_url
from consent_mw.request_consent import Shown
from consent_mw.sealer import Sealer
from consent_mw.spool import Spool

__all__ = ["Recorder"]

_log = logging.getLogger("consent_mw")

_DAY_MS: Final = 86_400_000
_DAY_NS: Final = 86_400_000_000_000

#: What one declared field of one purpose yields: a value, or None to leave it out.
_Field: TypeAlias = Callable[[Exchange], Scalar]


class Recorder:
    """
    Turns what happened into records. Runs on the application's loop after the answer, and never raises into it:
    what cannot be kept is counted as a gap.
    """

    def __init__(self, policy: Policy, sealer: Sealer, spool: Spool, proxies: Proxies) -> None:
        self.policy = policy
        self._sealer = sealer
        self._spool = spool
        self._proxies = proxies
        self._ring = sealer.keyring.name
        self._encode = msgspec.msgpack.Encoder().encode
        self._fields = {purpose: self._compiled(purpose, log) for purpose, log in policy.log.items()}
        self._visits = tuple(purpose for purpose in self._fields if purpose != ABUSE)

    # -- the three things that are kept -------------------------------------------------------------------------

    def exchange(self, exchange: Exchange) -> None:
        """Keep a finished exchange, and what the application noted during it, in one write. Never raises."""
        frames: list[bytes] = []
        noted = exchange.consent.noted
        try:
            allowed = exchange.consent.permissions.allowed
            facts = _facts(exchange)
            encoded = msgspec.Raw(self._encode(facts))
            number = new_id_number(exchange.started_ns)
            for purpose in self._visits:
                if purpose in allowed:
                    frames.append(self._frame(number, "visit", purpose, exchange, encoded, {}))
                    number += 1
            for note in noted:
                clear = {**facts, "event.name": note.name} if note.kind == "event" else encoded
                frames.append(self._frame(number, note.kind, note.purpose, exchange, clear, note.data))
                number += 1
            if frames:
                urgent = any(note.kind == "abuse" for note in noted)
                self._spool.write(frames, durable=urgent, reserved=urgent)
        except (ConsentError, msgspec.MsgspecError) as error:
            # A key that is gone or a key file in trouble: the page was served, the record is a counted gap.
            self._spool.lose(len(self._visits) + len(noted) - len(frames) or 1)
            _log.warning("not recorded: %s", error)

    def receipt(self, before: Consent, consent: Consent, shown: Shown, now_ns: int) -> bool:
        """
        Keep the receipt of a choice, and return whether it is on the disk. Waits for the disk: call it in a thread.

        Its subject is the token of the receipt's random name, which only the visitor's cookie holds; a refusal
        has no name, so its receipt belongs to nobody.
        """
        record_id = new_id(now_ns)
        clear: dict[str, Scalar] = {
            "consent.choice": consent.choice,
            "consent.revision": consent.revision,
            "consent.policy": self.policy.digest,
            "consent.surface": shown.surface,
            "consent.language": shown.language,
            "consent.text": shown.text,
        }
        answers: dict[str, object] = {
            "purposes": dict(consent.purposes),
            "cookies": dict(consent.cookies),
            "signals": list(consent.signals),
            "receipt": consent.receipt,
            "supersedes": before.receipt,
        }
        try:
            name = consent.receipt or before.receipt
            subject = self._token(now_ns, RECEIPTS, name) if name else None
            sealed = self._sealer.seal(record_id, "receipt", RECEIPTS, self._encode(answers))
        except ConsentError as error:
            _log.error("no receipt: %s", error)
            return False
        record = Record(record_id, "receipt", RECEIPTS, subject, self._ring, clear, sealed)
        return self._spool.write([encode_record(record)], durable=True, reserved=True)

    # -- their parts --------------------------------------------------------------------------------------------

    def _frame(
        self,
        number: int,
        kind: str,
        purpose: str,
        exchange: Exchange,
        clear: Mapping[str, Scalar] | msgspec.Raw,
        data: Mapping[str, Scalar],
    ) -> bytes:
        """Return one record for the spool. Built from parts: a `Record` and its `UUID` cost three times the seal."""
        sealed: dict[str, Scalar] = {}
        for name, field in self._fields.get(purpose, ()):
            value = field(exchange)
            if value is not None:
                sealed[name] = value
        for key, value in data.items():
            sealed[f"{kind}.{key}"] = clean(value) if isinstance(value, str) else value
        subject = self._subject(purpose, exchange)
        id_bytes = number.to_bytes(16, "big")
        if not sealed:
            return encode_parts(id_bytes, kind, purpose, subject, "", clear, b"")
        day = (number >> 80) // _DAY_MS
        blob = self._sealer.seal_bytes(id_bytes, day, kind, purpose, self._encode(sealed))
        return encode_parts(id_bytes, kind, purpose, subject, self._ring, clear, blob)

    def _subject(self, purpose: str, exchange: Exchange) -> bytes | None:
        """A token only where the visitor allowed this very purpose: who refuses is told apart from nobody."""
        receipt = exchange.consent.consent.receipt
        if receipt is None or not self.policy.purposes[purpose].asked:
            return None
        return self._token(exchange.started_ns, purpose, receipt)

    def _token(self, now_ns: int, purpose: str, value: str) -> bytes:
        return self._sealer.token(now_ns // _DAY_NS, purpose, value.encode())

    # -- the declared personal fields, each compiled once into a function ---------------------------------------

    def _compiled(self, purpose: str, log: Mapping[str, str]) -> Sequence[tuple[str, _Field]]:
        made = ((name, self._field(purpose, name, precision)) for name, precision in log.items())
        return tuple((name, field) for name, field in made if field is not None)

    def _field(self, purpose: str, name: str, precision: str) -> _Field | None:
        if precision == "off":
            return None
        if name == "client.address":
            return self._address(purpose, precision)
        # An agent that is kept as a family only still crosses the spool whole, sealed: the drain parses it and
        # never hands it on, because parsing a new one takes a millisecond that no request shall pay.
        return {
            "url.path": _path,
            "url.query": _query,
            "user_agent.original": _agent,
            "http.request.header.referer": _referer_origin if precision == "origin" else _referer,
        }[name]

    def _address(self, purpose: str, precision: str) -> _Field:
        read = self._proxies.address

        def full(exchange: Exchange) -> Scalar:
            address = read(exchange.scope)
            return None if address is None else str(address)

        def masked(exchange: Exchange) -> Scalar:
            address = read(exchange.scope)
            return None if address is None else mask(address)

        def token(exchange: Exchange) -> Scalar:
            address = read(exchange.scope)
            return None if address is None else self._token(exchange.started_ns, purpose, str(address)).hex()

        return {"full": full, "masked": masked, "token": token}[precision]


def _facts(exchange: Exchange) -> dict[str, Scalar]:
    """What every record of an exchange says: nothing in it tells one visitor from another."""
    consent = exchange.consent.consent
    facts: dict[str, Scalar] = {
        "http.request.method": exchange.method,
        "http.response.status_code": exchange.status,
        "http.request.body.size": exchange.received_bytes,
        "http.response.body.size": exchange.sent_bytes,
        "http.server.request.duration": round(exchange.duration_ns / 1e9, 6),
        "consent.choice": consent.choice,
        "consent.revision": consent.revision,
    }
    route = exchange.route
    if route is not None:
        facts["http.route"] = clean(route)
    if exchange.scope["type"] == "websocket":
        facts["network.protocol.name"] = "websocket"
    if exchange.outcome:
        facts["error.type"] = exchange.outcome
    return facts


def _text(exchange: Exchange, header: bytes) -> str | None:
    value = exchange.fields.get(header)
    return None if value is None else value.decode("latin-1")


def _path(exchange: Exchange) -> Scalar:
    return clean(str(exchange.scope.get("path", "")))


def _query(exchange: Exchange) -> Scalar:
    query: bytes = exchange.scope.get("query_string") or b""
    return redact_query(query.decode("latin-1")) if query else None


def _agent(exchange: Exchange) -> Scalar:
    agent = _text(exchange, b"user-agent")
    return None if agent is None else agent[:512]


def _referer(exchange: Exchange) -> Scalar:
    return redact_url(_text(exchange, b"referer") or "") or None


def _referer_origin(exchange: Exchange) -> Scalar:
    return origin(_text(exchange, b"referer") or "") or None
