"""The demo shop as a plain Starlette application. All that it uses of consent-mw is `request.state.consent`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from consent_mw.demo.books import BOOKS, POEM, find
from consent_mw.demo.page import THEMES, back, keep, page
from consent_mw.demo.texts import language_of, texts

_SHELF = BOOKS[:4]
_FORM_LIMIT_BYTES = 10_000
_LINE_SECONDS = 0.4


async def home(request: Request) -> Response:
    return page(request, "home.html", books=_SHELF)


async def books(request: Request) -> Response:
    words = request.query_params.get("q", "")[:100]
    matching = find(words)
    counted = bool(words) and request.state.consent.record_event("search", results=len(matching))
    return page(request, "books.html", books=matching, words=words, counted=counted)


async def about(request: Request) -> Response:
    return page(request, "about.html")


async def contact(request: Request) -> Response:
    return page(request, "contact.html", reader=unquote(request.cookies.get("reader_name", "")))


async def subscribe(request: Request) -> Response:
    form = await _form(request)
    request.session["done"] = "thanks"
    response = back(request, tried="reader_name")
    keep(response, "reader_name", quote(form.get("name", "")[:60]))
    return response


async def report(request: Request) -> Response:
    form = await _form(request)
    request.state.consent.report_abuse(form.get("reason", ""))
    request.session["done"] = "reported"
    return back(request)


async def choose_theme(request: Request) -> Response:
    theme = (await _form(request)).get("theme", "")
    response = back(request, tried="theme")
    keep(response, "theme", theme if theme in THEMES else THEMES[0])
    return response


async def add_to_basket(request: Request) -> Response:
    form = await _form(request)
    if form.get("book") in {book.id for book in BOOKS}:
        request.session["basket"] = [*request.session.get("basket", []), form["book"]][-20:]
    return back(request)


async def partner(request: Request) -> Response:
    request.state.consent.banner_placed = True  # the page around this frame has a banner
    return page(request, "partner.html", cookies=False)


async def stock(request: Request) -> Response:
    language = language_of(request)
    return JSONResponse([{"title": book.titles[language], "copies": book.stock} for book in BOOKS])


async def poem(request: Request) -> Response:
    events = "text/event-stream" in request.headers.get("accept", "")
    lines = _read_aloud(POEM[language_of(request)], events=events)
    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(lines, media_type="text/event-stream" if events else "text/plain", headers=headers)


async def _read_aloud(lines: tuple[str, ...], *, events: bool) -> AsyncIterator[str]:
    for line in lines:
        yield f"data: {line}\n\n" if events else f"{line}\n"
        await asyncio.sleep(_LINE_SECONDS)
    if events:
        yield "event: end\ndata: \n\n"


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    reply = texts(language_of(websocket))["chat"]["reply"]
    async for words in websocket.iter_text():
        await websocket.send_text(reply.format(words=words[:200]))


async def missing(request: Request, _: Exception) -> Response:
    return page(request, "missing.html", status=404)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a submitted form, with the first value of each; an empty dict if the form is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_LIMIT_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def shop(secret_key: str) -> Starlette:
    """Return the application; `secret_key` signs its session cookie."""
    routes = [
        Route("/", home),
        Route("/books", books),
        Route("/about", about),
        Route("/contact", contact),
        Route("/contact", subscribe, methods=["POST"]),
        Route("/report", report, methods=["POST"]),
        Route("/theme", choose_theme, methods=["POST"]),
        Route("/basket", add_to_basket, methods=["POST"]),
        Route("/partner", partner),
        Route("/api/stock", stock),
        Route("/stream", poem),
        WebSocketRoute("/ws", chat),
        Mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static"),
    ]
    session = Middleware(SessionMiddleware, secret_key=secret_key)
    return Starlette(routes=routes, middleware=[session], exception_handlers={404: missing})
