"""When what was collected for a purpose ends: rows by the hour, keys by the day. Pure: no I/O, no clock read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from consent_mw.consent import LIFETIME
from consent_mw.durations import Duration
from consent_mw.in_force import Course, begins
from consent_mw.policy import ABUSE, LINKS, Holding, Policy

__all__ = ["KINDS", "LATE", "Retention", "Rule", "Window", "day_of", "day_text", "links_kept", "start_of"]

#: What ends with its purpose. Certificates, tallies and aggregates say nothing about a person, and stay.
KINDS: Final = frozenset(
    (
        "visit", "event", "abuse", "receipt", "pending", "gap", "undeclared", "request", "answer", "link", "disclosure",
        "naming",
    )
)  # fmt: skip

#: The promise: nothing is destroyed later than this after it ended.
LATE: Final = timedelta(hours=24)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_QUARTER: Final = timedelta(minutes=15)  # every time zone's offset, and so every local midnight, falls on one
_INSTANT: Final = timedelta(milliseconds=1)  # ids do not tell less apart
# The mean lengths of `Duration.seconds` are off by 2.4 days at most (a month that is a February); and the clocks.
_SLACK: Final = timedelta(days=4)


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


class Window(NamedTuple):
    """Instants from `since` (inclusive) to `until` (exclusive), aware, in UTC."""

    since: datetime
    until: datetime


class Retention:
    """
    When records and keys end, from every declaration that was in force.

    Durations are counted on the calendar of the policy's time zone: what was kept on 29 February for a year ends at the
    same hour of 28 February. A day of keys, as everywhere, is one of UTC.

    What was collected under a revision ends as that revision promised. A later one that promises less, once it is in
    force, counts too; one that promises more does not. The day on which it began is one of the older revision.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        """`policies` that were published, in any order; of one revision the last counts."""
        self._rules: dict[str, list[Rule]] = {}
        for policy in Course(policies).holding:
            for rule in _rules(policy):
                self._rules.setdefault(rule.purpose, []).append(rule)

    @property
    def purposes(self) -> tuple[str, ...]:
        """Every purpose that any revision declared."""
        return tuple(self._rules)

    def rule(self, day: int, purpose: str, now: datetime) -> Rule | None:
        """Return the promise that ends what was collected on `day`, or None where no revision knows the purpose."""
        rules = self._rules.get(purpose, [])
        morning = start_of(day)
        began = max((number for number, rule in enumerate(rules) if rule.since <= morning), default=0)
        counting = [rule for rule in rules[began + 1 :] if rule.since <= now]
        return min([*rules[began : began + 1], *counting], key=lambda rule: rule.retention.seconds, default=None)

    def holding(self, day: int, purpose: str, now: datetime) -> Holding | None:
        """Return what the rule of that day and purpose asks to be held afterwards, if anything."""
        rule = self.rule(day, purpose, now)
        return rule.holding if rule else None

    def end(self, day: int, purpose: str, now: datetime) -> datetime | None:
        """Return when the last record of that day ends, and with it the key; None where no revision tells."""
        rule = self.rule(day, purpose, now)
        return max(_ends(day, rule.retention, rule.zone)) if rule else None

    def has_ended(self, day: int, purpose: str, now: datetime) -> bool:
        """Whether the key of that day and purpose must be gone."""
        rule = self.rule(day, purpose, now)
        return rule is not None and _may_have_ended(day, rule, now) and max(_ends(day, *rule[3:5])) <= now

    def may_hold_ended(self, day: int, purpose: str, now: datetime) -> bool:
        """Whether some of that day's records may have ended; false for every later day too."""
        rule = self.rule(day, purpose, now)
        return rule is not None and _may_have_ended(day, rule, now)

    def ended(self, day: int, purpose: str, now: datetime) -> list[Window]:
        """
        Return the parts of `day` whose records have ended, in whole hours of UTC, in order.

        An hour has ended when its last millisecond has; so the cut is exact where records come to the hour.
        """
        rule = self.rule(day, purpose, now)
        if rule is None or not _may_have_ended(day, rule, now):
            return []
        return list(_joined(day, [end <= now for end in _ends(day, rule.retention, rule.zone)]))

    def of_archive(self) -> Retention:
        """Return when what was moved into the archive ends there."""
        archive = Retention(())
        for purpose, rules in self._rules.items():
            held = [rule._replace(retention=rule.holding.retention) for rule in rules if rule.holding]
            if held:
                archive._rules[purpose] = held
        return archive


def day_of(instant: datetime) -> int:
    """Return the whole days from 1970-01-01 UTC to `instant`, which is aware."""
    return (instant - _EPOCH) // timedelta(days=1)


def start_of(day: int) -> datetime:
    """Return the first instant of a day."""
    return _EPOCH + timedelta(days=day)


def day_text(day: int) -> str:
    """Return a day as people and records write it: "2026-11-23"."""
    return start_of(day).date().isoformat()


def _rules(policy: Policy) -> Iterator[Rule]:
    since = begins(policy)
    for purpose in policy.purposes.values():
        yield Rule(purpose.name, policy.revision, since, purpose.retention, policy.time_zone, purpose.archive)
    yield Rule(LINKS, policy.revision, since, links_kept(policy), policy.time_zone, None)


def links_kept(policy: Policy) -> Duration:
    """
    How long a link of a sign-in with receipts is kept: until the last record has ended that it may lead to. A choice
    holds for 180 days after the sign-in was seen, and what is collected on the last of them is kept as was promised.
    """
    marked = [purpose for purpose in policy.purposes.values() if purpose.asked or purpose.name == ABUSE]
    kept = [purpose.retention for purpose in marked] + [each.archive.retention for each in marked if each.archive]
    longest_days = max((duration.seconds // 86_400 for duration in kept), default=0)
    return Duration(longest_days + LIFETIME.days + _SLACK.days, "day")


def _may_have_ended(day: int, rule: Rule, now: datetime) -> bool:
    return start_of(day) + timedelta(seconds=rule.retention.seconds) - _SLACK <= now


@lru_cache(maxsize=1024)
def _ends(day: int, retention: Duration, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Return when each of the day's hours has ended, whole."""
    return tuple(max(_end(hour + n * _QUARTER, retention, zone) for n in range(1, 5)) for hour in _hours(day))


def _hours(day: int) -> list[datetime]:
    return [start_of(day) + n * _HOUR for n in range(24)]


def _end(until: datetime, retention: Duration, zone: ZoneInfo) -> datetime:
    """Return the end of the last instant before `until`. Ends do not always follow each other as instants do:
    29, 30 and 31 January and a month all end on 28 February, so the four quarters of an hour are asked."""
    return retention.after((until - _INSTANT).astimezone(zone)).astimezone(UTC) + _INSTANT


def _joined(day: int, ended: list[bool]) -> Iterator[Window]:
    since: datetime | None = None
    for hour, over in zip([*_hours(day), start_of(day + 1)], [*ended, False], strict=True):
        if over and since is None:
            since = hour
        elif not over and since is not None:
            yield Window(since, hour)
            since = None
