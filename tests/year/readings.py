"""What staff read and what visitors read of themselves: held against whose data may be used, and whose it is."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.year.course import Course
from tests.year.findings import Findings
from tests.year.people import People
from tests.year.rows import Rows
from tests.year.traces import Known, Trace


class Readings:
    """Judges what was read at one moment."""

    def __init__(self, course: Course, people: People, findings: Findings, rows: Rows) -> None:
        self._course, self._people, self._findings, self._rows = course, people, findings, rows
        self._registered: dict[str, tuple[str, datetime, set[str], str | None]] = {}
        self._by_path: dict[tuple[str, str, str], Trace] = {}
        self._indexed = 0

    # -- staff --------------------------------------------------------------------------------------------------

    def read(self, entry: dict[str, Any]) -> None:
        """What `log` and `export` show: everybody's but of those under restriction."""
        purpose, now, how = entry["purpose"], entry["at"], entry["how"]
        shown = {(kind, path) for kind, path in entry["paths"]}
        by_mark: dict[str | None, Known] = {}
        for trace in self._of(purpose):
            is_shown = (trace.kind, trace.path) in shown
            if trace.mark not in by_mark:
                by_mark[trace.mark] = "no" if purpose == "abuse" else self._people.restricted(trace.mark)
            restricted = by_mark[trace.mark]
            who = self._people.person_of.get(trace.mark or "", "")
            what = f"`{how} --purpose {purpose}`: {trace.kind} {trace.path} of {trace.at:%Y-%m-%d %H:%M:%S}"
            if restricted == "yes":
                self._findings.holds("restricted", not is_shown, now, who, f"{what} was shown under restriction")
            elif restricted == "no" and self._rows.must_be(trace, now):
                self._findings.holds("read", is_shown, now, who, f"{what} was not shown")
        known = {(trace.kind, trace.path) for trace in self._of(purpose) if trace.erased != "yes"}
        self._findings.holds(
            "read", shown <= known, now, "", f"`{how} --purpose {purpose}` showed {sorted(shown - known)[:5]}"
        )

    def disclosed(self, entry: dict[str, Any]) -> None:
        """How many records are meant by a disclosure by consent, and how many are left out."""
        least, most = {"no": 0, "yes": 0}, {"no": 0, "yes": 0}
        for trace in self._of(entry["purpose"]):
            restricted = self._people.restricted(trace.mark)
            sure = self._rows.must_be(trace, entry["at"])
            for answer in ("no", "yes"):
                least[answer] += sure and restricted == answer
                most[answer] += self._rows.may_be(trace, entry["at"]) and restricted in (answer, "maybe")
        for answer, said, word in (("no", entry["records"], "meant"), ("yes", entry["left_out"], "left out")):
            self._findings.holds(
                "disclosed", least[answer] <= said <= most[answer], entry["at"], "",
                f"{entry['purpose']}: {said} records are {word}, and it is {least[answer]} to {most[answer]}",
            )  # fmt: skip

    def _of(self, purpose: str) -> list[Trace]:
        return [trace for trace in self._people.traces if trace.purpose == purpose and not trace.gone]

    # -- requests -----------------------------------------------------------------------------------------------

    def registered(self, number: str, kind: str, at: datetime, mark: str | None, member: str | None) -> None:
        self._registered[number] = kind, at, {mark} if mark else set(), member

    def requests(self, entry: dict[str, Any]) -> None:
        """What is in the queue: what was registered, with its last day."""
        cases = {case["number"]: case for case in entry["cases"]}
        for number, (kind, at, _, _) in self._registered.items():
            if (entry["at"] - at).days > 364:
                continue
            case = cases.get(number)
            if case is None:
                continue  # an erasure takes along what its person had asked
            # A later revision may count on another calendar: which of the two holds is not told.
            zones = {new.zone for new in self._course.revisions if new.begins > at} | {self._course.at(at).zone}
            due = {_month_after(at.astimezone(ZoneInfo(zone)).date()).isoformat() for zone in zones}
            self._findings.holds(
                "due", case["due"] in due, entry["at"], "",
                f"{kind} {number} of {at}: due on {case['due']}, and it is {sorted(due)}",
            )  # fmt: skip
        overdue = any(case["overdue"] for case in cases.values())
        self._findings.holds(
            "request", entry["code"] == int(overdue), entry["at"], "", f"`requests list` ended with {entry['code']}"
        )

    def verified(self, entry: dict[str, Any]) -> None:
        """A receipt proves until it ends."""
        end = self._rows.end("receipts", entry["kept"], entry["at"])
        if end is None or entry["at"] < end.earliest:
            self._findings.holds(
                "verify", entry["code"] == 0, entry["at"], "", f"{entry['name']} was not proven: {entry['said']}"
            )

    # -- visitors -----------------------------------------------------------------------------------------------

    def my_data(self, entry: dict[str, Any]) -> None:
        """What a visitor reads of themselves: all that belongs to their marks, and nothing else."""
        now, member, browser = entry["at"], entry["member"], entry["browser"]
        standing, sure = self._people.standing(browser, now)
        if not sure or not entry["acked"]:
            return
        known = bool(standing.mark or member)
        self._findings.holds(
            "known", (entry["status"] == 200) == known, now, entry["person"],
            f"{browser} ({standing.mark}, {member}) was answered {entry['status']}",
        )  # fmt: skip
        if entry["status"] != 200 or not known or not entry["data"].get("complete"):
            return
        marks = self._people.marks(standing.mark, member)
        restricted = self._people.shows_restriction(marks, member)
        if restricted != "maybe":
            self._findings.holds(
                "my data, restricted", entry["data"]["restricted"] == (restricted == "yes"), now, entry["person"],
                f"{browser} reads restricted: {entry['data']['restricted']}",
            )  # fmt: skip
        self._held(entry, marks)

    def _held(self, entry: dict[str, Any], marks: set[str]) -> None:
        now, who = entry["at"], entry["person"]
        asked = {name for name in self._course.every_purpose() if name not in ("necessary", "orders")}
        shown = {
            (held["purpose"], record["kind"], path)
            for held in entry["data"]["held"]
            for record in held["records"]
            if held["purpose"] in asked and (path := _path(record))
        }
        theirs = [trace for mark in marks for trace in self._people.by_mark[mark]]
        for trace in theirs:
            if self._rows.must_be(trace, now):
                is_shown = (trace.purpose, trace.kind, trace.path) in shown
                self._findings.holds(
                    "my data", is_shown, now, who,
                    f"{trace.kind} {trace.path} under {trace.purpose}, of {trace.at:%Y-%m-%d}, is not shown "
                    f"to {entry['browser']}",
                )  # fmt: skip
        looked = min(now, self._rows.last_look())
        may = {(trace.purpose, trace.kind, trace.path) for trace in theirs if self._rows.may_be(trace, looked)}
        self._findings.holds(
            "my data",
            shown <= may,
            now,
            who,
            f"{entry['browser']} is shown {sorted(shown - may)[:4]}, which is not theirs",
        )


def _path(record: dict[str, Any]) -> str:
    path = record.get("url.path") or next(
        (value.get("url.path") for value in record.values() if isinstance(value, dict) and "url.path" in value), ""
    )
    return str(path)


def _month_after(day: date) -> date:
    """Return the last day on which something is due that came on `day`: the day itself is not counted."""
    year, month = day.year + day.month // 12, day.month % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
