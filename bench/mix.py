"""What real traffic costs, and each kind of it alone, beside uvicorn's access line: `python -m bench.mix`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from html import escape
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import track
from starlette.types import ASGIApp, Message

from bench.contestants import ACCESS_LINE, BARE, FLOOR, OURS_SHARED, OURS_SPOOLING
from bench.running import SERVER_CORE, lifespan, pin, unpin
from bench.tables import Report, show, versions
from bench.traffic import ALONE, SHARES, Arrival, Traffic, new_site
from consent_mw import ConsentMiddleware

#: The bare site first: the others are measured by what they add to it.
CONTESTANTS: Final = (BARE, ACCESS_LINE, OURS_SPOOLING, OURS_SHARED, FLOOR)
MIX: Final = "the mix"
WARM_UP: Final = 200
_PATIENCE_SECONDS: Final = 120

Rounds = list[tuple[float, ...]]


class Cost(NamedTuple):
    """
    Microseconds of a request: of the bare site, what the access line adds, what we add, what we add with
    `shared_memory=True`, and what one seal and one write add.
    """

    bare: float
    line: float
    ours: float
    shared: float
    floor: float

    @property
    def lines(self) -> float:
        """What we add, in access lines."""
        return self.ours / self.line


def main() -> None:
    """Measure the mix and each kind in rounds, and print them; with --plot draw them too."""
    options = _options()
    kinds = [MIX, *ALONE] if options.kind is None else [options.kind]
    console = Console(stderr=True)
    costs: dict[str, Cost] = {}
    for kind in track(kinds, console=console, disable=not console.is_terminal):
        traffic, number = Traffic(options.seed), WARM_UP + options.rounds * options.requests
        arriving = traffic.mix(number) if kind == MIX else traffic.alone(kind, number)
        costs[kind] = _cost(asyncio.run(_rounds(arriving, options.requests)))
    show(_report(costs, options), markdown=options.markdown)
    if options.plot:
        options.plot.write_text(drawn({_name(kind): cost.lines for kind, cost in costs.items()}))
        sys.stderr.write(f"{options.plot} drawn\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.mix", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="in each of which all contestants take their turn")
    parser.add_argument("--requests", type=int, default=200, help="of one turn")
    parser.add_argument("--seed", type=int, default=1, help="of the model of the traffic")
    parser.add_argument("--kind", choices=[MIX, *ALONE], help="measure this alone")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the picture (SVG)")
    return parser.parse_args()


async def _rounds(arriving: Sequence[Arrival], requests: int) -> Rounds:
    """
    Return of each round the microseconds that a request took each contestant.

    All of them run in this process and take short turns with the same requests, so that a slow second of the machine
    is shared. It is the thread's own time that counts: what other programs take is not in it.
    """
    async with AsyncExitStack() as stack:
        directories = [stack.enter_context(tempfile.TemporaryDirectory(prefix="consent-mw-bench-"))
                       for _ in CONTESTANTS]  # fmt: skip
        apps = [contestant.wrap(new_site(), Path(directory))
                for contestant, directory in zip(CONTESTANTS, directories, strict=True)]  # fmt: skip
        for app in apps:
            await stack.enter_async_context(lifespan(app))
            await _microseconds(app, arriving[:WARM_UP])
        unpin()  # the process that drains may have any core
        await _busy(apps[CONTESTANTS.index(OURS_SHARED)], arriving[:WARM_UP])
        pin(SERVER_CORE)
        gc.collect()
        return [
            tuple([await _microseconds(app, arriving[at : at + requests]) for app in apps])
            for at in range(WARM_UP, len(arriving), requests)
        ]


async def _busy(app: ASGIApp, arriving: Sequence[Arrival]) -> None:
    """Send requests until the process that drains is there and has taken the memory that both share."""
    if not isinstance(app, ConsentMiddleware):
        raise TypeError(app)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while app.runtime.spool.lent is None:
            await _microseconds(app, arriving)
            await asyncio.sleep(0.1)


async def _microseconds(app: ASGIApp, arriving: Sequence[Arrival]) -> float:
    await asyncio.sleep(0)  # the turn of what runs beside the requests
    calls = [(arrival.scope(), arrival.receive()) for arrival in arriving]
    began = time.thread_time_ns()
    for scope, receive in calls:
        await app(scope, receive, _discard)
    return (time.thread_time_ns() - began) / len(calls) / 1000


async def _discard(message: Message) -> None:
    pass


def _cost(rounds: Rounds) -> Cost:
    bare, *others = zip(*rounds, strict=True)
    added = [median(own - base for own, base in zip(other, bare, strict=True)) for other in others]
    return Cost(median(bare), *added)


def _name(kind: str) -> str:
    return ALONE.get(kind, kind)


def _report(costs: dict[str, Cost], options: argparse.Namespace) -> Report:
    rows = [
        [
            _name(kind),
            f"{cost.bare:.1f}",
            f"{cost.line:+.1f}",
            f"{cost.ours:+.1f}",
            f"{cost.lines:.2f}",
            f"{cost.shared:+.1f}",
            f"{cost.shared / cost.line:.2f}",
            f"{cost.floor / cost.line:.2f}",
        ]
        for kind, cost in costs.items()
    ]
    shares = ", ".join(f"{share} {kind}" for kind, share in SHARES.items())
    return Report(
        "Real traffic",
        ["", "bare", "the line", "ours", "in lines", "shared memory", "in lines", "floor, in lines"],
        rows,
        f"Medians of {options.rounds} interleaved rounds of {options.requests} requests, microseconds of the thread's "
        "own time: of the bare site, then what uvicorn's access line adds, and what consent-mw adds; in-process, "
        "spooling only; then with `shared_memory=True`, while the process that drains seals and writes on the other "
        "core; then what one seal and one write alone add, of an access line; "
        f"seed {options.seed}. Of a hundred requests of the mix: {shares}. {versions('starlette')}.",
    )


_BAR, _LEFT, _WIDE, _TOP = 24, 320, 360, 48


def drawn(lines: dict[str, float]) -> str:
    """Return the picture: of each kind a bar as long as what we add in access lines, and where one line ends."""
    most = max(1.25, *lines.values())
    height = _TOP + _BAR * len(lines) + 24
    one = _LEFT + _WIDE / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 64} {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="8" y="20" font-weight="bold">What consent-mw adds to a request, in access lines of uvicorn</text>',
    ]
    for number, (name, value) in enumerate(lines.items()):
        y, width = _TOP + _BAR * number, max(1.0, _WIDE * value / most)
        colour = "#005f73" if name == MIX else "#0a9396"
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name.replace("`", ""))}</text>',
            f'<rect x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="{_BAR - 8}" fill="{colour}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}">{value:.2f}</text>',
        ]
    parts += [
        f'<path d="M{one:.1f} {_TOP - 6}V{height - 20}" stroke="#9b2226" stroke-dasharray="4"/>',
        f'<text x="{one:.1f}" y="{height - 6}" text-anchor="middle" fill="#9b2226">one access line</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
