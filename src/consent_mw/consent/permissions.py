"""What a consent allows under a policy: purposes, and cookies one by one, each with the reason."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from consent_mw.consent.choice import Choice, Consent
from consent_mw.policy.model import Cookie, Policy
from consent_mw.system.bounded_cache import Budget, Memory

#: For the decisions of permissions that stand alone; those of a site share one budget.
_DECISIONS_BYTES = 1 << 18
#: What one decision takes beside its name.
_DECISION_BYTES = 160


class Verdict(StrEnum):
    """What happens to a cookie."""

    KEPT = "kept"
    BLOCKED = "blocked"
    PENDING = "pending"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why a cookie is kept, blocked or pending. The texts are stable: debug headers and records contain them."""

    NECESSARY = "its purpose is never asked"
    ALLOWED = "the visitor allowed it"
    OPT_OUT = "the visitor has not objected"
    REPORTED = "only reported"
    REFUSED = "the visitor refused it"
    SIGNAL = "the browser's signal refuses it"
    NO_CHOICE = "no choice yet"
    UNANSWERED = "the visitor wants to be asked"
    REVISED = "the policy changed since the visitor answered"
    UNDECLARED = "not declared in the policy"
    RESERVED = "this name is the consent cookie's own"
    UNREADABLE = "no browser and no parser agree on its name"
    DELETION = "it deletes a cookie"
    HOOK = "the site's own hook decided"
    HUSHED = "the visitor refused it for this visit"
    NO_ROOM = "the visitor wants to be asked, and too many cookies wait already"
    EXPOSED = "the visitor wants to be asked, and over plain http a neighbour could take what waits"
    NOT_KEPT = "the visitor wants to be asked, and it could not be kept until then"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """
    What the policy and the visitor say about one cookie.

    Attributes:
        name: The cookie's name as it came.
        declared: The declaration that covers it, or None.
        lasts_seconds: How long one that is not declared is to last, as its line says; None until the browser closes.
    """

    name: str
    verdict: Verdict
    reason: Reason
    declared: Cookie | None
    lasts_seconds: int | None = None

    @property
    def purpose(self) -> str | None:
        """The name of its declared purpose."""
        return self.declared.purpose if self.declared else None


class Permissions:
    """
    One policy, one set of answers, the signals in force. Shared by all visitors who answered alike: it holds
    nothing that tells them apart.
    """

    __slots__ = ("_decided_lines", "_decisions", "_standing", "allowed", "answers", "asks", "lines", "policy",
                 "refused_by_signal", "report_only", "reserved")  # fmt: skip

    def __init__(
        self,
        policy: Policy,
        consent: Consent,
        signals: frozenset[str] = frozenset(),
        *,
        reserved: frozenset[str] = frozenset(),
        report_only: bool = False,
        budget: Budget | None = None,
    ) -> None:
        """`budget` bounds what is remembered about names and lines, of which anybody can send new ones."""
        self.policy: Policy = policy
        # Without receipt and day, so that nothing of one visitor is shared with another who answered alike.
        self.answers: Consent = Consent(
            choice=consent.choice,
            purposes=consent.purposes,
            cookies=consent.cookies,
            reopened_purposes=consent.reopened_purposes,
            reopened_cookies=consent.reopened_cookies,
        )
        # A signal that the visitor's browser sent when they answered was on the table then: an explicit yes wins.
        standing = signals.difference(consent.signals)
        self._standing = frozenset(p.name for p in policy.asked if standing.intersection(p.refused_by))
        unanswered = (p for p in policy.asked if signals.intersection(p.refused_by) and not self.answer(p.name))
        self.refused_by_signal: frozenset[str] = self._standing.union(purpose.name for purpose in unanswered)
        self.reserved: frozenset[str] = reserved
        self.report_only: bool = report_only
        self.allowed: frozenset[str] = frozenset(name for name in policy.purposes if self._allows(name))
        #: Whether a choice is missing, or was made about less than a newer revision declares.
        self.asks: bool = bool(policy.asked) and (consent.choice is None or consent.reopened)
        budget = budget or Budget(_DECISIONS_BYTES)
        self._decisions: Memory[str, Decision] = Memory(budget)
        self._decided_lines: Memory[bytes, Decision] = Memory(budget)
        #: What was decided about whole Set-Cookie lines, as far as that is remembered.
        self.lines: dict[bytes, Decision] = self._decided_lines.seen

    def allows(self, purpose: str) -> bool:
        """
        Whether data may be collected for `purpose` now.

        Raises:
            PolicyError: The policy has no such purpose.
        """
        return self.policy.purpose(purpose).name in self.allowed

    def answer(self, purpose: str) -> bool | None:
        """What the visitor answered about an asked purpose; None where they did not."""
        choice = self.answers.choice
        if purpose in self.answers.reopened_purposes:
            return None  # the old answer was about something else
        if choice is Choice.PROMPT:
            return self.answers.purposes.get(purpose)
        return None if choice is None else choice is Choice.ACCEPT

    def _allows(self, name: str) -> bool:
        purpose = self.policy.purposes[name]
        if not purpose.asked:
            return True
        if name in self.refused_by_signal:
            return False
        answer = self.answer(name)
        return purpose.basis == "opt_out" if answer is None else answer

    def cookie(self, name: str) -> Decision:
        """Return what happens to the cookie called `name` if it is set now, and why."""
        decision = self._decisions.seen.get(name)
        if decision is None:
            declared = self.policy.cookie(name)
            decision = Decision(name, *self._judge(name, declared), declared)
            self._decisions.remember(name, decision, _DECISION_BYTES + len(name))
        return decision

    def remember(self, line: bytes, decision: Decision) -> None:
        """Remember the decision about a whole Set-Cookie line: sites set the same few lines again and again."""
        self._decided_lines.remember(line, decision, _DECISION_BYTES + len(line) + len(decision.name))

    def _judge(self, name: str, declared: Cookie | None) -> tuple[Verdict, Reason]:
        if name in self.reserved:
            return Verdict.BLOCKED, Reason.RESERVED
        verdict, reason = self._declared(declared) if declared else (Verdict.BLOCKED, Reason.UNDECLARED)
        reported = self.report_only or (declared is None and self.policy.undeclared == "report")
        return (Verdict.KEPT, Reason.REPORTED) if reported and verdict is not Verdict.KEPT else (verdict, reason)

    def _declared(self, cookie: Cookie) -> tuple[Verdict, Reason]:
        purpose = self.policy.purposes[cookie.purpose]
        if not purpose.asked:
            return Verdict.KEPT, Reason.NECESSARY
        answer = self._answer_about(cookie)
        if purpose.name in self.refused_by_signal and (not answer or purpose.name in self._standing):
            return Verdict.BLOCKED, Reason.SIGNAL
        if answer is not None:
            return (Verdict.KEPT, Reason.ALLOWED) if answer else (Verdict.BLOCKED, Reason.REFUSED)
        if purpose.basis == "opt_out":
            return Verdict.KEPT, Reason.OPT_OUT
        if self.answers.choice in (Choice.ACCEPT, Choice.REJECT):
            return Verdict.BLOCKED, Reason.REVISED
        if self.answers.choice is Choice.PROMPT:
            return Verdict.PENDING, Reason.UNANSWERED
        return Verdict.BLOCKED, Reason.NO_CHOICE

    def _answer_about(self, cookie: Cookie) -> bool | None:
        """What the visitor answered about one cookie: by its name, else by its purpose."""
        if cookie.name in self.answers.reopened_cookies:
            # A refusal of the whole purpose covers what is added to it; an acceptance does not.
            return False if self.answer(cookie.purpose) is False else None
        single = self.answers.cookies.get(cookie.name) if self.answers.choice is Choice.PROMPT else None
        if single is None or cookie.purpose in self.answers.reopened_purposes:
            return self.answer(cookie.purpose)
        return single
