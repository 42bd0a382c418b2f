"""The notice on every page of a revision that is published and not yet in force, and which visitors have closed it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from html import escape
from typing import Final

from consent_mw._asgi import Scope, header_values
from consent_mw.cookies.cookie_lines import pairs
from consent_mw.policy.amendments import amendments
from consent_mw.policy.model import Policy
from consent_mw.policy.timeline import begins
from consent_mw.site.documents import NOTICE_CLOSED_FOR
from consent_mw.site.surfaces import LONGEST_BASE, Surfaces
from consent_mw.system.bounded_cache import remember

#: The most changes that the notice itself lists. It links to a page that lists all of them.
_SHOWN: Final = 3
#: The most notices that are kept: languages times mount points.
_REMEMBERED: Final = 64
#: Placeholders for the parts of a kept notice that differ from page to page; no path can hold a NUL.
_NEXT: Final = "\0next\0"
_PROOF: Final = "\0token\0"


class Announcement:
    """
    The notice of one revision. All visitors of a language read the same notice, so that a page can be cached.

    Args:
        in_force: The policy to compare it with.
        cookies: The names of the cookies by which a browser says that its visitor has closed the notice.
    """

    def __init__(self, surfaces: Surfaces, in_force: Policy, policy: Policy, cookies: Collection[str]) -> None:
        self.policy = policy
        self._above = surfaces
        self._in_force = in_force
        self._cookies = frozenset(name.encode("latin-1") for name in cookies)
        self._amendments = amendments(in_force, policy)
        self._rendered: dict[tuple[str, str, bool], str] = {}

    @property
    def revision(self) -> int:
        """The number of the announced revision."""
        return self.policy.revision

    @property
    def begins(self) -> datetime:
        """When the revision comes into force, in the policy's own time zone."""
        return begins(self.policy).astimezone(self.policy.time_zone)

    def html(self, language: str, base: str, next_path: str, token: str = "", *, brief: bool = False) -> str:
        """Return the notice. Use `brief` beside a question, and `token` on a page whose forms carry one."""
        key = (language, base, brief)
        html = self._rendered.get(key)
        if html is None:
            # Rendered only now: the first page that needs a template loads the templates.
            html = self._above.of(self.policy).render(
                "notice.html",
                language,
                base,
                amendments=self._amendments[:_SHOWN],
                count=len(self._amendments),
                old=self._in_force,
                new=self.policy,
                next=_NEXT,
                token=_PROOF,
                brief=brief,
            )
            if len(base) <= LONGEST_BASE:
                remember(self._rendered, key, html, _REMEMBERED)
        return html.replace(_NEXT, escape(next_path)).replace(_PROOF, escape(token))

    def is_closed(self, scope: Scope) -> bool:
        """Return whether this visitor has closed the notice of exactly this revision."""
        said = str(self.revision).encode()
        lines = header_values(scope.get("headers") or (), b"cookie")
        return any(
            name in self._cookies and pair.partition(b"=")[2].strip() == said
            for line in lines
            for name, pair in pairs(line)
        )

    def closed_line(self, name: str, attributes: str) -> bytes:
        """Return the Set-Cookie line of a closed notice. It holds only the number, so it is the same for everyone."""
        line = f"{name}={self.revision}; Path=/; Max-Age={NOTICE_CLOSED_FOR.seconds}"
        return (line + attributes).encode("latin-1")
