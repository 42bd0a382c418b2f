"""A journal that was kept, judged once more, without a site: `python -m tests.year.replay journal.jsonl [person]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.year.course import Course
from tests.year.judge import Judge

_INSTANTS = ("at", "kept")


def entries(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield what happened, in order."""
    with journal.open() as lines:
        for line in lines:
            entry = json.loads(line)
            for name in _INSTANTS:
                if isinstance(entry.get(name), str):
                    entry[name] = datetime.fromisoformat(entry[name])
            yield entry


def replayed(journal: Path, course: Course) -> Judge:
    judge = Judge(course)
    for entry in entries(journal):
        judge(entry)
    return judge


def tell_of(journal: Path, person: str) -> Iterator[str]:
    """Yield what one person did, and what the site answered."""
    for entry in entries(journal):
        if entry.get("person") == person:
            said = {
                name: value for name, value in entry.items() if name not in ("what", "at", "person", "body", "data")
            }
            yield f"{entry['at']:%Y-%m-%d %H:%M:%S} {entry['what']}: {said}"


if __name__ == "__main__":
    print("\n".join(tell_of(Path(sys.argv[1]), sys.argv[2])))
