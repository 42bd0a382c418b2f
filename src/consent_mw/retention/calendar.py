"""When what was collected for a purpose ends: rows by the hour, keys by the part of a day. Pure: no clock read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from consent_mw.consent.choice import LIFETIME
from consent_mw.crypto.day_parts import WHOLE, Span, of_label
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import ABUSE, LINKS, Holding, Policy
from consent_mw.policy.timeline import Course, begins
from consent_mw.system.bounded_cache import remember
from consent_mw.system.days import DAY_SECONDS, EPOCH, QUARTER, QUARTERS, day_of, midnights_of, start_of

#: The promise: nothing is destroyed later than this after it ended.
LATE: Final = timedelta(hours=24)

_HOUR: Final = 4  # quarters
_MINUTE: Final = timedelta(minutes=1)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_INSTANT: Final = timedelta(milliseconds=1)  # ids do not tell less apart
# The mean lengths of `Duration.seconds` are off by 2.4 days at most (a month that is a February); and the clocks.
_SLACK: Final = timedelta(days=4)
#: Ends that are remembered: of a few days before the end of each purpose, each of some parts; half a megabyte.
_REMEMBERED: Final = 4_096
#: Days of which the end of each quarter is remembered: a look asks for those of some 40, and each takes five kilobytes.
_DAYS: Final = 96


class Rule(NamedTuple):
    """
    What one revision promises about one purpose.

    Attributes:
        since: The instant from which it held.
        zone: Whose calendar counts.
        holding: What is owed after the retention, in the archive.
    """

    purpose: str
    revision: int
    since: datetime
    retention: Duration
    zone: ZoneInfo
    holding: Holding | None

    @property
    def lasts(self) -> timedelta:
        """How long it is in the mean."""
        return timedelta(seconds=self.retention.seconds)


class _End(NamedTuple):
    """When what was collected in a quarter of an hour ends, whole, and by which promise."""

    at: datetime
    rule: Rule


class Window(NamedTuple):
    """Instants from `since` (inclusive) to `until` (exclusive), aware, in UTC."""

    since: datetime
    until: datetime


class Retention:
    """
    When records and keys end, from every declaration that was in force.

    Durations are counted on the calendar of the policy's time zone: what was kept on 29 February for a year ends at the
    same hour of 28 February. A day is one of UTC.

    What was collected under a revision ends as that revision promised. A later one under which it ends sooner, once it
    is in force, counts too; one under which it ends later does not. The instants at which they end are compared: a
    month is longer than 30 days from most dates, and shorter from some.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        """`policies` that were published, in any order; of one revision the last counts."""
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._zones: tuple[ZoneInfo, ...] = ()
        # By day, purpose, part of the day, and how many promises had begun: a look each minute asks the same again.
        self._known: dict[tuple[int, str, Span, int], datetime | None] = {}
        self._soonest: dict[tuple[int, str, int], datetime] = {}
        self._first: dict[tuple[int, str, int], datetime] = {}
        self._since: dict[str, tuple[datetime, datetime]] = {}  # by purpose: as of when, and the answer
        for policy in Course(policies).holding:
            self._zones = tuple(dict.fromkeys((*self._zones, policy.time_zone)))
            for rule in _rules(policy):
                self._rules[rule.purpose] = (*self._rules.get(rule.purpose, ()), rule)
        # What they lead to was promised by any revision, so a later one shortens nothing.
        if rules := self._rules.get(LINKS):
            longest = max((rule.retention for rule in rules), key=lambda kept: kept.seconds)
            self._rules[LINKS] = tuple(rule._replace(retention=longest) for rule in rules)

    @property
    def purposes(self) -> tuple[str, ...]:
        """Every purpose that any revision declared."""
        return tuple(self._rules)

    def rule(self, day: int, purpose: str, now: datetime) -> Rule | None:
        """Return the promise by which the last of a day ends, or None where no revision knows the purpose."""
        ends = self._ends(day, purpose, now)
        return max(ends, key=lambda end: end.at).rule if ends else None

    def holding(self, instant: datetime, purpose: str, now: datetime) -> Holding | None:
        """Return what the promise that ends what was collected at `instant` asks to be held afterwards, if anything."""
        day = day_of(instant)
        ends = self._ends(day, purpose, now)
        return ends[(instant - start_of(day)) // QUARTER].rule.holding if ends else None

    def holds(self, day: int, purpose: str, now: datetime, span: Span = WHOLE) -> bool:
        """Whether anything that was collected in that part of a day is to be held afterwards."""
        rules = self._rules.get(purpose, ())
        return any(rule.holding for rule in rules) and any(
            end.rule.holding for end in self._ends(day, purpose, now)[span.begin : span.end]
        )

    def end(self, day: int, purpose: str, now: datetime, span: Span = WHOLE) -> datetime | None:
        """
        Return when the last record of that part of a day ends, and with it the key; None where no revision tells.

        A part that begins or ends inside of what goes together, as in `ended`, counts with all of it.
        """
        key = day, purpose, span, self._begun(purpose, now)
        if key not in self._known:
            remember(self._known, key, self._end(day, purpose, now, span), _REMEMBERED)
        return self._known[key]

    def _begun(self, purpose: str, now: datetime) -> int:
        return sum([rule.since <= now for rule in self._rules.get(purpose, ())])

    def _end(self, day: int, purpose: str, now: datetime, span: Span) -> datetime | None:
        ends = self._ends(day, purpose, now)
        if not ends:
            return None
        pieces = _pieces(day, self._zones)
        begin = max(piece for piece in pieces if piece <= span.begin)
        return max(end.at for end in ends[begin : min(piece for piece in pieces if piece >= span.end)])

    def has_ended(self, day: int, purpose: str, now: datetime, span: Span = WHOLE) -> bool:
        """Whether the key of that part of a day must be gone."""
        if not self.may_hold_ended(day, purpose, now):
            return False
        end = self.end(day, purpose, now, span)
        return end is not None and end <= now

    def ended_among(self, days: Mapping[str, Iterable[int]], now: datetime) -> list[tuple[int, str]]:
        """
        Return those of `days` all of which has ended, in order, each with what it was given under.

        Args:
            days: In order, by purpose or by the label of their keys, which may be about a part of each day.
        """
        ended: list[tuple[int, str]] = []
        for label, some in days.items():
            purpose, span = of_label(label)
            last = day_of(self.none_ended_since(purpose, now) - QUARTER)
            for day in some:  # of hundreds of days that live, one or two
                if day > last:
                    break
                if self.has_ended(day, purpose, now, span):
                    ended.append((day, label))
        return sorted(ended)

    def may_hold_ended(self, day: int, purpose: str, now: datetime) -> bool:
        """Whether some of that day's records may have ended; false for every later day too."""
        key = day, purpose, self._begun(purpose, now)
        soonest = self._soonest.get(key)
        if soonest is None:
            ends = (start_of(day) + rule.lasts for rule in self._bound(day, purpose, now))
            soonest = min(ends, default=_NEVER) - _SLACK
            remember(self._soonest, key, soonest, _REMEMBERED)
        return soonest <= now

    def none_ended_since(self, purpose: str, now: datetime) -> datetime:
        """
        Return the instant before which everything of `purpose` was collected that has ended by `now`, as `ended` cuts
        it: the earliest such instant. It is remembered for as long as nothing can end: each end is at a quarter of an
        hour, or at a minute where a purpose is kept for minutes.
        """
        step = now - (now - EPOCH) % (_MINUTE if self._has_minutes(purpose) else QUARTER)
        known = self._since.get(purpose)
        if known is None or known[0] != step:
            known = self._since[purpose] = step, self._none_ended_since(purpose, now)
        return known[1]

    def _has_minutes(self, purpose: str) -> bool:
        return any(rule.retention.unit == "minute" for rule in self._rules.get(purpose, ()))

    def _none_ended_since(self, purpose: str, now: datetime) -> datetime:
        days = range(day_of(now) + 2)
        behind = bisect_left(days, True, key=lambda day: not self.may_hold_ended(day, purpose, now))
        windows = (self.ended(day, purpose, now) for day in reversed(days[:behind]))
        return next((window[-1].until for window in windows if window), EPOCH)

    def holds_ended(self, day: int, purpose: str, now: datetime) -> bool:
        """Whether an instant of that day has ended."""
        key = day, purpose, self._begun(purpose, now)
        first = self._first.get(key)
        if first is None:
            if not self.may_hold_ended(day, purpose, now):
                return False
            first = min(end.at for end in self._ends(day, purpose, now))
            remember(self._first, key, first, _REMEMBERED)
        return first <= now

    def _bound(self, day: int, purpose: str, now: datetime) -> Sequence[Rule]:
        """Return the promises of which one ends what was collected on that day."""
        rules = self._rules.get(purpose, ())
        began = _in_force(rules, start_of(day))
        counting = [rule for rule in rules[began + 1 :] if rule.since <= max(now, start_of(day + 1))]
        return [*rules[began : began + 1], *counting]

    def ended(self, day: int, purpose: str, now: datetime) -> list[Window]:
        """
        Return the parts of `day` whose records have ended, in order.

        These go in whole hours of UTC, and an hour in which another date begins, in the time zone of any revision, in
        two. Each has ended when its last millisecond has; so the cut is exact where records come to the hour.
        """
        if not self.holds_ended(day, purpose, now):
            return []
        return list(_joined(day, _pieces(day, self._zones), [end.at <= now for end in self._ends(day, purpose, now)]))

    def _ends(self, day: int, purpose: str, now: datetime) -> tuple[_End, ...]:
        """Return the end of each quarter of a day; nothing where no revision knows the purpose."""
        rules = self._rules.get(purpose, ())
        return _promised(day, rules, tuple(rule.since <= now for rule in rules)) if rules else ()

    def of_archive(self) -> Retention:
        """Return when what was moved into the archive ends there."""
        archive = Retention(())
        archive._zones = self._zones
        for purpose, rules in self._rules.items():
            held = tuple(rule._replace(retention=rule.holding.retention) for rule in rules if rule.holding)
            if held:
                archive._rules[purpose] = held
        return archive


def _rules(policy: Policy) -> Iterator[Rule]:
    since = begins(policy)
    for name, kept in policy.kept.items():
        yield Rule(name, policy.revision, since, kept, policy.time_zone, policy.purposes[name].archive)
    yield Rule(LINKS, policy.revision, since, links_kept(policy), policy.time_zone, None)


def links_kept(policy: Policy) -> Duration:
    """
    How long a link of a sign-in with receipts is kept: until the last record has ended that it may lead to. A choice
    holds for 180 days after the sign-in was seen, and what is collected on the last of them is kept as was promised.
    """
    marked = [purpose for purpose in policy.purposes.values() if purpose.asked or purpose.name == ABUSE]
    kept = [purpose.retention for purpose in marked if purpose.retention]
    kept += [purpose.archive.retention for purpose in marked if purpose.archive]
    longest_days = max((duration.seconds // DAY_SECONDS for duration in kept), default=0)
    return Duration(longest_days + LIFETIME.days + _SLACK.days, "day")


def _in_force(rules: Sequence[Rule], instant: datetime) -> int:
    """Return the place of the promise that held at `instant`; the first one holds from the beginning."""
    return max((place for place, rule in enumerate(rules) if rule.since <= instant), default=0)


_AT: Final = attrgetter("at")


@lru_cache(maxsize=_DAYS)
def _promised(day: int, rules: tuple[Rule, ...], begun: tuple[bool, ...]) -> tuple[_End, ...]:
    """Return the end of each quarter of a day: that of the promise in force, or an earlier one of what began since."""
    first, last = _in_force(rules, start_of(day)), _in_force(rules, start_of(day + 1) - QUARTER)
    bound = [place for place in range(first, len(rules)) if place <= last or begun[place]]
    ends = {
        place: [_End(at, rules[place]) for at in _ends(day, rules[place].retention, rules[place].zone)]
        for place in bound
    }
    if first == last:
        return tuple(min(at_once, key=_AT) for at_once in zip(*ends.values(), strict=True))
    firsts = [_in_force(rules, start_of(day) + quarter * QUARTER) for quarter in range(QUARTERS)]
    return tuple(
        min((ends[place][quarter] for place in bound if place == held or (place > held and begun[place])), key=_AT)
        for quarter, held in enumerate(firsts)
    )


@lru_cache(maxsize=_DAYS)
def _ends(day: int, retention: Duration, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Return when what was collected in each quarter of a day has ended, whole: within one, ends follow as instants."""
    return tuple(_end(start_of(day) + number * QUARTER, retention, zone) for number in range(1, QUARTERS + 1))


def _end(until: datetime, retention: Duration, zone: ZoneInfo) -> datetime:
    """Return the end of the last instant before `until`. Ends do not always follow each other as instants do:
    29, 30 and 31 January and a month all end on 28 February, so every quarter is asked."""
    return retention.after((until - _INSTANT).astimezone(zone)).astimezone(UTC) + _INSTANT


@lru_cache(maxsize=256)
def _pieces(day: int, zones: tuple[ZoneInfo, ...]) -> tuple[int, ...]:
    """Return the quarters at which another piece of a day begins, each of which goes as a whole, and its end."""
    midnights = frozenset[int]().union(*(midnights_of(day, zone) for zone in zones))
    return tuple(sorted({*range(0, QUARTERS + 1, _HOUR), *midnights}))


def _joined(day: int, pieces: Sequence[int], ended: Sequence[bool]) -> Iterator[Window]:
    since: int | None = None
    for begin, end in zip(pieces, [*pieces[1:], None], strict=True):
        over = end is not None and all(ended[begin:end])
        if over and since is None:
            since = begin
        elif not over and since is not None:
            yield Window(start_of(day) + since * QUARTER, start_of(day) + begin * QUARTER)
            since = None
