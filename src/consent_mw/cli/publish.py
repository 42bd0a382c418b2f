"""`consent-mw publish`: compare a new revision with the one in force, and announce it in time."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import click

from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import places_of
from consent_mw.cli.terminal import FAULT, complain, console
from consent_mw.consent.wordings import Wordings
from consent_mw.exceptions import ConfigurationError, Fault
from consent_mw.hosts.publishing import StorePublications
from consent_mw.paths import Places
from consent_mw.policy.amendments import amendments
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import Policy
from consent_mw.policy.notice_period import Notice, changes, notice
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.startup_check import edited, rewords
from consent_mw.policy.timeline import Course, begins
from consent_mw.site.amendment_lines import amendment_lines
from consent_mw.site.templating import our_templates
from consent_mw.staff.existing_site import check_in_use, existing_store, site_keys_at
from consent_mw.system.escaping import as_json, printable


class _Examined(NamedTuple):
    """A declaration beside the one in force: what it changes, what that takes, and what forbids to publish it."""

    policy: Policy
    in_force: Policy | None
    replaced: Policy | None  # announced, and never to hold once this one is
    notice: Notice
    published: date  # what its days of notice are counted from
    faults: list[Fault]
    known: bool

    @property
    def earliest(self) -> date:
        """The first day on which it may hold."""
        return self.notice.earliest(self.published)

    @property
    def from_instant(self) -> datetime | None:
        """When it takes effect, in the policy's time zone; None for the first, unless its day is still to come."""
        instant = begins(self.policy)
        return instant.astimezone(self.policy.time_zone) if self.in_force or instant > utc_now() else None

    @property
    def corrects(self) -> bool:
        """Whether it is compared with the revision of its own number, of which it only corrects the words."""
        return self.in_force is not None and self.in_force.revision == self.policy.revision


@click.command(
    epilog="Example: consent-mw publish policy.toml --dry-run, which says what changed and what notice it takes."
)
@click.argument("policy_file", metavar="[POLICY]", type=click.Path(path_type=Path), default="policy.toml")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="The site's data directory, which keeps the revisions. [default: consent-data beside the policy]",
)
@click.option(
    "--store", "url", help="The store of a site of several hosts: publish there, without a running site here."
)
@click.option("--dry-run", is_flag=True, help="Compare and check, and publish nothing.")
@click.option(
    "--wording",
    is_flag=True,
    help="Correct the words of a published revision: other titles, descriptions or translations, nothing else.",
)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object instead of text.")
def publish(
    policy_file: Path, directory: Path | None, url: str | None, dry_run: bool, wording: bool, json_wanted: bool
) -> int:
    """Publish a new revision of the policy: from now on every page of the site announces it, until it takes effect.

    It is compared with the revision in force. What changes for visitors is announced 7 days before, and 30 if it is
    important: more is collected, it is used for something else, kept longer, or received by others. Days are those of
    the policy's time zone, and the first is not counted.

    A running site learns of it within seconds, and changes over by itself at the first instant of the effective day.

    With --store it is compared with what the hosts have published in their store, and published there: every host has
    it within seconds, whether a site runs here or not. The data directory then needs the site's site-keys, which each
    host has.

    With --wording the words of a published revision are corrected under its own number. Receipts that were given before
    still prove the words of then. A site shows the corrected ones from its next start.
    """
    places = places_of(policy_file, directory)
    revisions = Revisions(places.revisions)
    policy = load(policy_file)
    elsewhere = _elsewhere(places, revisions) if url else None
    if elsewhere:
        check_in_use(places, url)
        with_store(existing_store(places, url), elsewhere.fetch)
    if dry_run:
        examined = _examine(policy, revisions, utc_now(), wording=wording)
    else:
        examined = _publish(policy, policy_file, places, revisions, wording=wording)
    if elsewhere and not dry_run and not examined.faults:
        with_store(existing_store(places, url), elsewhere.publish)
    if json_wanted:
        click.echo(as_json(_as_dict(examined, dry_run)))
    else:
        _say(examined, dry_run)
    complain(*map(str, examined.faults))
    return FAULT if examined.faults else 0


def _elsewhere(places: Places, revisions: Revisions) -> StorePublications:
    shelves = (revisions, Wordings(places.wordings))
    return StorePublications(places, site_keys_at(places), shelves, now_ns)


def _publish(policy: Policy, file: Path, places: Places, revisions: Revisions, *, wording: bool) -> _Examined:
    places.prepare()
    with revisions.alone():
        examined = _examine(policy, revisions, utc_now(), wording=wording)
        if not examined.faults and not examined.known:
            text = file.read_text(encoding="utf-8")
            if loads(text).digest != policy.digest:
                raise ConfigurationError(f"{file}: was changed while it was read; try again")
            revisions.keep(policy, text)
    return examined


def _examine(policy: Policy, revisions: Revisions, now: datetime, *, wording: bool) -> _Examined:
    course = revisions.course()
    in_force, ahead = course.at(now), course.ahead(now)
    if revisions.has(policy):
        before = _before(course, policy)
        return _Examined(policy, before, None, notice(before, policy), policy.published, [], known=True)
    if wording:
        return _corrected(policy, revisions)
    owed, today = notice(in_force, policy), now.astimezone(policy.time_zone).date()
    faults = _number(policy, revisions.latest())
    if in_force is not None and not faults:
        faults = owed.faults(policy, today)
    holding = {revision.revision for revision in Course([*course.published, policy]).holding}
    replaced = ahead if ahead is not None and ahead.revision not in holding else None  # else it holds for some hours
    return _Examined(policy, in_force, replaced, owed, today, faults, known=False)


def _corrected(policy: Policy, revisions: Revisions) -> _Examined:
    """Compare with the very revision that is to say the same in other words. It owes no notice."""
    if policy.revision not in revisions.numbers():
        fault = Fault(
            policy.file, "revision", f"revision {policy.revision} is not published", "leave out --wording to publish it"
        )
        return _Examined(policy, None, None, notice(None, policy), policy.published, [fault], known=False)
    kept = revisions.read(policy.revision)
    faults = [] if rewords(kept, policy) else edited(revisions, policy)
    return _Examined(policy, kept, None, Notice(amendments(kept, policy), 0), policy.published, faults, known=False)


def _before(course: Course, policy: Policy) -> Policy | None:
    return next((earlier for earlier in reversed(course.holding) if earlier.revision < policy.revision), None)


def _number(policy: Policy, latest: int | None) -> list[Fault]:
    if latest is None or policy.revision > latest:
        return []
    problem = f"revision {policy.revision} is lower than {latest}, which is published"
    if policy.revision == latest:
        problem = f"revision {latest} is published with other content"
    return [Fault(policy.file, "revision", problem, f"write revision = {latest + 1}")]


def _lines(examined: _Examined) -> list[str]:
    if examined.in_force is None:
        return []
    amendments = examined.notice.amendments
    return amendment_lines(amendments, examined.in_force, examined.policy, "en", our_templates())


def _say(examined: _Examined, dry_run: bool) -> None:
    policy, old = examined.policy, examined.in_force
    lines = [f"{policy.file}: revision {policy.revision}, the first"]
    if old is not None:
        which = f"which {'was' if examined.known else 'is'} in force"
        which = "as it was published" if examined.corrects else which
        lines = [f"{policy.file}: revision {policy.revision}, compared with {old.revision}, {which}"]
        lines += [f"  - {line}" for line in _lines(examined) or ["nothing that visitors read"]]
        lines.append(_owed(examined))
    if not examined.faults:
        lines += _done(examined, dry_run)
    out = console()
    for line in lines:
        out.print(printable(line), markup=False)


def _owed(examined: _Examined) -> str:
    if examined.corrects:
        return "The words are other ones under the same number, so it takes no notice."
    if not examined.notice.amendments:
        return "It takes no notice, and may hold at once."
    weighing = sum(1 for amendment in examined.notice.amendments if amendment.reason)
    why = f"important changes: {weighing}" if weighing else "visitors read of it"
    days, published = examined.notice.days, examined.published
    return f"It takes {days} days' notice ({why}): published on {published}, it may hold from {examined.earliest}."


def _done(examined: _Examined, dry_run: bool) -> list[str]:
    policy, instant = examined.policy, examined.from_instant
    if examined.corrects:
        verb = "can be corrected" if dry_run else "is corrected; start the site again to show it"
        return [f"Revision {policy.revision} {verb}.", f"SHA-256: {policy.digest}"]
    when = "holds from the beginning" if instant is None else f"takes effect {_moment(instant, policy)}"
    verb = "was already published" if examined.known else "can be published" if dry_run else "is published"
    lines = [f"Revision {policy.revision} {verb} and {when}.", f"SHA-256: {policy.digest}"]
    if examined.replaced:
        lines.insert(1, f"Revision {examined.replaced.revision}, which was announced, will never hold.")
    return lines


def _moment(instant: datetime, policy: Policy) -> str:
    return f"at {instant:%Y-%m-%d %H:%M:%S %z} ({policy.time_zone.key})"


def _as_dict(examined: _Examined, dry_run: bool) -> dict[str, object]:
    policy, old, instant = examined.policy, examined.in_force, examined.from_instant
    again = changes(old, policy) if old else None
    return {
        "file": policy.file,
        "ok": not examined.faults,
        "dry_run": dry_run,
        "published": examined.known or (not examined.faults and not dry_run),
        "revision": policy.revision,
        "digest": policy.digest,
        "in_force": old.revision if old else None,
        "replaces_announced": examined.replaced.revision if examined.replaced else None,
        "notice_days": examined.notice.days,
        "earliest": examined.earliest.isoformat(),
        "effective": policy.effective.isoformat(),
        "effective_at": instant.isoformat() if instant else None,
        "changes": [
            {
                "what": amendment.what,
                "text": line,
                "important": amendment.reason is not None,
                "reason": amendment.reason,
            }
            for amendment, line in zip(examined.notice.amendments, _lines(examined), strict=True)
        ],
        "asked_again": {"purposes": sorted(again.purposes), "cookies": sorted(again.cookies)} if again else None,
        "faults": [fault._asdict() for fault in examined.faults],
    }
