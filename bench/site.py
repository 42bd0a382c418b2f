"""The site that every contestant wraps, and the one request that is sent to it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

__all__ = ["HEADERS", "PATH", "SECRET", "new_scope", "new_site"]

#: Signs the cookies of all visitors.
SECRET = "a secret key of the benchmark, long enough"

PAGE = f"<!doctype html><html lang=en><title>A page</title><body><h1>A page</h1><p>{'Some words. ' * 80}</body></html>"

#: Two cookies are set by each response; the policy of this benchmark blocks the second.
COOKIES = ("theme=dark; Max-Age=31536000; Path=/; SameSite=Lax", "ad=1f2e3d4c; Max-Age=31536000; Path=/; SameSite=Lax")

PATH = "/items/42"

#: What a browser sends, but for its cookies.
HEADERS = {
    "Host": "127.0.0.1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8",
    "Referer": "http://127.0.0.1/items",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


async def item(request: Request) -> HTMLResponse:
    """Answer with a page of a kilobyte that sets two cookies."""
    response = HTMLResponse(PAGE)
    for cookie in COOKIES:
        response.headers.append("set-cookie", cookie)
    return response


def new_site() -> ASGIApp:
    """Return the bare application."""
    return Starlette(routes=[Route("/items/{number}", item)])


def new_scope(headers: list[tuple[bytes, bytes]]) -> Scope:
    """Return a fresh scope of the request, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": headers,
        "state": {},
    }
