"""Put the banner into a page that the application sends: which pages, where in them, and with which headers.

Pure: messages in, messages out. A page without a place for the banner leaves unchanged, byte for byte and chunk by
chunk.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from consent_mw._asgi import Header, HeaderList, Message, Scope, header_value, header_values
from consent_mw.site.body_start import Opening, Place
from consent_mw.site.loose_forms import ends, loosened
from consent_mw.system.bounded_cache import remembering

_LIMIT_BYTES: Final = 1 << 20
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([\w.:+-]{1,40})', re.IGNORECASE)
# Python's names of the charsets in which a byte below 0x80 that opens or closes a tag is never part of another
# character. UTF-16, UTF-32, ISO-2022 and HZ are not among them.
_ASCII_COMPATIBLE: Final = re.compile(
    r"utf-8(-sig)?|ascii|iso8859-\d+|cp125\d|cp(866|874|932|949|950)|koi8-[rtu]|mac-\w+|euc_\w+|shift_jis\w*|gb\w+|big5\w*"
)
#: Names that browsers know and Python does not, of charsets in which tags are other bytes (Encoding Standard, 4.2). A
#: page in a charset that neither knows is read as if it named none.
_WIDE: Final = frozenset(
    [
        "csunicode",
        "iso-10646-ucs-2",
        "iso-2022-cn",
        "iso-2022-cn-ext",
        "replacement",
        "ucs-2",
        "unicode",
        "unicodefeff",
        "unicodefffe",
    ]
)
#: How UTF-16 begins, with a byte order mark or an XML declaration. A browser believes the mark more than any header,
#: and the declaration where no header names a charset (HTML, 13.2.3.2). Without them it does not read UTF-16.
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff", b"<\0?\0", b"\0<\0?")
#: Codings that a browser undoes. It shows what names another one, such as `utf-8`, as it comes.
_COMPRESSIONS: Final = frozenset(
    (b"br", b"compress", b"dcb", b"dcz", b"deflate", b"gzip", b"x-compress", b"x-gzip", b"zstd")
)
_DIRECTIVE: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')

# These headers describe the bytes that the application wrote. A validator, weak or not, would also bring a 304 for a
# page whose banner has changed since (answered, another revision), so both kinds are removed.
_DESCRIBE_BYTES: Final = frozenset(
    (b"accept-ranges", b"content-digest", b"content-md5", b"digest", b"etag", b"last-modified", b"repr-digest")
)
# They outrank Cache-Control in the cache that they address: RFC 9213 section 2.2, the Edge Architecture, nginx.
_TARGETED: Final = frozenset((b"cdn-cache-control", b"surrogate-control", b"x-accel-expires"))

# Request headers that ask for less than the whole page: for nothing if the browser's copy is current, or for a part.
_ASKS_FOR_LESS: Final = frozenset((b"if-modified-since", b"if-none-match", b"if-range", b"range"))
#: Successes that are not a whole page: they have no body, or a part of one.
_NO_PAGE: Final = frozenset((204, 205, 206))
_BY_PATH: Final = "http.response.pathsend"
#: The values of `Sec-Fetch-Dest` for a page inside another page.
FRAMES: Final = frozenset((b"iframe", b"frame", b"embed", b"object", b"fencedframe"))
_READS: Final = frozenset(("GET", "HEAD"))

#: The headers of an answer for one visitor that had no headers about caches before.
FOR_ONE_VISITOR: Final = ((b"cache-control", b"private"), (b"vary", b"Cookie"))

#: Headers that may forbid the banner.
_SAYS_NO: Final = frozenset((b"cache-control", b"content-disposition", b"content-encoding", b"content-range"))
_ABOUT_CACHES: Final = _TARGETED | {b"cache-control", b"vary"}

#: What keeps the banner out of a page, each with the fix; the value is the page's path.
_OR_PLACE: Final = ", or place the banner in a template with consent_head and consent_banner (docs/visitor.md)"
_COMPRESSED: Final = (
    "nobody is asked on %s: its body is compressed although we asked for it uncompressed. Compress outside "
    "ConsentMiddleware, in a middleware around it, the server or the proxy" + _OR_PLACE
)
_ODD_CHARSET: Final = (
    "nobody is asked on %s: its charset, by its Content-Type or its first bytes, is not a superset of ASCII. Send utf-8"
    + _OR_PLACE
)
_TWO_TYPES: Final = (
    "nobody is asked on %s: it has more than one Content-Type. Send one: text/html; charset=utf-8" + _OR_PLACE
)
_UNTYPED: Final = "nobody is asked on %s: it has no Content-Type. Send text/html; charset=utf-8" + _OR_PLACE
_XHTML: Final = (
    "nobody is asked on %s: its Content-Type is application/xhtml+xml. Send text/html; charset=utf-8" + _OR_PLACE
)
_UNTOUCHED: Final = (
    "nobody is asked on %s: its Cache-Control: no-transform forbids to put a banner in. Take it away" + _OR_PLACE
)
_TOO_LATE: Final = (
    "nobody is asked on %s: its <body> begins after the first mebibyte. Move styles and scripts of its head into files"
    + _OR_PLACE
)
_NO_PLACE: Final = (
    "nobody is asked on %s: the document has no <body> that a banner can be put into, such as a frameset, or a head "
    "whose comment, script or style is never closed. Give it one" + _OR_PLACE
)
#: A `<body>` that wants the banner behind all that it contains: what hydrates a whole document may look no further.
_AT_END: Final = re.compile(rb"""\sdata-consent-mw\s*=\s*(["']?)end\1[\s/>]""", re.IGNORECASE)
#: How a whole document begins; what begins otherwise may be a part for a script, which never gets a banner.
_DOCUMENT: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\b|html\b|\?xml\b)", re.IGNORECASE)


def insertable(method: str, start: Message) -> bool:
    """
    Whether the response that `start` begins may get the banner: complete and readable `text/html`, error pages too.

    Never for HEAD, a redirect, a part, an attachment, another content coding, `no-transform` or a charset that is not a
    superset of ASCII. Only the bytes show whether the page has a `<body>`.
    """
    if method == "HEAD" or not is_page_status(start.get("status", 0)):
        return False
    headers = _headers(start)
    kinds = header_values(headers, b"content-type")
    if len(kinds) == 1 and _SAYS_NO.isdisjoint({line[0].lower() for line in headers}):
        # The usual page: no other header matters.
        return is_html(kinds[0]) and _has_no_odd_length(headers)
    return (
        len(kinds) == 1
        and is_html(kinds[0])
        and not _is_compressed(headers)
        and header_value(headers, b"content-range") is None
        and not (header_value(headers, b"content-disposition") or b"").strip().lower().startswith(b"attachment")
        and "no-transform" not in _names(_directives(headers))
        and _has_no_odd_length(headers)
    )


def obstacle(start: Message) -> str:
    """
    Return why a page that `start` begins gets no banner although a browser shows it, with a place for its path.

    "" if it may get one, and for what no browser shows as a page: other types, attachments, parts, nothing at all.
    """
    headers = list(_headers(start))
    if header_value(headers, b"content-range") is not None or header_value(headers, b"content-disposition") is not None:
        return ""
    kinds = header_values(headers, b"content-type")
    if len(kinds) > 1 and any(kind[:9].lower() == b"text/html" for kind in kinds):
        return _TWO_TYPES
    kind = next(iter(kinds), None)
    if kind is None:
        return "" if header_value(headers, b"content-length") == b"0" else _UNTYPED
    kind = kind.partition(b";")[0].strip().lower()
    if kind != b"text/html":
        return _XHTML if kind == b"application/xhtml+xml" else ""
    if _is_compressed(headers):
        return _COMPRESSED
    if "no-transform" in _names(_directives(headers)):
        return _UNTOUCHED
    return "" if all(map(is_html, kinds)) else _ODD_CHARSET


def is_page_status(status: int) -> bool:
    """Whether an answer with this status can be a page that a browser shows: not a part, a redirect or empty."""
    return status == 200 or status >= 400 or (200 < status < 300 and status not in _NO_PAGE)


def asks_for_less(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a request's headers (by lower-case name) may ask for less than a whole page: see `unconditional`."""
    # One by one: for four names every operation on sets takes more than twice as long.
    return b"if-none-match" in fields or b"if-modified-since" in fields or b"range" in fields or b"if-range" in fields


def unconditional(scope: Scope, fields: Mapping[bytes, bytes]) -> Scope:
    """
    Return `scope` without the headers that ask for less than a page, if it asks for a page; else `scope` itself.

    A validator may be from before the banner was there, or from an answer that asked nothing. It would bring a 304 for
    a page that now has another banner. A range counts bytes that the browser is not sent. A server may always ignore
    these headers (RFC 9110, sections 13.2.1 and 14.2). A request for a page accepts `text/html` by name: navigations
    do. Images and scripts do not, and keep their 304 and their parts.

    Args:
        fields: The request's headers by lower-case name.
    """
    if not asks_for_less(fields) or b"text/html" not in fields.get(b"accept", b""):
        return scope
    if scope.get("method") not in _READS:
        return scope
    return {**scope, "headers": [line for line in scope["headers"] if line[0].lower() not in _ASKS_FOR_LESS]}


def legible(scope: Scope, fields: Mapping[bytes, bytes]) -> Scope:
    """
    Return `scope` so that we can read the answer and add to it, if it asks for a page; else `scope` itself.

    With it the application neither compresses the page, nor lets the server send a file by its path.

    Args:
        fields: The request's headers by lower-case name.
    """
    if b"text/html" not in fields.get(b"accept", b""):
        return scope
    extensions = scope.get("extensions")
    if extensions and _BY_PATH in extensions:
        scope = {**scope, "extensions": {name: extension for name, extension in extensions.items() if name != _BY_PATH}}
    if b"accept-encoding" in fields:
        scope = {**scope, "headers": [line for line in scope["headers"] if line[0].lower() != b"accept-encoding"]}
    return scope


def language_for_all(start: Message) -> str | None:
    """
    Return the language range for the one banner of a public page, or None for the visitor's own language.

    It is the page's own language, if the page names one, so that the first visitor's language does not become
    everyone's. It is None only if a cache keeps a page for each language (`Vary: Accept-Language`).
    """
    headers = _headers(start)
    language = header_value(headers, b"content-language")
    if language is not None:
        return language.decode("latin-1")
    varies = b",".join(header_values(headers, b"vary")).lower()
    return None if b"accept-language" in varies else ""


def is_public(start: Message) -> bool:
    """Whether the response allows a shared cache to keep it, so that everyone must get the same body."""
    if not any(line[0].lower() == b"cache-control" for line in _headers(start)):
        return False
    names = _names(_directives(_headers(start)))
    return bool(names & {"public", "s-maxage"}) and not names & {"private", "no-store"}


def personal(start: Message) -> Message:
    """
    Return `start` for one visitor only: with `Cache-Control: private` and `Vary: Cookie`, and their other values.

    `Set-Cookie` alone does not stop a cache (RFC 9111 section 7.3). Headers that would still let a certain cache keep
    the response (`CDN-Cache-Control`, `Surrogate-Control`, `X-Accel-Expires`) are removed.
    """
    return {**start, "headers": _personal(_headers(start))}


def altered(start: Message, *, shared: bool = False) -> Message:
    """Return `start` without the headers that describe its bytes, as for every page, whether it asks or not."""
    return {**start, "headers": _altered(_headers(start), shared)}


def altered_head(start: Message, *, shared: bool = False) -> Message:
    """
    Return the start of a HEAD response whose GET would get the banner, so that the two agree.

    The length is not known without the body, and HEAD may omit it (RFC 9110 section 8.6). A response that is not
    `insertable` as a GET is returned unchanged.
    """
    if not insertable("GET", start):
        return start
    headers = [line for line in _altered(_headers(start), shared) if line[0].lower() != b"content-length"]
    return {**start, "headers": headers}


class Insertion:
    """
    One page on its way: hold it until its `<body>` arrives, insert the banner, and let the rest stream through.

    A page with `<body data-consent-mw="end">` is held until its end, and gets the banner there, unless it is longer
    than `limit_bytes` or does not end properly.

    Args:
        start: The `http.response.start` of an `insertable` response; it leaves with what `feed` returns.
        head: HTML for the end of the document's head.
        body: HTML for the beginning of its body.
        shared: The page has one body for everyone, so its caching headers stay.
        limit_bytes: The latest offset at which the body may begin; if it begins later, the page leaves unchanged. No
            more than that is held for a banner at the end.
        absolute: The beginning of our addresses, and their beginning if a `<base>` of the page would redirect them.

    Attributes:
        obstacle: As `obstacle` returns it, once a whole document has left without a banner.
    """

    __slots__ = (
        "_absolute",
        "_at_end",
        "_body",
        "_head",
        "_held",
        "_held_bytes",
        "_limit_bytes",
        "_opening",
        "_place",
        "_shared",
        "_start",
        "obstacle",
    )

    def __init__(
        self,
        start: Message,
        head: str,
        body: str,
        *,
        shared: bool = False,
        limit_bytes: int = _LIMIT_BYTES,
        absolute: tuple[str, str] = ("", ""),
    ) -> None:
        self._start = start
        self._head = head
        self._body = body
        self._shared = shared
        self._limit_bytes = limit_bytes
        self._absolute = absolute
        self._held: list[Message] = []
        self._at_end = False
        self._held_bytes = 0
        self._opening: Opening | None = Opening()
        self._place: Place | None = None
        self.obstacle: str = ""

    def feed(self, message: Message) -> list[Message]:
        """Take the next message of the response; return those to send now, in order. It changes none in place."""
        if self._opening is None:
            return [message]
        self._held.append(message)
        if message["type"] != "http.response.body":
            return self.close()  # the server sends a file or the like directly: there is nothing to read
        self._held_bytes += len(message.get("body", b""))
        if self._place is None:
            self._place = self._look(self._opening, message)
            self._at_end = self._place is not None and self._wants_end(self._place)
        if self._place is not None:
            goes_on = message.get("more_body", False) and self._held_bytes <= self._limit_bytes
            return [] if goes_on and self._at_end else self._inserted(self._place)
        if not self._opening.ended:
            return []
        beginning = b"".join(message.get("body", b"")[:99] for message in self._held[:9])
        if beginning.startswith(_UTF_16):
            self.obstacle = _ODD_CHARSET
        elif _DOCUMENT.match(beginning):
            self.obstacle = _TOO_LATE if self._opening.seen_bytes >= self._limit_bytes else _NO_PLACE
        return self.close()

    def close(self) -> list[Message]:
        """Return the held messages, unchanged: for an application that stops before its response is complete."""
        held = [self._start, *self._held] if self._opening is not None else []
        self._opening = None
        self._held = []
        return held

    def _look(self, opening: Opening, message: Message) -> Place | None:
        chunk: bytes = message.get("body", b"")
        room = self._limit_bytes - opening.seen_bytes
        place = opening.read(chunk[:room], last=not message.get("more_body", False) and len(chunk) <= room)
        if place is None and len(chunk) > room:
            opening.ended = True
        return place

    def _inserted(self, place: Place) -> list[Message]:
        page = b"".join(message.get("body", b"") for message in self._held)
        whole = self._is_whole(page)
        forms = loosened(self._body) if whole else (self._body, "")
        if whole and self._at_end:
            forms = "", "".join(forms)
        head, body, end = (self._encoded(form) for form in (self._head, *forms))
        path, absolute = (f'="{address}'.encode() for address in self._absolute)
        if self._absolute[1] and b"<base" in page[: place.body].lower():
            head, body, end = (form.replace(path, absolute) for form in (head, body, end))
        page = b"".join((page[: place.head], head, page[place.head : place.body], body, page[place.body :], end))
        headers = lengthened(_altered(_headers(self._start), self._shared), len(head) + len(body) + len(end))
        messages: list[Message] = [{**self._start, "headers": headers}, {**self._held[-1], "body": page}]
        self._opening = None
        self._held = []
        return messages

    def _wants_end(self, place: Place) -> bool:
        page = b"".join(message.get("body", b"") for message in self._held)
        return _AT_END.search(page, place.head, place.body) is not None

    def _is_whole(self, page: bytes) -> bool:
        """Whether the page has come to its proper end. A stream may take long, so its forms stay inside."""
        length = header_value(_headers(self._start), b"content-length")
        last = not self._held[-1].get("more_body", False) or (length is not None and int(length) == len(page))
        return last and ends(page)

    def _encoded(self, fragment: str) -> bytes:
        """
        Return `fragment` in the page's charset.

        If the header does not name UTF-8, every letter beyond ASCII becomes a character reference. That is right in
        every charset, also in one that only a `<meta>` of the page declares.
        """
        charset = _charset(header_value(_headers(self._start), b"content-type") or b"")
        return fragment.encode("utf-8" if charset.lower() in ("utf-8", "utf8") else "ascii", "xmlcharrefreplace")


def _headers(start: Message) -> Iterable[Header]:
    headers: Iterable[Header] = start.get("headers") or ()
    return headers


def _is_compressed(headers: Iterable[Header]) -> bool:
    codings = b",".join(header_values(headers, b"content-encoding")).lower().split(b",")
    return not _COMPRESSIONS.isdisjoint([coding.strip() for coding in codings])


def _charset(kind: bytes) -> str:
    match = _CHARSET.search(kind)
    return match[1].decode("latin-1") if match else ""


@lru_cache(maxsize=64)
def _readable(charset: str) -> bool:
    """Whether we can find tags in bytes of this charset and add ASCII to them. No declared charset: yes."""
    try:
        return not charset or bool(_ASCII_COMPATIBLE.fullmatch(codecs.lookup(charset).name))
    except LookupError:
        return charset.lower() not in _WIDE


def _has_no_odd_length(headers: Iterable[Header]) -> bool:
    return all(value.strip().isdigit() for value in header_values(headers, b"content-length"))


def _says_html(kind: bytes) -> bool:
    return kind.partition(b";")[0].strip().lower() == b"text/html" and _readable(_charset(kind))


#: Whether a Content-Type says HTML in a charset that a banner can be put into.
is_html: Final = remembering(_says_html, 1 << 17)


def _altered(headers: Iterable[Header], shared: bool) -> HeaderList:
    kept = [line for line in headers if line[0].lower() not in _DESCRIBE_BYTES]
    return kept if shared else _personal(kept)


def lengthened(headers: Iterable[Header], more: int) -> HeaderList:
    """Return the headers of a page that became `more` bytes longer."""
    return [
        (name, b"%d" % (int(value) + more)) if name.lower() == b"content-length" else (name, value)
        for name, value in headers
    ]


def _personal(headers: Iterable[Header]) -> HeaderList:
    lines = list(headers)
    if _ABOUT_CACHES.isdisjoint({line[0].lower() for line in lines}):
        return [*lines, *FOR_ONE_VISITOR]
    kept = [line for line in lines if line[0].lower() not in _ABOUT_CACHES]
    return [*kept, (b"cache-control", _private(_directives(lines))), (b"vary", _vary_by_cookie(lines))]


def _private(directives: list[str]) -> bytes:
    kept = [directive for directive in directives if _name(directive) not in ("public", "private", "s-maxage")]
    if "no-store" not in _names(kept):
        kept.insert(0, "private")
    return ", ".join(kept).encode("latin-1")


def _vary_by_cookie(headers: Iterable[Header]) -> bytes:
    fields = [field.strip() for value in header_values(headers, b"vary") for field in value.split(b",")]
    named = [field for field in fields if field]
    if b"*" not in named and b"cookie" not in [field.lower() for field in named]:
        named.append(b"Cookie")
    return b", ".join(named)


def _directives(headers: Iterable[Header]) -> list[str]:
    """Return the directives of every Cache-Control line, as written."""
    lines = (value.decode("latin-1") for value in header_values(headers, b"cache-control"))
    directives = (directive.strip() for line in lines for directive in _DIRECTIVE.findall(line))
    return [directive for directive in directives if directive]


def _name(directive: str) -> str:
    return directive.partition("=")[0].strip().lower()


def _names(directives: list[str]) -> set[str]:
    return {_name(directive) for directive in directives}
