"""A Flask application, through a WSGI-to-ASGI adapter. In the repository's root: uvicorn examples.flask_app:app"""

import os
import secrets
from pathlib import Path

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, request

from consent_mw import ConsentMiddleware, RequestConsent, get_consent
from examples.fruit import HARVEST, matching, page

site = Flask(__name__)


def current_consent() -> RequestConsent:
    """Return the consent of the request that Flask handles now: a2wsgi keeps the ASGI scope in its environment."""
    return get_consent(request.environ["asgi.scope"])


# Every template may ask {% if current_consent().allows("analytics") %}.
site.add_template_global(current_consent, "current_consent")


@site.get("/")
def search() -> Response:
    words = request.args.get("q", "")
    results = matching(words)
    counted = current_consent().record_event("search", results=len(results))  # False if analytics is refused

    response = Response(page(words, results, counted=counted, root=request.root_path))
    response.set_cookie("last_search", words, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


@site.get("/harvest.csv")
def table() -> Response:
    return Response(iter(HARVEST), mimetype="text/csv")


@site.get("/rotten")
def rotten() -> Response:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

app = ConsentMiddleware(WSGIMiddleware(site), policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
