"""Time per request inside this process: no server, no socket, only the application and what is around it."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from starlette.types import ASGIApp, Message

from bench.contestants import OURS, Contestant, request_headers
from bench.running import lifespan
from bench.site import new_scope, new_site

__all__ = ["microseconds"]

WARM_UP = 50


async def microseconds(contestant: Contestant, directory: Path, requests: int) -> float:
    """
    Return the time of one request, averaged over `requests` of them.

    The application is built, started and shut down for each call. The clock runs in between only, so that
    work put off to a background task is not counted here; it is under load.
    """
    app = contestant.wrap(new_site(), directory)
    headers = [(name.lower().encode(), value.encode()) for name, value in request_headers().items()]
    async with lifespan(app):
        if contestant is OURS:
            await _see_that_it_works(app, headers)
        await _send(app, headers, WARM_UP)
        gc.collect()
        started = time.perf_counter_ns()
        await _send(app, headers, requests)
        return (time.perf_counter_ns() - started) / requests / 1000


async def _send(app: ASGIApp, headers: list[tuple[bytes, bytes]], times: int) -> None:
    for _ in range(times):
        await app(new_scope(headers), _receive, _discard)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _discard(message: Message) -> None:
    pass


async def _see_that_it_works(app: ASGIApp, headers: list[tuple[bytes, bytes]]) -> None:
    """Raise unless the one cookie is kept and the other blocked: else the figures would mean nothing."""
    messages: list[Message] = []

    async def collect(message: Message) -> None:
        messages.append(message)

    await app(new_scope(headers), _receive, collect)
    names = {value.partition(b"=")[0] for name, value in messages[0]["headers"] if name.lower() == b"set-cookie"}
    if b"theme" not in names or b"ad" in names:
        raise RuntimeError(f"the middleware was to keep theme and block ad; the response sets {names}")
