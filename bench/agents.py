"""What a flood of distinct User-Agents costs: `python -m bench.agents`, beside the same requests with one agent."""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import NamedTuple

from bench.contestants import OURS, request_headers
from bench.in_process import _discard, _receive
from bench.running import CLIENT_CORE, lifespan
from bench.site import new_scope, new_site

#: 100 real characters and more, of which the number is one: as a bot writes that wants to look like everybody.
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36"


class _Round(NamedTuple):
    """Microseconds a request of one round: in all, of the middle one, and of the slowest of a hundred."""

    mean: float
    middle: float
    slow: float


def main() -> None:
    """Measure both in interleaved rounds, and print medians, their ratios and what the memory grew by."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=20_000, help="of one round; each with an agent of its own")
    options = parser.parse_args()
    numbers = count()
    one: list[_Round] = []
    many: list[_Round] = []
    for number in range(options.rounds):
        one.append(asyncio.run(_round(repeat(AGENT % 140), options.requests)))
        many.append(asyncio.run(_round((AGENT % version for version in numbers), options.requests)))
        if number == 0:
            before = _kibibytes()
    sys.stdout.write(f"{options.rounds * options.requests:,} distinct agents, beside as many requests with one\n")
    for place, what in enumerate(("mean", "median request", "99th percentile")):
        calm, flood = [figures[place] for figures in one], [figures[place] for figures in many]
        ratios = sorted(slow / fast for slow, fast in zip(flood, calm, strict=True))
        low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        sys.stdout.write(
            f"{what}: one agent {median(calm):.1f} µs, distinct ones {median(flood):.1f} µs; "
            f"ratio {middle:.2f} ({low:.2f} to {high:.2f})\n"
        )
    sys.stdout.write(
        f"memory after the first round to the last: {(_kibibytes() - before) / 1024:+.1f} MiB"
        f"{'' if CLIENT_CORE is None else '; one core is free for the drain'}\n"
    )


async def _round(agents: Iterator[str], requests: int) -> _Round:
    """Return what a request takes, the drain at work beside it: it parses each agent that it has not met."""
    took: list[int] = []
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as directory:
        app = OURS.wrap(new_site(), Path(directory))
        headers = [(name.lower().encode(), value.encode()) for name, value in request_headers().items()
                   if name != "User-Agent"]  # fmt: skip
        async with lifespan(app):
            gc.collect()
            for _ in range(requests):
                began = time.perf_counter_ns()
                await app(new_scope([*headers, (b"user-agent", next(agents).encode())]), _receive, _discard)
                await asyncio.sleep(0)  # as a server does between requests: here the drain gets its turn
                took.append(time.perf_counter_ns() - began)
    took.sort()
    return _Round(fmean(took) / 1000, took[len(took) // 2] / 1000, took[len(took) * 99 // 100] / 1000)


def _kibibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
