"""Label the cells of a table, for readers who get it cell by cell: on a narrow screen, or by ear. Pure."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Final

#: Enough for our own markup: no table contains another one, and autoescape leaves no ">" in an attribute.
_TABLE: Final = re.compile(r"<table\b.*?</table>", re.DOTALL)
_HEAD: Final = re.compile(r"<thead\b.*?</thead>", re.DOTALL)
_NAME: Final = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)
_ROW: Final = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
_CELL: Final = re.compile(r"<(td|th)\b")
_TAG: Final = re.compile(r"<[^>]*>")


def labelled(html: str) -> str:
    """Return `html` with its column's name at each cell of a table, except the first cell, which names the row."""
    return _TABLE.sub(lambda match: _table(match[0]), html)


def _table(table: str) -> str:
    head = _HEAD.search(table)
    if head is None:
        return table
    names = [escape(unescape(_TAG.sub("", name)).strip()) for name in _NAME.findall(head[0])]
    return table[: head.end()] + _ROW.sub(lambda row: _row(row[0], names), table[head.end() :])


def _row(row: str, names: list[str]) -> str:
    at = iter(range(len(names)))

    def cell(match: re.Match[str]) -> str:
        column = next(at, 0)
        return f'<{match[1]} data-label="{names[column]}"' if column else match[0]

    return _CELL.sub(cell, row)
