"""Records as rows of a table, each on one line of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from consent_mw.cli.terminal import printable

__all__ = ["RecordTable"]

# With fewer columns the terminal shows no "more": it would leave no room for the path.
_WIDE = 130

# What has a column of its own, and what is for --json only.
_SHOWN = frozenset({"time", "kind", "purpose", "id", "sealed", "http.request.method", "url.path", "http.route",
                    "http.response.status_code", "http.server.request.duration", "client.address",
                    "http.request.body.size", "http.response.body.size"})  # fmt: skip


class RecordTable:
    """Prints batches of opened records below one heading, in columns that keep their place."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._headed = False

    def print(self, records: Iterable[Mapping[str, object]]) -> None:
        """Print a row for each record; nothing, not even the heading, if there are none."""
        rows = [_row(record) for record in records]
        if not rows:
            return
        # In a terminal the width is fixed, so that a later batch stands below the first.
        table = Table(*self._columns(), box=None, pad_edge=False, expand=self._out.is_terminal)
        table.show_header = not self._headed
        for row in rows:
            table.add_row(*row[: len(table.columns)])
        self._out.print(table)
        self._headed = True

    def _columns(self) -> list[Column]:
        def fixed(heading: str, width: int, justify: Literal["left", "right"] = "left") -> Column:
            return Column(heading, width=width, justify=justify, no_wrap=True, overflow="ellipsis")

        def flexible(heading: str, ratio: int) -> Column:
            return Column(heading, ratio=ratio, min_width=10, no_wrap=True, overflow="ellipsis")

        columns = [
            fixed("time", 25),
            fixed("kind", 7),
            fixed("purpose", 10),
            fixed("method", 7),
            flexible("path", 1),
            fixed("status", 6, "right"),
            fixed("ms", 8, "right"),
            fixed("address", 15),
        ]
        return [*columns, flexible("more", 1)] if self._out.width >= _WIDE else columns


def _row(record: Mapping[str, object]) -> list[Text]:
    sealed = record.get("sealed", "")
    duration = record.get("http.server.request.duration")
    more = (f"{name}={value}" for name, value in record.items() if name not in _SHOWN)
    cells = (
        str(record["time"])[:19].replace("T", " ") + str(record["time"])[23:],
        record["kind"],
        record["purpose"],
        record.get("http.request.method", ""),
        record.get("url.path") or record.get("http.route") or sealed,
        record.get("http.response.status_code", ""),
        f"{duration * 1000:.1f}" if isinstance(duration, int | float) else "",
        record.get("client.address", sealed),
        " ".join(more),
    )
    # Text, not str: a path may hold what looks like rich's markup.
    return [Text(printable(str(cell))) for cell in cells]
