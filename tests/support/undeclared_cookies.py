"""An application that sets cookies which nobody declared."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from consent_mw import ConsentMiddleware

KEY = "a key of these tests only"


async def book(request: Request) -> Response:
    response = PlainTextResponse("ok")
    response.set_cookie("surprise", "secret-value")
    response.set_cookie("_fbp", "fb.1")
    response.set_cookie("theme", "dark")
    return response


def application(policy: Path, **more) -> ConsentMiddleware:
    app = Starlette(routes=[Route("/books/{number}", book)])
    return ConsentMiddleware(app, policy=policy, secret_keys=[KEY], **more)
