"""What the site promises through the year: its revisions as values, and the `policy.toml` of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

from tests.year.ends import Promise, Span, after

#: Where a page of the site stands; each becomes a route.
TOPICS = ("news", "shop", "clinic", "club")


@dataclass(frozen=True)
class Purpose:
    """What one revision says about one purpose."""

    name: str
    basis: str
    retention: str
    archive: str = ""
    event: str = ""

    @property
    def asked(self) -> bool:
        return self.basis == "consent"


@dataclass(frozen=True)
class Revision:
    """One declaration. It holds from the first instant of `effective`, in its own zone."""

    number: int
    published: date
    effective: date
    zone: str
    purposes: tuple[Purpose, ...]
    jurisdiction: str = "EU"
    words: str = "one"

    @cached_property
    def begins(self) -> datetime:
        return datetime.combine(self.effective, time(), ZoneInfo(self.zone)).astimezone(UTC)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        return tuple(purpose.name for purpose in self.purposes if purpose.asked)

    @cached_property
    def unasked(self) -> tuple[str, ...]:
        """The purposes of each exchange that nobody is asked about; abuse is none of them."""
        return tuple(purpose.name for purpose in self.purposes if not purpose.asked and purpose.name != "abuse")

    def purpose(self, name: str) -> Purpose | None:
        built_in = (
            Purpose("receipts", "legitimate_interest", "1 year"),
            Purpose("requests", "legitimate_interest", "1 year"),
        )
        return next((purpose for purpose in (*self.purposes, *built_in) if purpose.name == name), None)

    def toml(self) -> str:
        lines = [
            "schema = 1", f"revision = {self.number}", f"published = {self.published}", f"effective = {self.effective}",
            f'time_zone = "{self.zone}"', 'languages = ["en", "ko"]', f'jurisdiction = "{self.jurisdiction}"',
            "[controller]", 'name = "Example Inc."', 'officer = { name = "Kim", email = "privacy@example.com" }',
            "[cookies]", 'presets = ["starlette"]',
        ]  # fmt: skip
        for purpose in self.purposes:
            lines += [f"[purposes.{purpose.name}]", f'basis = "{purpose.basis}"', f'retention = "{purpose.retention}"']
            lines += [f'description = "Words of version {self.words}."'] if purpose.name == "analytics" else []
            lines += ['refused_by = ["gpc"]'] if purpose.name == "marketing" else []
            if purpose.archive:
                lines += [f"[purposes.{purpose.name}.archive]", f'retention = "{purpose.archive}"', 'law = "a law"']
            lines += [f"[log.{purpose.name}]", '"url.path" = "full"']
            if purpose.event:
                lines += [f"[events.{purpose.event}]", f'purpose = "{purpose.name}"', 'fields = { number = "int" }']
            if purpose.asked:
                lines += ["[[cookies.declared]]", f'name = "c_{purpose.name}"', f'purpose = "{purpose.name}"']
                lines += ['expires = "1 year"']
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Course:
    """All revisions of a story, in order."""

    revisions: Sequence[Revision]
    #: Of a purpose: what becomes important with a revision, and so is asked again (policy.md, Publish a revision).
    reopened: dict[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    _promises: dict[tuple[str, int, bool], list[Promise]] = field(
        default_factory=dict[tuple[str, int, bool], list[Promise]]
    )

    def begun(self, now: datetime) -> int:
        """How many revisions have held by now."""
        return bisect_right(self.revisions, now, key=lambda revision: revision.begins)

    def at(self, now: datetime) -> Revision:
        return self.revisions[self.begun(now) - 1]

    def announced(self, now: datetime) -> Revision | None:
        """The revision that is published and does not hold yet."""
        return next((revision for revision in self.revisions if _published(revision) <= now < revision.begins), None)

    def every_purpose(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(purpose.name for revision in self.revisions for purpose in revision.purposes))

    def promises(self, purpose: str, at: datetime, now: datetime, *, archive: bool = False) -> list[Promise]:
        """
        Return the promises that bind a record: the one in force when it was made, and each later one that holds by
        `now`.
        """
        key = purpose, self.begun(now), archive
        if key not in self._promises:
            self._promises[key] = [
                Promise(Span.of(said.archive if archive else said.retention), ZoneInfo(revision.zone), revision.begins)
                for revision in self.revisions
                if (said := revision.purpose(purpose)) and (said.archive or not archive) and revision.begins <= now
            ]
        promises = self._promises[key]
        began = max((n for n, promise in enumerate(promises) if promise.since <= at), default=0)
        return promises[began:]


def _published(revision: Revision) -> datetime:
    # In the morning of the day of its zone, by staff: see `world`.
    return datetime.combine(revision.published, time(9), ZoneInfo(revision.zone)).astimezone(UTC)


def published_at(revision: Revision) -> datetime:
    """Return when staff publish it."""
    return _published(revision)


#: Retentions under which something ends within two months, and within a year.
_SHORT = {"necessary": "3 days", "orders": "15 days", "orders_archive": "1 month", "marketing": "40 days"}
_LONG = {"necessary": "10 days", "orders": "1 month", "orders_archive": "6 months", "marketing": "6 months"}


def course(start: date, zones: tuple[str, str, str], *, short: bool) -> Course:
    """
    Return the revisions: one removes a purpose, one shortens two by their mean length only, one adds a purpose, one
    keeps another longer, one changes words; two of them count in another time zone. In two months there is no time to
    announce three of these for thirty days one after the other: there they are one.
    """
    kept = _SHORT if short else _LONG
    first = (
        Purpose("necessary", "necessary", kept["necessary"]),
        Purpose("orders", "contract", kept["orders"], archive=kept["orders_archive"]),
        Purpose("abuse", "legitimate_interest", "1 year"),
        Purpose("analytics", "consent", "1 month", event="search"),
        Purpose("marketing", "consent", kept["marketing"], event="offer"),
        Purpose("research", "consent", "3 months"),
        Purpose("functional", "consent", "13 months"),
    )
    removed = tuple(purpose for purpose in first if purpose.name != "functional")
    shorter = _with(removed, analytics="30 days", research="90 days")
    added = (*shorter, Purpose("ads", "consent", "2 months"))
    longer = _with(added, marketing="13 months")
    #: The days after the start on which each is published, and begins; what it says, on whose calendar, in which words.
    steps: list[tuple[int, int, tuple[Purpose, ...], str, str]] = [(-1, -1, first, zones[0], "one")]
    if short:
        steps += [
            (1, 8, removed, zones[0], "one"),
            (9, 39, longer, zones[1], "two"),
            (45, 52, longer, zones[2], "three"),
        ]
    else:
        steps += [
            (35, 42, removed, zones[0], "one"), (78, 108, shorter, zones[1], "two"), (115, 145, added, zones[1], "two"),
            (210, 240, longer, zones[1], "two"), (280, 287, longer, zones[2], "three"),
        ]  # fmt: skip
    revisions = [
        Revision(n, start + timedelta(days=on), start + timedelta(days=begins), zone, purposes, words=words)
        for n, (on, begins, purposes, zone, words) in enumerate(steps, 1)
    ]
    return Course(revisions, _reopened(revisions))


def _with(purposes: Iterable[Purpose], **retentions: str) -> tuple[Purpose, ...]:
    return tuple(
        Purpose(old.name, old.basis, retentions.get(old.name, old.retention), old.archive, old.event)
        for old in purposes
    )


def _reopened(revisions: Sequence[Revision]) -> dict[int, frozenset[str]]:
    """A new purpose is important, and one that is kept longer from some date: these are asked again."""
    reopened: dict[int, frozenset[str]] = {}
    for before, now in pairwise(revisions):
        longer = {new.name for new in now.purposes if (was := before.purpose(new.name)) and _is_longer(was, new)}
        reopened[now.number] = frozenset((set(now.asked) - set(before.asked)) | longer)
    return reopened


def _is_longer(before: Purpose, now: Purpose) -> bool:
    """Whether a retention ends later from some date, such as 30 days for a month."""
    if before.retention == now.retention:
        return False
    utc, first = ZoneInfo("UTC"), datetime(2027, 1, 1, 12, tzinfo=UTC)
    dates = (first + timedelta(days=n) for n in range(4 * 366))
    return any(after(day, Span.of(now.retention), utc) > after(day, Span.of(before.retention), utc) for day in dates)
