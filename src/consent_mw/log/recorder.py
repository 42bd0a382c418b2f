"""Turn a finished exchange into what its purposes may know of it, minimised and sealed, in one write to the spool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from os import urandom
from sys import getsizeof
from typing import Final, NamedTuple, TypeAlias

import msgspec

from consent_mw._asgi import Scope
from consent_mw.consent.choice import Consent
from consent_mw.consent.receipt_name import is_again
from consent_mw.consent.request_consent import DROPPED, Noted, Shown
from consent_mw.crypto.sealer import NONCE_BYTES, Sealer
from consent_mw.exceptions import ConsentError, KeyDestroyed
from consent_mw.kinds import RECEIPT
from consent_mw.log.exchange import BROKEN_OFF, METHODS, OTHER_METHOD, Exchange, route_of
from consent_mw.log.masking import mask, masked_ipv4
from consent_mw.log.plans import Field, Plan, plan_of
from consent_mw.log.redaction import clean, origin, redact_query, redact_url
from consent_mw.log.sealing import Sealing
from consent_mw.policy.model import ABUSE, RECEIPTS, Policy
from consent_mw.proxies import IPAddress, Proxies
from consent_mw.records import Record, Scalar, encode_record, new_id, new_id_bytes
from consent_mw.rights.people import links
from consent_mw.rights.repeats import Repeats
from consent_mw.rights.request import Request
from consent_mw.rights.withdrawal import NOTHING_REMOVED, Removed, withdrawal
from consent_mw.spool.bundles import AGENT_TO_PARSE, Bundle, layout_of
from consent_mw.spool.spool import Spool
from consent_mw.system.bounded_cache import Budget, Memory, remember
from consent_mw.system.days import DAY_NS, instant_of
from consent_mw.system.escaping import printable, readable, readable_path

_log = logging.getLogger("consent_mw")

#: The size of the cache for addresses, for paths, for referrers, and for agents.
_REMEMBERED_BYTES: Final = 1 << 20
#: How many sets of allowed purposes have their plan cached. The policy decides how large a plan is.
_PLANS: Final = 256
#: How many different messages about undeclared events are logged: any request may cause a new name.
_MOST_REPORTED: Final = 100

#: Characters of an agent that are kept, and the bytes that hold them in UTF-8, so that no character is cut in two.
_AGENT: Final = 512
_AGENT_BYTES: Final = 4 * _AGENT

_QUIET_SECONDS: Final = 60.0

_NO_PARTS: Final = layout_of(())

#: What every record of an exchange says, and beside it what each purpose may know.
_Facts: TypeAlias = tuple[object, ...]
_Owns: TypeAlias = list[tuple[str | None, list[Scalar]] | None]


class Receipt(NamedTuple):
    """
    What to keep of a choice.

    Attributes:
        records: The receipt, the withdrawal and the links.
        request: The withdrawal among them.
        changes: How often its sender had chosen before.
    """

    records: list[Record]
    request: Request | None
    changes: int


class Recorder:
    """
    Turns what happened into records. Runs on the application's loop, and never raises into it: records that cannot be
    kept are counted as a gap.
    """

    def __init__(
        self,
        policy: Policy,
        sealer: Sealer,
        spool: Spool,
        proxies: Proxies,
        *,
        removed: Mapping[str, Removed] = NOTHING_REMOVED,
    ) -> None:
        """`removed`: the purposes that only earlier revisions asked visitors about."""
        self.policy = policy
        self._removed = removed
        self._sealer = sealer
        self._spool = spool
        self._proxies = proxies
        self._sealing = Sealing(sealer)
        self._append = spool.append
        self._encode = msgspec.msgpack.Encoder().encode
        self._fields = {purpose: self._compiled(purpose, log) for purpose, log in policy.log.items()}
        self._plan_of: dict[frozenset[str], Plan | None] = {}
        self._unasked = frozenset(name for name, purpose in policy.purposes.items() if not purpose.asked)
        self._reported: set[str] = set()
        self._quiet_until = 0.0  # monotonic seconds
        self._repeats = Repeats(spool)

    # -- the three things that are kept -------------------------------------------------------------------------

    def exchange(self, exchange: Exchange, own: bool = False) -> None:
        """
        Keep a finished exchange, and what the application noted during it, in one write. Never raises.

        Args:
            own: Whether it was a request of one of our own pages. That is not a visit to the site, which visitors are
                asked about. Visitors who look at their data, or have just withdrawn their consent, do not count in
                statistics for it.
        """
        consent = exchange.consent
        allowed = consent.permissions.allowed
        if own:
            allowed &= self._unasked
        try:
            plan = self._plan_of[allowed]
        except KeyError:
            plan = self._new_plan(allowed)
        if consent.noted:
            self._with_notes(plan, exchange)
        elif plan is not None:
            try:
                facts, owns = self._gathered(plan, exchange)
                if not (self._spool.lent and self._hand(plan, exchange, facts, owns)):
                    append = self._append
                    append(self._sealed(plan, exchange, facts, owns))
            except Exception as error:  # noqa: BLE001 - a missing key, an impossible value: the page is served
                self._lost(error, len(plan.places))
        if exchange.begun:
            self._spool.end(exchange.begun)

    def begin(self, exchange: Exchange) -> None:
        """
        Keep what is known of an exchange that will stay open, until it is kept complete. After a crash this is all that
        remains of it. Both have one id, so that no store keeps them both. Never raises.
        """
        allowed = exchange.consent.permissions.allowed
        plan = self._plan_of[allowed] if allowed in self._plan_of else self._new_plan(allowed)
        if plan is None or exchange.begun:
            return
        outcome, exchange.outcome = exchange.outcome, BROKEN_OFF
        try:
            exchange.begun = new_id_bytes(exchange.started_ns, urandom(NONCE_BYTES))
            self._spool.begin(exchange.begun, self._frame(plan, exchange))
        except Exception as error:  # noqa: BLE001 - as in `exchange`, which counts it
            _log.debug("not kept as it began: %s", error)
        finally:
            exchange.outcome = outcome

    def _new_plan(self, allowed: frozenset[str]) -> Plan | None:
        plan = plan_of(allowed, self.policy, self._fields)
        remember(self._plan_of, allowed, plan, _PLANS)
        return plan

    def noted_since(self, exchange: Exchange) -> None:
        """Keep what was noted after the exchange was kept, for example in a background task. Never raises."""
        self._with_notes(None, exchange)

    def receipt(
        self,
        before: Consent,
        consent: Consent,
        shown: Shown,
        now_ns: int,
        *,
        sign_in: str | None = None,
        registered: bool = False,
    ) -> Receipt | None:
        """
        Return the receipt of a choice, which `keep` writes to the disk; None if its key cannot be reached. Call it in a
        thread.

        What the choice takes back is registered as a withdrawal in the same write, unless it is `registered` already. A
        signed-in visitor is linked with their receipts.

        Its subject is the token of the random name, which only the visitor's cookie holds. A refusal has no subject,
        and is filed under the name that it ends.
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
        name, today = consent.receipt or before.receipt, _day_of(now_ns)
        if before.is_nameless(today) or (name is not None and is_again(name, today)):
            clear["consent.again"] = True  # statistics have already counted this visitor
        answers: dict[str, object] = {
            "purposes": dict(consent.purposes),
            "cookies": dict(consent.cookies),
            "signals": list(consent.signals),
            "receipt": consent.receipt,
            "under": name,
            "changes": consent.changes,
        }
        try:
            subject = self._token(now_ns, RECEIPTS, name) if name else None
            record = self._sealer.record(
                record_id, RECEIPT, RECEIPTS, subject=subject, data=clear, plain=self._encode(answers)
            )
            request = None if registered else self._withdrawal(before, consent, now_ns, sign_in)
            more = self._following(consent, request, now_ns, sign_in)
        except ConsentError as error:
            _log.error("no receipt: %s", error)
            return None
        return Receipt([record, *more], request, before.changes)

    def keep(self, receipt: Receipt) -> bool:
        """Keep a receipt in the spool, and return whether it is on the disk. Waits for it: call it in a thread."""
        frames = [encode_record(record) for record in receipt.records]
        kept = self._spool.write(frames, durable=True, reserved=True, right=receipt.request is not None)
        self.kept(receipt, is_kept=kept)
        return kept

    def kept(self, receipt: Receipt, *, is_kept: bool) -> None:
        """Note whether a receipt was kept, so that what it takes back is registered only once."""
        if is_kept and receipt.request is not None:
            self._repeats.keep(receipt.request, receipt.changes)
        if not is_kept and receipt.request is not None:
            _log.error("a withdrawal was not kept: it holds, but what was collected stays until its period ends")

    def _withdrawal(self, before: Consent, consent: Consent, now_ns: int, sign_in: str | None) -> Request | None:
        """
        Return the withdrawal in a choice; None if it takes nothing back, or if this receipt has just taken it back.
        """
        request = withdrawal(before, consent, self.policy, now_ns, sign_in, self._removed)
        return None if request is None or self._repeats.number_of(request, before.changes) else request

    def _following(self, consent: Consent, request: Request | None, now_ns: int, sign_in: str | None) -> list[Record]:
        """Return the records that are kept with a receipt: the withdrawal, and the links."""
        registered = request.record(self._sealer) if request else None
        linked = links(self._sealer, consent.receipt, sign_in, now_ns)
        return [registered, *linked] if registered else linked

    def _lost(self, error: Exception, records: int = 1) -> None:
        """Count records that could not be made. Log it once a minute: one line for each would fill the log's disk."""
        self._spool.lose(records)
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.warning('not recorded, as every gap of reason "key" will say: %s', printable(str(error)))

    # -- an exchange --------------------------------------------------------------------------------------------

    def _gathered(self, plan: Plan, exchange: Exchange) -> tuple[_Facts, _Owns]:
        """Return the facts of an exchange, and what each purpose may know of it beside them."""
        consent = exchange.consent.consent
        scope, named = exchange.scope, exchange.consent.route
        method = scope.get("method", "GET")
        facts = (
            method if method in METHODS else OTHER_METHOD,
            exchange.status,
            exchange.received_bytes,
            exchange.sent_bytes,
            exchange.duration_ns,
            consent.choice,
            consent.revision,
            exchange.routes.template(scope, exchange.inner) if named is None else route_of(exchange),
            "websocket" if scope["type"] == "websocket" else None,
            exchange.outcome,
            plan.layout,
            exchange.blocked,
            exchange.streamed,
        )
        owns: _Owns = []
        for asked, fields in plan.owns:
            values: list[Scalar] = []
            try:
                for field in fields:
                    values.append(field(exchange))  # noqa: PERF401 - a comprehension costs a call (CPython 3.11)
                owns.append((consent.receipt if asked else None, values))
            except KeyDestroyed as error:  # the clock stepped back: purposes that end later are kept
                owns.append(None)
                self._lost(error)
        return facts, owns

    def _hand(self, plan: Plan, exchange: Exchange, facts: _Facts, owns: _Owns) -> bool:
        """Leave the sealing to the process that drains. See `Gathered`."""
        payload = self._encode((exchange.started_ns, exchange.begun, facts, owns))
        return self._spool.hand(payload, len(payload) + plan.more_bytes)

    def _frame(self, plan: Plan, exchange: Exchange) -> bytes:
        facts, owns = self._gathered(plan, exchange)
        return self._sealed(plan, exchange, facts, owns)

    def _sealed(self, plan: Plan, exchange: Exchange, facts: _Facts, owns: _Owns) -> bytes:
        started_ns = exchange.started_ns
        noise = urandom(NONCE_BYTES)  # for id and nonce, neither of them secret: one system call
        id_bytes = exchange.begun or new_id_bytes(started_ns, noise)  # the id of its beginning, a new nonce
        frame, gone = self._sealing.frame(id_bytes, started_ns, noise, self._encode(facts), plan.places, owns)
        if gone:
            self._lost(gone[-1], len(gone))
        return frame

    def _with_notes(self, plan: Plan | None, exchange: Exchange) -> None:
        """Keep an exchange and what was noted during it, in one write. If one part fails, the others are still kept."""
        taken, exchange.consent.noted = exchange.consent.noted, ()  # before any failure: it is counted once
        allowed = exchange.consent.permissions.allowed  # the same request may have withdrawn some since
        noted = [
            record for record in self._without_dropped(taken) if record.kind != "event" or record.purpose in allowed
        ]
        frames: list[bytes] = []
        makes: list[tuple[Callable[[], bytes], int]] = []
        if plan:
            makes.append((partial(self._frame, plan, exchange), len(plan.places)))
        makes += [(partial(self._note, note, exchange), 1) for note in noted]
        for make, records in makes:
            try:
                frames.append(make())
            except Exception as error:  # noqa: BLE001 - as in `exchange`
                self._lost(error, records)
        if frames:
            urgent = any(note.kind == "abuse" for note in noted)
            self._spool.write(frames, durable=urgent, reserved=urgent)

    def _without_dropped(self, noted: Sequence[Noted]) -> list[Noted]:
        """Count the undeclared events, and log once for each how to fix it."""
        kept = [note for note in noted if note.kind != DROPPED]
        if len(kept) < len(noted):
            self._spool.lose(len(noted) - len(kept), "undeclared")
        for message in dict.fromkeys(note.name for note in noted if note.kind == DROPPED):
            if message not in self._reported and len(self._reported) < _MOST_REPORTED:
                self._reported.add(message)
                _log.error("an event was dropped: %s", printable(message))
        return kept

    # -- what was noted during it -------------------------------------------------------------------------------

    def _note(self, note: Noted, exchange: Exchange) -> bytes:
        clear = _facts(exchange)
        receipt = exchange.consent.consent.receipt
        if note.kind == "event":
            clear["event.name"] = note.name
        elif receipt is not None and is_again(receipt, _day_of(exchange.started_ns)):
            clear["consent.again"] = True
        sealed: dict[str, Scalar] = {}
        for name, field in self._fields.get(note.purpose, ()):
            value = field(exchange)
            if value is not None:
                sealed[name] = value
        for key, value in note.data.items():
            sealed[f"{note.kind}.{key}"] = clean(value) if isinstance(value, str) else value
        record_id = new_id(exchange.started_ns)
        subject = self._subject(note.purpose, exchange)
        plain = self._encode(sealed) if sealed else None
        return encode_record(
            self._sealer.record(record_id, note.kind, note.purpose, subject=subject, data=clear, plain=plain)
        )

    def _subject(self, purpose: str, exchange: Exchange) -> bytes | None:
        """
        Return a token only if the visitor allowed this very purpose: a visitor who refuses cannot be distinguished from
        others. Records of abuse by a visitor who allowed anything carry a token too, so that the visitor can see what
        is held against them.
        """
        receipt = exchange.consent.consent.receipt
        if receipt is None or not (self.policy.purposes[purpose].asked or purpose == ABUSE):
            return None
        return self._token(exchange.started_ns, purpose, receipt)

    def _token(self, now_ns: int, purpose: str, value: str) -> bytes:
        return self._sealer.token(now_ns // DAY_NS, purpose, value.encode())

    # -- the declared personal fields, each compiled once into a function ---------------------------------------

    def _compiled(self, purpose: str, log: Mapping[str, str]) -> Sequence[tuple[str, Field]]:
        kept = [(name, precision) for name, precision in log.items() if precision != "off"]
        return tuple((_crossing(name, precision), self._field(purpose, name, precision)) for name, precision in kept)

    def _field(self, purpose: str, name: str, precision: str) -> Field:
        if name == "client.address":
            return self._address(purpose, precision)
        return {
            "url.path": _path(),
            "url.query": _query,
            "user_agent.original": _remembered(b"user-agent", _agent),
            "http.request.header.referer": _remembered(b"referer", _origin) if precision == "origin" else _referer,
        }[name]

    def _address(self, purpose: str, precision: str) -> Field:
        read = self._proxies.address
        if precision == "masked" and self._proxies.direct:
            return _masked_peer(read)

        def full(exchange: Exchange) -> Scalar:
            address = read(exchange.from_server)
            return None if address is None else str(address)

        def masked(exchange: Exchange) -> Scalar:
            address = read(exchange.from_server)
            return None if address is None else mask(address)

        def token(exchange: Exchange) -> Scalar:
            address = read(exchange.from_server)
            return None if address is None else self._token(exchange.started_ns, purpose, str(address)).hex()

        return {"full": full, "masked": masked, "token": token}[precision]


def _facts(exchange: Exchange) -> dict[str, Scalar]:
    consent = exchange.consent.consent
    return Bundle(
        method=exchange.method,
        status=exchange.status,
        received_bytes=exchange.received_bytes,
        sent_bytes=exchange.sent_bytes,
        duration_ns=exchange.duration_ns,
        choice=consent.choice,
        revision=consent.revision,
        route=exchange.route,
        protocol=exchange.protocol,
        outcome=exchange.outcome,
        layout=_NO_PARTS,
        blocked=exchange.blocked,
        streamed=exchange.streamed,
    ).facts


def _masked_peer(read: Callable[[Scope], IPAddress | None]) -> Field:
    """Return the field of the masked address if there is no proxy: the peer's own. IPv6 is cached."""
    masks: Memory[object, str | None] = Memory(Budget(_REMEMBERED_BYTES))
    seen = masks.seen

    def masked(exchange: Exchange) -> Scalar:
        client = exchange.scope.get("client")
        host = client[0] if client else None
        if isinstance(host, str) and (plain := masked_ipv4(host)) is not None:
            return plain
        try:
            return seen[host]
        except (KeyError, TypeError):  # new, or not a text
            address = read(exchange.scope)
        shown = None if address is None else mask(address)
        if isinstance(host, str):
            masks.remember(host, shown, getsizeof(host) + getsizeof(shown))
        return shown

    return masked


def _crossing(name: str, precision: str) -> str:
    """Return the name of a field in the spool."""
    return AGENT_TO_PARSE if name == "user_agent.original" and precision == "family" else name


def _text(exchange: Exchange, header: bytes) -> str | None:
    value = exchange.fields.get(header)
    return None if value is None else readable(value)


def _path() -> Field:
    """Return the field of the path. Cached, because most visitors ask for the same few."""
    paths: Memory[object, str] = Memory(Budget(_REMEMBERED_BYTES))
    seen = paths.seen

    def path(exchange: Exchange) -> Scalar:
        sent = exchange.scope.get("raw_path")
        try:
            return seen[sent]
        except (KeyError, TypeError):  # new, or not bytes
            shown = clean(readable_path(exchange.scope))
        if isinstance(sent, bytes):
            paths.remember(sent, shown, getsizeof(sent) + getsizeof(shown))
        return shown

    return path


def _query(exchange: Exchange) -> Scalar:
    query: bytes = exchange.scope.get("query_string") or b""
    return redact_query(readable(query)) if query else None


def _agent(agent: bytes) -> str:
    return readable(agent[:_AGENT_BYTES])[:_AGENT]


def _origin(referer: bytes) -> str | None:
    return origin(referer.decode("latin-1")) or None


def _referer(exchange: Exchange) -> Scalar:
    return redact_url(_text(exchange, b"referer") or "") or None


def _remembered(header: bytes, read: Callable[[bytes], str | None]) -> Field:
    """Return the field that is read from one header. Cached, because visitors send the same few again and again."""
    values: Memory[bytes, str | None] = Memory(Budget(_REMEMBERED_BYTES))
    seen = values.seen

    def remembered(exchange: Exchange) -> Scalar:
        value = exchange.fields.get(header)
        if value is None:
            return None
        try:
            return seen[value]
        except KeyError:
            field = read(value)
        values.remember(value, field, getsizeof(value) + getsizeof(field))
        return field

    return remembered


def _day_of(now_ns: int) -> date:
    """Return the day (UTC) of an instant."""
    return instant_of(now_ns).date()
