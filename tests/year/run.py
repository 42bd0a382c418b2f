"""A story, lived through and judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

from tests.year.backups import Backups, SqliteBackups
from tests.year.course import course
from tests.year.judge import Judge
from tests.year.world import Entry, Story, World

#: The hard dates of 2028: 29 February and the ends of months, the clock changes of spring and autumn, a new year.
SHORT = date(2028, 2, 5)
LONG = date(2027, 11, 15)


#: A half hour off, clocks that change, and none that do.
ZONES = ("America/St_Johns", "Europe/London", "Asia/Seoul")


def story(seed: int, zones: tuple[str, str, str] = ZONES, *, short: bool, persons: int = 0) -> Story:
    start, days = (SHORT, 62) if short else (LONG, 400)
    return Story(seed, start, days, persons or (40 if short else 420), course(start, zones, short=short), short)


def judged(
    plot: Story,
    directory: Path,
    *,
    store: str | None = None,
    backups: Backups | None = None,
    progress: Callable[[float], None] = lambda _: None,
    twist: Callable[[Entry], Entry] = lambda entry: entry,
) -> Judge:
    """
    Live through a story, and return its judge. The journal is kept beside the site.

    Args:
        twist: Alters what the judge is told; for the test that it would notice.
    """
    directory.mkdir(parents=True, exist_ok=True)
    judge = Judge(plot.course)
    with (directory / "journal.jsonl").open("w") as journal:

        def tell(entry: Entry) -> None:
            journal.write(json.dumps(entry, default=str) + "\n")
            judge(twist(entry))

        World(plot, directory, tell, backups=backups or SqliteBackups(directory), store=store, progress=progress).live()
    return judge
