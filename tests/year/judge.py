"""The judge: reads the journal, entry by entry, and says where the site did not do what the documents tell."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.year.course import Course
from tests.year.findings import Findings
from tests.year.people import People
from tests.year.readings import Readings
from tests.year.rows import Rows
from tests.year.tallies import Tallies
from tests.year.traces import Known, Restricting, Trace

_EVENTS = {"search": "analytics", "offer": "marketing"}


class Judge:
    """Attributes: `findings` is the outcome; `happened` counts the entries of each kind."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.findings = Findings()
        self.people = People(course)
        self.rows = Rows(course, self.people, self.findings)
        self.tallies = Tallies(course, self.people, self.findings, self.rows)
        self.readings = Readings(course, self.people, self.findings, self.rows)
        self.happened: dict[str, int] = {}
        self._published = {1}
        self._closed: dict[str, tuple[int, datetime]] = {}
        self._receipt_marks: dict[str, str | None] = {}

    def __call__(self, entry: dict[str, Any]) -> None:
        what = entry["what"].replace("-", "_")
        self.happened[what] = self.happened.get(what, 0) + 1
        self.rows.clock(entry["at"])
        if not entry.get("acked", True):
            self.rows.unanswered.append(entry["at"])
        getattr(self, f"on_{what}")(entry)

    # -- visitors -----------------------------------------------------------------------------------------------

    def on_page(self, entry: dict[str, Any]) -> None:
        at, browser, acked = entry["at"], entry["browser"], entry["acked"]
        revision = self.course.at(at)
        standing, sure = self.people.standing(browser, at)
        allowed = self.people.allowed(standing, revision, entry["gpc"])
        if standing.mark:
            self.people.person_of.setdefault(standing.mark, entry["person"])
        for purpose in (*revision.unasked, *sorted(allowed)):
            asked = purpose in allowed
            self._leaves("visit", purpose, entry, standing.mark if asked else None, acked and (sure or not asked))
        event = _EVENTS.get(entry["event"])
        if event in allowed:
            self._leaves("event", event, entry, standing.mark, acked and sure)
        if entry["abuse"]:
            self._leaves("abuse", "abuse", entry, standing.mark, acked)
        if acked and sure:
            self._gate(entry, allowed)
            asks = not standing.kind or bool(self.people.reopened(standing, revision))
            self.findings.holds(
                "asked", entry["banner"] == asks, at, entry["person"],
                f"{browser}, whose choice is {standing.kind or 'none'} of revision {standing.revision}, "
                f"{'was' if entry['banner'] else 'was not'} asked on {entry['path']}",
            )  # fmt: skip
        if acked:
            self._notice(entry)

    def _leaves(self, kind: str, purpose: str, entry: dict[str, Any], mark: str | None, sure: bool) -> None:
        standing, known = self.people.standing(entry["browser"], entry["at"])
        choice = (standing.kind or "none") if known else ""
        self.people.trace(
            Trace(
                kind, purpose, entry["path"], entry["at"], mark, sure, entry.get("topic", ""), entry["status"], choice
            )
        )

    def _gate(self, entry: dict[str, Any], allowed: frozenset[str]) -> None:
        kept = {name for name in entry["kept"] if name.startswith("c_")}
        expected = {f"c_{name}" for name in allowed}
        self.findings.holds(
            "gate", kept == expected, entry["at"], entry["person"],
            lambda: f"{entry['browser']} was given {sorted(kept)} on {entry['path']}, and allowed {sorted(expected)}",
        )  # fmt: skip

    def _notice(self, entry: dict[str, Any]) -> None:
        announced = self.course.announced(entry["at"])
        number = announced.number if announced and announced.number in self._published else 0
        closed, when = self._closed.get(entry["browser"], (0, entry["at"]))
        shown = bool(number) and not (closed == number and (entry["at"] - when).days < 30)
        self.findings.holds(
            "notice", entry["notice"] == shown, entry["at"], entry["person"],
            f"the notice of revision {number} {'was' if entry['notice'] else 'was not'} on {entry['path']}",
        )  # fmt: skip

    def on_own(self, entry: dict[str, Any]) -> None:
        """Any of our own pages: a visit without a mark, under what nobody is asked about."""
        for purpose in self.course.at(entry["at"]).unasked:
            self._leaves("visit", purpose, entry, None, entry["acked"])
        self.people.seen(entry["member"], entry["browser"], entry["at"], entry["person"])
        if entry["path"].startswith("/consent/receipt"):
            self._receipt_marks[entry["browser"]] = self.people.mark(entry["browser"], entry["at"])

    def on_close(self, entry: dict[str, Any]) -> None:
        self.on_own(entry)
        self._closed[entry["browser"]] = entry["number"], entry["at"]

    def on_clear(self, entry: dict[str, Any]) -> None:
        self.people.clear(entry["browser"])
        self._closed.pop(entry["browser"], None)

    def on_choose(self, entry: dict[str, Any]) -> None:
        self.on_own(entry)
        self._takes(entry, entry["kind"], entry["answers"])

    def _takes(self, entry: dict[str, Any], kind: str, answers: dict[str, bool]) -> None:
        """Take a choice with everything that follows from it."""
        at, browser, acked = entry["at"], entry["browser"], entry["acked"]
        before, sure = self.people.standing(browser, at)
        changed, must, may = self.people.choose(browser, at, kind, answers, entry["gpc"], taken_in=acked)
        if before.mark:
            others = self.people.marks(None, entry["member"]) - {before.mark}
            nothing_is_allowed = kind != "accept" and not any(answers.values())
            self.people.erase(others, None if nothing_is_allowed else must | may, at, "maybe")
            self.people.erase([before.mark], may, at, "maybe")
            self.people.erase([before.mark], must, at, "yes" if acked and sure else "maybe")
        if changed and acked:
            self._now_holds(entry)
        if changed:
            self._leaves("receipt", "receipts", {**entry, "path": ""}, None, acked and sure)
        self.people.seen(entry["member"], browser, at, entry["person"])

    def _now_holds(self, entry: dict[str, Any]) -> None:
        """The visit in which something is chosen is one of whoever has chosen it."""
        after = self.people.standing(entry["browser"], entry["at"])[0].kind
        for trace in self.people.traces[-len(self.course.at(entry["at"]).unasked) :]:
            trace.choice = after

    # -- what they ask for --------------------------------------------------------------------------------------

    def _asker(self, entry: dict[str, Any]) -> tuple[str | None, str | None]:
        self.on_own(entry)
        return self.people.mark(entry["browser"], entry["at"]), entry["member"]

    def on_withdraw(self, entry: dict[str, Any]) -> None:
        mark, member = self._asker(entry)
        named = entry["form"]["purpose"]
        if mark or member:
            self.findings.holds(
                "withdrawn", bool(entry["number"]), entry["at"], entry["person"],
                f"{entry['browser']} took back {named}, and was answered {entry['status']} {entry['body'][:200]}",
            )  # fmt: skip
        if not entry["number"]:
            return
        purposes = None if named == ["all"] else named
        self.people.erase(self.people.marks(mark, member), purposes, entry["at"], "yes")
        if purposes is None:
            self._takes(entry, "reject", {})
        elif self.people.withdraw(entry["browser"], entry["at"], purposes, entry["gpc"]):
            self._now_holds(entry)
            self._leaves("receipt", "receipts", {**entry, "path": ""}, None, True)

    def on_erase(self, entry: dict[str, Any]) -> None:
        mark, member = self._asker(entry)
        if not entry["number"]:
            return
        marks = self.people.marks(mark, member)
        self.people.erase(marks, None, entry["at"], "yes")
        # What is still open goes on to restrict until it is answered (retention.md).
        self._leaves_abuse(entry, mark, member)
        self._takes(entry, "reject", {})

    def _leaves_abuse(self, entry: dict[str, Any], mark: str | None, member: str | None) -> None:
        """An erasure of a person of whom there are records of abuse leaves a second request (requests.md)."""
        marks = self.people.marks(mark, member)
        if any(trace.purpose == "abuse" for theirs in marks for trace in self.people.by_mark[theirs]):
            self._restricts({**entry, "number": ""}, "erasure", mark, member, "maybe")

    def on_restrict(self, entry: dict[str, Any]) -> None:
        self._restricts(entry, "restriction", *self._asker(entry))

    def on_dispute(self, entry: dict[str, Any]) -> None:
        self._restricts(entry, "correction", *self._asker(entry))

    def on_erase_abuse(self, entry: dict[str, Any]) -> None:
        self._restricts(entry, "erasure", *self._asker(entry))

    def on_ask(self, entry: dict[str, Any]) -> None:
        self._asker(entry)
        if entry["number"]:
            self.readings.registered(entry["number"], entry["form"]["kind"], entry["at"], None, None)

    def _restricts(
        self, entry: dict[str, Any], kind: str, mark: str | None, member: str | None, is_open: Known = "yes"
    ) -> None:
        if (entry["number"] or is_open == "maybe") and (mark or member):
            self.people.restrictions.append(Restricting(entry["number"], kind, entry["at"], mark, member, is_open))
            if entry["number"]:
                self.readings.registered(entry["number"], kind, entry["at"], mark, member)

    def on_lift(self, entry: dict[str, Any]) -> None:
        mark, member = self._asker(entry)
        if entry["status"] >= 400:
            return
        marks = self.people.marks(mark, member)
        for request in self.people.restrictions:
            if request.kind == "restriction" and (request.mark in marks or (member and request.member == member)):
                request.open = "no"

    def on_letter(self, entry: dict[str, Any]) -> None:
        mark = self._receipt_marks.get(entry["browser"]) if entry["known"] else None
        self.readings.registered(entry["number"], entry["kind"], entry["at"], mark, None)
        if mark and entry["kind"] == "restriction":
            self._restricts(entry, "restriction", mark, None)
        elif mark and entry["kind"] == "erasure":
            self.people.erase([mark], None, entry["at"], "yes")
            self._leaves_abuse(entry, mark, None)

    def on_answered(self, entry: dict[str, Any]) -> None:
        if entry["code"]:
            return
        for request in self.people.restrictions:
            if request.number != entry["number"]:
                continue
            if entry["verb"] != "grant" or request.kind == "erasure":
                request.open = "no"
            if entry["verb"] == "grant" and request.kind == "erasure":
                for mark in self.people.marks(request.mark, request.member):
                    self.people.erase([mark], ["abuse"], entry["at"], "yes", abuse=True)

    def on_look(self, entry: dict[str, Any]) -> None:
        self.on_own(entry)
        self.readings.my_data(entry)

    # -- the site -----------------------------------------------------------------------------------------------

    def on_started(self, entry: dict[str, Any]) -> None:
        self.rows.drains(entry["drains"], entry["at"])

    def on_stopped(self, entry: dict[str, Any]) -> None:
        self.tallies.disturb(entry["at"])

    def on_killed(self, entry: dict[str, Any]) -> None:
        pass

    def on_clock(self, entry: dict[str, Any]) -> None:
        self.tallies.disturb(entry["at"])

    def on_backup(self, entry: dict[str, Any]) -> None:
        self.rows.backed_up(entry["at"])

    def on_restored(self, entry: dict[str, Any]) -> None:
        self.rows.restored(entry["at"])
        self.tallies.disturb(entry["at"])

    def on_passed(self, entry: dict[str, Any]) -> None:
        if entry["settled"]:
            self.rows.looks.append(entry["at"])
        else:
            self.tallies.disturb(entry["at"])

    def on_published(self, entry: dict[str, Any]) -> None:
        self._published.add(entry["number"])

    def on_daily(self, entry: dict[str, Any]) -> None:
        self.rows.took(entry["new"], entry["at"])
        self.tallies.daily(entry["at"])

    def on_inspection(self, entry: dict[str, Any]) -> None:
        self.rows.took(entry["new"], entry["at"])
        self.rows.inspect(entry["ids"], entry["archived"], entry["at"])
        self.tallies.certificates(entry["at"])

    def on_copies(self, entry: dict[str, Any]) -> None:
        self.rows.copies(entry["found"], entry["at"])

    def on_read(self, entry: dict[str, Any]) -> None:
        self.readings.read(entry)

    def on_disclosed(self, entry: dict[str, Any]) -> None:
        self.readings.disclosed(entry)

    def on_requests(self, entry: dict[str, Any]) -> None:
        self._number_those_about_abuse(entry["cases"])
        self.readings.requests(entry)

    def _number_those_about_abuse(self, cases: list[dict[str, Any]]) -> None:
        """Learn the numbers of the second requests, which nobody was told: each came with its erasure."""
        known = {request.number for request in self.people.restrictions}
        for case in cases:
            if case["kind"] != "erasure" or "abuse" not in case["purposes"] or case["number"] in known:
                continue
            received = datetime.fromisoformat(case["received"])
            unnumbered = [request for request in self.people.restrictions if not request.number]
            nearest = min(unnumbered, key=lambda request: abs(request.at - received), default=None)
            if nearest is not None and abs(nearest.at - received) < timedelta(hours=1):
                nearest.number, nearest.open = case["number"], "yes"

    def on_verified(self, entry: dict[str, Any]) -> None:
        self.readings.verified(entry)

    def on_command(self, entry: dict[str, Any]) -> None:
        self.findings.holds(
            "command", entry["code"] == 0, entry["at"], "",
            f"`consent-mw {entry['command']}` ended with {entry['code']}: {entry['said']}",
        )  # fmt: skip
