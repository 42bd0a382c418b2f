"""
How long answers take when requests come at random moments, so many a second on average: wrk, with pauses.

Each of the connections waits for its answer and then for a random time, as visitors do who do not know of each other. A
client in Python takes more of its core for a request than the server does, and would measure itself.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.contestants import request_headers
from bench.site import PATH

__all__ = ["WARM_UP_SECONDS", "Paced", "paced"]

#: Of a run that is not counted: connections are opened, memories filled, the parser of user agents is loaded.
WARM_UP_SECONDS = 3.0
#: Many, so that the pauses are long and a slow answer holds back few of the others.
CONNECTIONS = 200

SCRIPT = """
function delay()
  return math.floor(-%(mean)f * math.log(1 - math.random()) + math.random())
end
function done(summary, latency)
  local rate = summary.requests / summary.duration * 1e6
  io.write(string.format("PACED %%f %%f %%f\\n", latency:percentile(50), latency:percentile(99), rate))
end
"""


class Paced(NamedTuple):
    """The median and the 99th percentile of the answers' times, in milliseconds, and requests a second as they came."""

    middle: float
    p99: float
    rate: float


def paced(port: int, rate: float, seconds: float) -> Paced:
    """Ask the server on `port` about `rate` times a second for so many seconds."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as directory:
        script = Path(directory, "paced.lua")
        script.write_text(SCRIPT % {"mean": 1_000 * CONNECTIONS / rate})
        headers = [word for name, value in request_headers().items() for word in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script), *headers]
        url = f"http://127.0.0.1:{port}{PATH}"
        said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PACED ([\d.]+) ([\d.]+) ([\d.]+)", said)
    if found is None or "Non-2xx" in said:
        raise RuntimeError(f"wrk met errors: {said}")
    return Paced(float(found[1]) / 1_000, float(found[2]) / 1_000, float(found[3]))
