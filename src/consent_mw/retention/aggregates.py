"""What remains of a day: counts that identify nobody. Pure: records in, records out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import AGGREGATE, COUNTED, EVENT, RECEIPT, UNDECLARED, VISIT
from consent_mw.records import Record, Scalar, fixed_id, time_of
from consent_mw.retention.small_cells import FEWEST, OTHER, Cell, whole_or_nothing, without_small_cells
from consent_mw.retention.visits import Visit, Visits

#: Of no person and under no key, so its purpose is not one of the policy's and never ends.
PURPOSE: Final = "aggregates"
#: Upper bounds of the cells of "latency", in seconds: those of OpenTelemetry's `http.server.request.duration`, and
#: two below them. The last cell, "more", has none.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
#: A day's choices are published whole or not at all: with small cells hidden day by day they would never add up. If
#: one day has too few, `periods` publishes several days together.
CHOICES: Final = "receipt choice"
SURFACES: Final = "receipt surface"
LANGUAGES: Final = "receipt language"
CHOICES_BY_LANGUAGE: Final = "receipt language choice"
DETAILS: Final = (SURFACES, LANGUAGES, CHOICES_BY_LANGUAGE)
#: Whose cells are all receipts of a day, told wherever there are five.
TOTAL: Final = "receipt hour"

# What a stranger may invent (an agent's name) must not fill the memory; the 1,001st name of a day is another.
_MOST_CELLS: Final = 1_000
_PAGES: Final = ((1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10"), (30, "11 to 30"))
_OPEN_MINUTES: Final = ((1, "up to 1"), (5, "up to 5"), (15, "up to 15"), (60, "up to 60"), (240, "up to 240"))
_MINUTES: Final = ((1, "up to 1"), (5, "up to 5"), (15, "up to 15"), (60, "up to 60"))

#: Of a receipt: its visitor had chosen in the last days under no name or another one, and stands behind a cell already.
_AGAIN: Final = "consent.again"
#: The kinds that a visitor makes. One gap of the server among them would be a small cell, and take another along.
#: The declared names of the cookies that an exchange was not allowed to set, parted by spaces.
_BLOCKED: Final = "consent.cookies.blocked"
#: Of "undeclared": by source the label, and how many names there must be. What browsers send may be one visitor's.
_SOURCES: Final = {"response": ("set by the site", 1), "request": ("sent by browsers", FEWEST)}

#: The clear fields that are counted as they are, by kind of record: the name of the count, and the field.
_FIELDS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    VISIT: (
        ("route", "http.route"),
        ("method", "http.request.method"),
        ("browser", "user_agent.name"),
        ("os", "user_agent.os.name"),
        ("device", "device.type"),
        ("choice", "consent.choice"),
        ("error", "error.type"),
    ),
    EVENT: (("event", "event.name"),),
    RECEIPT: (
        ("receipt choice", "consent.choice"),
        ("receipt surface", "consent.surface"),
        ("receipt language", "consent.language"),
    ),
}


class DayCounts:
    """
    Counts the records of one day and purpose, in order of time. Memory follows the different names that occur, not the
    records: 1,000 cells at most of each count, and the visitors who are on the site at once.

    Small cells are hidden (`small_cells`). Records without a subject each count as a visitor. A visitor who chooses
    again within 28 days after refusing everything does not count as new. Latencies are a property of the server: their
    cells are written whole, or not at all. A day's choices are published completely or not at all, so that several days
    together can publish the rest (`periods`). Undeclared cookies are counted by where they come from and never by name:
    anybody may put anybody's name into one. Cookies that the site itself set are counted however few they are.

    Args:
        day: Since 1970-01-01 (UTC).
        skipped: Tells of a record whether it is of somebody whose data is used for nothing at present: none is counted.
        visitor: Returns a record's visitor, the same on all the days that are counted together. A record's own token
            holds for one day.
    """

    def __init__(
        self,
        day: int,
        purpose: str,
        *,
        skipped: Callable[[Record], bool] | None = None,
        visitor: Callable[[Record], bytes | None] = lambda record: record.subject,
    ) -> None:
        self._day = day
        self.purpose: str = purpose
        self.skipped: Callable[[Record], bool] | None = skipped
        self.visitor: Callable[[Record], bytes | None] = visitor
        self._forgotten: dict[str, set[str]] = {}
        self._counts: dict[str, dict[str, Cell]] = {}
        self._visits = Visits()

    def add(self, records: Iterable[Record]) -> None:
        """Take in the next records."""
        for record in records:
            if self.skipped is not None and self.skipped(record):
                continue
            if record.kind in COUNTED:
                self._count("kind", record.kind, record)
                self._count(f"{record.kind} hour", f"{time_of(record.id).hour:02}", record)
            for by, field in _FIELDS.get(record.kind, ()):
                value = record.data.get(field)
                if value is not None or field == "consent.choice":
                    self._count(by, "none" if value is None else str(value), record)
            if record.kind == VISIT:
                self._exchange(record)
            elif record.kind == RECEIPT:
                language, choice = record.data.get("consent.language"), record.data.get("consent.choice")
                self._count("receipt language choice", f"{language or 'none'}: {choice or 'none'}", record)
            elif record.kind == UNDECLARED:
                self._forget(record)
            self._joined(self._visits.add(record))

    def records(self, sealer: Sealer) -> list[Record]:
        """Return one record for each count that may be written. The same day gives the same ids again."""
        self._joined(self._visits.rest())
        return [self._record(by, cells, sealer) for by, cells in sorted(self.published().items()) if cells]

    def published(self) -> dict[str, dict[str, int]]:
        """Return the counts that may be written so far, by what they count."""
        tables = {by: _hidden(by, cells) for by, cells in self._counts.items() if by not in (CHOICES, *DETAILS)}
        if self._is_whole(CHOICES):
            # The finer tables are published together, or one would reveal what another withholds.
            whole = (CHOICES, *DETAILS) if all(map(self._is_whole, DETAILS)) else (CHOICES,)
            tables |= {by: {label: cell.count for label, cell in sorted(self.table(by).items())} for by in whole}
        return tables | {"undeclared": self._undeclared()}

    def facts(self) -> dict[str, Scalar]:
        """Return what its records say beside their count."""
        return {}

    def table(self, by: str) -> Mapping[str, Cell]:
        """Return what was counted by `by`, small cells included: for `periods` alone, never to be written."""
        return self._counts.get(by, {})

    def _is_whole(self, by: str) -> bool:
        return OTHER not in self.table(by) and not any(cell.is_small for cell in self.table(by).values())

    def _undeclared(self) -> dict[str, int]:
        counts = {source: len(names) for source, names in self._forgotten.items()}
        return {label: counts[source] for source, (label, least) in _SOURCES.items() if counts.get(source, 0) >= least}

    def _exchange(self, record: Record) -> None:
        status, seconds = record.data.get("http.response.status_code"), record.data.get("http.server.request.duration")
        if isinstance(status, int):
            self._count("status", f"{status // 100}xx" if status else "none", record)
        if isinstance(seconds, float | int):
            by, label = _lasted(record, float(seconds))
            self._count(by, label, record)
        if "device.type" in record.data:
            agent = record.data.get("user_agent.synthetic.type")
            self._count("agent", str(agent) if agent else "visitor", record)
        for name in str(record.data.get(_BLOCKED) or "").split():
            self._count("blocked", name, record)

    def _forget(self, record: Record) -> None:
        names = self._forgotten.setdefault(str(record.data.get("cookie.source")), set())
        if len(names) < _MOST_CELLS:
            names.add(str(record.data.get("cookie.name")))

    def _joined(self, visits: Iterator[Visit]) -> None:
        for visit in visits:
            minutes = (visit.ended - visit.began).total_seconds() / 60
            for by, label in (
                ("joined hour", f"{visit.began.hour:02}"),
                ("joined exchanges", _banded(visit.exchanges, _PAGES)),
                ("joined minutes", _banded(minutes, _MINUTES)),
                ("joined entry", visit.entry),
                ("joined exit", visit.exit),
            ):
                if label is not None:
                    self._cell(by, str(label)).add(visit.subject)

    def _count(self, by: str, label: str, record: Record) -> None:
        cell = self._cell(by, label)
        if record.data.get(_AGAIN):
            cell.count += 1
        else:
            cell.add(self.visitor(record))

    def _cell(self, by: str, label: str) -> Cell:
        cells = self._counts.setdefault(by, {})
        if label not in cells:
            label = label if len(cells) < _MOST_CELLS else OTHER
        return cells.setdefault(label, Cell())

    def _record(self, by: str, cells: Mapping[str, int], sealer: Sealer) -> Record:
        data: dict[str, Scalar] = {
            "aggregate.day": self._day,
            "aggregate.of": self.purpose,
            "aggregate.by": by,
            "aggregate.cells": msgspec.json.encode(cells).decode(),
            **self.facts(),
        }
        return sealer.record(fixed_id(self._day, AGGREGATE, self.purpose, by), AGGREGATE, PURPOSE, data=data)


def cells_of(record: Record) -> dict[str, int]:
    """Return the cells of an aggregate: how many, by label."""
    return msgspec.json.decode(str(record.data["aggregate.cells"]), type=dict[str, int])


def days_of(record: Record) -> frozenset[int]:
    """Return the days that an aggregate is about: one, or those of a period."""
    several = record.data.get("aggregate.days")
    return (
        frozenset(map(int, str(several).split())) if several else frozenset((int(record.data["aggregate.day"] or 0),))
    )


def _hidden(by: str, cells: Mapping[str, Cell]) -> dict[str, int]:
    return whole_or_nothing(cells, _LATENCY_LABELS) if by == "latency" else without_small_cells(cells)


_LATENCY_LABELS: Final = (*map(str, LATENCIES), "more")


def _latency(seconds: float) -> str:
    return _LATENCY_LABELS[bisect_left(LATENCIES, seconds)]


def _lasted(record: Record, seconds: float) -> tuple[str, str]:
    """Return what a duration is counted as: how long a connection was open says nothing of how fast a site answers."""
    if record.data.get("network.protocol.name") == "websocket":
        return "websocket minutes", _banded(seconds / 60, _OPEN_MINUTES)
    if record.data.get("http.response.streamed"):
        return "stream minutes", _banded(seconds / 60, _OPEN_MINUTES)
    return "latency", _latency(seconds)


def _banded(value: float, bands: Iterable[tuple[int, str]]) -> str:
    return next((label for bound, label in bands if value <= bound), "more")
