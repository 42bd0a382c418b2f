"""A Starlette application behind its privacy policy. In the repository's root: uvicorn examples.starlette_app:app"""

import os
import secrets
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent_mw import ConsentMiddleware

FRUIT = ("apple", "apricot", "cherry", "grape", "pear", "plum")

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Fruit</title></head>
<body><h1>Fruit</h1>
<form><label>Search <input name="q" value="{words}"></label> <button>Go</button></form>
<p>{found}</p>
<p>This search {was} counted.</p>
<p><a href="/consent/" data-consent="settings">Cookie settings</a></p>
</body>
</html>"""


async def search(request: Request) -> HTMLResponse:
    words = request.query_params.get("q", "")
    found = [fruit for fruit in FRUIT if words in fruit]

    consent = request.state.consent
    if consent.allows("analytics"):
        consent.record_event("search", results=len(found))

    was = "was" if consent.allows("analytics") else "was not"
    response = HTMLResponse(PAGE.format(words=escape(words), found=", ".join(found) or "none", was=was))
    response.set_cookie("last_search", words, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

site = Starlette(routes=[Route("/", search)])
app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
