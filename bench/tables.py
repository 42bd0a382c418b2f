"""What a measurement prints: a table for a terminal, or as Markdown for the documentation."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from statistics import quantiles
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "middle", "show", "versions"]


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


def middle(values: Sequence[float], form: str) -> str:
    """Return the range in which the middle half of the rounds lies, each end in the format `form`."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return f"{low:{form}} to {high:{form}}"


def versions(*packages: str) -> str:
    """Return what was measured with: this Python and these packages, with their versions."""
    named = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{platform.python_implementation()} {platform.python_version()}, {named}"
