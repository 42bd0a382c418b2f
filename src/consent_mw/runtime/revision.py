"""Everything of one revision of the policy: its cookies, its recorder, its pages, and until when it serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from consent_mw._asgi import Header
from consent_mw.consent.permissions import Decision, Verdict
from consent_mw.consent.receipts import Receipts
from consent_mw.cookies.cookie_lines import Placed, placed
from consent_mw.cookies.pending import Pending
from consent_mw.cookies.request_cookies import RequestCookies
from consent_mw.crypto.sealer import Sealer
from consent_mw.log.exchange import Exchange
from consent_mw.log.receipt_keeper import ReceiptKeeper
from consent_mw.log.recorder import Recorder
from consent_mw.log.undeclared import Source, Undeclared
from consent_mw.policy.model import Policy
from consent_mw.policy.notice_period import since
from consent_mw.policy.rollout import NEVER, Plan
from consent_mw.retention.proofs import Proofs
from consent_mw.rights.withdrawal import Removed, removed
from consent_mw.runtime.shared import Shared
from consent_mw.site.documents import OwnCookies
from consent_mw.site.my_data_pages import MyData
from consent_mw.site.pages import Site

_log = logging.getLogger("consent_mw")

_MISPLACED = """the cookie %r is set with Domain=%r, Path=%r, partitioned: %s, and not as it is declared in %s: it could
not be taken back from the browser. Declare the domain, path and partitioned that it is set with."""


class Revision:
    """
    Everything that requests share under one revision. A request ends under the revision that it began under.

    Attributes:
        until_ns: The instant, in nanoseconds since 1970, from which `following` serves.
        following: The next revision, prepared ahead; None if no next one is published.
        plan: The published revisions, as of the last look at them.
        signals: The signals that count: those that the policy promises to honour, and no other.
    """

    def __init__(self, policy: Policy, sealer: Sealer, pending: Pending, shared: Shared) -> None:
        options, storage = shared.options, shared.storage
        before = storage.revisions.before(policy.revision)
        policies = [*before.values(), policy]
        gone = removed(policies, policy)
        self.policy: Policy = policy
        self.sealer: Sealer = sealer
        self.pending: Pending = pending
        self.shared: Shared = shared
        self.until_ns: int = NEVER
        self.following: Revision | None = None
        self.plan: Plan | None = None
        self.signals: frozenset[str] = policy.signals
        self.cookies: RequestCookies = RequestCookies(
            policy,
            shared.cookie,
            report_only=options.report_only,
            strict=options.debug,
            reopened=since(before, policy),
        )
        self.recorder: Recorder = Recorder(policy, sealer, storage.spool, shared.proxies, removed=gone)
        self.receipts: ReceiptKeeper = ReceiptKeeper(
            self.recorder, storage.clock, storage.store if options.receipts == "store" else None
        )
        self.site: Site = self._site(policies, gone)
        self._misplaced: set[str] = set()
        self._undeclared: Undeclared = Undeclared(policy, sealer, storage.spool)

    def _site(self, policies: Sequence[Policy], gone: dict[str, Removed]) -> Site:
        shared, options, storage = self.shared, self.shared.options, self.shared.storage
        return Site(
            self.policy,
            prefix=options.prefix,
            signing=shared.cookie.signing,
            pending=self.pending,
            keeper=self.receipts,
            receipts=Receipts(storage.store, self.sealer),
            hand_over=shared.drain.once,
            revisions=storage.revisions,
            wordings=storage.wordings,
            my_data=MyData.of_site(
                policies,
                storage.store,
                self.sealer,
                storage.spool,
                shared.erasure,
                shared.drain.once,
                self.receipts,
                client=shared.network,
                subject=options.subject,
                personal_data=options.personal_data,
                removed=gone,
            ),
            proofs=Proofs(storage.store, self.sealer, storage.clock) if options.proof_page else None,
            own_cookies=self._own_cookies,
            look=options.look,
            templates=Path(options.templates) if options.templates else None,
            enforced=not options.report_only,
            now_ns=storage.clock,
        )

    def under(self, policy: Policy) -> Revision:
        """Return the revision for another policy. Cookies that wait for an answer move to it."""
        sealer = self.shared.storage.sealer(policy)
        return Revision(policy, sealer, self.pending.under(policy, sealer), self.shared)

    def report(self, decisions: Sequence[Decision], exchange: Exchange, source: Source = "response") -> None:
        """Note the cookies that the policy forgot to declare."""
        self._undeclared.look(decisions, exchange, source)

    def compare_places(self, headers: Iterable[Header], decisions: Sequence[Decision]) -> None:
        """
        Warn once of each cookie that is set at another place than declared: there it could not be taken back.

        For development: `decisions` are those of the Set-Cookie lines in `headers`, in order.
        """
        lines = [value for name, value in headers if name.lower() == b"set-cookie"]
        for line, decision in zip(lines, decisions, strict=True):
            declared = decision.declared
            if declared is None or decision.verdict is Verdict.BLOCKED or declared.name in self._misplaced:
                continue
            said = placed(line)
            if said != Placed(declared.domain.lower().lstrip("."), declared.path, declared.partitioned):
                self._misplaced.add(declared.name)
                _log.warning(_MISPLACED, decision.name, said.domain, said.path, said.partitioned, self.policy.file)

    @property
    def undeclared(self) -> dict[str, str]:
        """The undeclared cookies since the start, each with the route or path where it was first seen."""
        return self._undeclared.names

    def _own_cookies(self, secure: bool) -> OwnCookies:
        cookie = self.shared.cookie
        return OwnCookies(
            cookie.name(secure=secure),
            cookie.companion("pending", secure=secure),
            cookie.companion("notice", secure=secure),
            cookie.companion("form", secure=secure),
            cookie.companion("host", secure=secure) if cookie.domain else "",
            cookie.attributes(secure=secure),
            cookie.companion("waiting", secure=secure),
        )
