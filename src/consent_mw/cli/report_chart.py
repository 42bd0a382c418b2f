"""Charts as SVG text, without scripts: the colours are the page's own, so that they are dark where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from math import ceil
from typing import Final, NamedTuple
from unicodedata import east_asian_width

from consent_mw.retention.small_cells import OTHER

# All in pixels.
_WIDE: Final = 860
_HEIGHT: Final = 200
_NARROW: Final = 170
_ROW: Final = 20
_LEFT: Final = 52  # where the numbers of the axis stand
_LABEL: Final = 110  # of a row; the table below has the whole
_LETTER: Final = 6.5  # what a letter takes at most, nearly always
_BELOW: Final = 70  # for the labels, which lean
_APART: Final = 18  # nearer to each other they would overlap, and some are left out
_MARGIN: Final = 10

_STEPS: Final = 4
_COLOURS: Final = [f"var(--chart-{number})" for number in range(1, 7)]
_HIDDEN: Final = "var(--chart-other)"
#: Each choice has its colour on every day and in every report.
_FIXED: Final = {"accept": _COLOURS[0], "prompt": _COLOURS[4], "reject": _COLOURS[1], OTHER: _HIDDEN}


def columns(labels: Sequence[str], series: Mapping[str, Sequence[int | None]], *, shares: bool = False) -> str:
    """
    Return a wide chart of upright bars: for each label one of each series, beside each other. None leaves a gap.

    With `shares` they stand on each other, in the order of `series`, and are parts of one whole.
    """
    largest = max((number or 0 for numbers in series.values() for number in numbers), default=0)
    ticks = range(_STEPS + 1) if shares else _ticks(largest)
    colours = {name: _FIXED.get(name, _COLOURS[at % len(_COLOURS)]) for at, name in enumerate(series)}
    if len(series) == 1 and not shares:
        colours = dict.fromkeys(series, _COLOURS[0])
    parts = [*_upright_axis(ticks, shares=shares), *_leaning(labels)]
    for at, label in enumerate(labels):
        place, band = _LEFT + at * _WIDE / len(labels), _WIDE / len(labels)
        bars = [_Part(name, numbers[at] or 0, colours[name]) for name, numbers in series.items()]
        named = f"{label}, " if len(bars) > 1 else f"{label} "
        parts += _stacked(place, band, bars, named) if shares else _beside(place, band, bars, named, ticks[-1])
    has_legend = len(series) > 1 or shares
    parts += _legend(colours) if has_legend else ()
    return _svg(_LEFT + _WIDE, _HEIGHT + _BELOW + 20 * has_legend, parts)


def rows(cells: Sequence[tuple[str, int]]) -> str:
    """Return a narrow chart of bars that lie, one for each cell, in their order."""
    ticks = _ticks(max((number for _, number in cells), default=0))
    left, bottom = _LABEL + 8, _ROW * max(len(cells), 1)
    parts: list[str] = []
    for tick in ticks:
        x = left + tick / ticks[-1] * _NARROW
        parts += [_line(x, 0, x, bottom), _text(x, bottom + 16, _short(tick), anchor="middle")]
    for at, (label, number) in enumerate(cells):
        colour = _HIDDEN if label.startswith(OTHER) else _COLOURS[0]
        width = number / ticks[-1] * _NARROW
        parts.append(_text(_LABEL, (at + 0.5) * _ROW + 4, _cut(label), anchor="end"))
        parts.append(_bar(left, (at + 0.1) * _ROW, width, _ROW * 0.8, colour, f"{label}: {number:,}"))
    return _svg(left + _NARROW + 10, bottom + 24, parts)


class _Part(NamedTuple):
    """One bar of those that share a label."""

    name: str
    number: int
    colour: str


def _ticks(largest: int) -> range:
    """Return what an axis shows: at most five whole numbers from 0 on, steps of 1, 2 or 5, none below `largest`."""
    least = max(1, ceil(largest / _STEPS))
    power: int = 10 ** (len(str(least)) - 1)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    return range(0, step * max(1, ceil(largest / step)) + 1, step)


def _short(number: int) -> str:
    """Return a number as an axis shows it: 1,500 is 1.5k."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:g}{letter}"
    return str(number)


def _cut(label: str) -> str:
    """Return as much of a label as there is room for; a Korean letter takes that of two."""
    widths = accumulate(2 if east_asian_width(letter) in "FW" else 1 for letter in label)
    room = int(_LABEL / _LETTER)
    fits = sum(width <= room for width in widths)
    return label if fits == len(label) else label[: fits - 1] + "…"


# -- parts of a chart ------------------------------------------------------------------------------------------------


def _upright_axis(ticks: range, *, shares: bool) -> Iterator[str]:
    for tick in ticks:
        y = _HEIGHT - tick / ticks[-1] * _HEIGHT
        yield _line(_LEFT, y, _LEFT + _WIDE, y)
        yield _text(_LEFT - 6, y + 4, f"{tick / ticks[-1]:.0%}" if shares else _short(tick), anchor="end")


def _leaning(labels: Sequence[str]) -> Iterator[str]:
    band = _WIDE / max(1, len(labels))
    for at in range(0, len(labels), ceil(_APART / band)):
        yield _text(_LEFT + (at + 0.5) * band, _HEIGHT + 14, labels[at], anchor="end", leans=True)


def _beside(place: float, band: float, bars: Sequence[_Part], label: str, top: int) -> Iterator[str]:
    width = band * 0.8 / len(bars)
    for at, (name, number, colour) in enumerate(bars):
        if number:
            height = number / top * _HEIGHT
            x = place + band * 0.1 + at * width
            yield _bar(x, _HEIGHT - height, width, height, colour, f"{label}{name}: {number:,}")


def _stacked(place: float, band: float, bars: Sequence[_Part], label: str) -> Iterator[str]:
    whole, y = sum(bar.number for bar in bars), float(_HEIGHT)
    for name, number, colour in bars:
        if number:
            height = number / whole * _HEIGHT
            y -= height
            yield _bar(place + band * 0.1, y, band * 0.8, height, colour, f"{label}{name}: {number:,}")


def _legend(colours: Mapping[str, str]) -> Iterator[str]:
    x, y = float(_LEFT), _HEIGHT + _BELOW
    for name, colour in colours.items():
        yield _bar(x, y, 10, 10, colour, name)
        yield _text(x + 16, y + 9, name)
        x += 48 + len(name) * _LETTER


# -- SVG -------------------------------------------------------------------------------------------------------------


def _bar(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}"><title>{escape(title)}</title></rect>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--line)"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", leans: bool = False) -> str:
    turned = f' transform="rotate(-40 {x:.1f} {y:.1f})"' if leans else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    """Return the drawing, with room around it for what stands half outside."""
    across, down = width + 2 * _MARGIN, height + 2 * _MARGIN
    size = f'width="{across}" height="{down}" viewBox="-{_MARGIN} -{_MARGIN} {across} {down}"'
    style = 'font-family="system-ui, sans-serif" font-size="11" fill="currentColor"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'
