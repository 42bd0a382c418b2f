"""
The counts of choices over several days, for sites where a single day has too few of some of them to publish.

On a site of thirty choices a day about three visitors want to be asked each time: the day cannot publish them, and
hides others with them. The days of one week together can. So each day's choices are published once: with the day, or
with the first period in which every cell has five visitors behind it. Periods are sums over whole days that share no
day, so subtracting one from another reveals nothing smaller than a published cell. No small number is ever stored: a
period is counted again from the receipts themselves, which live longer than it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from consent_mw.consent.receipt_name import AGAIN_DAYS
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import AGGREGATE, RECEIPT
from consent_mw.records import Query, Record, Scalar
from consent_mw.retention.aggregates import (
    CHOICES,
    CHOICES_BY_LANGUAGE,
    LANGUAGES,
    PURPOSE,
    SURFACES,
    TOTAL,
    DayCounts,
    cells_of,
    days_of,
)
from consent_mw.retention.small_cells import OTHER, Cell, without_small_cells
from consent_mw.stores.base import Store
from consent_mw.system.days import start_of

#: What the counts of a period are called by: this, and what the same count of one day is called by.
PERIOD: Final = "period "
#: A day waits no longer for a period in which no cell is small; then the small ones are published as "(other)".
_LONGEST: Final = AGAIN_DAYS
#: Surfaces and languages have more cells, and are published a week at a time.
_DETAILED: Final = 7

#: Returns the records of one day of the purpose that is counted.
Pages: TypeAlias = Callable[[int], AsyncIterator[Sequence[Record]]]


class PeriodCounts(DayCounts):
    """
    What a period tells, in the form of a day's counts.

    Args:
        day: The last of `days`, which need not follow each other.
    """

    def __init__(self, day: int, purpose: str, days: Iterable[int], tables: Mapping[str, dict[str, int]]) -> None:
        super().__init__(day, purpose)
        self.days: tuple[int, ...] = tuple(sorted(days))
        self._tables = tables

    def published(self) -> dict[str, dict[str, int]]:
        """Return the counts that may be written."""
        return {f"{PERIOD}{by}": cells for by, cells in self._tables.items()}

    def facts(self) -> dict[str, Scalar]:
        """Return what its records say beside their count."""
        return {"aggregate.days": " ".join(map(str, self.days))}


async def closing(store: Store, sealer: Sealer, pages: Pages, day: int, counts: DayCounts) -> list[PeriodCounts]:
    """
    Return the periods that end with `day`, whose own `counts` are not in the store yet.

    Args:
        pages: Reads the receipts of an earlier day, those that are as the site wrote them.

    Raises:
        StoreError: The store cannot be reached.
    """
    known = await _known(store, sealer, day)
    for by, cells in counts.published().items():
        known.take(by, frozenset((day,)), cells)

    async def counted(earlier: int) -> DayCounts:
        if earlier == day:
            return counts
        again = DayCounts(earlier, counts.purpose, skipped=counts.skipped, visitor=counts.visitor)
        async for page in pages(earlier):
            again.add(record for record in page if record.kind == RECEIPT)
        return again

    periods: list[PeriodCounts] = []
    waiting = [earlier for earlier in range(day - _LONGEST + 1, day + 1) if earlier not in known.choices]
    period = _choices(day, {earlier: await counted(earlier) for earlier in waiting}, known)
    if period:
        periods.append(period)
        known.take(f"{PERIOD}{CHOICES}", frozenset(period.days), period.published()[f"{PERIOD}{CHOICES}"])
    waiting = sorted(known.choices - known.details)
    if waiting and day - waiting[0] >= _DETAILED - 1:
        periods.append(_details(day, {earlier: await counted(earlier) for earlier in waiting}, known))
    return periods


class _Known:
    """What was published about the last days: which have a total, which their choices, and which details."""

    def __init__(self) -> None:
        self.totals: dict[int, int] = {}
        self.choices: set[int] = set()
        self.coarse: set[int] = set()  # the choices of these were published with small cells in "(other)"
        self.details: set[int] = set()

    def take(self, by: str, days: frozenset[int], cells: Mapping[str, int]) -> None:
        if not cells:
            return
        if by == TOTAL:
            self.totals |= dict.fromkeys(days, sum(cells.values()))
        elif by.removeprefix(PERIOD) == CHOICES:
            self.choices |= days
            self.coarse |= days if OTHER in cells else set()
        elif by.removeprefix(PERIOD) in (SURFACES, LANGUAGES):
            self.details |= days


async def _known(store: Store, sealer: Sealer, day: int) -> _Known:
    known = _Known()
    # Twice as far: details wait for the choices, which wait for the longest period.
    since, until = start_of(day - 2 * _LONGEST), start_of(day + 1)
    query = Query(kinds=frozenset((AGGREGATE,)), purposes=frozenset((PURPOSE,)), since=since, until=until)
    page = await store.fetch(query)
    while page:
        for record in sealer.whole(page):
            known.take(str(record.data["aggregate.by"]), days_of(record), cells_of(record))
        page = await store.fetch(query, after=page[-1].id)
    return known


def _choices(day: int, counts: dict[int, DayCounts], known: _Known) -> PeriodCounts | None:
    """Return the period of the days that wait, if it may be published."""
    agreed = {
        other: part for other, part in counts.items() if other in known.totals and _agrees(part, known.totals[other])
    }
    few = {other: part for other, part in counts.items() if other not in known.totals and part.table(CHOICES)}
    # The total of a day of four is not told. Several of them are, together; else it would be found by subtraction.
    days = agreed if _whole(_merged(few.values(), CHOICES)).is_small else agreed | few
    cells = _merged(days.values(), CHOICES)
    has_small = any(cell.is_small for cell in cells.values())
    if not days or (has_small and day - min(days) < _LONGEST - 1):
        return None
    table = without_small_cells(cells)
    return PeriodCounts(day, next(iter(days.values())).purpose, days, {CHOICES: table}) if table else None


def _agrees(counts: DayCounts, total: int) -> bool:
    """Whether the receipts of a day are those that were counted: none came late, and none is gone."""
    return sum(cell.count for cell in counts.table(CHOICES).values()) == total


def _details(day: int, counts: dict[int, DayCounts], known: _Known) -> PeriodCounts:
    languages = _merged(counts.values(), LANGUAGES)
    tables = {
        SURFACES: without_small_cells(_merged(counts.values(), SURFACES)),
        LANGUAGES: without_small_cells(languages),
    }
    if not known.coarse.intersection(counts):
        tables[CHOICES_BY_LANGUAGE] = _rows(_merged(counts.values(), CHOICES_BY_LANGUAGE), set(tables[LANGUAGES]))
    return PeriodCounts(day, next(iter(counts.values())).purpose, counts, tables)


def _merged(counts: Iterable[DayCounts], by: str) -> dict[str, Cell]:
    merged: dict[str, Cell] = {}
    for part in counts:
        for label, cell in part.table(by).items():
            merged.setdefault(label, Cell()).take(cell)
    return merged


def _whole(cells: Mapping[str, Cell]) -> Cell:
    whole = Cell()
    for cell in cells.values():
        whole.take(cell)
    return whole


def _rows(cells: Mapping[str, Cell], languages: set[str]) -> dict[str, int]:
    """
    Return the choices by language, a whole language at a time: one of which some choice is small joins "(other)".

    Its other choices could be subtracted from the language's own count. What joins has to be published too, so more
    languages follow it until no choice of "(other)" is small; if none is left, nothing is published.
    """
    rows: dict[str, dict[str, Cell]] = {}
    for label, cell in cells.items():
        language, _, choice = label.partition(": ")
        rows.setdefault(language if language in languages else OTHER, {}).setdefault(choice, Cell()).take(cell)
    rest = [rows.pop(OTHER)] if OTHER in rows else []
    rest += [rows.pop(language) for language in list(rows) if _has_small(rows[language])]
    while rest and rows and _has_small(_joined(rest)):
        rest.append(rows.pop(min(rows, key=lambda label: (_whole(rows[label]).count, label))))
    if rest and not _has_small(_joined(rest)):
        rows[OTHER] = _joined(rest)
    elif rest:
        return {}
    return {
        f"{language}: {choice}": cell.count for language, row in sorted(rows.items()) for choice, cell in row.items()
    }


def _joined(rows: Iterable[Mapping[str, Cell]]) -> dict[str, Cell]:
    joined: dict[str, Cell] = {}
    for row in rows:
        for choice, cell in row.items():
            joined.setdefault(choice, Cell()).take(cell)
    return joined


def _has_small(row: Mapping[str, Cell]) -> bool:
    return any(cell.is_small for cell in row.values())
