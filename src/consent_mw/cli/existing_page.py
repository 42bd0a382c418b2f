"""A policy page that already exists, read into parts: headings, and the paragraphs, lists and tables below each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.ownership import content

if TYPE_CHECKING:
    from bs4.element import PageElement, Tag

_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_TEXTS: Final = ("p", "li", "dt", "dd", "blockquote", "pre", "figcaption", "summary")
_UNREAD: Final = ("script", "style", "noscript", "template", "nav", "form", "svg", "iframe", "select", "button")
#: What a page numbers instead of marking it as a heading: "제3조(…)", "4. …", "IV. …", "Ⅳ. …".
_NUMBERED: Final = re.compile(r"(제\s*\d{1,2}\s*조|\d{1,2}\s*[.)]|[IVX]{1,4}\.|[Ⅰ-Ⅻ]\s*\.?|[A-Z]\.|[①-⑳])\s*\S.{0,70}")
#: Nobody numbers anything but headings so, in bold or not.
_ALWAYS: Final = re.compile("제|[Ⅰ-Ⅻ]")
_SENTENCE: Final = re.compile(r"(다|요|오|음)\.?$|[.:;,]$")
_LARGEST_BYTES: Final = 4 * 2**20
#: Tables with more columns than this were never meant for people.
_MOST_COLUMNS: Final = 40
_MOST_ROWS: Final = 2_000


class Table(NamedTuple):
    """A table, the first row as its heading; cells that span several places stand in each."""

    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return "\n".join(" | ".join(row) for row in self.rows)


class Part(NamedTuple):
    """A heading, and what stands below it up to the next one; before the first heading the title is empty."""

    title: str
    blocks: tuple[str | Table, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.blocks))


class Page(NamedTuple):
    """A policy page. `language`: "ko" or "en", by what it is written in; `said`: which one it says itself, or ""."""

    title: str
    language: str
    parts: tuple[Part, ...]
    said: str = ""

    def __str__(self) -> str:
        return "\n".join(f"{part.title}\n{part}" for part in self.parts)


def read_page(file: Path) -> Page:
    """
    Read a page of Markdown or HTML, by the ending of its name.

    Raises:
        ConfigurationError: It cannot be read, or the library that reads HTML is missing.
    """
    try:
        raw = content(file)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror}); give a page of yours") from error
    if len(raw) > _LARGEST_BYTES:
        raise ConfigurationError(f"{file}: is larger than 4 MiB; save the policy alone")
    if file.suffix.lower() in (".md", ".markdown", ".txt"):
        return _read(_rendered(raw.decode("utf-8-sig", "replace")))
    if file.suffix.lower() in (".html", ".htm", ".xhtml"):
        return _read(raw)
    raise ConfigurationError(f"{file}: is neither Markdown nor HTML; name it .md or .html")


def _rendered(markdown: str) -> str:
    from markdown_it import MarkdownIt

    # Without its own HTML: what stands in the page as < is text.
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def _read(markup: str | bytes) -> Page:
    try:
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise ConfigurationError("reading a page needs a parser; run: pip install 'consent-mw[init]'") from error
    soup = BeautifulSoup(markup, "html.parser")
    for unread in soup.find_all(_UNREAD):
        unread.decompose()
    title = _words(soup.title) if soup.title else ""
    body = soup.find("main") or soup.find("article") or soup.body or soup
    try:
        parts = _parts(_blocks(body))
    except RecursionError as error:
        raise ConfigurationError("the page is nested too deep to be read; save the policy alone") from error
    text = "\n".join(f"{part.title}\n{part}" for part in parts)
    korean = len(re.findall(r"[가-힣]", text)) > len(re.findall(r"[A-Za-z]", text)) / 4
    first = soup.find("h1")
    said = soup.html.get("lang") if soup.html else ""
    title = (_words(first) if first else "") or title
    return Page(title, "ko" if korean else "en", tuple(parts), said if isinstance(said, str) else "")


def _parts(blocks: Iterator[tuple[bool, str | Table]]) -> list[Part]:
    sections: list[tuple[str, list[str | Table]]] = [("", [])]
    for heading, block in blocks:
        if heading:
            sections.append((str(block), []))
        else:
            sections[-1][1].append(block)
    return [Part(title, tuple(below)) for title, below in sections if title or below]


def _blocks(tag: Tag) -> Iterator[tuple[bool, str | Table]]:
    """Yield what stands below `tag` in order: whether it is a heading, and its words or its table."""
    from bs4.element import NavigableString, Tag

    loose: list[str] = []
    for child in tag.children:
        if isinstance(child, Tag) and (
            child.name in (*_HEADINGS, *_TEXTS, "table") or child.find([*_HEADINGS, *_TEXTS, "table", "div"])
        ):
            yield from _lines(loose)
            loose = []
            yield from _block(child)
        elif isinstance(child, Tag) and child.name in ("div", "section", "ul", "ol", "dl", "tr", "td", "br"):
            yield from _lines(loose)
            loose = []
            yield from _lines([_words(child)])
        elif isinstance(child, Tag) or type(child) is NavigableString:
            loose.append(_words(child))
    yield from _lines(loose)


def _block(tag: Tag) -> Iterator[tuple[bool, str | Table]]:
    if tag.name in _HEADINGS:
        words = _words(tag)
        yield from [(True, words)] if words else []
    elif tag.name == "table":
        table = Table(tuple(_rows(tag)))
        yield from [(False, table)] if table.rows else []
    elif tag.name == "dl" and not tag.find([*_HEADINGS, "table", "li", "p", "div", "dl"]) and not _headed(tag):
        yield from ((False, words) for words in _terms(tag))
    elif tag.find([*_HEADINGS, "table", "li", "p", "div", "dd"]):
        yield from _blocks(tag)
    else:
        words = _words(tag)
        marked = tag.name == "dt" or _all_bold(tag)
        heading = _numbered(words) and (marked or bool(_ALWAYS.match(words)))
        yield from [(heading, words)] if words else []


def _numbered(words: str) -> bool:
    return bool(_NUMBERED.fullmatch(words)) and not _SENTENCE.search(words)


def _all_bold(tag: Tag) -> bool:
    """Whether a paragraph is in bold as a whole, be it in several pieces, as Word writes it."""
    pieces = [piece for piece in tag.find_all(string=True) if piece.strip()]
    return bool(pieces) and all(piece.find_parent(["strong", "b"]) for piece in pieces)


def _headed(terms: Tag) -> bool:
    return any(_numbered(_words(term)) for term in terms.find_all("dt"))


def _terms(terms: Tag) -> Iterator[str]:
    """Yield each term with its description: "Telephone: 02-555-0199"."""
    term = ""
    for part in terms.find_all(["dt", "dd"]):
        if part.name == "dt":
            yield from [term] if term else []
            term = _words(part)
        else:
            yield ": ".join(filter(None, (term, _words(part))))
            term = ""
    yield from [term] if term else []


def _lines(loose: Sequence[str]) -> Iterator[tuple[bool, str | Table]]:
    words = " ".join(filter(None, loose)).strip()
    yield from [(False, words)] if words else []


def _rows(table: Tag) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table, each cell in every place that it spans."""
    spanned: dict[tuple[int, int], str] = {}
    for y, row in enumerate(table.find_all("tr")[:_MOST_ROWS]):
        x = 0
        for cell in row.find_all(["td", "th"], recursive=False):
            while (y, x) in spanned:
                x += 1
            wide, high = _span(cell.get("colspan")), _span(cell.get("rowspan"))
            for down, right in product(range(high), range(wide)):
                spanned[y + down, x + right] = _words(cell)
            x += wide
        cells = tuple(
            spanned.pop((y, at), "") for at in range(max((at for line, at in spanned if line == y), default=-1) + 1)
        )
        if any(cells):
            yield cells


def _span(given: object) -> int:
    return (
        min(int(given), _MOST_COLUMNS)
        if isinstance(given, str) and given.isdecimal() and given.isascii() and int(given[:4])
        else 1
    )


def _words(tag: PageElement) -> str:
    """Return the text of a tag on one line, without what no declaration can hold."""
    text = tag.get_text(" ")
    return " ".join("".join(char if char.isprintable() or char.isspace() else " " for char in text).split())
