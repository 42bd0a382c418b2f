"""Cookies that the policy does not declare: logged once in the program's log, and kept as records."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from sys import getsizeof
from typing import Final, Literal, TypeAlias

import msgspec

from consent_mw.consent.permissions import Decision, Reason
from consent_mw.cookies.header_lines import is_token
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConsentError
from consent_mw.kinds import UNDECLARED
from consent_mw.log.exchange import Exchange
from consent_mw.log.redaction import clean, redact_name
from consent_mw.policy.durations import rounded
from consent_mw.policy.model import NECESSARY, Policy
from consent_mw.records import Scalar, encode_record, new_id
from consent_mw.spool.spool import Spool
from consent_mw.system.escaping import as_json, readable, readable_path

_log = logging.getLogger("consent_mw")

#: Where a cookie was seen: in a response of the application, or in a request of a browser.
Source: TypeAlias = Literal["response", "request"]

# Any visitor can invent what a browser sends. So the two are counted apart, and nobody can displace the site's own
# cookies. The names and places that are remembered are cut as a record cuts them, so that a long one takes no more
# room.
_MOST_NAMES: Final = 1_000
_MOST_BYTES: Final = 1 << 20
#: What a name or a place takes besides its letters.
_EACH_BYTES: Final = 400
_MOST_PLACES: Final = 10
_LONGEST_NAME: Final = 256
_LONGEST_PLACE: Final = 512
_FORGOTTEN: Final = (Reason.UNDECLARED, Reason.REPORTED)


class Undeclared:
    """What this process has seen since it started. It writes one record for each name, source and route."""

    def __init__(self, policy: Policy, sealer: Sealer, spool: Spool) -> None:
        self._policy = policy
        self._sealer = sealer
        self._spool = spool
        self._keeps_paths = policy.log.get(NECESSARY, {}).get("url.path") == "full"
        self._places: dict[Source, dict[str, set[str]]] = {"response": {}, "request": {}}
        self._left_bytes: dict[Source, int] = {"response": _MOST_BYTES, "request": _MOST_BYTES}
        self._first: dict[str, str] = {}

    @property
    def names(self) -> dict[str, str]:
        """Each name, with the route or path that it was first seen at."""
        return dict(self._first)

    def look(self, decisions: Iterable[Decision], exchange: Exchange, source: Source = "response") -> None:
        """Note those of `decisions` that are about an undeclared cookie. Never raises."""
        for decision in decisions:
            if decision.declared is None and decision.reason in _FORGOTTEN:
                self._note(decision, exchange, source)

    def _note(self, decision: Decision, exchange: Exchange, source: Source) -> None:
        path = str(exchange.scope.get("path", ""))
        place = ((exchange.route or path) if source == "response" else "")[:_LONGEST_PLACE]
        # The program's log is neither sealed nor destroyed, so it must not show a path that the policy does not keep.
        shown_place = exchange.route or (path if self._keeps_paths else "a path that the policy does not keep")
        seen, name = self._places[source], decision.name[:_LONGEST_NAME]
        places = seen.get(name)
        if places is None:
            if len(seen) >= _MOST_NAMES or not self._has_room(name, source):
                return
            places = seen[name] = set()
            self._tell(decision, shown_place, source)
        if place in places or len(places) >= _MOST_PLACES or not self._has_room(place, source):
            return
        places.add(place)
        self._keep(decision, exchange, source)

    def _has_room(self, text: str, source: Source) -> bool:
        """Whether one more name or place may be remembered. If so, take the room for it."""
        size_bytes = _EACH_BYTES + getsizeof(text)
        if size_bytes > self._left_bytes[source]:
            return False
        self._left_bytes[source] -= size_bytes
        return True

    def _tell(self, decision: Decision, place: str, source: Source) -> None:
        known = decision.name[:_LONGEST_NAME]
        if known not in self._first:
            self._first[known] = place[:_LONGEST_PLACE]
            # JSON strings are valid in TOML. Control characters for terminals are escaped, and the pasted text is one
            # name.
            name = as_json(_name(decision, source))
            if source == "response":
                fate = f"was {decision.verdict}, at {as_json(place[:_LONGEST_PLACE])}"
            else:
                fate = "came from a browser; no page seen here has set it"
            if is_token(decision.name.encode("latin-1", "replace")):
                _log.warning(_ADVICE, name, fate, self._policy.file, name, *self._proposal(decision, source))
            else:
                _log.warning(_RENAME, name, fate)

    def _proposal(self, decision: Decision, source: Source) -> tuple[str, str, str]:
        """Return the lines to paste for purpose and end, and a text in each language of the policy."""
        policy = self._policy
        collected = [purpose.name for purpose in (*policy.asked, policy.purposes[NECESSARY])]
        purpose = f"purpose = {as_json(collected[0])}"
        expires = f'expires = "{_lasts(decision) if source == "response" else "1 year"}"'
        which = f"{purpose:30}# which of: {', '.join(collected)}?"
        asks = expires if source == "response" else f"{expires:30}# how long does it last?"
        return which, asks, ", ".join(f'{tag} = "…"' for tag in policy.languages)

    def _keep(self, decision: Decision, exchange: Exchange, source: Source) -> None:
        """Write the record. A path is personal, so it is sealed, and kept only where the policy says so."""
        data: dict[str, Scalar] = {
            "cookie.name": _name(decision, source),
            "cookie.source": source,
            "cookie.verdict": str(decision.verdict),
            "cookie.reason": str(decision.reason),
        }
        if source == "response":
            data["cookie.expires"] = _lasts(decision)
        record_id, plain = new_id(exchange.started_ns), None
        route = exchange.route
        if route is not None and source == "response":
            data["http.route"] = clean(route)
        elif self._keeps_paths and source == "response":
            plain = msgspec.msgpack.encode({"url.path": clean(readable_path(exchange.scope))})
        try:
            record = self._sealer.record(record_id, UNDECLARED, NECESSARY, data=data, plain=plain)
        except ConsentError as error:
            _log.warning("an undeclared cookie is recorded without its path: %s", error)
            record = self._sealer.record(record_id, UNDECLARED, NECESSARY, data=data)
        self._spool.write([encode_record(record)])


def _lasts(decision: Decision) -> str:
    """Return how long the line keeps the cookie, as a policy writes it."""
    return rounded(decision.lasts_seconds) if decision.lasts_seconds is not None else "session"


def _name(decision: Decision, source: Source) -> str:
    """Return the name to show. The site's own is the same for all; one that a browser sends may hold somebody's id."""
    name = readable(decision.name.encode("latin-1", "replace"))[:_LONGEST_NAME]
    return clean(name) if source == "response" else redact_name(name)


_RENAME = "the cookie %s is not declared and %s. A policy cannot declare this name: rename the cookie"
_ADVICE = """the cookie %s is not declared and %s. To declare it, add to %s:

[[cookies.declared]]
name = %s
%s
%s
description = { %s }
"""
