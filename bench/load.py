"""Requests a second at saturation, and latencies at half of it and side by side: `python -m bench.load`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from rich.console import Console
from rich.progress import Progress

from bench.contestants import ACCESS_LINE, BARE, OURS, OURS_INSIDE, OURS_SPOOLING, Contestant
from bench.paced import CONNECTIONS as PACED_CONNECTIONS
from bench.paced import WARM_UP_SECONDS, Paced, paced
from bench.running import CLIENT_CORE, pin, serving
from bench.tables import Report, middle, show, versions
from bench.under_load import CONNECTIONS, GENERATOR, requests_per_second

#: The bare site comes first: a quarter of what it reaches is asked of all of them.
NAMES = {
    BARE: "bare Starlette, no log",
    ACCESS_LINE: "bare Starlette, uvicorn's access log",
    OURS_SPOOLING: "consent-mw, everything on, `drain=False`",
    OURS_INSIDE: "consent-mw, everything on, the worker drains",
    OURS: "consent-mw, everything on, as it comes",
}


class Round(NamedTuple):
    """
    Of one contestant in one round.

    Attributes:
        saturation: Requests a second, as many as it answers.
        processor: Microseconds of the server's core for each of them.
        own: Times at half of its own saturation.
        alike: Times at the rate that all are asked at, a quarter of the bare site's saturation.
    """

    saturation: float
    processor: float
    own: Paced
    alike: Paced


def main() -> None:
    """Measure all five in interleaved rounds, and print two tables; nothing is written to a file."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    figures: dict[Contestant, list[Round]] = {contestant: [] for contestant in NAMES}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("under load", total=options.rounds * len(NAMES))
        for _ in range(options.rounds):
            rate = 0.0
            for contestant in NAMES:
                measured = _measured(contestant, rate, options.seconds)
                rate = rate or measured.saturation / 4
                figures[contestant].append(measured)
                progress.advance(task)
    show(_saturation(figures), markdown=options.markdown)
    show(_latency(figures, "own", "At half of its own saturation"), markdown=options.markdown)
    show(_latency(figures, "alike", "At one rate for all"), markdown=options.markdown)


def _measured(contestant: Contestant, rate: float, seconds: float) -> Round:
    """Measure one contestant, with a fresh server for the times. No rate stands for a quarter of its saturation."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, serving(contestant, Path(name)) as server:
        requests_per_second(server.port, WARM_UP_SECONDS)
        before = server.processor_seconds()
        saturation = requests_per_second(server.port, seconds)
        processor = (server.processor_seconds() - before) / (saturation * seconds)
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, serving(contestant, Path(name)) as server:
        paced(server.port, saturation / 2, WARM_UP_SECONDS)
        own = paced(server.port, saturation / 2, seconds)
        alike = paced(server.port, rate or saturation / 4, seconds)
    return Round(saturation, 1e6 * processor, own, alike)


def _saturation(figures: dict[Contestant, list[Round]]) -> Report:
    rows = []
    for contestant, rounds in figures.items():
        rates = [round_.saturation for round_ in rounds]
        ratios = [
            [own.saturation / other.saturation for own, other in zip(rounds, figures[beside], strict=True)]
            for beside in (BARE, ACCESS_LINE)
        ]
        less = [bare.processor / own.processor for own, bare in zip(rounds, figures[BARE], strict=True)]
        rows.append(
            [NAMES[contestant], f"{median(rates):,.0f}", middle(rates, ",.0f"), *(f"{median(r):.2f}" for r in ratios),
             f"{median(round_.processor for round_ in rounds):.0f}", f"{median(less):.2f}"]
        )  # fmt: skip
    cores = "server and client on a core each" if CLIENT_CORE is not None else "server and client not pinned"
    return Report(
        "Saturation",
        ["", "requests/s", "middle half", "of bare", "of bare with its log", "core, µs a request", "bare, of it"],
        rows,
        f"{len(figures[BARE])} interleaved rounds, a new server for each; {GENERATOR} over {CONNECTIONS} connections, "
        f"{cores}; ratios are medians of the rounds'. The last two columns count the time that the server's process "
        "took of its core, which other programs on the machine change little; "
        f"{versions('uvicorn', 'uvloop', 'httptools', 'starlette')}.",
    )


def _latency(figures: dict[Contestant, list[Round]], which: Literal["own", "alike"], title: str) -> Report:
    paces: dict[Contestant, list[Paced]] = {
        contestant: [round_.own if which == "own" else round_.alike for round_ in rounds]
        for contestant, rounds in figures.items()
    }
    rows = []
    for contestant, times in paces.items():
        p99 = [pace.p99 for pace in times]
        ratio = median(own / bare.p99 for own, bare in zip(p99, paces[BARE], strict=True))
        rows.append(
            [NAMES[contestant], f"{median(pace.rate for pace in times):,.0f}",
             f"{median(pace.middle for pace in times):.2f}", f"{median(p99):.2f}", middle(p99, ".2f"), f"{ratio:.2f}"]
        )  # fmt: skip
    return Report(
        title,
        ["", "requests/s", "median, ms", "p99, ms", "middle half of the rounds", "p99 of bare"],
        rows,
        f"The same rounds; requests come at random moments over {PACED_CONNECTIONS} connections, and a time runs from "
        "the moment at which its request was due.",
    )


if __name__ == "__main__":
    main()
