"""Find where the body of an HTML document begins, from bytes that arrive in any pieces, in linear time.

It follows the insertion modes "initial" to "after head" of the HTML standard (section 13.2.6.4). In them the first
thing that a head cannot contain begins the body, whether or not there is a `<body>` tag.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias

_BOM: Final = b"\xef\xbb\xbf"
_NOT_SPACE: Final = re.compile(rb"[^\t\n\f\r ]")
_COMMENT_END: Final = re.compile(rb"-->|--!>")
#: White space written as a character reference, which does not begin a body, and NUL, which Chromium skips though the
#: standard does not.
_NO_TEXT: Final = re.compile(
    rb"\x00|&(?:#0*(?:9|1[023]|32)(?![0-9])|#[xX]0*(?:9|[aAcCdD]|20)(?![0-9A-Fa-f])|Tab;|NewLine;)"
)
_GREATER: Final = re.compile(rb">")
_NAME_END: Final = re.compile(rb"[\t\n\f\r />]")
_IN_TAG: Final = re.compile(rb"[>=]")
_UNQUOTED_END: Final = re.compile(rb"[\t\n\f\r >]")
_QUOTE_END: Final = {b'"': re.compile(rb'"'), b"'": re.compile(rb"'")}
_LESS: Final = re.compile(rb"<")
#: A comment in a script may hold scripts with their end tags: counters for old browsers were once written that way.
_IN_SCRIPT: Final = re.compile(rb"<!--|-->|</?script[\t\n\f\r />]", re.IGNORECASE)
#: Elements of a head whose content is text up to their end tag, whatever it looks like. `<noscript>` is one of them:
#: with or without scripts, nothing in it is the body.
_TEXT_END: Final = {
    name: re.compile(rb"</" + name + rb"[\t\n\f\r />]", re.IGNORECASE)
    for name in (b"script", b"style", b"title", b"noscript", b"noframes")
}
#: Other such elements. They begin a body, but not inside a template of the head.
_TEXT_IN_TEMPLATE: Final = {
    name: re.compile(rb"</" + name + rb"[\t\n\f\r />]", re.IGNORECASE)
    for name in (b"textarea", b"xmp", b"iframe", b"noembed")
}
#: Inside these elements the same tags mean something else.
_FOREIGN: Final = frozenset((b"svg", b"math", b"plaintext"))
_EMPTY: Final = frozenset((b"base", b"basefont", b"bgsound", b"link", b"meta"))
_TO_TAG_END: Final = rb"""(?=[\t\n\f\r />])
    (?:[^>=]++ | =[\t\n\f\r ]*+ (?:"[^"]*+" | '[^']*+' | [^\t\n\f\r >"'][^\t\n\f\r >]*+ | (?=>)))* >"""
#: The usual beginning of a page, in one match: a simple head, then a `<body>` tag. Each part of the pattern matches in
#: one way only, so that it takes linear time.
_USUAL: Final = re.compile(
    rb"""(?:\xef\xbb\xbf)?
    (?: [\t\n\f\r ]++
      | <!doctype [^>]*+ >
      | <(?:meta|link|html|head|base) TAG
      | <title TAG PLAIN </title TAG
      | <script TAG PLAIN </script TAG
      | <style TAG PLAIN </style TAG
      | <!-- (?![->]) (?:[^-]++ | -(?!-))* -->
    )*
    (?P<head></head TAG)? [\t\n\f\r ]*+ (?P<body><body TAG)""".replace(b"TAG", _TO_TAG_END).replace(
        b"PLAIN", rb"(?:[^<]++ | <(?!/|!--))*"
    ),
    re.IGNORECASE | re.VERBOSE,
)
#: How far into the page this pattern looks. The state machine finds a body that begins later.
_USUAL_BYTES: Final = 1 << 18
# How many bytes before the end of what has arrived a match of a pattern above may begin: as in b"</noframes".
_OVERLAP_BYTES: Final = 12


class Place(NamedTuple):
    """Offsets into the document, in bytes: where the head's content ends, and where the body's content begins."""

    head: int
    body: int


def usual_place(page: bytes) -> Place | None:
    """Return the place in a page with the usual beginning whose head is all there; None for any other page."""
    usual = _USUAL.match(page, 0, _USUAL_BYTES)
    return usual and Place(usual.start("body" if usual["head"] is None else "head"), usual.end())


class _NoPlace(Exception):
    """There is no place to insert anything: the document ended inside a token, or this is not a document."""


_Reading: TypeAlias = Generator[None, None, int]


class Opening:
    """
    The opening of a document that is still arriving.

    `ended` is True if there is no place: in a fragment without doctype, `<html>` or `<body>`, a frameset, or after an
    unclosed tag.
    """

    def __init__(self) -> None:
        self.ended: bool = False
        self._seen = bytearray()
        self._complete = False
        self._document = False
        self._head: int | None = None
        self._steps = self._place()

    @property
    def seen_bytes(self) -> int:
        """The number of bytes read so far."""
        return len(self._seen)

    def read(self, chunk: bytes, *, last: bool = False) -> Place | None:
        """Take the next bytes of the document; return the place once it is known. `last`: no more bytes follow."""
        if not self._seen and (usual := usual_place(chunk)):
            self._seen += chunk
            return usual
        self._seen += chunk
        self._complete = last
        try:
            next(self._steps)
        except StopIteration as stop:
            place: Place = stop.value
            return place
        except _NoPlace:
            self.ended = True
        return None

    def _place(self) -> Generator[None, None, Place]:
        """Walk token by token over everything before the body; yield when more bytes are needed."""
        at = yield from self._after_bom()
        while True:
            token = yield from self._next(_NOT_SPACE, at)
            if token is None:
                return self._implied(len(self._seen))  # the document ended with its head
            name = yield from self._name(token)
            if name == b"body":
                end = yield from self._tag_end(token + 5)
                return Place(token if self._head is None else self._head, end)
            if not name:
                yield from self._have(token + _OVERLAP_BYTES)
                if _NO_TEXT.match(self._seen, token):
                    raise _NoPlace
            after = yield from self._passed(name, token)
            if after is None:
                return self._implied(token)
            at = after

    def _implied(self, at: int) -> Place:
        """Return the place of a body without a tag. Only a document has one; a fragment does not."""
        if not self._document:
            raise _NoPlace
        return Place(at if self._head is None else self._head, at)

    def _passed(self, name: bytes, token: int) -> Generator[None, None, int | None]:
        """Return where the token called `name` ends, including its content; None if it begins the body."""
        if name == b"!--":
            return (yield from self._comment_end(token))
        if name[:1] in (b"!", b"?"):
            self._document |= name == b"!doctype"
            return (yield from self._end(_GREATER, token))
        if name == b"frameset":
            raise _NoPlace  # if we inserted anything before it, a body would replace it
        self._document |= name == b"html"
        if name == b"/head" and self._head is None:
            self._head = token
        if name in _TEXT_END or name == b"template":
            return (yield from self._element_end(name, token))
        stays = name in _EMPTY or name in (b"html", b"head")
        stray = name[:1] == b"/" and name not in (b"/body", b"/html", b"/br")
        return (yield from self._tag_end(token + 1 + len(name))) if stays or stray else None

    def _comment_end(self, token: int) -> _Reading:
        """
        Return where the comment at `token` ends.

        Its first dashes may belong to the end as well: `<!-->` and `<!--->` are whole comments. `--!>` cannot use them.
        """
        at = yield from self._end(_COMMENT_END, token + 2)
        if at < token + 8 and self._seen.startswith(b"!>", at - 2):
            at = yield from self._end(_COMMENT_END, token + 4)
        return at

    def _element_end(self, name: bytes, token: int) -> _Reading:
        at = yield from self._tag_end(token + 1 + len(name))
        if name == b"template":
            return (yield from self._template_end(at))
        if name == b"script":
            return (yield from self._script_end(at))
        at = yield from self._end(_TEXT_END.get(name) or _TEXT_IN_TEMPLATE[name], at)
        return (yield from self._tag_end(at - 1))

    def _script_end(self, at: int) -> _Reading:
        """Follow the states "script data", "escaped" and "double escaped" (section 13.2.5.4 and those after it)."""
        escaped = double = False
        while True:
            at = yield from self._end(_IN_SCRIPT, at)
            if self._seen.startswith(b"<!--", at - 4):
                escaped = True
                at -= 2  # its dashes may also belong to the comment's end
            elif self._seen.startswith(b"-->", at - 3):
                escaped = double = False
            elif not self._seen.startswith(b"</", at - len(b"</script>")):
                double = escaped
            elif double:
                double = False
            else:
                return (yield from self._tag_end(at - 1))

    def _template_end(self, at: int) -> _Reading:
        depth = 1
        while depth:
            token = (yield from self._end(_LESS, at)) - 1
            name = yield from self._name(token)
            if name in _FOREIGN:
                raise _NoPlace
            if not name:
                at = token + 1
            elif name == b"!--":
                at = yield from self._comment_end(token)
            elif name[:1] in (b"!", b"?"):
                at = yield from self._end(_GREATER, token)
            elif name in _TEXT_END or name in _TEXT_IN_TEMPLATE:
                at = yield from self._element_end(name, token)
            else:
                at = yield from self._tag_end(token + 1 + len(name))
                depth += (name == b"template") - (name == b"/template")
        return at

    def _name(self, token: int) -> Generator[None, None, bytes]:
        """Return the kind of a token: a tag's name, an end tag's name with a slash, `!--`, `!doctype`, b"" for text."""
        yield from self._have(token + 4)
        start = bytes(self._seen[token : token + 4])
        if start == b"<!--":
            return b"!--"
        if not re.match(rb"<(/?[A-Za-z]|[!?])", start):
            return b"!" if start[:2] == b"</" else b""  # a browser reads `</3` as a comment
        end = yield from self._next(_NAME_END, token + 2)
        if end is None:
            raise _NoPlace
        return bytes(self._seen[token + 1 : end]).lower()

    def _tag_end(self, at: int) -> _Reading:
        """Return the end of the tag whose attributes begin at `at`. A `>` inside a quoted value does not end it."""
        while True:
            at = yield from self._end(_IN_TAG, at)
            if self._seen.startswith(b">", at - 1):
                return at
            at = (yield from self._end(_NOT_SPACE, at)) - 1
            quote = _QUOTE_END.get(bytes(self._seen[at : at + 1]))
            if quote is not None:
                at = yield from self._end(quote, at + 1)
            else:
                at = (yield from self._end(_UNQUOTED_END, at)) - 1

    def _after_bom(self) -> _Reading:
        yield from self._have(len(_BOM))
        return len(_BOM) if self._seen.startswith(_BOM) else 0

    def _have(self, length: int) -> Generator[None, None, None]:
        while len(self._seen) < length and not self._complete:
            yield

    def _end(self, pattern: re.Pattern[bytes], at: int) -> _Reading:
        """Return the offset after the next match of `pattern`."""
        start = yield from self._next(pattern, at)
        if start is None:
            raise _NoPlace
        match = pattern.match(self._seen, start)
        return start if match is None else match.end()

    def _next(self, pattern: re.Pattern[bytes], at: int) -> Generator[None, None, int | None]:
        """Return the offset of the next match of `pattern`, or None once the document has ended without one."""
        while True:
            match = pattern.search(self._seen, at)
            if match is not None:
                return match.start()
            if self._complete:
                return None
            at = max(at, len(self._seen) - _OVERLAP_BYTES)
            yield
