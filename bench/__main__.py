"""Measure every contestant in interleaved rounds, and print medians, spreads and ratios."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress

from bench.contestants import ACCESS_LINE, BARE, CONTESTANTS, OURS_SPOOLING, PASS_THROUGH, Contestant
from bench.in_process import microseconds
from bench.running import CLIENT_CORE, SERVER_CORE, pin, serving
from bench.tables import Report, middle, show, versions
from bench.under_load import GENERATOR, requests_per_second

#: Of each contestant, one figure a round.
Figures = dict[Contestant, list[float]]


def main() -> None:
    """Run both measurements and print their tables; nothing is written to a file."""
    options = _options()
    pin(SERVER_CORE)
    # What drains is not in these figures anyway.
    alone = [way for way in CONTESTANTS if way is not OURS_SPOOLING]
    in_process = _rounds(
        "in-process",
        options.rounds * 4,
        lambda way, place: asyncio.run(microseconds(way, place, options.requests)),
        alone,
    )
    pin(CLIENT_CORE)
    load = _rounds("under load", options.rounds, lambda way, place: _load(way, place, options.seconds), CONTESTANTS)
    for report in (_in_process_report(in_process), _load_report(load)):
        show(report, markdown=options.markdown)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds under load; in-process four times as many")
    parser.add_argument("--requests", type=int, default=1000, help="requests of one round in-process")
    parser.add_argument("--seconds", type=float, default=2, help="length of one round under load")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser.parse_args()


def _rounds(
    title: str, rounds: int, measure: Callable[[Contestant, Path], float], contestants: Sequence[Contestant]
) -> Figures:
    """Measure each contestant once a round, so that a slow minute of the machine is shared by all."""
    figures: Figures = {contestant: [] for contestant in contestants}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=rounds * len(contestants))
        for _ in range(rounds):
            for contestant in contestants:
                with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as directory:
                    figures[contestant].append(measure(contestant, Path(directory)))
                progress.advance(task)
    return figures


def _load(contestant: Contestant, directory: Path, seconds: float) -> float:
    with serving(contestant, directory) as server:
        return requests_per_second(server.port, seconds)


def _in_process_report(figures: Figures) -> Report:
    def added(contestant: Contestant) -> float:
        # In-process uvicorn's line needs a wrapper to be called from; the server needs none.
        beneath = PASS_THROUGH if contestant is ACCESS_LINE else BARE
        return median(own - base for own, base in zip(figures[contestant], figures[beneath], strict=True))

    line = added(ACCESS_LINE)
    rows = [
        [way.name, f"{median(of):.1f}", middle(of, ".1f"), f"{added(way):+.1f}", f"{added(way) / line:.2f}"]
        for way, of in figures.items()
    ]
    return Report(
        "In-process",
        ["", "µs", "middle half", "added", "in access lines"],
        rows,
        f"{len(figures[BARE])} interleaved rounds, microseconds a request; {versions('starlette')}. "
        "The access line is the call in uvicorn's RequestResponseCycle.send with uvicorn's formatter, into a file, "
        "less the wrapper that it is called from.",
    )


def _load_report(figures: Figures) -> Report:
    def relative(contestant: Contestant) -> float:
        return median(own / base for own, base in zip(figures[contestant], figures[BARE], strict=True))

    rows = [[way.name, f"{median(of):,.0f}", middle(of, ",.0f"), f"{relative(way):.2f}"] for way, of in figures.items()]
    cores = "server and client on one core each" if CLIENT_CORE is not None else "server and client not pinned"
    return Report(
        "Under uvicorn",
        ["", "requests/s", "middle half", "of bare"],
        rows,
        f"{len(figures[BARE])} interleaved rounds, a new server for each; {GENERATOR} over 16 connections, {cores}; "
        f"{versions('uvicorn', 'uvloop', 'httptools')}.",
    )


if __name__ == "__main__":
    main()
