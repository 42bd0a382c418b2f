"""Charts as SVG text, without scripts: the colours are the page's own, so that they are dark where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from consent_mw.exceptions import ConfigurationError
from consent_mw.retention.aggregates import OTHER

__all__ = ["columns", "rows"]

_WIDE: Final = 860
_NARROW: Final = 170
_LABEL: Final = 110  # of a row, in pixels; the table below has the whole
_HEIGHT: Final = 200
_ROW: Final = 20
_COLOURS: Final = [f"var(--chart-{number})" for number in range(1, 7)]
_HIDDEN: Final = "var(--chart-other)"
#: Each choice has its colour on every day and in every report.
_FIXED: Final = {"accept": _COLOURS[0], "prompt": _COLOURS[4], "reject": _COLOURS[1], OTHER: _HIDDEN}
_CONFIG: Final[dict[str, Any]] = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
    },
    "legend": {"labelColor": "currentColor", "labelFontSize": 12, "orient": "bottom", "columnPadding": 32},
    "range": {"category": _COLOURS},
}


def columns(labels: Sequence[str], series: Mapping[str, Sequence[int | None]], *, shares: bool = False) -> str:
    """
    Return a wide chart of upright bars: for each label one of each series, beside each other. None leaves a gap.

    With `shares` they stand on each other, in the order of `series`, and are parts of one whole.

    Raises:
        ConfigurationError: The charts' library is not installed.
    """
    values = [
        {"label": label, "series": name, "number": numbers[at]}
        for name, numbers in series.items()
        for at, label in enumerate(labels)
        if numbers[at] is not None
    ]
    axis = {"labelAngle": -40, "labelOverlap": "greedy", "title": None}
    encoding: dict[str, Any] = {
        # Its domain is all labels: one without a number keeps its place.
        "x": _words("label") | {"axis": axis, "scale": {"domain": list(labels)}},
        "y": _numbers("number"),
    }
    if len(series) > 1 or shares:
        colours = [_FIXED.get(name, _COLOURS[at % len(_COLOURS)]) for at, name in enumerate(series)]
        scale = {"domain": list(series), "range": colours}
        encoding["color"] = _words("series") | {"legend": {"title": None}, "scale": scale}
    if shares:
        # The first series lies below: Vega-Lite stacks upwards from the end of the order.
        values = [value | {"order": list(series).index(str(value["series"]))} for value in values]
        encoding["order"] = {"field": "order", "type": "quantitative"}
        encoding["y"] |= {"stack": "normalize", "axis": {"tickCount": 4, "format": "%", "title": None}}
    elif len(series) > 1:
        encoding["xOffset"] = _words("series") | {"scale": {"domain": list(series)}}
    return _drawn(values, encoding, width=_WIDE, height=_HEIGHT)


def rows(cells: Sequence[tuple[str, int]]) -> str:
    """
    Return a narrow chart of bars that lie, one for each cell, in their order.

    Raises:
        ConfigurationError: The charts' library is not installed.
    """
    values = [
        {"label": label, "number": number, "colour": _HIDDEN if label.startswith(OTHER) else _COLOURS[0]}
        for label, number in cells
    ]
    axis = {"labelLimit": _LABEL, "minExtent": _LABEL, "maxExtent": _LABEL, "title": None, "ticks": False}
    # None for a scale: the values are the colours themselves.
    colour = {"field": "colour", "type": "nominal", "scale": None}
    encoding = {"y": _words("label") | {"axis": axis}, "x": _numbers("number"), "color": colour}
    return _drawn(values, encoding, width=_NARROW, height=_ROW * max(len(values), 1))


def _words(field: str) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "sort": None, "title": None}


def _numbers(field: str) -> dict[str, Any]:
    axis = {"tickCount": 4, "tickMinStep": 1, "format": "~s", "title": None}
    return {"field": field, "type": "quantitative", "axis": axis}


def _drawn(values: Sequence[Mapping[str, object]], encoding: Mapping[str, Any], *, width: int, height: int) -> str:
    return str(
        _library().vegalite_to_svg(
            {
                "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
                "background": None,
                "width": width,
                "height": height,
                "padding": 4,
                "data": {"values": values},
                "mark": {"type": "bar", "color": _COLOURS[0]},
                "encoding": encoding,
                "config": _CONFIG,
            }
        )
    )


def _library() -> Any:
    try:
        return import_module("vl_convert")  # an extra: only who wants the page needs it
    except ImportError as error:
        raise ConfigurationError(
            "the charts of --html need vl-convert-python: pip install 'consent-mw[report]'; --json needs nothing"
        ) from error
