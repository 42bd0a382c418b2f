"""The consent of one request, as the application sees it: `request.state.consent`. Pure: it notes, others keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple

import msgspec

from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.consent.permissions import Decision, Permissions, Reason, Verdict
from consent_mw.consent.receipt_name import new_name
from consent_mw.exceptions import Fault, PolicyError, UndeclaredEvent
from consent_mw.policy.model import ABUSE, NECESSARY, Event, did_you_mean
from consent_mw.records import Scalar

#: The kind of a note about an event that nobody declared: it is counted, and never becomes a record.
DROPPED: Final = "dropped"

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
#: Characters of one text that an event or an abuse report keeps.
_TEXT_LIMIT = 1_000
#: Characters of a name that an error tells: it may come from anywhere.
_NAME_SHOWN: Final = 64
#: A whole number of 64 bits is less than this, and every store has room for it.
_WHOLE: Final = 1 << 63


class Noted(NamedTuple):
    """Something that the application noted during a request: a usage event, an abuse report, or a dropped event."""

    kind: str
    purpose: str
    name: str
    data: Mapping[str, Scalar]


class Shown(NamedTuple):
    """What the visitor saw when they chose, for the receipt. `text` is the SHA-256 of the words shown."""

    surface: str = "application"
    language: str = ""
    text: str = ""


_BY_THE_APPLICATION: Final = Shown()


class RequestConsent(msgspec.Struct, eq=False, gc=False):
    """
    What the visitor allows, for one request, and what the application wants noted about it.

    `grant` and `withdraw` change it at once. They reach the visitor with the response's headers: once those are
    sent, the change holds for the rest of the request only.
    """

    consent: Consent
    #: What the consent allows under the policy in force.
    permissions: Permissions
    _make: Callable[[Consent, frozenset[str]], Permissions]
    today: date
    signals: frozenset[str] = frozenset()
    pending: str | None = None
    strict: bool = True
    changed: bool = False
    #: Whether `pending` says more than the browser's cookie does.
    pending_changed: bool = False
    #: Set to True by a page that shows the banner itself, or wants none: then none is inserted.
    banner_placed: bool = False
    #: Set to True by a page that shows something of this visitor's: then no shared cache may keep it.
    personal: bool = False
    #: What the log calls the route, where its path does not tell: `consent.route = "query Books"`. The field is clear:
    #: a template or a name, never an id of somebody. None: the template that the framework tells.
    route: str | None = None
    #: Set to True by who has registered already what a change takes back.
    withdrawal_kept: bool = False
    #: Set to True by who has brought the receipt of a change to the disk already.
    receipt_kept: bool = False
    shown: Shown = _BY_THE_APPLICATION
    noted: tuple[Noted, ...] = ()
    #: What was chosen on this very host, as nobody else can have set it: data open to its receipt, and to no other.
    proven: Consent = NO_CONSENT
    #: Whether the choice in force was not made on this host but shared by another: to make it here changes something.
    unproven: bool = False
    #: Whether a neighbour can set every cookie that this host reads: plain http under a name with a dot.
    exposed: bool = False
    #: The consent cookie's value; what waits is bound to it.
    value: str = ""
    #: Which of its names the cookie has in this browser: the first that no other site of this host has taken.
    slot: int = 0
    #: Whether the visitor may have chosen and the browser left it out of this request: one from another site, by POST.
    #: Then nothing is allowed and nothing that the browser holds is taken back; the page asks who has not chosen.
    withheld: bool = False

    def __repr__(self) -> str:
        return object.__repr__(self)  # nothing of a visitor in a traceback

    # -- what holds ---------------------------------------------------------------------------------------------

    @property
    def choice(self) -> Choice | None:
        """What the visitor picked, or None."""
        return self.consent.choice

    @property
    def revision(self) -> int:
        """The revision of the policy that was answered; 0 without a choice."""
        return self.consent.revision

    @property
    def given_on(self) -> date | None:
        """The day of the answer, in UTC."""
        return self.consent.given_on

    def allows(self, purpose: str) -> bool:
        """
        Whether data may be collected for `purpose` now.

        Raises:
            PolicyError: The policy has no such purpose; the message names the nearest.
        """
        return self.permissions.allows(purpose)

    def allows_cookie(self, name: str) -> bool:
        """Whether a cookie called `name` would reach the browser if it were set now."""
        return self.permissions.cookie(name).verdict is Verdict.KEPT

    def explain(self, name: str) -> Decision:
        """Return what would happen to a cookie called `name` if it were set now, and why."""
        return self.permissions.cookie(name)

    # -- what changes -------------------------------------------------------------------------------------------

    def grant(self, *purposes: str, cookies: Iterable[str] = (), shown: Shown | None = None) -> bool:
        """
        Allow `purposes` and single `cookies` (declared names), or everything where none is named.

        Returns whether that changed anything.

        Raises:
            PolicyError: A purpose or cookie is not declared.
        """
        names = tuple(cookies)
        if not purposes and not names:
            return self.choose(Choice.ACCEPT, shown=shown)
        return self._answer(dict.fromkeys(purposes, True), dict.fromkeys(names, True), shown)

    def withdraw(self, *purposes: str, cookies: Iterable[str] = (), shown: Shown | None = None) -> bool:
        """
        Refuse `purposes` and single `cookies`, or everything where none is named. Without a choice it does nothing.

        Returns whether that changed anything.

        Raises:
            PolicyError: A purpose or cookie is not declared.
        """
        names = tuple(cookies)
        if self.choice is None:
            return False
        if not purposes and not names:
            return self.choose(Choice.REJECT, shown=shown)
        return self._answer(dict.fromkeys(purposes, False), dict.fromkeys(names, False), shown)

    def _answer(self, purposes: dict[str, bool], cookies: dict[str, bool], shown: Shown | None = None) -> bool:
        single = {name: yes for name, yes in self.consent.cookies.items() if not (yes and self._signalled(name))}
        return self.choose(Choice.PROMPT, purposes=self._answers() | purposes, cookies=single | cookies, shown=shown)

    def _answers(self) -> dict[str, bool]:
        """The answers by purpose, as they would stand inside PROMPT; no yes that a signal refuses by now."""
        permissions = self.permissions
        answers = {p.name: permissions.answer(p.name) for p in permissions.policy.asked}
        refused = permissions.refused_by_signal
        return {name: yes for name, yes in answers.items() if yes is not None and not (yes and name in refused)}

    def _signalled(self, name: str) -> bool:
        return self.permissions.cookie(name).reason is Reason.SIGNAL

    def choose(
        self,
        choice: Choice,
        *,
        purposes: Mapping[str, bool] | None = None,
        cookies: Mapping[str, bool] | None = None,
        shown: Shown | None = None,
    ) -> bool:
        """
        Take what the visitor picked, whole; answers count inside PROMPT only. Returns whether it changed anything.

        A choice equal to the one in force changes nothing, writes no cookie and makes no receipt.

        Raises:
            PolicyError: A purpose or cookie is not declared, or is never asked.
        """
        inside = choice is Choice.PROMPT
        given = dict(purposes or {}) if inside else {}
        single = dict(cookies or {}) if inside else {}
        self._check(given, single)
        consent = self._consent(self._settled(choice, given, single), given, single)
        if consent.same_answers(self.consent) and not self.unproven:
            return False
        self.consent = consent
        self.permissions = self._make(consent, self.signals)
        self.changed = True
        self.unproven = False
        self.shown = shown or Shown()
        return True

    def restore(self, consent: Consent) -> None:
        """Go back to an earlier consent: a change that could not be proven was none."""
        self.consent = consent
        self.permissions = self._make(consent, self.signals)
        self.changed = False

    def _settled(self, choice: Choice, purposes: Mapping[str, bool], cookies: Mapping[str, bool]) -> Choice:
        """Return REJECT for answers that allow nothing and leave nothing to ask, else the choice as it is."""
        answered = {purpose.name for purpose in self.permissions.policy.asked} <= purposes.keys()
        refuses_all = answered and not any(purposes.values()) and not any(cookies.values())
        return Choice.REJECT if choice is Choice.PROMPT and refuses_all else choice

    def _consent(self, choice: Choice, purposes: Mapping[str, bool], cookies: Mapping[str, bool]) -> Consent:
        consent = Consent(
            choice=choice,
            revision=self.permissions.policy.revision,
            given_on=self.today,
            purposes=purposes if choice is Choice.PROMPT else {},
            cookies=self._different(purposes, cookies) if choice is Choice.PROMPT else {},
        )
        if choice is Choice.REJECT or not (consent.allows_something or self.proven.receipt):
            return consent  # identifies nobody: the same bytes for all who refuse on one day
        return Consent(
            choice=consent.choice,
            revision=consent.revision,
            given_on=consent.given_on,
            purposes=consent.purposes,
            cookies=consent.cookies,
            signals=tuple(sorted(self.signals)),
            receipt=self._receipt,
            changes=self.proven.changes + 1 if self.proven.receipt else 0,
        )

    def _different(self, purposes: Mapping[str, bool], cookies: Mapping[str, bool]) -> dict[str, bool]:
        """Return the answers about single cookies that are not their purpose's: the others say nothing more."""
        declared = {cookie.name: cookie.purpose for cookie in self.permissions.policy.cookies}
        return {name: yes for name, yes in cookies.items() if purposes.get(declared[name]) is not yes}

    @property
    def _receipt(self) -> str:
        """
        The name that the new receipt is kept under: the one that was proven on this host, and no other. A neighbour can
        toss in a cookie with a name of their own, and would read what is collected under it.
        """
        chosen_before = self.consent.receipt if self.changed else None
        return self.proven.receipt or chosen_before or new_name(self.today, again=self.consent.is_nameless(self.today))

    def _check(self, purposes: Iterable[str], cookies: Iterable[str]) -> None:
        policy = self.permissions.policy
        asked = [purpose.name for purpose in policy.asked]
        declared = [cookie.name for cookie in policy.cookies if policy.purposes[cookie.purpose].asked]
        for what, names, known in (("purpose", purposes, asked), ("cookie", cookies, declared)):
            for name in names:
                if name not in known:
                    problem = f'{what} "{name[:64]}" is not one that a visitor is asked about'
                    raise PolicyError(Fault(policy.file, f"{what}s", problem, did_you_mean(name, known)))

    # -- what is noted ------------------------------------------------------------------------------------------

    def record_event(self, name: str, /, **data: Scalar) -> bool:
        """
        Note a usage event that the policy declares. Returns False, and keeps nothing, where its purpose is refused.

        A field may have any name, `name` too. Of a text 1,000 characters are kept; a whole number has 64 bits.

        Raises:
            UndeclaredEvent: The event, or a field of it, is not declared, or a value is not of its declared type. Only
                with `debug=True`; else no visitor gets an error for it: it is dropped, counted as a gap and told once.
        """
        try:
            event = self._declared(name, data)
        except UndeclaredEvent as error:
            if self.strict:
                raise
            self.noted += (Noted(DROPPED, NECESSARY, str(error), {}),)
            return False
        if event.purpose not in self.permissions.allowed:
            return False
        self.noted += (Noted("event", event.purpose, name, _shortened(data)),)
        return True

    def _declared(self, name: str, data: Mapping[str, Scalar]) -> Event:
        event = self.permissions.policy.events.get(name)
        if event is None:
            shown = name[:_NAME_SHOWN]
            fix = did_you_mean(shown, self.permissions.policy.events)
            raise UndeclaredEvent(Fault(self.permissions.policy.file, f"events.{shown}", "is not declared", fix))
        self._check_fields(event, data)
        return event

    def _check_fields(self, event: Event, data: Mapping[str, Scalar]) -> None:
        for key, value in data.items():
            shown = key[:_NAME_SHOWN]
            place = f"events.{event.name}.fields.{shown}"
            kind = event.fields.get(key)
            if kind is None:
                fix = did_you_mean(shown, event.fields)
                raise UndeclaredEvent(Fault(self.permissions.policy.file, place, "is not declared", fix))
            wrong = not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool")
            if value is not None and wrong:
                problem = f"is a {type(value).__name__}, not a {kind}"
                raise UndeclaredEvent(Fault(self.permissions.policy.file, place, problem, f"give a {kind}"))
            if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
                problem = "is a number of more than 64 bits"
                raise UndeclaredEvent(Fault(self.permissions.policy.file, place, problem, "give a smaller one"))

    def report_abuse(self, reason: str) -> None:
        """
        Note abuse. Its record keeps what [log.abuse] declares, whatever the visitor chose, and is never sampled.

        Raises:
            PolicyError: The policy declares no purpose called "abuse".
        """
        self.permissions.policy.purpose(ABUSE)
        self.noted += (Noted("abuse", ABUSE, "abuse", _shortened({"reason": str(reason)})),)


def _shortened(data: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {key: _plain(value) for key, value in data.items()}


def _plain(value: Scalar) -> Scalar:
    """Return the value as the type that it was declared as: `Markup` and `numpy.float64` are subclasses of it."""
    if isinstance(value, str):
        return str.__str__(value)[:_TEXT_LIMIT]
    if value is None or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else float(value)
