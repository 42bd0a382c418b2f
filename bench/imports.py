"""What `import consent_mw` adds to the start of a process, beside Starlette: `python -m bench.imports`."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from statistics import median
from typing import NamedTuple

from bench.tables import Report, middle, show, versions

#: The first is an interpreter that does nothing; the second is what every application of the benchmark imports anyway.
PROGRAMS = (
    "pass",
    "import starlette.applications",
    "import starlette.applications, consent_mw",
    "import starlette.applications; from consent_mw import ConsentMiddleware",
    "from consent_mw.cli import main; main(['log', '--help'])",
)

#: As an installed package runs: pip compiles it, and without this a setting of the shell could have each start compile.
_WITH_CACHE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Start(NamedTuple):
    """One start, in milliseconds of the wall and of the processor."""

    wall: float
    processor: float


def main() -> None:
    """Start interpreters in turns, and print the medians of their wall times."""
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="fresh interpreters of each")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    figures: dict[str, list[Start]] = {program: [] for program in PROGRAMS}
    for program in PROGRAMS:
        _started(program)  # so that no round compiles, or reads from the disk
    for _ in range(options.rounds):
        for program in PROGRAMS:
            figures[program].append(_started(program))
    show(_report(figures), markdown=options.markdown)


def _started(program: str) -> Start:
    began, before = time.perf_counter(), _processor()
    subprocess.run([sys.executable, "-c", program], check=True, env=_WITH_CACHE, stdout=subprocess.DEVNULL)
    return Start(1e3 * (time.perf_counter() - began), 1e3 * (_processor() - before))


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(figures: dict[str, list[Start]]) -> Report:
    starlette = figures[PROGRAMS[1]]
    rows = []
    for program, starts in figures.items():
        more = [median(own[at] - other[at] for own, other in zip(starts, starlette, strict=True)) for at in range(2)]
        wall = [start.wall for start in starts]
        rows.append(
            [f"`{program}`", f"{median(wall):.0f}", middle(wall, ".0f"), f"{more[0]:+.0f}",
             f"{median(start.processor for start in starts):.0f}", f"{more[1]:+.0f}"]
        )  # fmt: skip
    return Report(
        "Importing it",
        ["a fresh interpreter", "ms", "middle half", "beside Starlette", "of the processor", "beside Starlette"],
        rows,
        f"Medians of {len(starlette)} interleaved starts, in milliseconds of wall time, then of the processor's, which "
        f"other programs change little; compiled, and in the disk's cache; {versions('starlette')}.",
    )


if __name__ == "__main__":
    main()
