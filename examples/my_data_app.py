"""Members see, correct and erase what their site holds. In the repository's root: uvicorn examples.my_data_app:app"""

import json
import os
import secrets
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from consent_mw import ConsentMiddleware, PersonalData

# Without SECRET_KEY every start makes a new key: visitors are asked again, and sign in again.
KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
SESSION_SECONDS = 14 * 86_400

#: A table of the site's database, in its place: what each member told it.
MEMBERS = {"kim": {"name": "Kim Minji", "city": "Seoul"}, "lee": {"name": "Lee Joon", "city": "Busan"}}

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Members</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><body><main><h1>Members</h1><p>{greeting}</p>
<form method="post" action="/sign-in"><button name="user" value="kim">Sign in as Kim</button>
<button name="user" value="">Sign out</button></form></main>
<footer><a href="/consent/" data-consent="settings">Cookie settings</a>
<a href="/consent/my-data">My data</a></footer>"""


async def home(request: Request) -> HTMLResponse:
    member = MEMBERS.get(request.session.get("user", ""))
    return HTMLResponse(PAGE.format(greeting=f"Hello, {member['name']}." if member else "You are not signed in."))


async def sign_in(request: Request) -> Response:
    body = (await request.body()).decode()
    request.session["user"] = body.removeprefix("user=") if body.removeprefix("user=") in MEMBERS else ""
    return RedirectResponse("/", 303)


def signed_in(scope: Any) -> str | None:
    """Tell who is signed in. No session middleware has run on the pages under /consent, so it reads the cookie."""
    cookie = HTTPConnection(scope).cookies.get("session", "")
    try:
        data = TimestampSigner(KEY).unsign(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    user = json.loads(b64decode(data)).get("user")
    return user if user in MEMBERS else None


class Members(PersonalData):
    """What the site holds about its members, for the page of their data."""

    async def read(self, sign_in: str) -> Mapping[str, str]:
        return MEMBERS.get(sign_in, {})

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        if item == "city" and not value.strip():
            return False  # staff look at it: a city has a name
        MEMBERS[sign_in][item] = value
        return True

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        MEMBERS.pop(sign_in, None)  # asked a second time, there is nothing left to do


site = Starlette(
    routes=[Route("/", home), Route("/sign-in", sign_in, methods=["POST"])],
    middleware=[Middleware(SessionMiddleware, secret_key=KEY, max_age=SESSION_SECONDS)],
)
app = ConsentMiddleware(
    site,
    policy=Path(__file__).with_name("policy.toml"),
    secret_keys=[KEY],
    subject=signed_in,
    personal_data=Members(),
)
