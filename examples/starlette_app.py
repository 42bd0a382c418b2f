"""A Starlette application behind its privacy policy. In the repository's root: uvicorn examples.starlette_app:app"""

import os
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from consent_mw import ConsentMiddleware
from examples.fruit import harvest, matching, page


async def search(request: Request) -> HTMLResponse:
    words = request.query_params.get("q", "")
    results = matching(words)

    consent = request.state.consent
    counted = consent.allows("analytics")
    if counted:
        consent.record_event("search", results=len(results))

    response = HTMLResponse(page(words, results, counted=counted, root=request.scope["root_path"]))
    response.set_cookie("last_search", words, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


async def suggest(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"set-cookie", b"last_search=typing")])  # gated like any other
    async for words in websocket.iter_text():
        results = matching(words)
        websocket.state.consent.record_event("search", results=len(results))  # kept only if analytics is allowed
        await websocket.send_text(", ".join(results))


async def table(request: Request) -> StreamingResponse:
    return StreamingResponse(harvest(), media_type="text/csv")


async def rotten(request: Request) -> Response:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

site = Starlette(
    routes=[
        Route("/", search),
        Route("/harvest.csv", table),
        Route("/rotten", rotten),
        WebSocketRoute("/suggest", suggest),
    ]
)
app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
