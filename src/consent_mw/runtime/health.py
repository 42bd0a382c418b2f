"""Answer a load balancer: whether this process answers, and whether it can keep new records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from consent_mw._asgi import Receive, Scope, Send

if TYPE_CHECKING:  # as in `cookies.pending`
    from consent_mw.spool.spool import Spool


class Health:
    """
    An ASGI application below `/consent/health`. It reports on this process only.

    `/live` is 200 as long as the process answers. `/ready`, and the path itself, is 503 while the spool takes nothing:
    then nothing that visitors do, not even a choice or a withdrawal, would be recorded.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with JSON: `{"live": true, "ready": true}`."""
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"allow": "GET, HEAD"})
        ready = self._spool.takes()
        fine = ready or str(scope["path"]).endswith("/live")
        return JSONResponse({"live": True, "ready": ready}, 200 if fine else 503, headers={"cache-control": "no-store"})
