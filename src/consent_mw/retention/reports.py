"""What a site's days were like, from counts that identify nobody: no personal record is read for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import AGGREGATE
from consent_mw.records import Query, Record
from consent_mw.retention.aggregates import CHOICES, DETAILS, LATENCIES, PURPOSE, TOTAL, cells_of, days_of
from consent_mw.retention.calendar import Retention
from consent_mw.retention.periods import PERIOD
from consent_mw.retention.small_cells import OTHER
from consent_mw.stores.base import Store
from consent_mw.system.days import day_text, start_of

_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
#: The titles of counts in a report, in their order; any other has the name that it counts by.
_TITLES: Final = {
    "visit hour": "requests by hour (UTC)",
    "joined hour": "visits by hour (UTC)",
    "route": "routes",
    "status": "statuses",
    "method": "methods",
    "error": "errors",
    "agent": "visitors and bots",
    "browser": "browsers",
    "os": "systems",
    "device": "devices",
    "joined entry": "first page of a visit",
    "joined exit": "last page of a visit",
    "joined exchanges": "requests of a visit",
    "joined minutes": "minutes of a visit",
    "websocket minutes": "minutes that WebSockets were open",
    "stream minutes": "minutes that streams lasted",
    "choice": "choice in force, by request",
    "receipt choice": "choices",
    "receipt language": "in which language they chose",
    "receipt language choice": "choices by language",
    "receipt surface": "where they chose",
    "receipt hour": "choices by hour (UTC)",
    "blocked": "cookies blocked, by name",
    "undeclared": "names of undeclared cookies",
    "event": "events",
    "event hour": "events by hour (UTC)",
}
_ORDER: Final = tuple(_TITLES)
#: What stands for a number that is not told; never 0.
UNTOLD: Final = "–"
#: In this order, and with a colour each, wherever choices are shown.
_CHOICES: Final = ("accept", "prompt", "reject", OTHER)
_OWN: Final = frozenset(("kind", "latency"))


class Count(msgspec.Struct):
    """
    One thing that is counted: under which purpose it was collected, and how many, by label.

    Attributes:
        untold: Of choices, how many are in no cell: those of days that had too few of some, and are in no period that
            lies within the span.
    """

    of: str
    cells: dict[str, int]
    untold: int = 0


class Period(msgspec.Struct):
    """
    The choices of one day, or of several that were too small to publish alone.

    Attributes:
        days: Those days (UTC), such as "2026-11-23".
        cells: By choice; None if not published, or not yet.
        receipts: How many choices there were; None if that is not published either.
    """

    days: list[str]
    cells: dict[str, int] | None
    receipts: int | None


class Day(msgspec.Struct):
    """
    One day (UTC). What fewer than five visitors stand behind is None, which may be nothing at all.

    Attributes:
        choices: The receipts by choice; None where some choice had too few, so that the day does not tell them.
        blocked: How often a declared cookie was blocked; one exchange may block several.
        undeclared: How many names of undeclared cookies the site itself set.
    """

    exchanges: int | None = None
    visits: int | None = None
    events: int | None = None
    receipts: int | None = None
    choices: dict[str, int] | None = None
    blocked: int | None = None
    undeclared: int = 0


class Ending(msgspec.Struct):
    """The oldest day of a purpose that is still kept, and when (ISO 8601, local) its last record will be destroyed."""

    purpose: str
    day: str
    ends: str


class Owed(msgspec.Struct):
    """A request of a visitor that waits for the operator: what is asked, and until when (ISO 8601, local)."""

    number: str
    kind: str
    due: str
    overdue: bool


#: Returns what the operator owes at that moment, the most urgent first.
Queue: TypeAlias = Callable[[Store, datetime], Awaitable[Sequence[Owed]]]


class Report(msgspec.Struct, kw_only=True):
    """
    Attributes:
        since, until: First and last day, such as "2026-11-23", in UTC.
        days: Each day that was counted. A missing day is not over, had nobody, or too few to publish.
        counts: By what was counted: "route", "status", "browser", "receipt language", ...
        choices: The choices over time: days that tell them, periods of several days, and days that do not tell them.
        latency: Upper bounds in seconds, by "p50", "p90" and "p99"; None is more than the largest bound.
        ending: What ends next of each purpose, the first first.
        requests: What visitors wait for, the most urgent first; None where no queue was asked.
    """

    since: str
    until: str
    days: dict[str, Day]
    counts: dict[str, Count]
    latency: dict[str, float | None]
    choices: list[Period] = msgspec.field(default_factory=list[Period])
    ending: list[Ending] = msgspec.field(default_factory=list[Ending])
    requests: list[Owed] | None = None

    @property
    def overdue(self) -> int:
        """How many requests are overdue."""
        return sum(request.overdue for request in self.requests or ())


async def report_of(store: Store, sealer: Sealer, first: int, last: int) -> Report:
    """
    Return the report of the days (since 1970-01-01 UTC) from `first` to `last`, both included.

    A purpose sees a part of the visitors; each count comes from the purpose that saw most of it. Counts that are not as
    the site wrote them are left out.

    Raises:
        StoreError: The store cannot be reached.
    """
    totals: dict[str, dict[str, Counter[str]]] = {}
    days: dict[str, Day] = {}
    covered: dict[str, set[int]] = {}
    periods: dict[frozenset[int], dict[str, int]] = {}
    async for record in _aggregates(store, sealer, first, last):
        by, of, cells = str(record.data["aggregate.by"]), str(record.data["aggregate.of"]), cells_of(record)
        about = days_of(record)
        if min(about) < first:
            continue  # a period that began before the span: a part of it cannot be published
        name = by.removeprefix(PERIOD)
        totals.setdefault(name, {}).setdefault(of, Counter()).update(cells)
        covered.setdefault(name, set()).update(about)
        if name == CHOICES:
            periods[about] = cells
        if name == by:
            _add(days.setdefault(day_text(max(about)), Day()), by, cells)
    counts = {by: _widest(parts) for by, parts in sorted(totals.items(), key=lambda item: _rank(item[0]))}
    for by in (CHOICES, *DETAILS):
        if by in counts:
            covered_days = set(map(day_text, covered[by]))
            counts[by].untold = sum(day.receipts or 0 for name, day in days.items() if name not in covered_days)
    latency = _quantiles(counts["latency"].cells) if "latency" in counts else {}
    counted = {by: count for by, count in counts.items() if by not in _OWN}
    return Report(
        since=day_text(first),
        until=day_text(last),
        days=dict(sorted(days.items())),
        counts=counted,
        latency=latency,
        choices=_over_time(periods, days),
    )


def endings(retention: Retention, live: Iterable[tuple[int, str]], now: datetime) -> list[Ending]:
    """Return what ends next of each purpose, from the keys (day, label) that are alive: those of its oldest day."""
    oldest: dict[str, tuple[int, datetime]] = {}
    for day, label in sorted(live):
        purpose, span = of_label(label)
        if purpose in oldest and oldest[purpose][0] != day:
            continue  # to work out when a day ends takes longer than all else here, and there are hundreds
        end = retention.end(day, purpose, now, span)
        if end is not None:
            oldest[purpose] = day, min(end, oldest.get(purpose, (day, end))[1])
    soonest = sorted((end, purpose) for purpose, (_, end) in oldest.items())
    return [
        Ending(purpose, day_text(oldest[purpose][0]), end.astimezone().isoformat(timespec="minutes"))
        for end, purpose in soonest
    ]


def ordered(cells: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return cells as people read them: hours in their order, anything else with the most first, "(other)" last."""
    if all(label.isdigit() for label in cells if label != OTHER):
        return sorted(cells.items(), key=lambda cell: (cell[0] == OTHER, cell[0]))
    return sorted(cells.items(), key=lambda cell: (cell[0].startswith(OTHER), -cell[1], cell[0]))


def is_mostly_hidden(cells: Mapping[str, int]) -> bool:
    """Whether more than half is in "(other)": a picture of the rest would be one of chance."""
    return 2 * cells.get(OTHER, 0) > sum(cells.values())


def in_order(counts: Mapping[str, Count]) -> list[tuple[str, Count]]:
    """Return the counts that say something: not those of which every cell was too small to publish."""
    return [(by, count) for by, count in counts.items() if count.cells.keys() != {OTHER}]


def title_of(by: str) -> str:
    """Return what a count is called where people read it."""
    return _TITLES.get(by, by)


def choices_of(periods: Iterable[Period]) -> list[str]:
    """Return the choices that any of `periods` tells, in their fixed order."""
    choices = {choice for period in periods for choice in period.cells or ()}
    return [choice for choice in _CHOICES if choice in choices] + sorted(choices.difference(_CHOICES))


def cell_of(period: Period, choice: str) -> int | None:
    """Return how many chose `choice`; None where it is not told: what is hidden in "(other)" is not 0."""
    if period.cells is None or (choice not in period.cells and OTHER in period.cells and choice != OTHER):
        return None
    return period.cells.get(choice, 0)


def title_of_period(period: Period) -> str:
    """Return what a period is called where people read it."""
    first, last = period.days[0], period.days[-1]
    return first if first == last else f"{first} to {last} ({len(period.days)} days)"


def _rank(by: str) -> tuple[int, str]:
    return (_ORDER.index(by) if by in _ORDER else len(_ORDER), by)


async def _aggregates(store: Store, sealer: Sealer, first: int, last: int) -> AsyncIterator[Record]:
    query = Query(
        kinds=frozenset((AGGREGATE,)),
        purposes=frozenset((PURPOSE,)),
        since=start_of(first),
        until=start_of(last + 1),
    )
    page = await store.fetch(query)
    while page:
        for record in sealer.whole(page):
            yield record
        page = await store.fetch(query, after=page[-1].id)


def _add(day: Day, by: str, cells: Mapping[str, int]) -> None:
    # Not "kind": where there were few events, its visits are in "(other)".
    if by == "visit hour":
        # Every purpose has a record of the same exchange; an event or a receipt belongs to one.
        day.exchanges = max(day.exchanges or 0, sum(cells.values()))
    elif by == "event hour":
        day.events = (day.events or 0) + sum(cells.values())
    elif by == TOTAL:
        day.receipts = (day.receipts or 0) + sum(cells.values())
    elif by == "joined hour":
        day.visits = max(day.visits or 0, sum(cells.values()))
    elif by == CHOICES:
        day.choices = dict(cells)
    elif by == "blocked":
        day.blocked = max(day.blocked or 0, sum(cells.values()))
    elif by == "undeclared":
        day.undeclared += cells.get("set by the site", 0)


def _over_time(periods: Mapping[frozenset[int], dict[str, int]], days: Mapping[str, Day]) -> list[Period]:
    over_time: list[Period] = []
    shown: set[str] = set()
    for numbers, cells in periods.items():
        names = [day_text(number) for number in sorted(numbers)]
        shown.update(names)
        over_time.append(Period(names, cells, sum(cells.values())))
    over_time += [
        Period([name], None, day.receipts) for name, day in days.items() if day.receipts and name not in shown
    ]
    return sorted(over_time, key=lambda period: period.days)


def _widest(parts: Mapping[str, Counter[str]]) -> Count:
    of = max(sorted(parts), key=lambda purpose: parts[purpose].total())
    return Count(of, dict(parts[of]))


def _quantiles(cells: Mapping[str, int]) -> dict[str, float | None]:
    whole = sum(cells.values())
    quantiles: dict[str, float | None] = {}
    for name, share in _QUANTILES.items():
        below = 0
        for bound in LATENCIES:
            below += cells.get(str(bound), 0)
            if below >= share * whole:
                quantiles[name] = float(bound)
                break
        else:
            quantiles[name] = None
    return quantiles
