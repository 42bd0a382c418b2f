"""The mix under uvicorn, sent by wrk from a file of requests: `python -m bench.mix_load`. Needs wrk."""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import track

from bench.contestants import ACCESS_LINE, BARE, OURS, OURS_SPOOLING, Contestant
from bench.paced import WARM_UP_SECONDS
from bench.running import CLIENT_CORE, pin, serving
from bench.tables import Report, middle, show, versions
from bench.traffic import Traffic
from bench.under_load import CONNECTIONS

NAMES: Final = {
    BARE: "bare Starlette, no log",
    ACCESS_LINE: "bare Starlette, uvicorn's access log",
    OURS_SPOOLING: "consent-mw, everything on, `drain=False`",
    OURS: "consent-mw, everything on, draining",
}
#: More than a round sends of any visitor twice in a row; then they come again.
REQUESTS: Final = 40_000
_SCRIPT: Final = """
local requests, at = {}, 0
function init(args)
  for request in assert(io.open(args[1], "rb")):read("*a"):gmatch("([^%z]+)%z") do requests[#requests + 1] = request end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


class Round(NamedTuple):
    """Requests a second of one contestant in one round, and microseconds of the server's core for each."""

    rate: float
    processor: float


def main() -> None:
    """Measure all four in interleaved rounds, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.mix_load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement")
    parser.add_argument("--seed", type=int, default=1, help="of the model of the traffic")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    figures: dict[Contestant, list[Round]] = {contestant: [] for contestant in NAMES}
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as place:
        script = _script(Path(place), options.seed)
        for _ in track(range(options.rounds), console=console, disable=not console.is_terminal):
            for contestant in NAMES:
                figures[contestant].append(_round(contestant, script, options.seconds))
    show(_report(figures), markdown=options.markdown)


def _script(place: Path, seed: int) -> list[str]:
    """Write the requests and the script that sends them; return wrk's words for both. It speaks no WebSocket."""
    mix = [request.wire for request in Traffic(seed).mix(REQUESTS) if request.kind != "WebSocket"]
    (place / "requests").write_bytes(b"".join(wire + b"\0" for wire in mix))
    (place / "mix.lua").write_text(_SCRIPT)
    return [str(place / "mix.lua"), str(place / "requests")]


def _round(contestant: Contestant, script: list[str], seconds: float) -> Round:
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as name, serving(contestant, Path(name)) as server:
        _sent(server.port, script, WARM_UP_SECONDS)
        before = server.processor_seconds()
        rate = _sent(server.port, script, seconds)
        return Round(rate, 1e6 * (server.processor_seconds() - before) / (rate * seconds))


def _sent(port: int, script: list[str], seconds: float) -> float:
    program, requests = script
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", program]
    words += [f"http://127.0.0.1:{port}/", "--", requests]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or not float(rate[1]) or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk met errors: {said}")
    return float(rate[1])


def _report(figures: dict[Contestant, list[Round]]) -> Report:
    rows = []
    for contestant, own in figures.items():
        rates = [round_.rate for round_ in own]
        ratios = [median(mine / theirs.rate for mine, theirs in zip(rates, figures[beside], strict=True))
                  for beside in (BARE, ACCESS_LINE)]  # fmt: skip
        processor = median(round_.processor for round_ in own)
        rows.append([NAMES[contestant], f"{median(rates):,.0f}", middle(rates, ",.0f"),
                     *(f"{ratio:.2f}" for ratio in ratios), f"{processor:.0f}"])  # fmt: skip
    cores = "server and client on a core each" if CLIENT_CORE is not None else "server and client not pinned"
    return Report(
        "The mix under uvicorn",
        ["", "requests/s", "middle half", "of bare", "of bare with its log", "core, µs a request"],
        rows,
        f"{len(figures[BARE])} interleaved rounds, a new server for each; wrk over {CONNECTIONS} connections, {cores}; "
        f"without the WebSockets, which wrk does not speak; {versions('uvicorn', 'uvloop', 'httptools', 'starlette')}.",
    )


if __name__ == "__main__":
    main()
