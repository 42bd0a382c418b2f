"""Read the consent from the Cookie header, and remove the cookies that the visitor refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from consent_mw._asgi import Header, HeaderList
from consent_mw.consent.all_permissions import AllPermissions, weight_of
from consent_mw.consent.choice import NO_CONSENT, Choice, Consent, checked_receipt
from consent_mw.consent.permissions import Decision, Permissions, Verdict
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.cookie_lines import delete_line, pairs
from consent_mw.exceptions import BadConsentCookie
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import Policy
from consent_mw.system.bounded_cache import Budget, Memory
from consent_mw.system.days import DAY_NS, date_of

#: The cache of whole headers with their readings, enough for some thousand visitors; and the least that one takes.
_READINGS_BYTES = 8 << 20
_READING_BYTES = 1_500
#: The size of one decision about a removed cookie.
_DECISION_BYTES = 250
#: How many pieces of a header are read completely. No browser keeps as many cookies for one site. Of the pieces after
#: them only declared names are read, so that a header of 15,000 pieces does not delay other requests.
_LOOKED_AT = 200
#: How many cookies of one name are believed. A browser may hold one for each directory and parent domain; where more
#: come, somebody added them, and none of them counts.
_MOST_OF_A_NAME: Final = 16
#: The most cookies that one response expires: a header of a thousand cookies must not cause a thousand lines.
_EXPIRED_AT_ONCE = 30
#: How many directories of an address are searched for a refused cookie.
_DEEPEST = 6

#: Two constants and not a set: hashing an enumeration's member takes longer than comparing it with both, and so does
#: looking it up in its class.
_KEPT: Final = Verdict.KEPT
_PENDING: Final = Verdict.PENDING
#: Matches the values in a header: without them the names are left, which are the key of a shape. Then the size of the
#: cache of shapes, and of one shape.
_VALUE: Final = re.compile(rb"=[^;]*")
_SHAPES_BYTES: Final = 1 << 20
_SHAPE_BYTES: Final = 600
#: The size of the cache of choices that visitors make alike, and the least that one takes.
_GIVEN_BYTES_MOST: Final = 1 << 20
_GIVEN_BYTES: Final = 600
#: For how many different permissions one shape remembers that no cookie is removed.
_WHOLE_UNDER: Final = 16
#: A session's id, and the purposes that the visitor refused for this visit (`pending.hush`).
_SESSION = re.compile(r"[A-Za-z0-9_-]{22}(~[a-z][a-z0-9_]{0,31})*")
#: How long a browser keeps the cookie which tells that another one waits. A value that did not change is not announced.
WAITING_FOR: Final = Duration(1, "minute")
_TELLS_APART: Final = 1_000
_MILLISECOND_NS: Final = 1_000_000
#: The uses of our other cookies, beside the consent cookie.
_COMPANIONS: Final = ("host", "pending", "waiting", "notice", "form")


class Reading(msgspec.Struct, frozen=True, gc=False):
    """
    The content of one Cookie header. All requests with the same bytes share it, so it holds no state of a request.

    Thousands are cached. The garbage collector does not need to visit them: they contain no reference cycles.

    Attributes:
        pending: The session under which this visitor's cookies wait, or None.
        request: The consent as the application sees it. Each request gets a copy.
        header: The Cookie header that the application may see: the original, a shorter one, or None.
        changed: Whether `header` differs from the header that came.
        expired: Set-Cookie lines that delete the cookies which the browser may no longer hold.
        removed: The decisions about the removed cookies.
        withheld: Whether the browser may hold a choice that it left out of this request.
        unsigned: Whether a cookie with the consent cookie's name came without a choice that we accept.
    """

    consent: Consent
    permissions: Permissions
    pending: str | None
    request: RequestConsent
    header: bytes | None
    changed: bool
    expired: tuple[bytes, ...]
    removed: tuple[Decision, ...]
    withheld: bool = False
    unsigned: bool = False


class _Shape(msgspec.Struct, frozen=True):
    """
    A sequence of cookie names that many visitors send. One of them is the choice, and none is the pending cookie.

    Attributes:
        choice_at: The index of the choice in the header.
        whole_under: Permissions under which none of the cookies is removed.
    """

    choice_at: int
    whole_under: set[Permissions]


class _Given(msgspec.Struct, frozen=True, gc=False):
    """
    A choice that many visitors made alike, without the name and the number that are one visitor's.

    Attributes:
        revised: The same under our revision of the policy, if it was made under another.
        named: Whether a receipt is kept under it.
    """

    consent: Consent
    revised: Consent | None
    permissions: Permissions
    named: bool

    def own(self, receipt: str, changes: int) -> Consent:
        """Return the choice of one visitor. Raises ValueError."""
        if not receipt and not changes:
            return self.consent
        return msgspec.structs.replace(self.consent, receipt=checked_receipt(receipt), changes=changes)


class RequestCookies:
    """
    Read Cookie headers under one policy.

    A verified header is cached whole, by its exact bytes, the signals and the kind of connection. It stays for one day
    at most, which is the resolution of the consent's own expiry.
    """

    def __init__(
        self,
        policy: Policy,
        cookie: ConsentCookie,
        *,
        report_only: bool = False,
        strict: bool = False,
        reopened: Mapping[int, tuple[frozenset[str], frozenset[str]]] | None = None,
    ) -> None:
        """
        Args:
            strict: Treat an undeclared event as an error, instead of only counting it.
            reopened: For each earlier revision, the purposes and cookies that its visitors are asked about again.
        """
        self.policy = policy
        self._strict = strict
        self._reopened = dict(reopened or {})
        self.cookie = cookie
        self.report_only = report_only
        companions = {cookie.companion(what, secure=secure) for what in _COMPANIONS for secure in (False, True)}
        self._pending_signer = cookie.signing.signer("pending")
        self._slots = {
            secure: [name.encode("latin-1") for name in cookie.slots(secure=secure)] for secure in (False, True)
        }
        self._pending_names = {secure: self._pending_slots(secure=secure) for secure in (False, True)}
        waiting = {name.decode("latin-1") for names in self._pending_names.values() for name in names}
        self.reserved: frozenset[str] = cookie.names | companions | waiting
        self._readers = {secure: self._readers_of(secure=secure) for secure in (False, True)}
        self._budget = Budget(_READINGS_BYTES)
        self._readings: dict[tuple[frozenset[str], bool, bool, bool], Memory[bytes | None, Reading]] = {}
        shapes = Budget(_SHAPES_BYTES)
        self._shapes: dict[bool, Memory[bytes, _Shape]] = {secure: Memory(shapes) for secure in (False, True)}
        self._begin_day(0)
        undeclared_pass = report_only or policy.undeclared == "report"
        self._crowd: re.Pattern[bytes] | None = None if undeclared_pass else _pieces(policy, self.reserved)
        self.permissions: AllPermissions = AllPermissions(policy, reserved=self.reserved, report_only=report_only)

    def pending_line(self, session: str, beside: RequestConsent, *, secure: bool) -> bytes:
        """
        Return the Set-Cookie line of the session cookie that finds this visitor's waiting cookies.

        It ends when the browser closes, and is valid only together with the consent cookie of `beside`.
        """
        name = self._pending_names[secure][beside.slot]
        value = f"{session}.{self._pending_signature(session, beside.value)}".encode("latin-1")
        return name + b"=" + value + f"; Path=/; HttpOnly{self.cookie.attributes(secure=secure)}".encode("latin-1")

    def waiting_line(self, now_ns: int, *, secure: bool) -> bytes:
        """
        Return the Set-Cookie line that tells the site's open pages that a cookie waits now.

        It is the only thing that a page learns of what its workers, sockets and event streams are answered: browsers
        announce to it each cookie that changes and that scripts may read (Cookie Store API, section 4).
        """
        name, attributes = self.cookie.companion("waiting", secure=secure), self.cookie.attributes(secure=secure)
        value = now_ns // _MILLISECOND_NS % _TELLS_APART
        return f"{name}={value}; Max-Age={WAITING_FOR.seconds}; Path=/{attributes}".encode("latin-1")

    def _pending_slots(self, *, secure: bool) -> list[bytes]:
        """Return the name of that session cookie beside each name of the consent cookie."""
        name = self.cookie.companion("pending", secure=secure)
        return [
            (name if slot == 0 else f"{name}-{slot + 1}").encode("latin-1") for slot in range(len(self._slots[secure]))
        ]

    def _pending_signature(self, session: str, beside: str) -> str:
        return self._pending_signer.get_signature(f"{session}|{beside}").decode("ascii")

    def choice_lines(
        self, consent: RequestConsent, given: Consent, header: bytes | None, *, secure: bool
    ) -> list[bytes]:
        """
        Return the Set-Cookie lines that store the choice `given`. Cookies that wait go on waiting under it.

        A choice that came in `header` under another of our names is deleted: it would count again without this one.
        """
        cookies, name = pairs(header or b""), self._slots[secure][consent.slot]
        ours = [slot for slot in self._slots[secure] if self._is_ours(cookies, slot, consent.today)]
        lines = self._other_jar(cookies, ours) if secure else []
        lines += self.cookie.lines(given, consent.today, secure=secure, slot=consent.slot)
        lines += [self.cookie.delete_line(other, secure=secure) for other in ours if other != name]
        consent.value = "" if given.choice is None else self.cookie.sign(given)
        if consent.pending is not None and given.choice is Choice.PROMPT:
            lines.append(self.pending_line(consent.pending, consent, secure=secure))
        return lines

    def _other_jar(self, cookies: list[tuple[bytes, bytes]], ours: Iterable[bytes]) -> list[bytes]:
        """
        Return the lines that delete those of our cookies that came, in the jar that `embedded` does not name.

        A browser keeps a cookie from before `embedded` changed beside the new one, and sends both. One that knows no
        such jars has one cookie, so these lines come first.
        """
        companions = [self.cookie.companion("host", secure=True).encode("latin-1"), *self._pending_names[True]]
        came = {name for name, _ in cookies}
        return [self.cookie.delete_line(name, other_jar=True) for name in (*ours, *companions) if name in came]

    def read(
        self,
        header: bytes | None,
        signals: frozenset[str],
        now_ns: int,
        secure: bool,
        alone: bool = True,
        foreign: bool = False,
    ) -> Reading:
        """
        Return the reading of the Cookie `header` (several lines joined with "; "). Never raises.

        Args:
            secure: Whether the connection is https, where a browser keeps a `__Host-` cookie to one host.
            alone: On http, whether the host `stands_alone`.
            foreign: Whether a browser leaves the consent cookie out of such a request (see `foreign_request`).
        """
        if not self._from_ns <= now_ns < self._until_ns:
            self._begin_day(now_ns // DAY_NS)
        readings = self._readings.get((signals, secure, alone, foreign)) or self._new_memory(
            signals, secure, alone, foreign
        )
        reading = readings.seen.get(header)
        if reading is None:
            usual = self._read_usual(header, signals, secure, alone) if header else None
            reading = usual or self._read(header, signals, self._today, secure, alone, foreign)
            readings.remember(header, reading, _READING_BYTES + len(header or b"") if usual else _size(header, reading))
        return reading

    def _new_memory(self, *kind: *tuple[frozenset[str], bool, bool, bool]) -> Memory[bytes | None, Reading]:
        """
        Return a new cache for one kind of connection.

        The kind is not part of the cache's keys: with a tuple for each of thousands of headers, the garbage collector
        would have more to visit.
        """
        memory = self._readings[kind] = Memory(self._budget)
        return memory

    def _begin_day(self, day: int) -> None:
        self._today = date_of(day)
        # Every request compares these, which is faster than dividing.
        self._from_ns, self._until_ns = day * DAY_NS, (day + 1) * DAY_NS
        self._readings.clear()
        self._given: Memory[tuple[bytes, frozenset[str]], _Given] = Memory(Budget(_GIVEN_BYTES_MOST))

    def _read_usual(self, header: bytes, signals: frozenset[str], secure: bool, alone: bool) -> Reading | None:
        """
        Return the reading of a header with known names and new values, as a new visitor sends it.

        No cookie is removed from such a header. None if the names are not known, or if a cookie may have to be removed.
        """
        shape = self._shapes[secure].seen.get(_VALUE.sub(b"=", header))
        if shape is None:
            return None
        value = header.split(b";", shape.choice_at + 1)[shape.choice_at].partition(b"=")[2].strip(b" \t")
        try:
            said, receipt, changes = self.cookie.signed(value).rsplit(b"|", 2)
            given = self._given.seen.get((said, signals)) or self._new_given(said, signals, value)
            if given.permissions not in shape.whole_under:
                return None
            own = given.own(receipt.decode("latin-1"), int(changes))
        except (BadConsentCookie, ValueError):
            return None  # the complete reading tells why
        exposed = not (secure or alone)
        consent = own if given.named and not exposed else given.consent
        if given.revised is not None:
            consent = msgspec.structs.replace(given.revised, receipt=consent.receipt, changes=consent.changes)
        request = RequestConsent(
            consent,
            given.permissions,
            self.permissions,
            self._today,
            signals,
            None,
            self._strict,
            proven=NO_CONSENT if exposed else own,
            exposed=exposed,
            value=value.decode("latin-1"),
        )
        return Reading(consent, given.permissions, None, request, header, False, (), ())

    def _new_given(self, said: bytes, signals: frozenset[str], value: bytes) -> _Given:
        """Return what many visitors said alike today. Raises BadConsentCookie."""
        consent = msgspec.structs.replace(self.cookie.read(value, self._today), receipt=None, changes=0)
        revised = self._revised(consent)
        permissions = self.permissions(revised, signals)
        given = _Given(consent, None if revised is consent else revised, permissions, consent.choice in _NAMED)
        self._given.remember((said, signals), given, _GIVEN_BYTES + len(said) + weight_of(consent))
        return given

    def _remember_shape(self, header: bytes, names: list[bytes], secure: bool, permissions: Permissions) -> None:
        """Remember that no cookie is removed from a header with these names under these permissions."""
        choice, *others = (*self._slots[secure], *self._pending_names[secure])
        if self.cookie.domain or names.count(choice) != 1 or not set(others).isdisjoint(names):
            return
        shapes, key = self._shapes[secure], _VALUE.sub(b"=", header)
        shape = shapes.seen.get(key)
        if shape is None:
            # The index counts all pieces of the header, and `names` leaves out the blank ones.
            pieces = [piece.partition(b"=")[0].strip(b" \t") for piece in key.split(b";")]
            shape = _Shape(pieces.index(choice), set())
            shapes.remember(key, shape, _SHAPE_BYTES + len(key))
        if len(shape.whole_under) < _WHOLE_UNDER:
            shape.whole_under.add(permissions)

    def _read(
        self, header: bytes | None, signals: frozenset[str], today: date, secure: bool, alone: bool, foreign: bool
    ) -> Reading:
        thinned = self._thinned(header)
        cookies = pairs(thinned or b"")
        exposed = not secure and (not alone or self.cookie.domain != "")
        request, absent = self._request(cookies, signals, today, secure, exposed, foreign)
        kept, removed = self._sorted(cookies, request.permissions, request.withheld)
        changed = len(kept) != len(cookies) or thinned is not header
        if header and not changed and request.choice is not None:
            self._remember_shape(header, [name for name, _ in cookies], secure, request.permissions)
        return Reading(
            consent=request.consent,
            permissions=request.permissions,
            pending=request.pending,
            request=request,
            header=(b"; ".join(kept) or None) if changed else header,
            changed=changed,
            expired=() if absent and (foreign or exposed) else tuple(_expiries(removed.values())),
            removed=tuple(removed.values()),
            withheld=request.withheld,
            unsigned=request.choice is None and self._is_of_others(cookies, self._slots[secure][0], today),
        )

    def _request(
        self,
        cookies: list[tuple[bytes, bytes]],
        signals: frozenset[str],
        today: date,
        secure: bool,
        exposed: bool,
        foreign: bool,
    ) -> tuple[RequestConsent, bool]:
        """
        Return what an application sees of the consent, and whether no choice came at all.

        A missing choice is not a refusal: nothing is expired because of it, and the declared cookies that the browser
        holds were allowed. On http the visitor may have chosen over https, whose cookie does not come here.
        """
        consent, proven, value = self._consents(cookies, today, secure, exposed)
        absent = consent.choice is None and not any(key.decode("latin-1") in self.cookie.names for key, _ in cookies)
        unproven = self.cookie.domain != "" and not exposed and consent.choice is not None and proven != consent
        consent = self._revised(_with_receipt_of(consent, proven))
        believed = value if consent.choice is not None else ""
        slot = self._slot(cookies, value, secure)
        waits = self._pending_names[secure][slot]
        request = RequestConsent(
            consent,
            self.permissions(consent, signals),
            self.permissions,
            today,
            signals,
            None if exposed or not believed else self._pending(cookies, believed, waits),
            self._strict,
            proven=proven,
            unproven=unproven,
            exposed=exposed,
            value=believed,
            slot=slot,
            withheld=foreign and absent,
        )
        return request, absent

    def _sorted(
        self, cookies: Iterable[tuple[bytes, bytes]], permissions: Permissions, withheld: bool
    ) -> tuple[list[bytes], dict[str, Decision]]:
        """Return the cookies that the application may see, and the decision about each of the others, by name."""
        kept: list[bytes] = []
        removed: dict[str, Decision] = {}
        for name, pair in cookies:
            decision = permissions.cookie(name.decode("latin-1"))
            if _stays(decision) or (withheld and decision.declared is not None) or decision.name in self.reserved:
                kept.append(pair)
            else:
                removed[decision.name] = decision
        return kept, removed

    def expired(self, header: bytes | None, permissions: Permissions, path: str = "/") -> tuple[bytes, ...]:
        """
        Return the lines that delete the cookies in `header` which `permissions` refuse.

        A cookie may have been set otherwise than declared. It is searched where the browser puts a cookie without Path
        and Domain: at a directory of the request's `path` (percent-encoded), for the host alone (RFC 6265bis, section
        5.1.4).
        """
        names = dict.fromkeys(name.decode("latin-1") for name, _ in pairs(self._thinned(header) or b""))
        judged = (permissions.cookie(name) for name in names if name not in self.reserved)
        refused = [decision for decision in judged if not _stays(decision)]
        return tuple(dict.fromkeys([*_expiries(refused), *_strays(refused, path)]))[:_EXPIRED_AT_ONCE]

    def _thinned(self, header: bytes | None) -> bytes | None:
        """Return the header. If it has too many pieces, leave out the undeclared ones, removed later anyway."""
        if header is None or self._crowd is None or header.count(b";") <= _LOOKED_AT:
            return header
        *first, rest = header.split(b";", _LOOKED_AT)
        return b";".join([*first, *self._crowd.findall(b";" + rest)])

    def _readers_of(self, *, secure: bool) -> list[tuple[bytes, Callable[[bytes, date], Consent]]]:
        """Return the names of the cookies that may hold a choice on this kind of connection, each with its reader."""
        readers: list[tuple[bytes, Callable[[bytes, date], Consent]]] = [
            (name, self.cookie.read) for name in self._slots[secure]
        ]
        if self.cookie.domain:
            readers.append((self.cookie.former(secure=secure).encode("latin-1"), self.cookie.read_former))
        return readers

    def _slot(self, cookies: list[tuple[bytes, bytes]], value: str, secure: bool) -> int:
        """Return which name the choice `value` came under; without one the first name that no other site has taken."""
        taken = [_values(cookies, name) for name in self._slots[secure]]
        ours = [n for n, values in enumerate(taken) if value and value.encode("latin-1") in values]
        free = [n for n, values in enumerate(taken) if not values]
        return (ours or free or [0])[0]

    def _is_ours(self, cookies: list[tuple[bytes, bytes]], name: bytes, today: date) -> bool:
        """Whether a choice that we signed came under this name."""
        values = _values(cookies, name)[:_MOST_OF_A_NAME]
        return any(_believed(self.cookie.read, value, today).choice is not None for value in values)

    def _is_of_others(self, cookies: list[tuple[bytes, bytes]], name: bytes, today: date) -> bool:
        """Whether cookies came under this name, and none of them is a choice that we signed."""
        return any(key == name for key, _ in cookies) and not self._is_ours(cookies, name, today)

    def _signed(self, cookies: list[tuple[bytes, bytes]], today: date, secure: bool) -> list[tuple[Consent, str]]:
        """
        Return every choice that we signed, with its value. Other cookies with our cookie's name are ignored.

        A browser holds one cookie of a name that begins with `__Host-`. If two come, one is not ours, so neither
        counts. Other names may come more often, up to a limit.
        """
        signed: list[tuple[Consent, str]] = []
        for name, read in self._readers[secure]:
            values = _values(cookies, name)
            if len(values) > (1 if name.startswith(b"__Host-") else _MOST_OF_A_NAME):
                continue
            for value in values:
                consent = _believed(read, value, today)
                if consent.choice is not None:
                    signed.append((consent, value.decode("latin-1")))
        return signed

    def _consents(
        self, cookies: list[tuple[bytes, bytes]], today: date, secure: bool, exposed: bool
    ) -> tuple[Consent, Consent, str]:
        """
        Return the visitor's choice, the choice that they proved on this very host, and the cookie value of the first.

        The proof is a cookie that only this host can set. A shared choice may have been set by any of the hosts that
        share it. If the visitor has not chosen on this host, the shared choice decides. If they have, the shared choice
        may not allow more; otherwise this host asks again.
        """
        consent, value = _agreed(self._signed(cookies, today, secure), guarded=self.cookie.domain != "")
        if not self.cookie.domain:
            return consent, NO_CONSENT if exposed else consent, value
        name = self.cookie.companion("host", secure=secure).encode("latin-1")
        own = _believed(self.cookie.read_host, _only(cookies, name), today)
        if own == consent:
            return consent, NO_CONSENT if exposed else own, value
        tossed = sum(key == name for key, _ in cookies) > 1 and consent.goes_beyond(NO_CONSENT)
        stale = own.given_on is not None and consent.given_on is not None and consent.given_on < own.given_on
        if tossed or stale or (own.choice is not None and consent.goes_beyond(own)):
            consent = NO_CONSENT
        return consent, NO_CONSENT if exposed else own, value

    def _revised(self, consent: Consent) -> Consent:
        """Return the consent under our revision of the policy."""
        if consent.revision == self.policy.revision or consent.choice is None:
            return consent
        if consent.revision not in self._reopened:
            return NO_CONSENT  # a revision that can no longer be compared with ours
        purposes, cookies = self._reopened[consent.revision]
        return msgspec.structs.replace(consent, reopened_purposes=purposes, reopened_cookies=cookies)

    def _pending(self, cookies: list[tuple[bytes, bytes]], beside: str, name: bytes) -> str | None:
        value = _only(cookies, name) or b""
        session, _, signature = value.decode("latin-1").partition(".")
        if not _SESSION.fullmatch(session):
            return None
        signed = self._pending_signer.verify_signature(f"{session}|{beside}", signature)
        return session if signed else None


def _stays(decision: Decision) -> bool:
    """
    Whether the application may see the cookie.

    A pending cookie stays: the visitor is asked before the browser stores it, so what the browser holds was allowed.
    """
    return decision.verdict is _KEPT or decision.verdict is _PENDING


def _values(cookies: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the values of all cookies called `name`, in the order of the header."""
    return [pair.partition(b"=")[2].strip(b" \t") for key, pair in cookies if key == name]


def _only(cookies: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of the only cookie called `name`. If there are two, somebody added one, so neither counts."""
    values = _values(cookies, name)
    return values[0] if len(values) == 1 else None


def _agreed(signed: Sequence[tuple[Consent, str]], *, guarded: bool) -> tuple[Consent, str]:
    """
    Return the one of several choices that counts, with its value.

    If a cookie of the host alone guards the choices, only those of the latest day count. Otherwise somebody may have
    added one of any day, so all count. Of these the function returns the one that allows no more than any other.
    """
    if len(signed) < 2:
        return signed[0] if signed else (NO_CONSENT, "")
    newest = max((consent.given_on for consent, _ in signed if consent.given_on), default=None)
    rivals = [(consent, value) for consent, value in signed if not guarded or consent.given_on == newest]
    for consent, value in rivals:
        if not any(consent.goes_beyond(other) for other, _ in rivals):
            return consent, value
    return NO_CONSENT, ""


def _believed(read: Callable[[bytes, date], Consent], value: bytes | None, today: date) -> Consent:
    try:
        return NO_CONSENT if value is None else read(value, today)
    except BadConsentCookie:
        return NO_CONSENT


#: The choices under which a receipt is kept. It ends when the visitor refuses everything.
_NAMED: Final = (Choice.ACCEPT, Choice.PROMPT)


def _with_receipt_of(consent: Consent, proven: Consent) -> Consent:
    """Return the choice with the receipt that the visitor proved to be theirs, or without a receipt."""
    receipt, changes = (proven.receipt, proven.changes) if consent.choice in _NAMED else (None, 0)
    if (receipt, changes) == (consent.receipt, consent.changes):
        return consent
    return msgspec.structs.replace(consent, receipt=receipt, changes=changes)


def _pieces(policy: Policy, reserved: Iterable[str]) -> re.Pattern[bytes]:
    """Return the pattern of the pieces of a Cookie header with one of our names or a declared name."""
    exact = [*reserved, *(cookie.name for cookie in policy.cookies if cookie.prefix is None)]
    begun = [cookie.prefix for cookie in policy.cookies if cookie.prefix is not None]
    names = [*map(re.escape, exact), *(re.escape(prefix) + "[^=;]*" for prefix in begun)]
    return re.compile(rf";([ \t]*(?:{'|'.join(names)})[ \t]*=[^;]*)".encode("latin-1"))


def _size(header: bytes | None, reading: Reading) -> int:
    """Return the approximate size of a reading, with its header and the shorter header that it may hold."""
    size = _READING_BYTES + 2 * len(header or b"") + sum(map(len, reading.expired))
    return size + _DECISION_BYTES * len(reading.removed) + weight_of(reading.consent)


def _expiries(removed: Iterable[Decision]) -> list[bytes]:
    """Return the lines that expire removed cookies. Declared ones only: others have no known path, domain or owner."""
    lines = [
        delete_line(
            decision.name,
            path=decision.declared.path,
            domain=decision.declared.domain,
            partitioned=decision.declared.partitioned,
        )
        for decision in removed
        if decision.declared is not None
    ]
    return lines[:_EXPIRED_AT_ONCE]


def _strays(removed: Iterable[Decision], path: str) -> list[bytes]:
    parts = path.split("/")
    places = ["/", *("/".join(parts[:depth]) for depth in range(2, min(len(parts), _DEEPEST) + 1) if parts[depth - 1])]
    return [
        delete_line(decision.name, path=place, domain=domain)
        for decision in removed
        if decision.declared is not None and not decision.name.lower().startswith("__host-")
        for domain in dict.fromkeys((decision.declared.domain, ""))
        for place in places
    ]


def without_cookies(headers: Iterable[Header], kept: bytes | None) -> HeaderList:
    """Return a new header list with one Cookie line, `kept`, instead of all that came; without any if it is None."""
    rest = [header for header in headers if header[0].lower() != b"cookie"]
    return rest if kept is None else [*rest, (b"cookie", kept)]
