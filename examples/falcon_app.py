"""A Falcon application behind its privacy policy. In the repository's root: uvicorn examples.falcon_app:app"""

import os
import secrets
from pathlib import Path

import falcon
import falcon.asgi

from consent_mw import ConsentMiddleware, get_consent
from examples.fruit import harvest, matching, page


class ConsentInContext:
    """A Falcon middleware: every responder finds the consent in `req.context.consent`."""

    async def process_request(self, req, resp):
        req.context.consent = get_consent(req)

    async def process_request_ws(self, req, ws):
        req.context.consent = get_consent(req)


class Search:
    async def on_get(self, req, resp):
        words = req.get_param("q", default="")
        results = matching(words)
        counted = req.context.consent.record_event("search", results=len(results))  # False if analytics is refused

        resp.content_type = falcon.MEDIA_HTML
        resp.text = page(words, results, counted=counted, root=req.root_path)
        # It reaches the browser of those who allow it.
        resp.set_cookie("last_search", words, path="/", max_age=30 * 86_400)


class Suggest:
    async def on_websocket(self, req, ws):
        await ws.accept(headers={"set-cookie": "last_search=typing"})  # gated like any other
        try:
            while True:
                results = matching(await ws.receive_text())
                req.context.consent.record_event("search", results=len(results))
                await ws.send_text(", ".join(results))
        except falcon.WebSocketDisconnected:
            return


class Table:
    async def on_get(self, req, resp):
        resp.content_type = "text/csv"
        resp.stream = (line.encode() async for line in harvest())


class Rotten:
    async def on_get(self, req, resp):
        raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

site = falcon.asgi.App(middleware=[ConsentInContext()])
site.add_route("/", Search())
site.add_route("/suggest", Suggest())
site.add_route("/harvest.csv", Table())
site.add_route("/rotten", Rotten())


async def below_the_mount(scope, receive, send):
    """Falcon looks for its routes in the whole path: take off what the site is mounted under, if anything."""
    root = scope.get("root_path", "")
    if root and scope["path"].startswith(f"{root}/"):
        scope = {**scope, "path": scope["path"].removeprefix(root)}
    await site(scope, receive, send)


app = ConsentMiddleware(below_the_mount, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
