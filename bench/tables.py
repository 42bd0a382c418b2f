"""What a measurement prints: a table for a terminal, or as Markdown for the documentation."""

from __future__ import annotations

import sys
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "show"]


class Report(NamedTuple):
    """A table to print."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def show(report: Report, *, markdown: bool) -> None:
    """Print it on standard output."""
    if markdown:
        ruler = ["---", *("---:" for _ in report.columns[1:])]
        lines = ["| " + " | ".join(row) + " |" for row in (report.columns, ruler, *report.rows)]
        sys.stdout.write("\n".join([f"### {report.title}", "", *lines, "", report.note, "", ""]))
        return
    table = Table(title=report.title, caption=report.note, caption_justify="left", title_justify="left")
    for number, column in enumerate(report.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in report.rows:
        table.add_row(*row)
    Console().print(table)
