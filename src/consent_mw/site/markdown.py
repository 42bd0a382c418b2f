"""Convert one of our pages to Markdown (CommonMark, with tables), so that its sentences need only one template."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

#: Characters that have a meaning in Markdown anywhere; and those that have one only at the start of a line.
_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|&#~])")
_LINE_START: Final = re.compile(r"^(\d+)([.)] )|^([-+=] )")
_BLOCKS: Final = frozenset(
    ("h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "section", "article", "div", "table", "caption", "tr",
     "thead", "tbody", "details", "summary", "pre")
)  # fmt: skip
_BEGINS: Final = {"h1": "# ", "h2": "## ", "h3": "### ", "li": "- "}
_AROUND: Final = {"strong": "**", "caption": "**", "dt": "**", "em": "*", "bdi": "`", "code": "`", "summary": "**"}


def markdown_of(html: str) -> str:
    """
    Return the content of the page's `<main>`, or of a fragment without one, as Markdown.

    It keeps headings, paragraphs, lists, tables, links, emphasis and names in code. The words themselves are escaped:
    markup in a text of the policy stays plain text.
    """
    main = re.search(r"<main\b[^>]*>(.*)</main>", html, re.DOTALL)
    writer = _Writer()
    writer.feed(main[1] if main else html)
    writer.close()
    return writer.text()


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[tuple[str, str]] = []  # kind, text
        self._line = ""
        self._prefix = ""
        self._links: list[str] = []
        self._code = 0
        self._depth = 0  # how many lists are open
        self._cells: list[str] | None = None

    def text(self) -> str:
        self._end("p")
        written = ""
        before = ""
        for kind, block in self._blocks:
            if kind == "end":
                before = ""
                continue
            close = kind == before and kind in ("li", "row")
            written += f"{block}\n" if close or not written else f"\n{block}\n"
            before = kind
        return written

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._end("p")
            self._cells = []
        elif tag in ("td", "th"):
            self._line = ""
        elif tag in _BLOCKS:
            self._end("p")
            self._depth += tag in ("ul", "ol")
            self._prefix = "  " * (self._depth - 1) * (tag == "li") + _BEGINS.get(tag, "")
        elif tag == "br":
            self._line += " · " if self._cells is not None else "  \n"
        elif tag == "a":
            target = dict(attrs).get("href") or ""
            self._links.append("" if target.startswith("#") else target)  # a Markdown file has no such anchors
            self._line += "[" if self._links[-1] else ""
        if tag in _AROUND:
            self._line += _AROUND[tag]
            self._code += _AROUND[tag] == "`"

    def handle_endtag(self, tag: str) -> None:
        if tag in _AROUND:
            self._line = self._line.rstrip() + _AROUND[tag]
            self._code -= _AROUND[tag] == "`"
        if tag == "a" and self._links:
            target = self._links.pop()
            self._line += f"](<{target}>)" if target else ""
        elif tag in ("td", "th") and self._cells is not None:
            self._cells.append(self._line.strip())
            self._line = ""
        elif tag == "tr" and self._cells is not None:
            self._row(self._cells)
            self._cells = None
        elif tag == "table":
            self._blocks.append(("end", ""))
        elif tag in _BLOCKS:
            self._end(tag)
            self._depth -= tag in ("ul", "ol")

    def handle_data(self, data: str) -> None:
        words = re.sub(r"\s+", " ", data)
        if not self._line or self._line.endswith(("\n", "[")):
            words = words.lstrip()
        self._line += words.replace("`", "'").replace("|", "\\|") if self._code else _SPECIAL.sub(r"\\\1", words)

    def _row(self, cells: list[str]) -> None:
        first = not self._blocks or self._blocks[-1][0] != "row"
        self._blocks.append(("row", f"| {' | '.join(cells)} |"))
        if first:
            self._blocks.append(("row", f"|{' --- |' * len(cells)}"))

    def _end(self, tag: str) -> None:
        line = self._line.strip()
        if line and line not in ("**", "****"):
            kind = "li" if self._prefix.endswith("- ") else "p"
            escaped = line if self._prefix.startswith("#") else _LINE_START.sub(_escaped_start, line)
            self._blocks.append((kind, self._prefix + escaped))
        self._line = ""
        self._prefix = ""


def _escaped_start(match: re.Match[str]) -> str:
    return f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[3]}"
