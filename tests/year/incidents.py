"""What happens to the site itself, and on which instants: kills, days off, clock steps, revisions, inspections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

from tests.year.course import Course, published_at

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Incident:
    """`verb` is a name of `world`'s."""

    at: datetime
    verb: str
    arguments: dict[str, Any] = field(compare=False, default_factory=dict[str, Any])


def incidents(seed: int, start: date, days: int, course: Course, *, short: bool) -> list[Incident]:
    """Return everything that is no visitor's doing, in order."""
    random = Random(seed ^ 0x5EED)
    begin = datetime.combine(start, time(), UTC)
    planned = [
        *_routine(begin, days),
        *_trouble(begin, days, random, short=short),
        *_inspections(begin, days, short),
    ]
    announced = [Incident(published_at(new), "publish", {"number": new.number}) for new in course.revisions[1:]]
    off = [incident.at for incident in sorted(planned) if incident.verb in ("stop", "start")]
    for since, until in zip(off[::2], off[1::2], strict=True):
        if any(since <= incident.at <= until for incident in announced):  # `publish` takes the day of its publication
            planned = [incident for incident in planned if incident.at not in (since, until)]
    return sorted([*planned, *announced])


def _routine(begin: datetime, days: int) -> Iterator[Incident]:
    for day in range(1, days):
        yield Incident(begin + day * _DAY + timedelta(minutes=31), "midnight")
        if day % 4 == 0:  # most days have one look, which is dear where a database is far
            yield Incident(begin + day * _DAY + timedelta(hours=12, minutes=3), "passes")


def _inspections(begin: datetime, days: int, short: bool) -> Iterator[Incident]:
    every = 4 if short else 8
    for day in range(2, days):
        today = begin + day * _DAY
        # Around 29 February, the ends of months, and the nights on which clocks change, also on the days between.
        hard = (today.month, today.day) in {
            (2, 29),
            (3, 1),
            (3, 2),
            (3, 28),
            (3, 30),
            (3, 31),
            (4, 1),
            (10, 30),
            (1, 1),
        }
        if day % every == 0 or hard:
            yield Incident(today + timedelta(hours=13, minutes=7), "inspect", {"number": day})
    yield Incident(begin + days * _DAY - timedelta(minutes=7), "inspect", {"number": days})


def _trouble(begin: datetime, days: int, random: Random, *, short: bool) -> Iterator[Incident]:
    kills = 4 if short else 30
    for _ in range(kills):
        yield Incident(begin + timedelta(seconds=random.randrange(_DAY.days, days * 86_400)), "kill_next")
    parts = 1 if short else 5
    length = days / parts
    for part in range(parts):
        first = part * length

        def at(share: float, hour: float, first: float = first) -> datetime:
            return begin + int(first + share * length) * _DAY + timedelta(hours=hour)

        # A day and a half, over a midnight, on which nothing runs.
        yield Incident(at(0.2, 10.2), "stop")
        yield Incident(at(0.2, 10.2) + timedelta(days=1 if short else 2, hours=9), "start")
        # Longer than the shortest purpose keeps anything.
        yield Incident(at(0.28, 9.4), "drain_away")
        yield Incident(at(0.28, 9.4) + timedelta(days=4 if short else 12), "drain_back")
        if not short:
            yield Incident(at(0.45, 20.1), "drain_away")
            yield Incident(at(0.45, 20.1) + timedelta(hours=3), "drain_back")
        yield Incident(at(0.60, 2.3), "backup")
        yield Incident(at(0.60, 2.3) + timedelta(days=1, hours=12), "restore")
        # An hour back over midnight, after the day before was counted; and hours ahead of the time.
        yield Incident(at(0.75, 0.58), "clock", {"seconds": -3_600})
        yield Incident(at(0.75, 5.5), "clock", {"seconds": 0})
        yield Incident(at(0.85, 21.5), "clock", {"seconds": 3 * 3_600})
        yield Incident(at(0.85, 23.5), "clock", {"seconds": 0})
