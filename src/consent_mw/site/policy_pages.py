"""The pages that are the same for everyone: the policy, each of its revisions, and the cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

from starlette.responses import Response

from consent_mw.exports.dpv import policy_graph
from consent_mw.policy.amendments import Amendment
from consent_mw.policy.model import Policy
from consent_mw.policy.notice_period import Changes, changes, notice
from consent_mw.policy.timeline import Course, begins
from consent_mw.site.amendment_lines import amendment_lines
from consent_mw.site.changed_lines import Difference, differences
from consent_mw.site.documents import OwnCookies, cookies_document, policy_document
from consent_mw.site.rendering import FOR_ALL, REMEMBERED, Rendering
from consent_mw.site.visit import Visit
from consent_mw.system.bounded_cache import remember

#: Announced; in force; no longer in force; or replaced before it was ever in force.
_Standing: TypeAlias = Literal["ahead", "in force", "past", "never"]


class _Compared(NamedTuple):
    """What a revision changed: the older policy, changes by item and by line, and what visitors must answer again."""

    old: Policy
    amendments: list[Amendment]
    differences: list[Difference]
    asked_again: Changes


class PolicyPages:
    """
    The pages of all published revisions.

    Args:
        policy: The policy in force.
        published: All revisions that can be read.
        own_cookies: Returns the names of our own cookies, for https or not.
    """

    def __init__(
        self,
        rendering: Rendering,
        policy: Policy,
        published: Iterable[Policy],
        own_cookies: Callable[[bool], OwnCookies],
    ) -> None:
        self._rendering = rendering
        self._policy = policy
        self._own_cookies = own_cookies
        self.know((earlier for earlier in published if earlier.revision < policy.revision), None)

    def know(self, published: Iterable[Policy], ahead: Policy | None) -> None:
        """Offer a page for each of `published`; `ahead` is the one of them that is announced."""
        course = Course([*published, self._policy])
        self._by_revision = {published.revision: published for published in course.published}
        self._held = {published.revision for published in course.holding}
        self._ahead = ahead.revision if ahead else None
        self._graphs: dict[int, bytes] = {}
        self._documents: dict[tuple[object, ...], bytes] = {}
        self._rendering.forget()

    def published(self) -> list[Policy]:
        """Return the revisions that can be read."""
        return list(self._by_revision.values())

    async def policy(self, visit: Visit) -> Response:
        """Answer with the policy in force."""
        return self._revision(visit, self._policy, None)

    async def revision(self, visit: Visit) -> Response:
        """Answer `/policy/{revision}` with that revision and its changes; a 404 names the existing ones."""
        asked = visit.page.removeprefix("/policy/")
        # isdecimal() accepts digits of every script, and int() reads any number of them.
        policy = self._by_revision.get(int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 7 else None
        if policy is not None:
            return self._revision(visit, policy, self._before(policy.revision))
        if visit.wants_json:
            document = {"error": "missing", "revisions": sorted(self._by_revision)}
            return self._rendering.data(document, status=404)
        return self._rendering.page(visit, "missing.html", {"revisions": sorted(self._by_revision)}, status=404)

    def _before(self, revision: int) -> Policy | None:
        """Return the revision that this one replaced. One that was never in force promised nothing, and is left out."""
        earlier = max((number for number in self._held if number < revision), default=None)
        return None if earlier is None else self._by_revision[earlier]

    def _standing(self, revision: int) -> _Standing:
        if revision == self._policy.revision:
            return "in force"
        if revision == self._ahead:
            return "ahead"
        return "past" if revision in self._held and revision < self._policy.revision else "never"

    def _revision(self, visit: Visit, policy: Policy, before: Policy | None) -> Response:
        if visit.form == "graph":
            return self._graph(policy)
        own = self._own_cookies(visit.secure)
        if visit.wants_json:
            return Response(
                self._json(visit, policy, before, own), headers=dict(FOR_ALL), media_type="application/json"
            )
        file = f"policy-{policy.revision}.html"
        context = partial(self._context, visit, policy, before, own)
        kept = (policy.revision, before and before.revision, own)
        return self._rendering.page(visit, "policy.html", context, headers=FOR_ALL, policy=policy, file=file, kept=kept)

    def _context(self, visit: Visit, policy: Policy, before: Policy | None, own: OwnCookies) -> dict[str, object]:
        compared = self._compared(visit, before, policy, own) if before else None
        return {
            "own_cookies": own,
            "in_force": self._policy.revision,
            "ahead": self._ahead,
            "standing": self._standing(policy.revision),
            "revisions": sorted(self._by_revision),
            "compared": compared,
            "old": compared.old if compared else None,
            "new": policy,
        }

    def _json(self, visit: Visit, policy: Policy, before: Policy | None, own: OwnCookies) -> bytes:
        """Return the document as JSON, made once for each revision and language: it is the same for everyone."""
        key = (policy.revision, before and before.revision, visit.language, own)
        body = self._documents.get(key)
        if body is None:
            compared = self._compared(visit, before, policy, own) if before else None
            body = bytes(self._rendering.data(self._document(visit, policy, own, compared)).body)
            remember(self._documents, key, body, REMEMBERED)
        return body

    def _graph(self, policy: Policy) -> Response:
        """Answer in the terms of the Data Privacy Vocabulary, which are the same in every language."""
        body = self._graphs.get(policy.revision)
        if body is None:
            body = self._graphs[policy.revision] = bytes(self._rendering.data(policy_graph(policy)).body)
        return Response(body, headers=dict(FOR_ALL), media_type="application/ld+json")

    def _document(self, visit: Visit, policy: Policy, own: OwnCookies, compared: _Compared | None) -> dict[str, object]:
        document = policy_document(policy, visit.language, own, self._by_revision) | {
            "standing": self._standing(policy.revision),
            "effective_at": _begins(policy).isoformat(),
        }
        if compared is None:
            return document
        lines = amendment_lines(
            compared.amendments, compared.old, policy, visit.language, self._rendering.surfaces.templates
        )
        changed = [
            {
                "what": amendment.what,
                "text": line,
                "important": amendment.reason is not None,
                "reason": amendment.reason,
            }
            for amendment, line in zip(compared.amendments, lines, strict=True)
        ]
        return document | {"compared_with": compared.old.revision, "changes": changed}

    def _compared(self, visit: Visit, old: Policy, new: Policy, own: OwnCookies) -> _Compared:
        before, now = (self._rendering.article(revision, visit.language, visit.base, own) for revision in (old, new))
        return _Compared(old, notice(old, new).amendments, differences(before, now), changes(old, new))

    async def cookies(self, visit: Visit) -> Response:
        """Answer with every cookie that the site may set."""
        own = self._own_cookies(visit.secure)
        if visit.wants_json:
            return self._rendering.data(cookies_document(self._policy, visit.language, own), headers=FOR_ALL)
        return self._rendering.page(visit, "cookies.html", {"own_cookies": own}, headers=FOR_ALL, file="cookies.html")


def _begins(policy: Policy) -> datetime:
    return begins(policy).astimezone(policy.time_zone)
