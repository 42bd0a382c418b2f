"""A Quart application behind its privacy policy. In the repository's root: uvicorn examples.quart_app:app"""

import os
import secrets
from pathlib import Path

from quart import Quart, Response, request, websocket

from consent_mw import ConsentMiddleware, get_consent
from examples.fruit import harvest, matching, page

site = Quart(__name__)


@site.context_processor
async def consent_for_templates() -> dict:
    """Let every template ask `{% if consent.allows("analytics") %}`."""
    return {"consent": get_consent(request)} if request else {}


@site.get("/")
async def search() -> Response:
    words = request.args.get("q", "")
    results = matching(words)

    consent = get_consent(request)
    counted = consent.record_event("search", results=len(results))  # False, and nothing kept, if analytics is refused

    response = Response(page(words, results, counted=counted, root=request.root_path))
    response.set_cookie("last_search", words, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


@site.websocket("/suggest")
async def suggest() -> None:
    await websocket.accept(headers={"Set-Cookie": "last_search=typing"})  # gated like any other
    while True:
        results = matching(await websocket.receive())
        get_consent(websocket).record_event("search", results=len(results))
        await websocket.send(", ".join(results))


@site.get("/harvest.csv")
async def table() -> Response:
    return Response(harvest(), mimetype="text/csv")


@site.get("/rotten")
async def rotten() -> None:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
