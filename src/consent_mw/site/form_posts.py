"""Read and check a form that was sent to our pages, or answer what no page of ours can have sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import RedirectResponse, Response

from consent_mw.site import forms
from consent_mw.site.form_guard import FormGuard, Standing
from consent_mw.site.forms import BadForm, Sender
from consent_mw.site.rendering import PERSONAL, Rendering
from consent_mw.site.visit import Visit

_log = logging.getLogger("consent_mw")

_RENAMED: Final = """a form from %r was refused, since this site is %r as far as the request says. If both are one site,
a proxy renames it: let it pass on Host (nginx: proxy_set_header Host $http_host), or write X-Forwarded-Host and
X-Forwarded-Proto, and name it in proxies="""


class Posts:
    """
    Accepts forms, and refuses what none of our pages sends.

    Args:
        guard: Makes the tokens of a page's forms, and checks them if the browser does not report where a form comes
            from.
    """

    def __init__(self, rendering: Rendering, guard: FormGuard) -> None:
        self._rendering = rendering
        self.guard = guard
        self._foreign_untold = True

    async def fields(
        self,
        visit: Visit,
        *,
        page: str = "",
        limit_bytes: int = forms.BODY_LIMIT_BYTES,
        most_fields: int = forms.MOST_FIELDS,
    ) -> dict[str, list[str]] | Response:
        """
        Return the values of each field, or the answer to a form that cannot be ours.

        Args:
            page: The page below the prefix that has such a form with a token; by default the settings.
        """
        try:
            body = await _body(visit, limit_bytes)
            if body is None:
                return self.refused(visit, 413, "too-large")
            fields = forms.fields_of(visit.headers.get("content-type", ""), body, most_fields)
        except BadForm as error:
            return self.bad(visit, error)
        return self._turned_away(visit, fields, page) or fields

    def _turned_away(self, visit: Visit, fields: Mapping[str, Sequence[str]], page: str) -> Response | None:
        sender = forms.sender(visit.headers, visit.own_origin)
        if sender is Sender.FOREIGN:
            self._tell_foreign(visit)
            return self.refused(visit, 403, "foreign")
        if sender is Sender.OURS:
            return None
        standing = self.guard.standing(visit, first(fields, "token"))
        if standing is Standing.OURS:
            return None
        why = "cookies" if standing is Standing.NO_COOKIE else "unknown"
        if visit.wants_json:
            return self.refused(visit, 403, why)
        return RedirectResponse(f"{visit.base}{page}?again={why}", 303, dict(PERSONAL))

    def _tell_foreign(self, visit: Visit) -> None:
        """Warn once that a proxy may have renamed the host, so that own forms look foreign. Nothing else reports it."""
        if self._foreign_untold and "sec-fetch-site" not in visit.headers:
            self._foreign_untold = False
            _log.warning(_RENAMED, (forms.origin_of(visit.headers) or "")[:100], visit.own_origin[:100])

    def bad(self, visit: Visit, error: BadForm) -> Response:
        """Return the answer to a form that is not valid."""
        return self.refused(visit, error.status, "bad", error.field, error.allowed)

    def refused(
        self,
        visit: Visit,
        status: int,
        reason: str,
        field: str = "",
        allowed: Sequence[str] = (),
        headers: Mapping[str, str] = {},
    ) -> Response:
        """Return the answer that says why nothing was done, as a page or as JSON."""
        said = {**PERSONAL, **headers}
        if visit.wants_json:
            problem = {"error": reason, "field": field[:100], "allowed": list(allowed)}
            return self._rendering.data(problem, status=status, headers=said)
        context = {"reason": reason, "field": field[:100], "allowed": allowed, "page": visit.page}
        return self._rendering.page(visit, "refused.html", context, status=status, headers=said)


def first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the first value of a field, "" if the field is missing."""
    return next(iter(fields.get(name, ())), "")


async def _body(visit: Visit, limit_bytes: int) -> bytes | None:
    """
    Return the whole body, or None if it is larger than any form of ours.

    Raises:
        BadForm: The body is not complete. The missing part may refuse a purpose, so nothing of it counts.
    """
    body = bytearray()
    more = True
    while more:
        message = await visit.receive()
        if message["type"] != "http.request":
            raise BadForm(400, "body")
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            return None
        more = message.get("more_body", False)
    announced = visit.headers.get("content-length", "")
    # Servers check this (RFC 9112, section 8). With a server that does not, half a form must not count as an answer.
    if announced.isascii() and announced.isdigit() and len(body) < int(announced[:20]):
        raise BadForm(400, "body")
    return bytes(body)
