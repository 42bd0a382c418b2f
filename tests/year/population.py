"""Who comes to the site and what they do there, on which instant: a script that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

from tests.year.course import TOPICS, Course

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Deed:
    """One thing that somebody does: `verb` is a name of `world`'s."""

    at: datetime
    person: str
    browser: str = field(compare=False)
    verb: str = field(compare=False)
    arguments: dict[str, Any] = field(compare=False, default_factory=dict[str, Any])


class Life:
    """Writes down what one person does; every session begins somewhere in a day, and goes on by seconds."""

    def __init__(self, number: int, start: date, days: int, course: Course, random: Random, crowd: list[Life]) -> None:
        self.person = f"p{number:03}"
        self.browser = f"{self.person}.a"
        self.member = f"m{number:03}"
        self.random, self.days, self.course, self.crowd = random, days, course, crowd
        self.deeds: list[Deed] = []
        self._number = number
        self._start = datetime.combine(start, time(), UTC)
        self._now = self._start

    def on(self, day: float, seconds: float | None = None) -> Life:
        """Go to a day of the story, at some time of it."""
        seconds = self.random.randrange(86_000) if seconds is None else seconds
        # No two persons act in the same millisecond: by it their records are told apart.
        self._now = self._start + day * _DAY + timedelta(seconds=int(seconds), milliseconds=self._number * 2)
        return self

    def does(self, verb: str, *, browser: str = "", wait: float | None = None, **arguments: Any) -> Life:
        self.deeds.append(Deed(self._now, self.person, browser or self.browser, verb, arguments))
        self._now += timedelta(seconds=self.random.randint(2, 60) if wait is None else wait)
        return self

    def browses(self, pages: int = 0, *, browser: str = "") -> Life:
        for _ in range(pages or self.random.randint(1, 4)):
            chance = self.random.random()
            event = "search" if chance < 0.2 else "offer" if chance < 0.3 else ""
            self.does("page", browser=browser, topic=self.random.choice(TOPICS), event=event, abuse=chance > 0.985)
        return self

    def saves(self, *, browser: str = "", wait: float | None = None, **answers: str) -> Life:
        """Save in the settings: these, and "yes" to all others."""
        said = {name: answers.get(name, "yes") for name in self.course.every_purpose()}
        return self.does("choose", browser=browser, wait=wait, kind="save", answers=said)

    def chooses(self, kind: str, *, browser: str = "", wait: float | None = None) -> Life:
        return self.does("choose", browser=browser, wait=wait, kind=kind)

    def later(self, share: float) -> float:
        """Return a day: so far through the story, give or take some."""
        return min(self.days - 2, max(1, self.days * share + self.random.uniform(-1.5, 1.5))) // 1


# -- what persons of a kind do, beside browsing -------------------------------------------------------------------


def flaps(life: Life) -> None:
    """Changes their mind six times a day, also within seconds, and takes one purpose back and allows it again."""
    for share in (0.2, 0.6):
        life.on(life.later(share), 40_000)
        for n in range(6):
            life.saves(marketing="no" if n % 2 else "yes", wait=life.random.choice([1, 2, 600]))
            life.does("page", topic="clinic", event="search")
        life.chooses("reject", wait=1).chooses("accept", wait=1).browses(2)


def restricts(life: Life) -> None:
    """Has their data left alone, changes their mind under that, and takes it back."""
    life.on(life.later(0.3)).browses(2).does("restrict").browses(2)
    life.saves(marketing="no").browses(3).does("look")
    life.on(life.later(0.45)).saves(marketing="yes").browses(2)
    life.on(life.later(0.7)).browses(1).does("lift").does("look").browses(2)


def restricts_everywhere(life: Life) -> None:
    """A member who has their data left alone, and then comes with another browser."""
    second = f"{life.person}.b"
    life.on(life.later(0.1)).does("sign-in", member=life.member).browses(2).does("look")
    life.on(life.later(0.35)).does("restrict").browses(1)
    life.on(life.later(0.4)).chooses("accept", browser=second).browses(2, browser=second)
    life.does("sign-in", browser=second, member=life.member).does("look", browser=second).browses(3, browser=second)
    life.on(life.later(0.75)).does("lift", browser=second).browses(2, browser=second).does("look")


def erases(life: Life) -> None:
    life.on(life.later(0.2)).saves(research="no").browses(3)
    life.on(life.later(0.5)).browses(2).does("erase").does("look").browses(2)
    life.on(life.later(0.6)).chooses("accept").browses(3)


def member_erases(life: Life) -> None:
    """Erases from one browser what two collected, and asks about abuse."""
    second = f"{life.person}.b"
    life.on(life.later(0.05)).does("sign-in", member=life.member).chooses("accept").browses(2).does("look")
    life.does("page", topic="shop", event="", abuse=True)
    life.on(life.later(0.15)).does("sign-in", browser=second, member=life.member).chooses("accept", browser=second)
    life.browses(3, browser=second).does("look", browser=second)
    life.on(life.later(0.4)).saves(marketing="no").browses(2)
    life.on(life.later(0.65)).does("erase").does("look")
    life.on(life.later(0.8)).does("look").does("erase-abuse")


def disputes(life: Life) -> None:
    life.on(life.later(0.4)).browses(2).does("dispute").browses(2).does("look")


def withdraws_one(life: Life) -> None:
    life.on(life.later(0.35)).browses(3).does("withdraw", purposes=["analytics"]).browses(2).does("look")
    life.on(life.later(0.7)).chooses("accept").browses(2)


def withdraws_all(life: Life) -> None:
    life.on(life.later(0.45)).browses(3).does("withdraw", purposes=[]).browses(2).does("look")


def takes_back_what_is_gone(life: Life) -> None:
    """By its name, a purpose that is no longer declared."""
    life.on(life.later(0.55)).browses(1).does("look").does("withdraw", purposes=["functional"]).does("look")


def rejects_late(life: Life) -> None:
    life.on(life.later(0.65)).browses(2).chooses("reject").browses(2)
    life.on(life.later(0.85)).chooses("accept").browses(2)


def abuses(life: Life) -> None:
    life.on(life.later(0.25)).does("page", topic="shop", event="", abuse=True).does("look")
    life.on(life.later(0.4)).does("erase-abuse").does("look")
    life.on(life.later(0.6)).does("page", topic="news", event="", abuse=True).does("restrict").does("look")


def shares(life: Life) -> None:
    """A computer that two members use, one after the other."""
    other = life.crowd[-1] if life.crowd else life
    shared = f"{life.person}.shared"
    life.on(life.later(0.15)).does("sign-in", browser=shared, member=life.member).chooses("accept", browser=shared)
    life.browses(2, browser=shared).does("look", browser=shared).does("sign-out", browser=shared)
    life.on(life.later(0.5)).does("sign-in", browser=shared, member=other.member).browses(2, browser=shared)
    life.does("look", browser=shared).saves(browser=shared, analytics="no").browses(1, browser=shared)


def forgets(life: Life) -> None:
    for share in (0.3, 0.5, 0.75):
        life.on(life.later(share)).does("clear").browses(1).chooses("accept").browses(2)


def signals(life: Life) -> None:
    life.on(life.later(0.3)).does("gpc", on=True).browses(3)
    life.on(life.later(0.6)).saves().browses(3).does("look")


def writes(life: Life) -> None:
    """Writes to staff with the name on a receipt, and without one."""
    kind = life.random.choice(["restriction", "erasure"])
    life.on(life.later(0.35)).browses(2).does("receipt").does("letter", kind=kind, with_receipt=True).browses(1)
    life.on(life.later(0.6)).does("letter", kind="access", with_receipt=False)


def asks(life: Life) -> None:
    life.on(life.later(0.4)).does("ask", kind="access").does("ask", kind="complaint").does("look")
    life.on(life.later(0.5)).does("ask", browser=f"{life.person}.unknown", kind="erasure")


def downloads(life: Life) -> None:
    for share in (0.1, 0.5, 0.9):
        life.on(life.later(share)).does("receipt").does("look").does("close-notice").browses(1)


def comes_back(life: Life) -> None:
    """Is away for longer than an answer holds."""
    if life.days > 210:
        first = life.later(0.1)
        life.deeds = [deed for deed in life.deeds if (deed.at - life._start) // _DAY < first + 1]
        life.on(first + 178).browses(2)
        life.on(first + 184).browses(2).chooses("accept").browses(2)


KINDS: tuple[Callable[[Life], None], ...] = (
    flaps, restricts, restricts_everywhere, erases, member_erases, disputes, withdraws_one, withdraws_all,
    takes_back_what_is_gone, rejects_late, abuses, shares, forgets, signals, writes, asks, downloads, comes_back,
)  # fmt: skip


def population(seed: int, persons: int, start: date, days: int, course: Course) -> list[Deed]:
    """Return everything that happens, in order of time. Half of the persons only browse, and change their mind."""
    random = Random(seed)
    crowd: list[Life] = []
    for number in range(persons):
        life = Life(number, start, days, course, random, crowd)
        _first_visit(life)
        for day in _visits(life):
            life.on(day).browses()
            if random.random() < 0.06:
                _changes_their_mind(life)
        if number % 2 == 0:
            KINDS[number // 2 % len(KINDS)](life)
        crowd.append(life)
    return sorted(_settled(deed for life in crowd for deed in life.deeds))


def _first_visit(life: Life) -> None:
    day = life.random.choice([0, 0, 0, life.random.uniform(0, life.days / 8)]) // 1
    life.on(day).browses(1)
    special = life.person[1:].isdigit() and int(life.person[1:]) % 2 == 0
    chance = life.random.random()
    if special or chance < 0.55:
        life.chooses("accept")
    elif chance < 0.75:
        life.chooses("reject")
    elif chance < 0.9:
        life.saves(marketing=life.random.choice(["no", "ask"]), research=life.random.choice(["yes", "no"]))
    elif chance < 0.95:
        life.chooses("prompt")
    life.browses()


def _visits(life: Life) -> Iterator[int]:
    often = 10.0 / 40 if life.days < 100 else 12.0 / 420
    for day in range(1, life.days - 1):
        if life.random.random() < often:
            yield day


def _changes_their_mind(life: Life) -> None:
    chance = life.random.random()
    if chance < 0.5:
        life.saves(marketing=life.random.choice(["yes", "no"]), research=life.random.choice(["yes", "no", "ask"]))
    else:
        life.chooses(life.random.choice(["accept", "accept", "reject", "prompt"]))
    life.browses(1)


def _settled(deeds: Iterator[Deed]) -> Iterator[Deed]:
    """Let no two deeds be of the same millisecond."""
    taken: set[datetime] = set()
    for deed in deeds:
        at = deed.at
        while at in taken:
            at += timedelta(milliseconds=1)
        taken.add(at)
        yield Deed(at, deed.person, deed.browser, deed.verb, deed.arguments)
