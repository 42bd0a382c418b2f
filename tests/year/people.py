"""Who allowed what when, in which browser, and who asked for what: the judge's own reading of the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

from tests.year.course import Course, Revision
from tests.year.traces import Known, Restricting, Standing, Trace

#: "An answer holds for 180 days, a yes and a no alike" (visitor.md).
_HOLDS: Final = timedelta(days=180)
#: Around that instant nothing is claimed.
_ABOUT: Final = timedelta(minutes=1)


class People:
    """
    Everybody's consent as the documents tell it.

    A *mark* is what records carry: it begins when somebody who has none allows something, stays the same over changes
    of mind, and ends when everything is refused or the cookie is gone.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._standing: dict[str, Standing] = {}
        self._marks = 0
        #: Of a mark: purposes that were allowed under it and never taken back.
        self.held: dict[str, set[str]] = defaultdict(set)
        #: Of a member: the marks with which they were seen on our own pages.
        self.links: dict[str, set[str]] = defaultdict(set)
        self.restrictions: list[Restricting] = []
        self.traces: list[Trace] = []
        self.by_mark: dict[str, list[Trace]] = defaultdict(list)
        #: Of a mark: the person who was at the browser.
        self.person_of: dict[str, str] = {}

    # -- what holds ---------------------------------------------------------------------------------------------

    def standing(self, browser: str, now: datetime) -> tuple[Standing, bool]:
        """Return what a browser's cookie says now, and whether that is sure."""
        standing = self._standing.get(browser, Standing())
        if standing.given is None or now < standing.given + _HOLDS - _ABOUT:
            return standing, True
        if now >= standing.given + _HOLDS + _ABOUT:
            return Standing(), True
        return standing, False

    def mark(self, browser: str, now: datetime) -> str | None:
        return self.standing(browser, now)[0].mark

    def allowed(self, standing: Standing, revision: Revision, gpc: bool) -> frozenset[str]:
        """Return the purposes that a visitor allows under the revision in force."""
        if standing.kind not in ("accept", "prompt"):
            return frozenset()
        again = self.reopened(standing, revision)
        said = dict.fromkeys(revision.asked, True) if standing.kind == "accept" else standing.answers
        allowed = {name for name, yes in said.items() if yes and name in revision.asked and name not in again}
        if gpc and not standing.signalled:
            allowed.discard("marketing")
        return frozenset(allowed)

    def reopened(self, standing: Standing, revision: Revision) -> frozenset[str]:
        """Return what a later revision asks about again, of whoever answered an earlier one."""
        if not standing.kind:
            return frozenset()
        numbers = range(standing.revision + 1, revision.number + 1)
        again = frozenset().union(*(self._course.reopened.get(number, frozenset()) for number in numbers))
        return again & set(revision.asked)

    # -- what changes -------------------------------------------------------------------------------------------

    def choose(
        self, browser: str, now: datetime, kind: str, answers: dict[str, bool], gpc: bool, *, taken_in: bool = True
    ) -> tuple[bool, set[str], set[str]]:
        """
        Take a choice. Return whether it changed something, which purposes it takes back, and which it may.

        Args:
            taken_in: Whether the browser learnt of it; else its cookie stays.
        """
        revision = self._course.at(now)
        before, _ = self.standing(browser, now)
        if kind == "save":
            kind = "prompt"
            if set(revision.asked) <= answers.keys() and not any(answers.values()):
                kind = "reject"
        answers = answers if kind == "prompt" else {}
        allows = kind == "accept" or any(answers.values())
        after = Standing(kind, revision.number, now, answers, gpc and allows, before.mark)
        if _same(before, after) and not self.reopened(before, revision):
            return False, set(), set()
        held = set(self.held[before.mark]) if before.mark else set()
        must, may = self._taken(kind, answers, held, revision)
        if kind == "reject":
            after.mark = None
        elif allows and after.mark is None:
            self._marks += 1
            after.mark = f"{browser}#{self._marks}"
        if taken_in:
            if before.mark:
                self.held[before.mark] -= must
            self._standing[browser] = after
            if after.mark:
                self.held[after.mark] |= self.allowed(after, revision, gpc)
        return True, must, may

    def _taken(
        self, kind: str, answers: dict[str, bool], held: set[str], revision: Revision
    ) -> tuple[set[str], set[str]]:
        if kind == "accept":
            return set(), set()
        if kind == "reject":
            return held, set()
        must = {name for name, yes in answers.items() if not yes} & held
        # What is asked each time again is no longer allowed, and was not refused either. What is not asked any more
        # stays as long as anything is allowed.
        open_ = held - must - {name for name, yes in answers.items() if yes}
        return must, open_ & set(revision.asked) if any(answers.values()) else open_

    def withdraw(self, browser: str, now: datetime, purposes: Collection[str], gpc: bool) -> bool:
        """Take single purposes back; the other answers stay. Return whether the cookie changed."""
        before, _ = self.standing(browser, now)
        if before.mark:
            self.held[before.mark] -= set(purposes)
        revision = self._course.at(now)
        if before.kind in ("", "reject") or not set(purposes) & set(revision.asked):
            return False
        allowed = self.allowed(before, revision, gpc)
        said = dict.fromkeys(allowed, True)
        said |= {name: False for name, yes in before.answers.items() if not yes and name in revision.asked}
        said |= {name: False for name in purposes if name in revision.asked}
        return self.choose(browser, now, "save", said, gpc)[0]

    def clear(self, browser: str) -> None:
        """The browser forgot its cookies."""
        self._standing.pop(browser, None)

    def seen(self, member: str | None, browser: str, now: datetime, person: str) -> None:
        """Somebody opened one of our own pages: who is signed in is linked with the browser's mark."""
        mark = self.mark(browser, now)
        if mark is not None:
            self.person_of.setdefault(mark, person)
            if member is not None:
                self.links[member].add(mark)

    # -- whose it is --------------------------------------------------------------------------------------------

    def marks(self, mark: str | None, member: str | None) -> set[str]:
        """Return every mark that leads to the same person, as they prove who they are."""
        own = {mark} if mark else set[str]()
        return own | (self.links[member] if member else set())

    def restricted(self, mark: str | None) -> Known:
        """Whether what carries a mark may not be used now."""
        if mark is None:
            return "no"
        answer: Known = "no"
        for case in self.restrictions:
            if case.open == "no":
                continue
            mine = mark == case.mark or (case.member is not None and mark in self.links[case.member])
            together = self._together(mark, case.mark)
            # Asked for without signing in it covers the other browsers of all who signed in there (rights.md).
            if case.open == "yes" and (mine or (together and case.member is None)):
                return "yes"
            if mine or together:
                answer = "maybe"
        return answer

    def _together(self, mark: str, other: str | None) -> bool:
        """Whether some member was seen with both."""
        return other is not None and any({mark, other} <= marks for marks in self.links.values())

    def shows_restriction(self, marks: Iterable[str], member: str | None) -> Known:
        """Whether My data says that nobody uses the data."""
        said = {self.restricted(mark) for mark in marks}
        said |= {case.open for case in self.restrictions if member and case.member == member and case.open != "no"}
        return "yes" if "yes" in said else "maybe" if "maybe" in said else "no"

    # -- what is erased -----------------------------------------------------------------------------------------

    def erase(
        self, marks: Iterable[str], purposes: Collection[str] | None, now: datetime, sure: Known, *, abuse: bool = False
    ) -> None:
        """Note that what was collected under `marks` until now is erased: for these purposes, or for all asked ones."""
        for mark in marks:
            for trace in self.by_mark[mark]:
                if trace.purpose == "abuse" and not abuse:
                    continue
                if purposes is None or trace.purpose in purposes:
                    trace.erase(sure, now)

    def trace(self, trace: Trace) -> None:
        self.traces.append(trace)
        if trace.mark:
            self.by_mark[trace.mark].append(trace)


def _same(before: Standing, after: Standing) -> bool:
    return (
        before.kind == after.kind
        and before.revision == after.revision
        and before.answers == after.answers
        and (before.signalled or not after.signalled)
    )
