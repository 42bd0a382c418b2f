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
from statistics import median, quantiles

from bench.contestants import OURS, request_headers
from bench.in_process import _discard, _receive
from bench.running import CLIENT_CORE, lifespan
from bench.site import new_scope, new_site

#: 100 real characters and more, of which the number is one: as a bot writes that wants to look like everybody.
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36"


def main() -> None:
    """Measure both in interleaved rounds, and print medians, their ratio and what the memory grew by."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=33_334, help="of one round; each with an agent of its own")
    options = parser.parse_args()
    numbers = count()
    one: list[float] = []
    many: list[float] = []
    for number in range(options.rounds):
        one.append(asyncio.run(_round(repeat(AGENT % 140), options.requests)))
        many.append(asyncio.run(_round((AGENT % each for each in numbers), options.requests)))
        if number == 0:
            before = _kibibytes()
    ratios = [flood / calm for flood, calm in zip(many, one, strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    sys.stdout.write(
        f"one agent: {median(one):.1f} µs a request; {options.rounds * options.requests:,} distinct agents: "
        f"{median(many):.1f} µs; ratio {middle:.2f} ({low:.2f} to {high:.2f}); "
        f"memory after the first round to the last: {(_kibibytes() - before) / 1024:+.1f} MiB"
        f"{'' if CLIENT_CORE is None else '; one core is free for the drain'}\n"
    )


async def _round(agents: Iterator[str], requests: int) -> float:
    """Return microseconds a request, the drain at work beside it: it parses each agent that it has not met."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as directory:
        app = OURS.wrap(new_site(), Path(directory))
        headers = [(name.lower().encode(), value.encode()) for name, value in request_headers().items()
                   if name != "User-Agent"]  # fmt: skip
        async with lifespan(app):
            gc.collect()
            started = time.perf_counter_ns()
            for _ in range(requests):
                await app(new_scope([*headers, (b"user-agent", next(agents).encode())]), _receive, _discard)
                await asyncio.sleep(0)  # as a server does between requests: here the drain gets its turn
            return (time.perf_counter_ns() - started) / requests / 1000


def _kibibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
