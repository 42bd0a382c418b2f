"""A report as one HTML file that needs no other: each chart an SVG, and below it the table that says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader

from consent_mw.cli.report_chart import columns, rows
from consent_mw.reports import Day, Report, ordered, title_of, told
from consent_mw.spool import Backlog

__all__ = ["report_page"]

_ROWS: Final = 20


class Section(NamedTuple):
    """One heading of the page: a chart, and its table with a row for each label and a column for each series."""

    title: str
    chart: str
    columns: list[str]
    rows: list[tuple[str, list[int]]]
    wide: bool


def report_page(report: Report, behind: Backlog) -> str:
    """
    Return the whole page.

    Raises:
        ConfigurationError: The charts' library is not installed.
    """
    environment = Environment(
        loader=PackageLoader("consent_mw.cli", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("report.html")
    oldest = behind.oldest.astimezone().isoformat(sep=" ", timespec="seconds") if behind.oldest else None
    sections = [*_by_day(report.days), *_counts(report)]
    return template.render(report=report, waiting_bytes=behind.bytes, oldest=oldest, sections=sections)


def _by_day(days: Mapping[str, Day]) -> Iterable[Section]:
    each = list(days.values())
    names = sorted({choice for day in each for choice in day.choices})
    yield from _daily("Requests and visits by day", list(days), {
        "requests": [day.exchanges for day in each], "visits": [day.visits for day in each]})  # fmt: skip
    chosen = {name: [day.choices.get(name, 0) for day in each] for name in names}
    yield from _daily("Choices by day", list(days), chosen, stacked=True)
    yield from _daily("Cookies blocked by day", list(days), {
        "declared, times": [day.blocked for day in each],
        "not declared, names": [day.undeclared for day in each]})  # fmt: skip


def _daily(
    title: str, labels: Sequence[str], series: Mapping[str, list[int]], *, stacked: bool = False
) -> Iterable[Section]:
    """Yield the section, or nothing where all of its numbers are naught."""
    if any(map(any, series.values())):
        table = [(label, [numbers[n] for numbers in series.values()]) for n, label in enumerate(labels)]
        yield Section(title, _named(title, columns(labels, series, stacked=stacked)), list(series), table, wide=True)


def _counts(report: Report) -> Iterable[Section]:
    for by, count in told(report.counts):
        is_hours = by.endswith("hour")
        cells = ordered(count.cells) if is_hours else ordered(count.cells)[:_ROWS]
        name = title_of(by)
        title = f"{name[:1].upper()}{name[1:]}, as collected for {count.of}"
        chart = columns([label for label, _ in cells], {"count": [n for _, n in cells]}) if is_hours else rows(cells)
        yield Section(title, _named(title, chart), ["count"], [(label, [n]) for label, n in cells], wide=is_hours)


def _named(title: str, chart: str) -> str:
    # As an image it is one thing to a screen reader, which finds the figures in the table.
    return chart.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}: the table below says the same" ', 1)
