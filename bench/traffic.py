"""Traffic of a site as a seeded model makes it: the same seed gives the same requests, of all kinds or of one alone."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from random import Random
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request as PageRequest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope
from starlette.websockets import WebSocket

from bench.site import HEADERS, PAGE, SECRET, item
from consent_mw import Choice
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie

__all__ = ["ALONE", "SHARES", "Arrival", "Traffic", "new_site"]

#: Of a hundred requests. Pages are 46 of them; who has chosen sees fewer of them than first visits and crawlers do.
SHARES: Final = {
    "visitor": 18,
    "first visit": 16,
    "crawler": 12,
    "JSON": 22,
    "static file": 16,
    "304": 8,
    "redirect": 6,
    "WebSocket": 2,
}
#: Each kind alone, with what it is called in the table; the first is the request of the old benchmark.
ALONE: Final = {
    "warm": "the same visitor, the same answer",
    "renewed": "the same visitor, new values in `Set-Cookie`",
    "stranger": "another visitor each time",
    "stranger renewed": "another visitor each time, new values",
    "first visit": "no choice yet: a page with the banner",
    "crawler": "a crawler's page",
    "JSON": "JSON for a page's script",
    "static file": "a static file",
    "304": "a static file that the browser still holds (304)",
    "redirect": "a redirect",
    "WebSocket": "a WebSocket of two messages",
}
VISITORS: Final = 3_000
PAGES: Final = 400
_READERS: Final = 50
#: Of whom each has an agent of their own: browsers are updated, telephones differ.
AGENTS: Final = 200
CRAWLER: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_AGENT: Final = HEADERS["User-Agent"].replace("140.0", "%d.0")
_LANGUAGES: Final = ("ko-KR,ko;q=0.9,en;q=0.8", "en-US,en;q=0.9", "en-GB,en;q=0.9,de;q=0.7", "ja,en;q=0.8")
_DOCUMENT: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": HEADERS["Accept"]}
_SCRIPT: Final = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"}
_STYLE: Final = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "style", "Accept": "text/css,*/*;q=0.1"}
_STATIC_HEADERS: Final = {"cache-control": "public, max-age=3600", "etag": '"5f2a"'}
_STYLES: Final = "body { margin: 1rem auto; max-width: 50rem }\n" * 40


class Arrival(NamedTuple):
    """One request as a server hands it over, and what it receives after the head."""

    kind: str
    path: str
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int]

    def scope(self) -> Scope:
        """Return a fresh scope of it, as uvicorn makes it."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": self.client,
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            # New bytes, as a server has just read them: those of the model have left the caches long ago.
            "headers": [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in self.headers],
            "state": {},
        }
        if self.kind == "WebSocket":
            del scope["method"]
            scope |= {"type": "websocket", "scheme": "ws", "subprotocols": []}
        return scope

    def receive(self) -> Receive:
        """Return what the server says to the application, one message a call."""
        messages: Iterator[Message] = iter(_SPOKEN if self.kind == "WebSocket" else _ASKED)

        async def receive() -> Message:
            return next(messages)

        return receive

    @property
    def wire(self) -> bytes:
        """The request as it crosses the wire."""
        lines = [b"GET %s HTTP/1.1" % self.path.encode(), *(b"%s: %s" % line for line in self.headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n"


_ASKED: Final[list[Message]] = [{"type": "http.request", "body": b"", "more_body": False}]
_SPOKEN: Final[list[Message]] = [
    {"type": "websocket.connect"},
    {"type": "websocket.receive", "text": "hello"},
    {"type": "websocket.receive", "text": "goodbye"},
    {"type": "websocket.disconnect", "code": 1000},
]


class _Visitor(NamedTuple):
    """Somebody who has chosen, and comes again."""

    consent: str
    agent: str
    language: str
    client: tuple[str, int]


class Traffic:
    """
    The requests of a site with 3,000 visitors who have chosen and 400 pages, both as popular as Zipf has it.

    A visitor's session is signed anew with each page, as Starlette's SessionMiddleware does, so that no two of their
    pages carry the same cookies; what a page fetches comes with those that the page has set. Who has not chosen yet has
    no cookie, and a crawler never has one.
    """

    def __init__(self, seed: int = 1, *, visitors: int = VISITORS) -> None:
        self._random = Random(seed)
        self._visitors = [self._visitor() for _ in range(visitors)]
        self._sessions = [self._session() for _ in range(visitors)]
        #: Of whom the last pages are: what a page asks for comes with the cookies that it came with.
        self._reading: deque[int | None] = deque([None], _READERS)
        self._by_visits = list(accumulate(1 / rank for rank in range(1, visitors + 1)))
        self._by_views = list(accumulate(1 / rank for rank in range(1, PAGES + 1)))

    def mix(self, number: int) -> list[Arrival]:
        """Return `number` requests of all kinds."""
        kinds = self._random.choices(list(SHARES), list(SHARES.values()), k=number)
        return [self._arrival(kind) for kind in kinds]

    def alone(self, kind: str, number: int) -> list[Arrival]:
        """Return `number` requests of one of the kinds that are `ALONE`."""
        if kind in ("warm", "renewed"):
            return [self._page(0, "/items/42" if kind == "warm" else "/renewed/42")] * number
        self._reading.extend(range(_READERS))
        if kind.startswith("stranger"):
            return [self._stranger("/renewed/42" if kind.endswith("renewed") else "/items/42") for _ in range(number)]
        return [self._arrival(kind) for _ in range(number)]

    def _arrival(self, kind: str) -> Arrival:
        page = self._random.choices(range(PAGES), cum_weights=self._by_views)[0]
        if kind == "first visit":
            agent, language = self._agent(), self._random.choice(_LANGUAGES)
            self._reading.append(None)
            return Arrival(kind, f"/items/{page}", _lines(_DOCUMENT, agent, language), self._client())
        if kind == "crawler":
            lines = _lines({"Accept": "text/html,*/*;q=0.8"}, CRAWLER, "")
            return Arrival(kind, f"/items/{page}", lines, self._client())
        if kind in ("visitor", "redirect"):
            number = self._random.choices(range(len(self._visitors)), cum_weights=self._by_visits)[0]
            if kind == "redirect":
                return self._asked(kind, number, f"/go/{page}", _DOCUMENT)
            arrival = self._page(number, f"/renewed/{page}")
            self._sessions[number] = self._session()
            self._reading.append(number)
            return arrival
        path, says = {
            "JSON": (f"/api/items/{page}", _SCRIPT),
            "static file": (f"/static/{page % 20}.css", _STYLE),
            "304": (f"/static/{page % 20}.css", _STYLE | {"If-None-Match": _STATIC_HEADERS["etag"]}),
            "WebSocket": ("/live", {"Origin": "http://127.0.0.1"}),
        }[kind]
        return self._asked(kind, self._random.choice(self._reading), path, says)

    def _page(self, number: int, path: str) -> Arrival:
        return self._asked("visitor", number, path, _DOCUMENT)

    def _asked(self, kind: str, number: int | None, path: str, says: dict[str, str]) -> Arrival:
        if number is None:
            return Arrival(kind, path, _lines(says, self._agent(), self._random.choice(_LANGUAGES)), self._client())
        visitor = self._visitors[number]
        cookies = f"theme=dark; session={self._sessions[number]}; {visitor.consent}"
        return Arrival(kind, path, _lines(says, visitor.agent, visitor.language, cookies), visitor.client)

    def _stranger(self, path: str) -> Arrival:
        visitor = self._visitor()
        cookies = f"theme=dark; session={self._session()}; {visitor.consent}"
        return Arrival("visitor", path, _lines(_DOCUMENT, visitor.agent, visitor.language, cookies), visitor.client)

    def _visitor(self) -> _Visitor:
        purposes = {"functional": True, "analytics": True, "marketing": False}
        given_on, receipt = datetime.now(UTC).date(), self._text(22)
        consent = Consent(choice=Choice.PROMPT, revision=1, given_on=given_on, purposes=purposes, receipt=receipt)
        value = f"consent={_COOKIES.sign(consent)}"
        return _Visitor(value, self._agent(), self._random.choice(_LANGUAGES), self._client())

    def _session(self) -> str:
        return f"eyJ1c2VyIjogNDJ9.{self._text(6)}.{self._text(27)}"

    def _agent(self) -> str:
        return _AGENT % self._random.randrange(AGENTS)

    def _client(self) -> tuple[str, int]:
        number = self._random.randrange(1 << 24)
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", self._random.randrange(1 << 14, 1 << 16)

    def _text(self, letters: int) -> str:
        return "".join(self._random.choices(_LETTERS, k=letters))


_COOKIES: Final = ConsentCookie([SECRET])
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _lines(says: dict[str, str], agent: str, language: str, cookies: str = "") -> list[tuple[bytes, bytes]]:
    """Return what a browser sends; of a crawler, which tells no language, what that sends."""
    sent = {"Host": HEADERS["Host"], "User-Agent": agent, **says}
    if language:
        sent |= {"Accept-Language": language, "Referer": HEADERS["Referer"], "Sec-Fetch-Site": "same-origin"}
    if cookies:
        sent["Cookie"] = cookies
    return [(name.lower().encode(), value.encode()) for name, value in sent.items()]


async def _renewed(request: PageRequest) -> Response:
    """Answer with the page, and sign the session anew: as a session middleware does."""
    response = HTMLResponse(PAGE)
    for name in ("session", "ad"):
        value = f"{name}={secrets.token_hex(16)}; Max-Age=31536000; Path=/; SameSite=Lax"
        response.headers.append("set-cookie", value)
    return response


async def _document(request: PageRequest) -> Response:
    return JSONResponse({"number": request.path_params["number"], "title": "An item", "price": 1200})


async def _static(request: PageRequest) -> Response:
    """Answer from memory: a file that is read in a thread would cost ten times what is measured here."""
    if request.headers.get("if-none-match") == _STATIC_HEADERS["etag"]:
        return Response(status_code=304, headers=_STATIC_HEADERS)
    return Response(_STYLES, media_type="text/css", headers=_STATIC_HEADERS)


async def _redirect(request: PageRequest) -> Response:
    return RedirectResponse(f"/items/{request.path_params['number']}")


async def _live(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


def new_site() -> ASGIApp:
    """Return the bare application that answers this traffic."""
    return Starlette(
        routes=[
            Route("/items/{number}", item),
            Route("/renewed/{number}", _renewed),
            Route("/api/items/{number}", _document),
            Route("/static/{name}", _static),
            Route("/go/{number}", _redirect),
            WebSocketRoute("/live", _live),
        ]
    )
