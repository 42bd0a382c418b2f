"""Visit a running site page by page, as a browser that keeps nothing, and tell what it sets and whom it calls."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from consent_mw.cli.fetch import AGENT, Answer, Unreachable, fetched
from consent_mw.exceptions import ConsentError

#: For one page, from the name of its host to its last byte.
_PAGE_SECONDS: Final = 10
_PAUSE_SECONDS: Final = 0.1
_PIECE: Final = 1 << 18  # characters that are parsed between two looks at the clock
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
#: Of pages. Python has others, some of which take minutes for a page ("punycode").
_CHARSET: Final = re.compile(
    r"utf-?(8|16(-?[lb]e)?)|us-ascii|iso-8859-\d+|windows-125\d|koi8-[ru]|euc-(kr|jp)|ks_c_5601-1987|cp949|shift_jis|gbk"
    r"|gb2312|gb18030|big5",
    re.IGNORECASE,
)


#: How a page of ours begins (site/templates/page.html).
_OURS: Final = b'class="consent-mw-page"'
_HEAD_BYTES: Final = 1_000


class _Late(ConsentError):
    """The time of the whole visit is over."""


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


class Crawl:
    """
    One visit to a site: at most `most_pages` pages of one origin, one after the other, with GET and without cookies.

    It ends after `most_seconds`, whatever the server does, with what was seen until then; a page has ten of them.

    Attributes:
        pages: The addresses that were visited, in order.
        lines: Every Set-Cookie line, also those of redirects and errors.
        embeds: Scripts and frames of other hosts.
        failed: Pages that could not be read, each with the reason.
        forbidden: How many links `robots.txt` asks to leave alone.
        left: How many known pages were not visited because of a limit.
        late: Whether it ended because its time was over.
    """

    def __init__(self, url: str, *, most_pages: int, most_seconds: float, obey_robots: bool = True) -> None:
        """
        Raises:
            ValueError: `url` is not the address of a page; the message shows one.
        """
        self._start = _checked(url)
        self._origin = _origin(self._start)
        self._most_pages = most_pages
        self._most_seconds = most_seconds
        self._until = 0.0  # monotonic seconds
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
        self.late: bool = False

    @property
    def left(self) -> int:
        return len(self._queue)

    def run(self, progress: Callable[[int, int], None] = lambda done, known: None) -> None:
        """
        Visit the site. `progress` hears after each page how many were visited, and how many will be as far as known.

        Raises:
            Unreachable: The first page cannot be had: no connection, no HTML, not allowed, not in time.
        """
        self._until = time.monotonic() + self._most_seconds
        try:
            self._run(progress)
        except _Late as error:
            self.late = True
            if not self.pages:
                seconds = f"{self._most_seconds:g}"
                raise Unreachable(f"{self._start}: no page within {seconds} seconds; is the site running?") from error

    def _run(self, progress: Callable[[int, int], None]) -> None:
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
                time.sleep(min(_PAUSE_SECONDS, self._left_seconds()))

    def _left_seconds(self) -> float:
        """Return how much time is left. Raises _Late if there is none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise _Late
        return left

    # -- pages -------------------------------------------------------------------------------------------------------

    def _first_page(self) -> str:
        """
        Return where the start leads; a site may send to https or to `www.`, and is then visited there. What listens on
        another port of its machine is another's.
        """
        url = self._start
        for _ in range(_MOST_REDIRECTS):
            target = self._redirected(url, self._get(url))
            if target is None:
                return url
            if not _is_same_server(target, self._start):
                raise Unreachable(f"{self._start}: leads to {_origin(target)}; scan that address if it is yours")
            url, self._origin = target, _origin(target)
        raise Unreachable(f"{self._start}: redirects without end; open it in a browser and give the address it shows")

    def _visit(self, url: str, *, is_first: bool) -> None:
        answer = self._get(url)
        if _OURS in answer.body[:_HEAD_BYTES] and not is_first:
            return  # what our own pages set, and link, is no matter of the site's
        self.pages.append(url)
        target = self._redirected(url, answer)
        if target is not None:
            self._add(target)
        elif answer.kind == "text/html":
            self._read(url, answer)
        elif is_first:
            raise Unreachable(f"{url}: is {answer.kind or 'of no stated type'} and not a page; give one of text/html")

    def _redirected(self, url: str, answer: Answer) -> str | None:
        self._take(url, answer)
        place = answer.headers.get("location")
        return _absolute(url, place) if answer.status in _REDIRECTS and place else None

    def _take(self, url: str, answer: Answer) -> None:
        for line in answer.headers.get_all("set-cookie", []):
            self.lines.append(Line(url, line.encode("latin-1", "replace"), answer.headers.get("date", "")))

    def _read(self, url: str, answer: Answer) -> None:
        reader = _Reader()
        text = _text_of(answer)
        try:
            for start in range(0, len(text), _PIECE):
                self._left_seconds()
                reader.feed(text[start : start + _PIECE])
        except (AssertionError, ValueError):  # how HTMLParser leaves <![<![ and a number of 5,000 digits
            pass
        for link in reader.links:
            self._left_seconds()
            target = _absolute(url, link)
            if target is not None:
                self._add(target)
        own = urlsplit(url).netloc
        for kind, source in reader.embeds:
            self._left_seconds()
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
        lines = answer.body.decode("utf-8", "replace").splitlines() if answer and there else []
        robots.parse(line for line in lines if _joined("", line.partition(":")[2].strip()) is not None)
        return robots

    def _allowed(self, url: str) -> bool:
        return self._robots is None or self._robots.can_fetch(AGENT, url)

    def _get(self, url: str) -> Answer:
        try:
            return fetched(url, min(_PAGE_SECONDS, self._left_seconds()))
        except Unreachable:
            self._left_seconds()  # nothing was wrong with the page if the time of the whole visit is over
            raise


def _checked(url: str) -> str:
    form = "write it as https://www.example.com/"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError as error:
        raise ValueError(f"{url}: cannot be read as an address ({error}); {form}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url}: is not the address of a page; {form}")
    absolute = _absolute(url, "")
    if absolute is None:
        raise ValueError(f"{url}: is not the address of a page; {form}")
    return absolute


def _absolute(base: str, link: str) -> str | None:
    """Return where `link` leads from `base`, without a fragment and as ASCII; None if it is not a page on the web."""
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


def _joined(base: str, link: str) -> str | None:
    """Return where `link` leads from `base`, which may be no address either; None for what cannot be read."""
    try:
        urlsplit(link)
        return urljoin(base, link)
    except ValueError:
        return None


def _text_of(answer: Answer) -> str:
    """Return a page as text. In an unknown charset, links are still ASCII."""
    charset = answer.headers.get_content_charset("utf-8")
    try:
        return answer.body.decode(charset if _CHARSET.fullmatch(charset) else "latin-1", "replace")
    except LookupError:
        return answer.body.decode("latin-1")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port == _PORTS[parts.scheme] else f":{port}")


def _is_same_server(one: str, other: str) -> bool:
    """Whether `one` is on the host and the port of `other`, `www.` aside; from http to https with their usual ports."""
    (host, port), (other_host, other_port) = (_server(url) for url in (one, other))
    return host == other_host and (port == other_port or (port, other_port) == (_PORTS["https"], _PORTS["http"]))


def _server(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").removeprefix("www."), parts.port or _PORTS[parts.scheme]


class _Reader(HTMLParser):
    """Gathers the links of a page, and what it embeds; frames and scripts that wait for consent too."""

    def __init__(self) -> None:
        super().__init__()
        self._base = ""
        self._links: list[str] = []
        self._embeds: list[tuple[Literal["script", "frame"], str]] = []

    @property
    def links(self) -> Iterator[str]:
        return (link for link in (_joined(self._base, written) for written in self._links) if link)

    @property
    def embeds(self) -> Iterator[tuple[Literal["script", "frame"], str]]:
        for kind, source in self._embeds:
            if link := _joined(self._base, source):
                yield kind, link

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
