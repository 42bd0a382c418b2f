"""A BlackSheep application behind its privacy policy. In the repository's root: uvicorn examples.blacksheep_app:app"""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from blacksheep import Application, Cookie, Request, Response, StreamedContent, WebSocket
from blacksheep.server.bindings import Binder, BoundValue
from blacksheep.server.responses import html
from blacksheep.server.websocket import WebSocketDisconnectError

from consent_mw import ConsentMiddleware, RequestConsent, get_consent
from examples.fruit import harvest, matching, page

site = Application()


class FromConsent(BoundValue[RequestConsent]):
    """A handler that names this type is given the consent of its request."""


class ConsentBinder(Binder):
    handle = FromConsent

    async def get_value(self, request: Request) -> RequestConsent:
        return get_consent(request)


@site.router.get("/")
async def search(request: Request, consent: FromConsent, q: str = "") -> Response:
    results = matching(q)
    counted = consent.value.record_event(
        "search", results=len(results)
    )  # False, and nothing kept, if analytics is refused
    response = html(page(q, results, counted=counted, root=request.scope["root_path"]))
    # It reaches the browser of those who allow it.
    response.set_cookie(Cookie("last_search", q, path="/", max_age=30 * 86_400))
    return response


@site.router.ws("/suggest")
async def suggest(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"set-cookie", b"last_search=typing")])  # gated like any other
    consent = get_consent(websocket)
    try:
        while True:
            results = matching(await websocket.receive_text())
            consent.record_event("search", results=len(results))
            await websocket.send_text(", ".join(results))
    except WebSocketDisconnectError:
        return


@site.router.get("/harvest.csv")
async def table() -> Response:
    async def lines() -> AsyncIterator[bytes]:
        async for line in harvest():
            yield line.encode()

    return Response(200, content=StreamedContent(b"text/csv", lines))


@site.router.get("/rotten")
async def rotten() -> None:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
