"""What `import consent_mw` adds to the start of a process, beside Starlette: `python -m bench.imports`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

from bench.tables import Report, middle, show, versions

#: The first is an interpreter that does nothing; the second is what every application of the benchmark imports anyway.
PROGRAMS = ("pass", "import starlette.applications", "import consent_mw", "import starlette.applications, consent_mw")


def main() -> None:
    """Start interpreters in turns, and print the medians of their wall times."""
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="fresh interpreters of each")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    for program in PROGRAMS:
        _started(program)  # so that no round compiles, or reads from the disk
    for _ in range(options.rounds):
        for program in PROGRAMS:
            seconds[program].append(_started(program))
    show(_report(seconds), markdown=options.markdown)


def _started(program: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - began


def _report(seconds: dict[str, list[float]]) -> Report:
    starlette = seconds[PROGRAMS[1]]
    rows = [
        [
            f"`{program}`",
            f"{1e3 * median(found):.0f}",
            middle([1e3 * each for each in found], ".0f"),
            f"{1e3 * median(own - other for own, other in zip(found, starlette, strict=True)):+.0f}",
        ]
        for program, found in seconds.items()
    ]
    return Report(
        "Importing it",
        ["a fresh interpreter", "ms", "middle half", "beside Starlette, ms"],
        rows,
        f"Medians of {len(starlette)} interleaved starts, wall time, compiled and in the disk's cache; "
        f"{versions('starlette')}.",
    )


if __name__ == "__main__":
    main()
