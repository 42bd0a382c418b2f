"""Pages with the banner's script in a real Chromium, from a server of a few lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from tests.support.browser_site import PATIENCE_MS

from consent_mw.site.assets import Assets

ASSETS = Assets()


def served(file: str) -> bytes:
    """Return the bytes that the server sends of one of our files."""
    asset = ASSETS.get(ASSETS.name(file) or "")
    assert asset is not None
    return asset.body


STRICT = (
    "default-src 'none'; script-src 'self' 'nonce-n1'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-src 'self'; img-src 'self'"
)


PURPOSES = ("functional", "analytics")


JS = """<script defer src="/consent/static/consent.0123.js" data-once="한 번" data-always="항상" data-why="막힘:"
 data-saved="Saved." data-unsaved="Not kept." data-purposes="necessary functional analytics">
</script>"""


BUTTONS = "".join(
    f'<button type="submit" name="choice" value="{value}">{value}</button>' for value in ("accept", "prompt", "reject")
)


BANNER = f"""<consent-mw id="consent-mw" class="consent-mw" data-consent="banner" data-prefix="/consent"
 aria-labelledby="consent-mw-title" lang="en" %s><h2 id="consent-mw-title">Your choice</h2>
<form method="post" action="/consent/choice" data-consent="choice">
<input type="hidden" name="next" value="/">{BUTTONS}<a href="/consent" data-consent="settings">Settings</a></form>
</consent-mw>"""


WAITING = """<consent-mw id="consent-mw" data-consent="waiting" aria-labelledby="t"><h2 id="t">May they?</h2>
<ul>%s</ul></consent-mw>"""


ITEM = """<li>{0}<form method="post" action="/consent/choice" data-consent="waiting">
<input type="hidden" name="waiting" value="{0}"><button type="submit" name="answer" value="allow">allow {0}</button>
<button type="submit" name="answer" value="refuse">refuse {0}</button></form></li>"""


#: Of a site that can be read offline: pages pass through it, and the state cannot be had.
WORKER = """addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  event.respondWith(event.request.url.includes("/consent/state") ? Response.error() : fetch(event.request));
});"""


#: Of a site that keeps whatever it has seen, and asks its server no second time.
KEEPER = """addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => event.request.method === "GET" && event.respondWith((async () => {
  const all = await caches.open("all"), kept = await all.match(event.request);
  if (kept) return kept;
  const answer = await fetch(event.request);
  await all.put(event.request, answer.clone());
  return answer;
})()));"""


class Server(ThreadingHTTPServer):
    """Keeps one visitor's choice, and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.pages: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.csp = STRICT
        self.answers: dict[str, bool | None] = {}
        self.choice: str | None = None
        self.waiting: list[str] = []
        self.posts: list[tuple[str, dict[str, list[str]]]] = []
        self.reads = 0
        self.broken = False

    def state(self) -> dict[str, object]:
        allowed = ["necessary", *(name for name, answer in self.answers.items() if answer)]
        return {
            "choice": self.choice, "revision": 1, "given_on": None, "language": "ko",
            "purposes": {name: self.answers.get(name) for name in PURPOSES}, "cookies": {"theme": True},
            "allowed": allowed, "signals": [],
            "waiting": [{"id": name, "name": name} for name in self.waiting],
            "show": self.choice is None or bool(self.waiting),
        }  # fmt: skip

    def take(self, fields: dict[str, list[str]]) -> None:
        if "answer" in fields:
            named = fields["waiting"]
            self.waiting = [] if named == ["all"] else [cookie for cookie in self.waiting if cookie not in named]
            return
        choice = fields["choice"][0]
        self.choice = "prompt" if choice == "save" else choice
        given = {name: fields.get(f"purpose.{name}", [""])[0] for name in PURPOSES}
        whole = {"accept": True, "reject": False}.get(choice)
        self.answers = {name: {"yes": True, "no": False}.get(given[name], whole) for name in PURPOSES}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in self.server.redirects:
            self._send("", "text/html", 303, self.server.redirects[path])
        elif path == "/consent/state":
            self.server.reads += 1
            self._send(json.dumps(self.server.state()), "application/json")
        elif path.startswith("/consent/static/"):
            self._send(served(Path(path).name.partition(".")[0] + ".js").decode(), "text/javascript")
        elif path in ("/worker.js", "/keeper.js"):
            self._send(WORKER if path == "/worker.js" else KEEPER, "text/javascript")
        elif path.endswith(".js"):
            self._send(f"(window.ran = window.ran || []).push('{path[1:-3]}');", "text/javascript")
        else:
            page = self.server.pages.get(path, "<h1>another</h1>")
            self._send(f"<!doctype html><html lang=en><head><title>{path}</title>{JS}</head><body>{page}", "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.posts.append((self.headers["Accept"], parse_qs(body)))
        if self.server.broken and self.headers["Accept"] == "application/json":
            return self._send("{}", "application/json", 409)
        if self.path == "/consent/choice":
            self.server.take(parse_qs(body))
        if self.headers["Accept"] == "application/json":
            return self._send(json.dumps(self.server.state()), "application/json")
        return self._send("", "text/html", 303)

    def _send(self, text: str, kind: str, status: int = 200, location: str = "/after") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.send_header("Content-Security-Policy", self.server.csp)
        if status == 303:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=server.origin)
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []


def opens(page: Page, server: Server, html: str, path: str = "/") -> None:
    server.pages[path.partition("#")[0]] = html
    page.goto(path)


def becomes_true(page: Page, expression: str) -> None:
    """Wait for it; `wait_for_function` cannot, since it evaluates in the page, whose policy forbids that."""
    ends = time.monotonic() + 60
    while not page.evaluate(f"!!({expression})"):
        assert time.monotonic() < ends, f"{expression} never became true"
        page.wait_for_timeout(10)


def ran(page: Page) -> object:
    return page.evaluate("window.ran")
