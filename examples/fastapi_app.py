"""A FastAPI application behind its privacy policy. In the repository's root: uvicorn examples.fastapi_app:app"""

import os
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.responses import HTMLResponse, StreamingResponse

from consent_mw import ConsentMiddleware, RequestConsent, get_consent
from examples.fruit import harvest, matching, page


def consent_of(connection: HTTPConnection) -> RequestConsent:
    return get_consent(connection)


# A handler that names this type is given the consent of its request or WebSocket.
Consent = Annotated[RequestConsent, Depends(consent_of)]

site = FastAPI()


@site.get("/", response_class=HTMLResponse)
async def search(request: Request, response: Response, consent: Consent, q: str = "") -> str:
    results = matching(q)
    counted = consent.record_event("search", results=len(results))  # False, and nothing kept, if analytics is refused
    response.set_cookie("last_search", q, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return page(q, results, counted=counted, root=request.scope["root_path"])


@site.websocket("/suggest")
async def suggest(websocket: WebSocket, consent: Consent) -> None:
    await websocket.accept(headers=[(b"set-cookie", b"last_search=typing")])  # gated like any other
    async for words in websocket.iter_text():
        results = matching(words)
        consent.record_event("search", results=len(results))
        await websocket.send_text(", ".join(results))


@site.get("/harvest.csv")
async def table() -> StreamingResponse:
    return StreamingResponse(harvest(), media_type="text/csv")


@site.get("/rotten")
async def rotten() -> None:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
