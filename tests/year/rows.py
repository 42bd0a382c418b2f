"""What must be in the store, must not be, and may be; and what a copy of a row from a backup still tells."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from tests.year.course import Course
from tests.year.ends import LATE, End, end_of
from tests.year.findings import Findings
from tests.year.people import People
from tests.year.traces import Trace, millisecond

#: "A running site looks each minute" (retention.md): so long it may take.
_LOOKS: Final = timedelta(minutes=2)
#: Of visits, events and abuse the path tells which exchange they are of; of a receipt its instant does.
_TRACED: Final = frozenset(("visit", "event", "abuse", "receipt"))
Place = Literal["live", "archive"]


class Rows:
    """
    Holds what was seen in the store against the traces.

    Attributes:
        days: Of a purpose and a day (UTC): the ids of the rows that were ever seen.
        trace_of: Of the id of a row its trace.
        aggregates, certificates: What they say, in the end; of those of a day the last.
        present: The ids that the last inspection found.
        looks: When the site looked for what has ended, and what is to be erased. A simulated one does not each minute.
        unanswered: When the site was killed before it had answered: it may have been writing that very record.
    """

    def __init__(self, course: Course, people: People, findings: Findings) -> None:
        self._course, self._people, self._findings = course, people, findings
        self.trace_of: dict[str, Trace] = {}
        self.days: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.aggregates: dict[str, dict[str, Any]] = {}
        self.certificates: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self.present: set[str] = set()
        self.looks: list[datetime] = []
        self.unanswered: list[datetime] = []
        self._keys: dict[tuple[str, str, str, int], Trace] = {}
        self._indexed = 0
        self._row_of: dict[int, str] = {}
        self._ends: dict[tuple[str, datetime, int, bool], End | None] = {}
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._backup: datetime | None = None
        self.windows: list[tuple[datetime, datetime]] = []
        self._away: datetime | None = None
        self.away: list[tuple[datetime, datetime]] = []
        self._gaps: dict[tuple[datetime, datetime], int] = {}
        self._windows_told = 0

    # -- time ---------------------------------------------------------------------------------------------------

    def last_look(self) -> datetime:
        return self.looks[-1] if self.looks else datetime.min.replace(tzinfo=UTC)

    def looked(self, since: datetime, until: datetime) -> bool:
        """Whether the site did between two instants."""
        return any(since <= look < until for look in reversed(self.looks))

    def clock(self, now: datetime) -> None:
        self._latest = max(self._latest, now)

    def end(self, purpose: str, at: datetime, now: datetime, *, archive: bool = False) -> End | None:
        """Return when a record ends, by the promises that hold by now; None where nothing is promised."""
        key = purpose, at, self._course.begun(now), archive
        if key not in self._ends:
            promises = self._course.promises(purpose, at, now, archive=archive)
            self._ends[key] = end_of(at, promises) if promises else None
        return self._ends[key]

    def drains(self, drains: bool, now: datetime) -> None:
        if not drains and self._away is None:
            self._away = now
        if drains and self._away is not None:
            self.away.append((self._away, now))
            self._away = None

    def backed_up(self, now: datetime) -> None:
        self._backup = now

    def restored(self, now: datetime) -> None:
        """What had left the spool since the backup is in no store any more, but for what is carried over."""
        if self._backup is None:
            return
        self.windows.append((self._backup, now))
        for trace in self._people.traces:
            if trace.kind == "receipt":
                continue
            end = self.end(trace.purpose, trace.at, now)
            moved = end is not None and self._backup <= end.hour + _LOOKS and end.earliest <= now
            if trace.at >= self._backup or (moved and trace.purpose == "orders"):
                trace.loose = trace.loose or "lost with the store that a backup replaced"

    # -- what was found -----------------------------------------------------------------------------------------

    def took(self, new: list[dict[str, Any]], now: datetime) -> None:
        """Take in rows that are new in the store."""
        for trace in self._people.traces[self._indexed :]:
            self._keys[trace.key] = trace
        self._indexed = len(self._people.traces)
        for row in new:
            if row["kind"] == "aggregate":
                self.aggregates[row["id"]] = row["data"]
                continue
            if row["id"] in self._known:  # told once more by another process of the site
                continue
            self._known.add(row["id"])
            if row["kind"] == "certificate":
                self.certificates.append(row["data"])
            day = datetime.fromtimestamp(row["ms"] / 1000, UTC).date().isoformat()
            self.days[row["purpose"], day].add(row["id"])
            if row["kind"] in _TRACED:
                self._matched(row, now)
            elif row["kind"] == "gap":
                self._gap(row, now)

    def _matched(self, row: dict[str, Any], now: datetime) -> None:
        data, path = row["data"], row["data"].get("url.path", "")
        at = datetime.fromtimestamp(row["ms"] / 1000, UTC)
        if data.get("closed"):
            end = self.end(row["purpose"], at, now)
            fine = end is None or end.earliest <= now
            self._findings.holds("key too early", fine, now, "", f"a {row['kind']} of {at} cannot be opened any more")
            return
        trace = self._keys.get((row["kind"], row["purpose"], path, row["ms"]))
        self._findings.holds(
            "not kept", trace is not None, at, "",
            f"a {row['kind']} under {row['purpose']} of {path or 'a choice'} was kept, which nobody allowed",
        )  # fmt: skip
        if trace is None:
            return
        self._findings.holds(
            "once", id(trace) not in self._row_of, at, "",
            f"the {row['kind']} of {path} stands twice under {row['purpose']}",
        )  # fmt: skip
        self._row_of[id(trace)] = row["id"]
        self.trace_of[row["id"]] = trace
        if row["kind"] != "receipt":
            marked = row["subject"] is not None
            fine = marked == (trace.mark is not None) or not trace.sure
            self._findings.holds(
                "no mark", fine, at, self._who(trace), f"{path} {'has' if marked else 'lacks'} a token"
            )
        if path.startswith("/consent"):
            fine = row["purpose"] in self._course.at(at).unasked and row["subject"] is None
            self._findings.holds("own pages", fine, at, "", f"{path} was kept under {row['purpose']}")

    def _gap(self, row: dict[str, Any], now: datetime) -> None:
        """
        Nothing of this year fills a disk: only what ended while it waited may be lost, and only for that purpose, and
        what was being written when the site was killed.
        """
        reason, records = row["data"].get("gap.reason"), row["data"].get("gap.records", 0)
        if reason == "damaged" and records == 1:
            at = datetime.fromtimestamp(row["data"]["gap.first_ns"] // 10**6 / 1000, UTC)
            self._findings.holds("gap", at in self.unanswered, now, "", f"a record of {at} is told as damaged")
            return
        fine = reason in ("ended", "key") and bool(self.away)
        self._findings.holds("gap", fine, now, "", f"{records} records lost, reason {reason}")
        if fine:
            self._gaps[self.away[-1]] = self._gaps.get(self.away[-1], 0) + records

    def _waited(self, now: datetime) -> None:
        """What waited in the spool beyond its end is told with its number, and nothing else is."""
        for window in self.away[self._windows_told :]:
            since, until = window
            least = most = 0
            for trace in self._people.traces:
                end = self.end(trace.purpose, trace.at, until)
                if since <= trace.at < until and trace.sure and end and id(trace) not in self._row_of:
                    archived = self._course_keeps(trace, until)
                    least += end.hour + LATE <= until and not archived  # its key is gone for certain
                    most += end.earliest <= until
            lost = self._gaps.get(window, 0)
            self._findings.holds(
                "gap", least <= lost <= most, now, "",
                f"of what waited from {since} to {until} {lost} records are told as lost, and it is {least} to {most}",
            )  # fmt: skip
        self._windows_told = len(self.away)

    # -- an inspection ------------------------------------------------------------------------------------------

    def inspect(self, ids: list[str], archived: list[list[Any]], now: datetime) -> None:
        """Hold every trace against what is there now."""
        self.present = set(ids)
        self._waited(now)
        held = {(kind, purpose, ms) for kind, purpose, ms in archived}
        for trace in self._people.traces:
            if not trace.gone:
                self._judged(trace, now, held)

    def is_there(self, trace: Trace) -> bool:
        return self._row_of.get(id(trace)) in self.present

    def must_be(self, trace: Trace, now: datetime) -> bool:
        """Whether the documents promise that a row is there."""
        end = self.end(trace.purpose, trace.at, self._latest)
        lasts = end is None or self._latest < end.earliest
        return trace.sure and trace.erased == "no" and not trace.loose and lasts

    def may_be(self, trace: Trace, now: datetime) -> bool:
        """Whether a row may be there."""
        end = self.end(trace.purpose, trace.at, now)
        return trace.erased != "yes" and (end is None or now < end.hour + _LOOKS)

    def _judged(self, trace: Trace, now: datetime, held: set[tuple[str, str, int]]) -> None:
        holds, is_there, who = self._findings.holds, self.is_there(trace), self._who(trace)
        what = f"the {trace.kind} {trace.path} under {trace.purpose}, of {trace.at:%Y-%m-%d %H:%M:%S}"
        end = self.end(trace.purpose, trace.at, now)
        if trace.erased == "yes":
            when = trace.erased_at
            holds("erased", not is_there, now, who, lambda: f"{what} was taken back at {when}, and is there")
        elif self.must_be(trace, now):
            rule = "receipt" if trace.kind == "receipt" else "kept"
            holds(rule, is_there, now, who, lambda: f"{what} is not there; it ends at {end and end.earliest}")
        elif end is not None and now >= end.hour + _LOOKS:
            late = now >= end.earliest + LATE
            holds(
                "late" if late else "ended",
                not is_there,
                now,
                who,
                lambda: f"{what} ended at {end.latest}, and is there",
            )
            self._archived(trace, now, held, is_there)
        if end is not None and now >= end.hour + LATE and not is_there and not self._course_keeps(trace, now):
            trace.gone = True

    def _course_keeps(self, trace: Trace, now: datetime) -> bool:
        """Whether an archive still holds it."""
        end = self.end(trace.purpose, trace.at, now, archive=True)
        return end is not None and now < end.hour + LATE

    def _archived(self, trace: Trace, now: datetime, held: set[tuple[str, str, int]], is_there: bool) -> None:
        end = self.end(trace.purpose, trace.at, now, archive=True)
        if end is None or is_there:
            return
        is_in = (trace.kind, trace.purpose, millisecond(trace.at)) in held
        what = f"{trace.path} under {trace.purpose}, of {trace.at:%Y-%m-%d %H:%M:%S},"
        live = self.end(trace.purpose, trace.at, self._latest)
        waited = live is not None and any(since <= live.hour and live.earliest <= until for since, until in self.away)
        if now >= end.hour + _LOOKS:
            self._findings.holds("archive", not is_in, now, "", f"{what} ended at {end.latest}, and is in the archive")
        elif self._latest < end.earliest and trace.sure and not trace.loose and not waited:
            self._findings.holds("archive", is_in, now, "", f"{what} is not in the archive until {end.earliest}")

    def copies(self, opened: list[list[Any]], now: datetime) -> None:
        """Judge what a copy from a backup still tells: all until its end, and nothing a day after it."""
        for ms, purpose, opens in opened:
            at = datetime.fromtimestamp(ms / 1000, UTC)
            end = self.end(purpose, at, now)
            if end is None:
                continue
            what = f"a copy of a row under {purpose}, of {at:%Y-%m-%d %H:%M:%S}, which ends at {end.latest},"
            if now >= end.latest + self._key_lives(purpose, at, now) and purpose != "orders":
                self._findings.holds("key", not opens, now, "", f"{what} still opens")
            elif self._latest < end.earliest:
                self._findings.holds("key too early", opens, now, "", f"{what} opens no more")

    def _key_lives(self, purpose: str, at: datetime, now: datetime) -> timedelta:
        """
        Return how long a key may outlive its first record. "Where a later revision brings another time zone, what was
        sealed before keeps the parts that it has: ... up to four days after the first" (retention.md).
        """
        zones = {promise.zone for promise in self._course.promises(purpose, at, now)}
        return (LATE if len(zones) < 2 else 4 * LATE) + _LOOKS

    def _who(self, trace: Trace) -> str:
        return self._people.person_of.get(trace.mark, "") if trace.mark else ""
