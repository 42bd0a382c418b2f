"""A report as one HTML file that needs no other: each chart an SVG, and below it the table that says the same."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader

from consent_mw.exceptions import ConfigurationError
from consent_mw.reports import Report, ordered, title_of
from consent_mw.spool import Backlog

__all__ = ["report_page"]

_ROWS: Final = 20
#: Pygal writes its settings as a script for a tooltip that it would fetch from elsewhere; the file needs neither.
_SCRIPT: Final = re.compile(r"<script.*?</script>", re.DOTALL)


class Section(NamedTuple):
    """One heading of the page: a chart, and its table with a row for each label and a column for each series."""

    title: str
    chart: str
    columns: list[str]
    rows: list[tuple[str, list[int]]]


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
    return template.render(report=report, waiting_bytes=behind.bytes, sections=list(_sections(report)))


def _sections(report: Report) -> Iterable[Section]:
    days = report.days
    if days:
        series = {
            "requests": [day.exchanges for day in days.values()],
            "visits": [day.visits for day in days.values()],
        }
        yield _section("Requests and visits by day", list(days), series, stacked=False)
        names = sorted({choice for day in days.values() for choice in day.choices})
        chosen = {name: [day.choices.get(name, 0) for day in days.values()] for name in names}
        if chosen:
            yield _section("Choices by day", list(days), chosen, stacked=True)
    for by, count in report.counts.items():
        rows = ordered(count.cells)
        shown = rows if by.endswith("hour") else rows[:_ROWS]
        name = title_of(by)
        title = f"{name[:1].upper()}{name[1:]}, as collected for {count.of}"
        yield _section(title, [label for label, _ in shown], {"count": [number for _, number in shown]}, stacked=False)


def _section(title: str, labels: list[str], series: Mapping[str, list[int]], *, stacked: bool) -> Section:
    rows = [(label, [numbers[n] for numbers in series.values()]) for n, label in enumerate(labels)]
    return Section(title, _chart(title, labels, series, stacked=stacked), list(series), rows)


def _chart(title: str, labels: list[str], series: Mapping[str, list[int]], *, stacked: bool) -> str:
    try:
        pygal: Any = import_module("pygal")  # an extra, without types: only who wants the page needs it
        style = _style(import_module("pygal.style"))
    except ImportError as error:
        raise ConfigurationError(
            "the charts of --html need pygal: pip install 'consent-mw[report]'; --json needs nothing"
        ) from error
    # It leaves a finder of plugins behind, in a form that Python warns of at every later import.
    sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    kind: Any = pygal.StackedBar if stacked else pygal.Bar
    chart: Any = kind(
        js=(),
        disable_xml_declaration=True,
        show_legend=len(series) > 1,
        legend_at_bottom=True,
        x_label_rotation=40,
        height=320,
        width=900,
        print_values=False,
        style=style,
    )
    chart.x_labels = labels
    for name, numbers in series.items():
        chart.add(name, numbers)
    drawn = _SCRIPT.sub("", str(chart.render(is_unicode=True)))
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{_escaped(title)}: the table below says the same" ', 1)


def _style(styles: Any) -> Any:
    """Colours that people who see few colours tell apart (Okabe and Ito), and the page's own background and font."""
    plain = "transparent"
    return styles.Style(
        background=plain,
        plot_background=plain,
        foreground="#1b1f24",
        foreground_strong="#1b1f24",
        guide_stroke_color="#d9dde2",
        major_guide_stroke_color="#d9dde2",
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
        font_family="system-ui, sans-serif",
        opacity="1",
        colors=("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"),
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
