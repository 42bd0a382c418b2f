"""What a process grows by over a million requests, each from another address: `python -m bench.memory`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import secrets
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from rich.console import Console
from rich.progress import track
from starlette.types import Receive, Scope

from bench.agents import AGENT
from bench.contestants import OURS, request_headers
from bench.in_process import _discard, _receive
from bench.running import lifespan
from bench.site import SECRET, new_scope
from bench.traffic import Traffic, new_site
from consent_mw import Choice
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie

#: Until here modules, templates and the first of everything are loaded.
WARM_UP = 1_000
#: In which the drain hands these over, and loads the parser of user agents and its lists.
PAUSE_SECONDS = 3


def main() -> None:
    """Send all requests once, and print what the resident memory was after each tenth."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="each from an address of its own")
    parser.add_argument(
        "--agents", type=int, default=100_000, help="distinct ones, each with a consent cookie of its own"
    )
    parser.add_argument(
        "--mix", action="store_true", help="the mix of `bench.traffic`, from as many visitors as agents"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        arriving = mixed(options.agents) if options.mix else alike(options.agents)
        sizes = asyncio.run(_sizes(options.requests, arriving, Path(directory)))
    first, loaded, *tenths, stopped = sizes
    sys.stdout.write(
        f"{options.requests:,} requests, {_said(options)}\n"
        f"resident after {WARM_UP:,} of them {first:.1f} MB, with the parser of user agents {loaded:.1f} MB; "
        f"from there, after each tenth {', '.join(f'{size - loaded:+.1f}' for size in tenths)} MB; drained and stopped "
        f"{stopped - loaded:+.1f} MB; at the highest {_highest() - loaded:+.1f} MB\n"
    )


def _said(options: argparse.Namespace) -> str:
    if options.mix:
        return f"the mix, of {options.agents:,} visitors who have chosen and all the others"
    return f"as many addresses, {options.agents:,} agents and consent cookies"


async def _sizes(requests: int, arriving: Iterator[tuple[Scope, Receive]], directory: Path) -> list[float]:
    """Return the megabytes after the warm-up, before and after the parser; after each tenth; and when all is over."""
    app = OURS.wrap(new_site(), directory)
    sizes: list[float] = []
    console = Console(stderr=True)
    async with lifespan(app):
        for number in track(range(WARM_UP + requests), console=console, disable=not console.is_terminal):
            scope, receive = next(arriving)
            await app(scope, receive, _discard)
            await asyncio.sleep(0)  # as a server does between requests: here the drain gets its turn
            if number == WARM_UP - 1:
                sizes.append(_resident())
                await asyncio.sleep(PAUSE_SECONDS)
                sizes.append(_resident())
            elif number >= WARM_UP and (number - WARM_UP + 1) % (requests // 10) == 0:
                sizes.append(_resident())
    gc.collect()
    return [*sizes, _resident()]


def mixed(visitors: int) -> Iterator[tuple[Scope, Receive]]:
    """Yield the requests of the mix. The model is made before anything is measured, and grows no more."""
    traffic = Traffic(visitors=visitors)
    while True:
        yield from ((request.scope(), request.receive()) for request in traffic.mix(100))


def alike(agents: int) -> Iterator[tuple[Scope, Receive]]:
    """Yield one page's requests, each from an address of its own."""
    for number, headers in enumerate(visitors(agents)):
        scope = new_scope(headers)
        scope["client"] = (str(IPv4Address((1 << 24) + number)), 50_000)
        yield scope, _receive


def visitors(agents: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield the headers of each request; after `agents` of them the same agents and cookies come again."""
    fixed = [(name.lower().encode(), value.encode()) for name, value in request_headers().items()
             if name not in ("User-Agent", "Cookie")]  # fmt: skip
    key = secrets.token_bytes(16)
    cookies = ConsentCookie([SECRET])
    today = datetime.now(UTC).date()
    while True:
        for number in range(agents):
            # The same each time round, and nothing that this benchmark would have to keep.
            receipt = (key.hex() + f"{number:08x}")[-22:]
            purposes = {"functional": True, "analytics": True, "marketing": False}
            consent = Consent(choice=Choice.PROMPT, revision=1, given_on=today, purposes=purposes, receipt=receipt)
            cookie = f"theme=dark; consent={cookies.sign(consent)}"
            yield [*fixed, (b"user-agent", (AGENT % number).encode()), (b"cookie", cookie.encode())]


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _highest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
