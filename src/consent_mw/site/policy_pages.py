"""The pages that say the same to everyone: the policy, each of its revisions, and the cookies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.responses import Response

from consent_mw.notices import Changes, changes
from consent_mw.policy import Policy
from consent_mw.site.comparison import Difference, differences
from consent_mw.site.documents import OwnCookies, cookies_document, earlier_and_later, policy_document
from consent_mw.site.rendering import FOR_ALL, Rendering
from consent_mw.site.visit import Visit

__all__ = ["PolicyPages"]


class _Compared(NamedTuple):
    """What a revision changed: against which one, where, and what visitors were asked again."""

    revision: int
    differences: list[Difference]
    asked_again: Changes


class PolicyPages:
    """
    Every revision that was kept, as pages.

    Args:
        earlier: The declarations of earlier revisions, by number.
        own_cookies: What our own cookies are called, on https or not.
    """

    def __init__(
        self,
        rendering: Rendering,
        policy: Policy,
        earlier: Mapping[int, Policy],
        own_cookies: Callable[[bool], OwnCookies],
    ) -> None:
        self._rendering = rendering
        self._policy = policy
        self._by_revision: dict[int, Policy] = {**earlier, policy.revision: policy}
        self._own_cookies = own_cookies

    async def policy(self, visit: Visit) -> Response:
        """Answer with the policy in force."""
        return self._revision(visit, self._policy, None)

    async def revision(self, visit: Visit) -> Response:
        """Answer `/policy/{revision}` with that revision, and with what it changed; 404 names those that there are."""
        asked = visit.page.removeprefix("/policy/")
        # isdecimal() knows digits of every script, and int() reads any number of them
        found = self._by_revision.get(int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 7 else None
        if found is not None:
            earlier, _ = earlier_and_later(list(self._by_revision), found.revision)
            return self._revision(visit, found, None if earlier is None else self._by_revision[earlier])
        if visit.wants_json:
            document = {"error": "missing", "revisions": sorted(self._by_revision)}
            return self._rendering.data(document, status=404)
        return self._rendering.page(visit, "missing.html", {"revisions": sorted(self._by_revision)}, status=404)

    def _revision(self, visit: Visit, policy: Policy, before: Policy | None) -> Response:
        own = self._own_cookies(visit.secure)
        if visit.wants_json:
            document = policy_document(policy, visit.language, own, self._by_revision)
            return self._rendering.data(document, headers=FOR_ALL)
        context = {
            "own_cookies": own,
            "in_force": self._policy.revision,
            "revisions": sorted(self._by_revision),
            "later": earlier_and_later(list(self._by_revision), policy.revision)[1],
            "compared": self._compared(visit, before, policy, own) if before else None,
        }
        file = f"policy-{policy.revision}.html"
        return self._rendering.page(visit, "policy.html", context, headers=FOR_ALL, policy=policy, file=file)

    def _compared(self, visit: Visit, old: Policy, new: Policy, own: OwnCookies) -> _Compared:
        before, now = (self._rendering.article(each, visit.language, visit.base, own) for each in (old, new))
        return _Compared(old.revision, differences(before, now), changes(old, new))

    async def cookies(self, visit: Visit) -> Response:
        """Answer with every cookie that the site may set."""
        own = self._own_cookies(visit.secure)
        if visit.wants_json:
            return self._rendering.data(cookies_document(self._policy, visit.language, own), headers=FOR_ALL)
        return self._rendering.page(visit, "cookies.html", {"own_cookies": own}, headers=FOR_ALL, file="cookies.html")
