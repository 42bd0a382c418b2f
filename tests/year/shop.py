"""The site that lives through the year: pages, cookies for every purpose, events, abuse, and members."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from tests.year.course import TOPICS

from consent_mw import get_consent
from consent_mw._asgi import Scope

#: One for each purpose that any revision declares: what the gate lets pass tells what is allowed.
COOKIES = ("c_analytics", "c_marketing", "c_research", "c_functional", "c_ads")


async def page(request: Request) -> HTMLResponse:
    consent, number = get_consent(request), int(request.path_params["number"])
    if event := request.query_params.get("event"):
        consent.record_event(event, number=number)
    if request.query_params.get("abuse"):
        consent.report_abuse(f"abuse number {number}")
    response = HTMLResponse("<!doctype html><title>Shop</title><body><h1>Welcome</h1></body>")
    for name in COOKIES:
        response.set_cookie(name, "1")
    return response


def signed_in(scope: Scope) -> str | None:
    """Return the member whose name the session's cookie says: the site's own sign-in."""
    cookies = dict(scope["headers"]).get(b"cookie", b"").decode()
    pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
    return next((value for name, _, value in pairs if name == "session" and value), None)


shop = Starlette(routes=[Route(f"/{topic}/{{number:int}}", page, name=topic) for topic in TOPICS])
