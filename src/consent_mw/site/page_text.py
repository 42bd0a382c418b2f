"""The words of a rendered page: one line for each block, as a visitor reads them, whatever the style sheet says."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def text_of(html: str) -> str:
    """Return the words of `html`, one line for each block."""
    return "\n".join(_lines(html, _Reader()))


def lines_of(html: str) -> list[str]:
    """Return the words of `html`, one line for each block. A row of a table is one line: `Statistics · 13 months`."""
    return [line.removesuffix(" ·") for line in _lines(html, _RowReader())]


def contents_of(html: str) -> list[tuple[str, str]]:
    """Return the id of each section and the words of its heading, in order."""
    sections = re.findall(r'<section id="([\w-]+)">\s*<h2>(.*?)</h2>', html, re.DOTALL)
    return [(name, text_of(heading)) for name, heading in sections]


def _lines(html: str, reader: _Reader) -> list[str]:
    reader.feed(html)
    reader.close()
    return [line for text in reader.blocks if (line := re.sub(r"\s+", " ", text).strip())]


class _Reader(HTMLParser):
    """Gathers the words between block-level tags."""

    _INLINE = frozenset(("a", "b", "bdi", "code", "em", "small", "span", "strong", "time"))
    # Elements that a visitor with JavaScript, or one who has opened nothing yet, does not see on the surface.
    _UNREAD = frozenset(("script", "style", "noscript", "template"))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [""]
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unread += tag in self._UNREAD
        self._edge(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in self._UNREAD
        self._edge(tag)

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.blocks[-1] += data

    def _edge(self, tag: str) -> None:
        if tag not in self._INLINE:
            self.blocks.append("")


class _RowReader(_Reader):
    """Keeps a table's row together, since a cell alone means nothing."""

    _INLINE = _Reader._INLINE | {"td", "th"}

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.blocks[-1] += " · "
        super().handle_endtag(tag)
