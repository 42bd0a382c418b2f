"""Visit a running site page by page, as a browser that keeps nothing, and tell what it sets and whom it calls.

The one place from which this package connects to anything: the `scan` command, for the address that it is given.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, quote, urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from consent_mw.exceptions import ConsentError

__all__ = ["Crawl", "Embed", "Line", "Unreachable"]

_AGENT: Final = "consent-mw-scan"
_TIMEOUT_SECONDS: Final = 10
_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAGE_BYTES: Final = 2 << 20
_MOST_REDIRECTS: Final = 10
# A calendar or a search has a page for each query: some of each path are enough.
_MOST_QUERIES: Final = 3
_MOST_LINKS: Final = 20_000
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_NO_PAGE: Final = re.compile(
    r"\.(7z|avif|bz2|css|csv|docx?|exe|gif|gz|ico|jpe?g|js|json|mjs|mov|mp[34]|ogg|pdf|png|pptx?|rar|svg|tar|tgz|txt|wav"
    r"|web[mp]|woff2?|xlsx?|xml|xz|zip)$",
    re.IGNORECASE,
)
_PORTS: Final = {"http": 80, "https": 443}


class Unreachable(ConsentError):
    """A site cannot be visited; the message says why, and what to do."""


class Line(NamedTuple):
    """One Set-Cookie line as it came, from the page at `url`; `date` is what the server's clock said, or ""."""

    url: str
    line: bytes
    date: str


class Embed(NamedTuple):
    """A script or frame of another host in the page at `url`."""

    url: str
    kind: Literal["script", "frame"]
    host: str


class _Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def kind(self) -> str:
        return self.headers.get_content_type() if "content-type" in self.headers else ""


class Crawl:
    """
    One visit to a site: at most `most_pages` pages of one origin, one after the other, with GET and without cookies.

    Attributes:
        pages: The addresses that were visited, in order.
        lines: Every Set-Cookie line, also those of redirects and errors.
        embeds: Scripts and frames of other hosts.
        failed: Pages that could not be read, each with the reason.
        forbidden: How many links `robots.txt` asks to leave alone.
        left: How many known pages were not visited because of the limit.
    """

    def __init__(self, url: str, *, most_pages: int, obey_robots: bool = True) -> None:
        """
        Raises:
            ValueError: `url` is no address of a page; the message says what one looks like.
        """
        self._start = _checked(url)
        self._origin = _origin(self._start)
        self._most_pages = most_pages
        self._obey_robots = obey_robots
        self._robots: RobotFileParser | None = None
        self._queue: deque[str] = deque()
        self._known: set[str] = set()
        self._queries: dict[str, int] = {}
        self.pages: list[str] = []
        self.lines: list[Line] = []
        self.embeds: list[Embed] = []
        self.failed: dict[str, str] = {}
        self.forbidden: int = 0

    @property
    def left(self) -> int:
        return len(self._queue)

    def run(self, progress: Callable[[int, int], None] = lambda done, known: None) -> None:
        """
        Visit the site. `progress` hears after each page how many were visited, and how many will be as far as known.

        Raises:
            Unreachable: The first page cannot be had: no connection, no HTML, not allowed.
        """
        first = self._first_page()
        if self._obey_robots:
            self._robots = self._read_robots()
            if not self._allowed(first):
                raise Unreachable(
                    f"{first}: the site's robots.txt asks robots to stay away; "
                    "allow consent-mw-scan there, or give --ignore-robots for a site of your own"
                )
        self._add(first)
        while self._queue and len(self.pages) < self._most_pages:
            url = self._queue.popleft()
            try:
                self._visit(url, is_first=url == first)
            except Unreachable as error:
                if url == first:
                    raise
                self.failed[url] = str(error)
            progress(len(self.pages), min(self._most_pages, len(self.pages) + len(self._queue)))
            if self._queue:
                time.sleep(_PAUSE_SECONDS)

    # -- pages -------------------------------------------------------------------------------------------------------

    def _first_page(self) -> str:
        """Return where the start leads; a site may send to https or to `www.`, and is then visited there."""
        url = self._start
        for _ in range(_MOST_REDIRECTS):
            target = self._redirected(url, self._get(url))
            if target is None:
                return url
            if not _is_same_site(target, self._start):
                raise Unreachable(f"{self._start}: leads to {_origin(target)}; scan that address if it is yours")
            url, self._origin = target, _origin(target)
        raise Unreachable(f"{self._start}: redirects without end; open it in a browser and give the address it shows")

    def _visit(self, url: str, *, is_first: bool) -> None:
        answer = self._get(url)
        self.pages.append(url)
        target = self._redirected(url, answer)
        if target is not None:
            self._add(target)
        elif answer.kind == "text/html":
            self._read(url, answer)
        elif is_first:
            raise Unreachable(f"{url}: is {answer.kind or 'of no stated type'} and not a page; give one of text/html")

    def _redirected(self, url: str, answer: _Answer) -> str | None:
        self._take(url, answer)
        place = answer.headers.get("location")
        return _absolute(url, place) if answer.status in _REDIRECTS and place else None

    def _take(self, url: str, answer: _Answer) -> None:
        for line in answer.headers.get_all("set-cookie", []):
            self.lines.append(Line(url, line.encode("latin-1", "replace"), answer.headers.get("date", "")))

    def _read(self, url: str, answer: _Answer) -> None:
        reader = _Reader()
        charset = answer.headers.get_content_charset("utf-8")
        try:
            reader.feed(answer.body.decode(charset, "replace"))
        except LookupError:  # a charset that nobody knows; links are ASCII in all the others
            reader.feed(answer.body.decode("latin-1"))
        for link in reader.links:
            target = _absolute(url, link)
            if target is not None:
                self._add(target)
        own = urlsplit(url).netloc
        for kind, source in reader.embeds:
            target = _absolute(url, source)
            host = urlsplit(target).netloc if target else own
            if host != own:
                self.embeds.append(Embed(url, kind, host))

    def _add(self, url: str) -> None:
        parts = urlsplit(url)
        if _origin(url) != self._origin or url in self._known or len(self._known) >= _MOST_LINKS:
            return
        if _NO_PAGE.search(parts.path):
            return
        if parts.query and self._queries.get(parts.path, 0) >= _MOST_QUERIES:
            return
        self._known.add(url)
        if not self._allowed(url):
            self.forbidden += 1
            return
        self._queries[parts.path] = self._queries.get(parts.path, 0) + bool(parts.query)
        self._queue.append(url)

    # -- robots.txt (RFC 9309) ---------------------------------------------------------------------------------------

    def _read_robots(self) -> RobotFileParser:
        robots = RobotFileParser()
        try:
            answer = self._get(self._origin + "/robots.txt")
        except Unreachable:
            answer = None
        there = answer is not None and answer.status == 200 and answer.kind == "text/plain"
        robots.parse(answer.body.decode("utf-8", "replace").splitlines() if answer and there else [])
        return robots

    def _allowed(self, url: str) -> bool:
        return self._robots is None or self._robots.can_fetch(_AGENT, url)

    # -- the connection ----------------------------------------------------------------------------------------------

    def _get(self, url: str) -> _Answer:
        parts = urlsplit(url)
        connection = _connection(parts)
        # "identity": what cannot be read is not asked for. No cookie is ever sent back.
        headers = {"User-Agent": _AGENT, "Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "identity"}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.headers, answer.read(_LONGEST_PAGE_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{url}: {_told(error)}") from error
        finally:
            connection.close()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_SECONDS)
    return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_SECONDS)


def _told(error: OSError | http.client.HTTPException) -> str:
    """Return the reason and the mend in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); mend it, or scan the site behind it by http"
    if isinstance(error, ssl.SSLError):
        return f"no TLS there ({error.reason or 'the handshake failed'}); does this port speak https? try http"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is the site running, on this port?"
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_SECONDS} seconds; is the site running?"
    if isinstance(error, socket.gaierror):
        return "no such host; check the name"
    if isinstance(error, OSError):
        return f"the connection failed ({error.strerror or error}); is the site running?"
    return f"what answers there is no HTTP server ({type(error).__name__}); does this port speak https?"


def _checked(url: str) -> str:
    form = "write it as https://www.example.com/"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError as error:
        raise ValueError(f"{url}: is no address ({error}); {form}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url}: is no address of a page; {form}")
    found = _absolute(url, "")
    if found is None:
        raise ValueError(f"{url}: is no address of a page; {form}")
    return found


def _absolute(base: str, link: str) -> str | None:
    """Return where `link` leads from `base`, without a fragment and as ASCII; None for what is no page of the web."""
    try:
        parts = urlsplit(urldefrag(urljoin(base, link.strip())).url)
        _ = parts.port
        host = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    except (ValueError, UnicodeError):
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in host:
        return None
    safe = "/:@!$&'()*+,;=~%?[]"
    path, query = quote(parts.path or "/", safe=safe), quote(parts.query, safe=safe)
    return parts._replace(netloc=host.lower(), path=path, query=query).geturl()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port == _PORTS[parts.scheme] else f":{port}")


def _is_same_site(one: str, other: str) -> bool:
    names = [(urlsplit(url).hostname or "").removeprefix("www.") for url in (one, other)]
    return names[0] == names[1]


class _Reader(HTMLParser):
    """Gathers the links of a page, and what it embeds; frames and scripts that wait for consent too."""

    def __init__(self) -> None:
        super().__init__()
        self._base = ""
        self._links: list[str] = []
        self._embeds: list[tuple[Literal["script", "frame"], str]] = []

    @property
    def links(self) -> Iterator[str]:
        return (urljoin(self._base, link) for link in self._links)

    @property
    def embeds(self) -> Iterator[tuple[Literal["script", "frame"], str]]:
        return ((kind, urljoin(self._base, source)) for kind, source in self._embeds)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        source = given.get("src") or given.get("data-src")
        if tag in ("a", "area") and "href" in given and "nofollow" not in given.get("rel", "").split():
            self._links.append(given["href"])
        elif tag == "base":
            self._base = self._base or given.get("href", "")
        elif tag == "script" and source:
            self._embeds.append(("script", source))
        elif tag in ("iframe", "frame") and source:
            self._embeds.append(("frame", source))
            self._links.append(source)
