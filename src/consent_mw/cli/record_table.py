"""Records as rows of a table, each on one line of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from consent_mw.system.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class _Column(NamedTuple):
    """One column: its width (None: what is left over), and how wide the terminal must be to have room for it."""

    heading: str
    width: int | None
    least: int = 0
    justify: Literal["left", "right"] = "left"


_NARROW = 110  # below it, times go without the year
_COLUMNS = (
    _Column("time", 25),
    _Column("kind", 7),
    _Column("purpose", 10),
    _Column("method", 7),
    _Column("path", None),
    _Column("status", 6, justify="right"),
    _Column("ms", 8, _NARROW, "right"),
    _Column("address", 15, _NARROW),
    _Column("more", None, 140),
)

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
        from rich.table import Table

        rows = [_row(record) for record in records]
        if not rows:
            return
        # In a terminal the width is fixed, so that a later batch stands below the first.
        table = Table(box=None, pad_edge=False, expand=self._out.is_terminal, show_header=not self._headed)
        shown = [number for number, column in enumerate(_COLUMNS) if self._out.width >= column.least]
        for column in (_COLUMNS[number] for number in shown):
            ratio = None if column.width else 1
            table.add_column(column.heading, width=column.width, ratio=ratio, justify=column.justify, no_wrap=True)
        if self._out.width < _NARROW:
            table.columns[0].width = 20
            for cells in rows:
                cells[0] = cells[0][len("2026-") :]
        for cells in rows:
            table.add_row(*(cells[number] for number in shown))
        self._out.print(table)
        self._headed = True


def _row(record: Mapping[str, object]) -> list[Text]:
    from rich.text import Text

    sealed = record.get("sealed", "")
    duration = record.get("http.server.request.duration")
    more = (f"{name}={value}" for name, value in record.items() if name not in _SHOWN and value is not None)
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
