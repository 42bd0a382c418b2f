"""A report as one HTML file that needs no other: each chart an SVG, and below it the table that says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader

from consent_mw.cli.report_chart import columns, rows
from consent_mw.retention.aggregates import CHOICES
from consent_mw.retention.reports import (
    UNTOLD,
    Count,
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

_ROWS: Final = 20


class Section(NamedTuple):
    """
    One heading of the page: a chart, and its table with a row for each label and a column for each series.

    Attributes:
        chart: Empty where most of it is hidden: a picture of the rest would mislead.
        note: What the numbers leave out, in one sentence.
    """

    title: str
    chart: str
    columns: list[str]
    rows: list[tuple[str, list[int | None]]]
    wide: bool
    note: str = ""


def report_page(report: Report, behind: Backlog) -> str:
    """Return the whole page."""
    environment = Environment(
        loader=PackageLoader("consent_mw.cli", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("report.html")
    oldest = behind.oldest.astimezone().isoformat(sep=" ", timespec="seconds") if behind.oldest else None
    sections = [*_by_day(report), *_counts(report)]
    return template.render(
        report=report,
        waiting_bytes=behind.bytes,
        oldest=oldest,
        sections=sections,
        shares=_shares(report.counts.get(CHOICES)),
        untold=UNTOLD,
    )


def _shares(count: Count | None) -> list[tuple[str, int, float]]:
    """Return each choice with its number and its share of all counted choices."""
    cells = count.cells if count else {}
    return [(label, number, number / sum(cells.values())) for label, number in ordered(cells)]


def _by_day(report: Report) -> Iterable[Section]:
    days, counted = list(report.days), list(report.days.values())
    yield from _daily("Requests and visits by day", days, {
        "requests": [day.exchanges for day in counted], "visits": [day.visits for day in counted]})  # fmt: skip
    yield from _choices(report.choices)
    yield from _daily("Cookies blocked by day", days, {
        "declared, times": [day.blocked for day in counted],
        "not declared, names": [day.undeclared for day in counted]})  # fmt: skip


def _choices(periods: Sequence[Period]) -> Iterable[Section]:
    names = choices_of(periods)
    if not names:
        return
    labels = [title_of_period(period) for period in periods]
    series: dict[str, list[int | None]] = {name: [cell_of(period, name) for period in periods] for name in names}
    whole = Counter[str]()
    for period in periods:
        whole.update(period.cells or {})
    title = "Choices by day, as shares of all that are counted"
    # Its whole title is in the table: below a bar there is room for a day.
    short = [period.days[0] + " +" * (len(period.days) > 1) for period in periods]
    chart = "" if is_mostly_hidden(whole) else _named(title, columns(short, series, shares=True))
    note = "A day with too few of one choice is counted with others, at the first of them (+). The last may wait."
    several = any(len(period.days) > 1 or period.cells is None for period in periods)
    yield Section(title, chart, names, _table(labels, series), wide=True, note=note if several else "")


def _daily(title: str, labels: Sequence[str], series: Mapping[str, list[int | None]]) -> Iterable[Section]:
    """Yield the section, or nothing where all of its numbers are naught."""
    series = {name: numbers for name, numbers in series.items() if any(numbers)}
    if series:
        chart = _named(title, columns(labels, series))
        yield Section(title, chart, list(series), _table(labels, series), wide=True)


def _table(labels: Sequence[str], series: Mapping[str, list[int | None]]) -> list[tuple[str, list[int | None]]]:
    return [(label, [numbers[n] for numbers in series.values()]) for n, label in enumerate(labels)]


def _counts(report: Report) -> Iterable[Section]:
    for by, count in in_order(report.counts):
        is_hours = by.endswith("hour")
        cells = _hours(count.cells) if is_hours else _most(count.cells)
        name = title_of(by)
        title = f"{name[:1].upper()}{name[1:]}, as collected for {count.of}"
        note = (
            f"{count.untold:,} more are not told: their days have too few of some, and wait for others."
            if count.untold
            else ""
        )
        chart = "" if is_mostly_hidden(count.cells) else _drawn(cells, is_hours=is_hours)
        yield Section(
            title,
            _named(title, chart),
            ["count"],
            [(label, [n]) for label, n in cells],
            wide=is_hours and bool(chart),
            note=note,
        )


def _hours(cells: Mapping[str, int]) -> list[tuple[str, int | None]]:
    """Return every hour of the day, None where fewer than five visitors were there, and what was hidden last."""
    hours: list[tuple[str, int | None]] = [(hour, cells.get(hour)) for hour in (f"{n:02}" for n in range(24))]
    return [*hours, (OTHER, cells[OTHER])] if OTHER in cells else hours


def _most(cells: Mapping[str, int]) -> list[tuple[str, int | None]]:
    """Return the largest cells, and after them how many the others are together, and what was hidden."""
    named = [(label, number) for label, number in ordered(cells) if label != OTHER]
    rows: list[tuple[str, int | None]] = [*named[:_ROWS]]
    if len(named) > _ROWS:
        rows.append((f"{len(named) - _ROWS} more", sum(number for _, number in named[_ROWS:])))
    return [*rows, (OTHER, cells[OTHER])] if OTHER in cells else rows


def _drawn(cells: Sequence[tuple[str, int | None]], *, is_hours: bool) -> str:
    if is_hours:
        hours = [(label, number) for label, number in cells if label != OTHER]
        return columns([label for label, _ in hours], {"count": [number for _, number in hours]})
    return rows([(label, number or 0) for label, number in cells])


def _named(title: str, chart: str) -> str:
    # As an image it is one thing to a screen reader, which finds the figures in the table.
    return chart.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}: the table below says the same" ', 1)
