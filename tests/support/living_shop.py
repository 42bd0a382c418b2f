"""A shop that lives through time, and the instant at which it begins."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from tests.support.policies import POLICY

START = datetime(2028, 2, 1, 12, tzinfo=UTC)


DAY = timedelta(days=1)


TEXT = re.sub(r"(published|effective) = [\d-]+", r"\1 = 2028-01-01", POLICY.replace('"Asia/Seoul"', '"UTC"'))


async def home(request: Request) -> HTMLResponse:
    response = HTMLResponse("<!doctype html><title>x</title><body><h1>x</h1></body>")
    response.set_cookie("theme", "dark", max_age=3600)
    return response


async def tasks(request: Request) -> PlainTextResponse:
    return PlainTextResponse("\n".join(task.get_name() for task in asyncio.all_tasks()))


SHOP = Starlette(routes=[Route("/", home), Route("/tasks", tasks)])
