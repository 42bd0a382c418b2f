"""Requests a second at saturation, and latencies at half of it, under uvicorn: `python -m bench.load`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from bench.contestants import ACCESS_LINE, BARE, OURS, OURS_SPOOLING, Contestant
from bench.paced import CONNECTIONS as PACED_CONNECTIONS
from bench.paced import WARM_UP_SECONDS, paced
from bench.running import CLIENT_CORE, pin, serving
from bench.tables import Report, middle, show, versions
from bench.under_load import CONNECTIONS, GENERATOR, requests_per_second

#: The bare site comes first: the rate of a round is half of what it reaches.
NAMES = {
    BARE: "bare Starlette, no log",
    ACCESS_LINE: "bare Starlette, uvicorn's access log",
    OURS_SPOOLING: "consent-mw, everything on, `drain=False`",
    OURS: "consent-mw, everything on, draining",
}


class Round(NamedTuple):
    """
    Of one contestant in one round.

    Attributes:
        saturation: Requests a second, as many as it answers.
        processor: Microseconds of the server's core for each of them.
        middle, p99: Milliseconds at about the round's rate.
        rate: Requests a second that came then.
    """

    saturation: float
    processor: float
    middle: float
    p99: float
    rate: float


def main() -> None:
    """Measure all four in interleaved rounds, and print two tables; nothing is written to a file."""
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
                found = _measured(contestant, rate, options.seconds)
                rate = rate or found.saturation / 2
                figures[contestant].append(found)
                progress.advance(task)
    show(_saturation(figures), markdown=options.markdown)
    show(_latency(figures), markdown=options.markdown)


def _measured(contestant: Contestant, rate: float, seconds: float) -> Round:
    """Measure one contestant, with a server of its own for each of the two figures. No rate is half of what it does."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, serving(contestant, Path(name)) as server:
        requests_per_second(server.port, WARM_UP_SECONDS)
        before = server.processor_seconds()
        saturation = requests_per_second(server.port, seconds)
        processor = (server.processor_seconds() - before) / (saturation * seconds)
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, serving(contestant, Path(name)) as server:
        paced(server.port, rate or saturation / 2, WARM_UP_SECONDS)
        found = paced(server.port, rate or saturation / 2, seconds)
    return Round(saturation, 1e6 * processor, found.middle, found.p99, found.rate)


def _saturation(figures: dict[Contestant, list[Round]]) -> Report:
    rows = []
    for contestant, found in figures.items():
        rates = [each.saturation for each in found]
        ratios = [
            [own.saturation / other.saturation for own, other in zip(found, figures[beside], strict=True)]
            for beside in (BARE, ACCESS_LINE)
        ]
        less = [bare.processor / own.processor for own, bare in zip(found, figures[BARE], strict=True)]
        rows.append(
            [NAMES[contestant], f"{median(rates):,.0f}", middle(rates, ",.0f"), *(f"{median(r):.2f}" for r in ratios),
             f"{median(each.processor for each in found):.0f}", f"{median(less):.2f}"]
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


def _latency(figures: dict[Contestant, list[Round]]) -> Report:
    rows = []
    for contestant, found in figures.items():
        p99 = [each.p99 for each in found]
        ratio = median(own / bare.p99 for own, bare in zip(p99, figures[BARE], strict=True))
        rows.append(
            [NAMES[contestant], f"{median(each.middle for each in found):.2f}", f"{median(p99):.2f}",
             middle(p99, ".2f"), f"{ratio:.2f}", f"{median(each.rate for each in found):,.0f}"]
        )  # fmt: skip
    rate = median(each.saturation / 2 for each in figures[BARE])
    return Report(
        "Latency",
        ["", "median, ms", "p99, ms", "middle half of the rounds", "p99 of bare", "requests/s"],
        rows,
        f"The same rounds; requests come at random, about half as many as the bare site without a log answered just "
        f"before ({rate:,.0f} a second), over {PACED_CONNECTIONS} connections.",
    )


if __name__ == "__main__":
    main()
