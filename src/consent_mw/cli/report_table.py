"""A report in the terminal: tables with bars, as wide as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consent_mw.cli.terminal import console
from consent_mw.retention.reports import (
    UNTOLD,
    Count,
    Day,
    Owed,
    Period,
    Report,
    cell_of,
    choices_of,
    in_order,
    is_mostly_hidden,
    ordered,
    title_of,
    title_of_period,
)
from consent_mw.retention.small_cells import OTHER
from consent_mw.spool.spool import Backlog
from consent_mw.system.escaping import printable

_ROWS: Final = 10
_HOURS: Final = 24
_BAR_COLUMNS: Final = 24
_NARROW_BAR: Final = 8
_ROOMY_COLUMNS: Final = 80
_NARROW_COLUMNS: Final = 40
_LABEL_COLUMNS: Final = 28
_DAY_COLUMNS: Final = 10
_SEVERAL_DAYS: Final = (
    "a day with too few of one choice is counted together with others; the last ones may wait for those that follow"
)


def print_report(summary: Report, behind: Backlog) -> None:
    """Print the whole report on standard output."""
    out = console()
    out.print(Text(f"{summary.since} to {summary.until}, days of UTC", "bold"))
    _print_days(out, summary.days)
    if summary.latency:
        bounds = (f"{name} {_seconds(bound)}" for name, bound in summary.latency.items())
        out.print(f"\nlatency: {', '.join(bounds)}")
    if choices_of(summary.choices) and out.width >= _NARROW_COLUMNS:
        _print_choices(out, summary.choices)
    for by, count in in_order(summary.counts):
        _print_count(out, f"{title_of(by)} ({count.of})", count, _HOURS if by.endswith("hour") else _ROWS)
    if summary.requests is not None:
        _print_requests(out, summary.requests)
    if summary.ending:
        out.print(Text("\nnext to be destroyed", "bold"))
        for ending in summary.ending:
            out.print(Text(f"  {ending.ends}  {printable(ending.purpose)} of {ending.day}"))
    out.print(f"\ndrain: {_drain_said(behind)}")


def _drain_said(behind: Backlog) -> str:
    waiting, oldest = behind
    since = f", the oldest since {oldest.astimezone().isoformat(sep=' ', timespec='seconds')}" if oldest else ""
    return f"{waiting:,} bytes wait{since}" if waiting else "nothing waits"


def _print_requests(out: Console, requests: list[Owed]) -> None:
    late = sum(request.overdue for request in requests)
    out.print(Text(f"\nrequests of visitors: {len(requests)} open, {late} overdue", "bold"))
    for request in requests:
        state = "overdue" if request.overdue else "open"
        line = f"  {request.due}  {state}  {request.kind} {request.number}"
        out.print(Text(printable(line), "red" if request.overdue else ""))


def _print_days(out: Console, days: Mapping[str, Day]) -> None:
    most = max((day.exchanges or 0 for day in days.values()), default=0)
    headings = ("requests", "visits", "events", "choices", "blocked", "undeclared")
    shown = len(headings) if out.width >= _ROOMY_COLUMNS else 2 if out.width >= _NARROW_COLUMNS else 1
    table = _table("day", *headings[:shown], "")
    for name, day in days.items():
        numbers = (day.exchanges, day.visits, day.events, day.receipts, day.blocked, day.undeclared)
        bar = _bar(out, day.exchanges or 0, most, beside=_DAY_COLUMNS * shown)
        table.add_row(_text(name), *map(_number_said, numbers[:shown]), bar)
    out.print(table)
    if days:
        out.print(Text(f"{UNTOLD}: fewer than five visitors, or none", "dim"))


def _print_choices(out: Console, periods: Sequence[Period]) -> None:
    names = choices_of(periods)
    most = max((period.receipts or 0 for period in periods), default=0)
    table = _table("choices by day", *map(printable, names), "")
    for period in periods:
        counts = [_number_said(cell_of(period, name)) for name in names]
        table.add_row(_text(title_of_period(period)), *counts, _bar(out, period.receipts or 0, most))
    out.print()
    out.print(table)
    if any(len(period.days) > 1 or period.cells is None for period in periods):
        out.print(Text(_SEVERAL_DAYS, "dim"))


def _print_count(out: Console, heading: str, count: Count, limit: int) -> None:
    cells = count.cells
    named = [(label, number) for label, number in ordered(cells) if label != OTHER]
    whole, most = sum(cells.values()), max(cells.values(), default=0)
    table = _table(heading, "", "", "", least=_LABEL_COLUMNS if out.width >= _ROOMY_COLUMNS else _DAY_COLUMNS)
    hidden = is_mostly_hidden(cells)  # bars of the rest would mislead
    for label, number in named[:limit]:
        table.add_row(_text(label), f"{number:,}", f"{number / whole:.0%}", "" if hidden else _bar(out, number, most))
    rest = {f"{len(named) - limit} more": sum(number for _, number in named[limit:]), OTHER: cells.get(OTHER, 0)}
    for label, number in rest.items():
        if number:
            table.add_row(label, f"{number:,}", f"{number / whole:.0%}", "")
    if count.untold:
        table.add_row("not told", f"{count.untold:,}", "", "")
    out.print()
    out.print(table)


def _number_said(number: int | None) -> str:
    return UNTOLD if number is None else f"{number:,}"


def _table(first: str, *numbers: str, least: int = 0) -> Table:
    """Return a table whose first column has words, folded where `least` columns are enough, and whose last a bar."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(_text(first), overflow="fold", min_width=least, no_wrap=not least)
    for heading in numbers[:-1]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(numbers[-1], no_wrap=True)
    return table


def _bar(out: Console, value: int, most: int, beside: int = 0) -> Bar | str:
    width = _BAR_COLUMNS if out.width >= _ROOMY_COLUMNS + beside // 2 else _NARROW_BAR
    if out.width < _NARROW_COLUMNS:
        return ""
    if not out.encoding.startswith("utf"):
        return "#" * round(width * value / max(most, 1))
    return Bar(size=max(most, 1), begin=0, end=value, width=width, color="cyan")


def _seconds(bound: float | None) -> str:
    return "more than 10 s" if bound is None else f"{bound:g} s"


def _text(value: str) -> Text:
    return Text(printable(value))
