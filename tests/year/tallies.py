"""The counts of each day, and the numbers on certificates, counted once more."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from tests.year.course import Course
from tests.year.findings import Findings
from tests.year.people import People
from tests.year.rows import Rows
from tests.year.traces import Known, Trace

_FEWEST: Final = 5
_OTHER: Final = "(other)"
_EPOCH: Final = date(1970, 1, 1)
_DAY: Final = timedelta(days=1)


class Tallies:
    """Attributes: `_disturbed` are days of which the documents promise no exact number."""

    def __init__(self, course: Course, people: People, findings: Findings, rows: Rows) -> None:
        self._course, self._people, self._findings, self._rows = course, people, findings, rows
        self._disturbed: set[date] = set()
        self._certified: set[tuple[str, str]] = set()
        self._seen = 0
        self._ends: dict[tuple[str, str, int], datetime | None] = {}

    def disturb(self, at: datetime) -> None:
        self._disturbed |= {at.date(), (at - timedelta(hours=1)).date()}

    # -- the counts of yesterday ----------------------------------------------------------------------------------

    def daily(self, now: datetime) -> None:
        """Judge what was counted of the day that is over, half an hour after it."""
        day = now.date() - _DAY
        traces = [trace for trace in self._people.traces[self._seen :] if trace.at.date() <= day]
        self._seen += len(traces)
        if day in self._disturbed or now.date() in self._disturbed:
            return
        by_purpose: dict[str, list[Trace]] = defaultdict(list)
        for trace in traces:
            if trace.at.date() == day and trace.kind != "receipt":
                by_purpose[trace.purpose].append(trace)
        for purpose, of_purpose in by_purpose.items():
            self._day(day, purpose, of_purpose, now)

    def _day(self, day: date, purpose: str, traces: list[Trace], now: datetime) -> None:
        counted: list[Trace] = []
        for trace in traces:
            restricted = self._people.restricted(trace.mark)
            if not trace.sure or trace.erased == "maybe" or restricted == "maybe" or trace.loose:
                return
            if trace.erased == "no" and restricted == "no":
                counted.append(trace)
        counts = self._counts_of(day, purpose)
        asked = purpose not in self._course.at(now).unasked and purpose != "abuse"
        for by, cells in _tables(counted, topics=asked).items():
            if by == "choice" and "" in cells:  # somebody's 180 days are over about now
                continue
            expected, got = folded(cells), counts.get(by, {})
            self._findings.holds(
                "counts", got == expected, now, "",
                f"{by} of {purpose} on {day}: told {got}, and it was {expected} (of {_shown(cells)})",
            )  # fmt: skip
            for label, count in got.items():
                if label != _OTHER and asked:
                    persons = len(cells.get(label, [set()])[0]) if label in cells else 0
                    self._findings.holds(
                        "small cell", persons >= _FEWEST, now, "",
                        f"{by} {label} of {purpose} on {day} tells {count}, behind which {persons} stand",
                    )  # fmt: skip

    def _counts_of(self, day: date, purpose: str) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for data in self._rows.aggregates.values():
            is_of = data["aggregate.of"] == purpose and data["aggregate.day"] == (day - _EPOCH).days
            if is_of and "aggregate.days" not in data:
                counts[data["aggregate.by"]] = json.loads(data["aggregate.cells"])
        return counts

    # -- certificates -------------------------------------------------------------------------------------------

    def certificates(self, now: datetime) -> None:
        """Hold the numbers of each day that is gone against the rows that were seen, and not erased."""
        said: dict[tuple[str, str], int] = defaultdict(int)
        for data in self._rows.certificates:
            if data["certificate.where"] == "live":
                said[data["certificate.purpose"], _day_text(data["certificate.day"])] += data["certificate.records"]
        for (purpose, day), ids in self._rows.days.items():
            if (purpose, day) in self._certified or purpose in ("receipts", "requests", "aggregates", "abuse"):
                continue
            end = self._day_end(purpose, day, now)
            if end is None or now < end + timedelta(hours=25):
                continue
            self._certified.add((purpose, day))
            if self._is_clear(ids, end, now):
                gone = sum(self._erased(row, now) != "yes" for row in ids)
                self._findings.holds(
                    "certificate", said[purpose, day] == gone, now, "",
                    f"the certificates of {purpose} of {day} say {said[purpose, day]}, and {gone} rows went",
                )  # fmt: skip

    def _day_end(self, purpose: str, day: str, now: datetime) -> datetime | None:
        key = purpose, day, self._course.begun(now)
        if key not in self._ends:
            self._ends[key] = self._last_end(purpose, day, now)
        return self._ends[key]

    def _last_end(self, purpose: str, day: str, now: datetime) -> datetime | None:
        last = datetime.fromisoformat(day).replace(tzinfo=UTC) + _DAY - timedelta(milliseconds=1)
        ends = [self._rows.end(purpose, last - timedelta(hours=hours), now) for hours in range(24)]
        known = [end.hour for end in ends if end]
        return max(known) if known else None

    def _is_clear(self, ids: Iterable[str], end: datetime, now: datetime) -> bool:
        """Whether every row that went was seen, and every one that was seen went once."""
        for since, until in (*self._rows.windows, *self._rows.away):
            if since - _DAY <= end <= until + 2 * _DAY:
                return False
        loose = any(trace.loose for row in ids if (trace := self._rows.trace_of.get(row)))
        return not loose and not any(self._erased(row, now) == "maybe" for row in ids)

    def _erased(self, row: str, now: datetime) -> Known:
        """Whether a row was erased before it ended: later there was nothing left to erase."""
        trace = self._rows.trace_of.get(row)
        if trace is None or trace.erased_at is None:
            return "no"
        end = self._rows.end(trace.purpose, trace.at, now)
        if trace.doubted or (end is not None and end.earliest <= trace.erased_at < end.hour + _DAY):
            return "maybe"  # which of the two came first depends on when the background looked
        if end is None or trace.erased_at >= end.earliest:
            return "no" if end else trace.erased
        return trace.erased if self._rows.looked(trace.erased_at, end.earliest) else "maybe"


Cells = dict[str, tuple[set[str], int]]


def _tables(traces: list[Trace], *, topics: bool) -> dict[str, Cells]:
    """Count: by what, then by label, who stands behind it and how many there were."""
    tables: dict[str, Cells] = defaultdict(dict)

    def count(by: str, label: str, who: str) -> None:
        behind, number = tables[by].get(label, (set(), 0))
        tables[by][label] = behind | {who}, number + 1

    for n, trace in enumerate(traces):
        who = trace.mark or f"nobody {n}"  # without a token nobody is told apart
        count("kind", trace.kind, who)
        count(f"{trace.kind} hour", f"{trace.at.hour:02}", who)
        if trace.kind == "visit":
            count("choice", trace.choice, who)
            count("status", f"{trace.status // 100}xx", who)
            if topics:
                count("route", f"/{trace.topic}/{{number}}", who)
    return tables


def folded(cells: Cells) -> dict[str, int]:
    """
    Return what may be told. "A cell behind which fewer than five visitors stand is counted in `(other)`. If that is
    still small, the next smallest cell joins it, so that it cannot be found by subtraction. If all of them together are
    fewer than five, the count is not written."
    """
    small = [label for label, (behind, _) in cells.items() if len(behind) < _FEWEST]
    kept = sorted(set(cells) - set(small), key=lambda label: (cells[label][1], label))
    while small and kept and len(set[str]().union(*(cells[label][0] for label in small))) < _FEWEST:
        small.append(kept.pop(0))
    counts = {label: cells[label][1] for label in kept}
    if small and len(set[str]().union(*(cells[label][0] for label in small))) >= _FEWEST:
        counts[_OTHER] = sum(cells[label][1] for label in small)
    return counts


def _shown(cells: Cells) -> dict[str, str]:
    return {label: f"{count} of {len(behind)}" for label, (behind, count) in cells.items()}


def _day_text(value: Any) -> str:
    return value if isinstance(value, str) else (_EPOCH + value * _DAY).isoformat()
