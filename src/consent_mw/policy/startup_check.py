"""Whether a site may be started with a policy: it holds what was promised, and nothing that only will hold."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy.amendments import Amendment, amendments
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.timeline import begins

#: Changes of words alone, where they are not important.
_WORDS: Final = frozenset(
    (
        "purpose.title", "purpose.description", "cookie.description", "cookie.provider", "recipient.name",
        "recipient.items", "controller", "language.new",
    )
)  # fmt: skip
#: So many changes are named.
_NAMED: Final = 4


def refusals(revisions: Revisions, policy: Policy, now: datetime) -> list[Fault]:
    """
    Return what forbids starting a site with `policy` at `now` (aware), which is the same for `consent-mw check`.

    Raises:
        ConfigurationError: The kept revisions cannot be read.
    """
    return revisions.check(policy, now) or edited(revisions, policy)


def edited(revisions: Revisions, policy: Policy) -> list[Fault]:
    """
    Return the errors of another file for a published revision: its promise differs. A file that differs in nothing that
    visitors read, such as a comment, may replace the first. Raises as `refusals`.
    """
    if revisions.has(policy) or policy.revision not in revisions.numbers():
        return []
    try:
        kept = revisions.read(policy.revision)
    except PolicyError as error:
        return list(error.faults)
    changes = amendments(kept, policy)
    dated = (kept.published, kept.effective) != (policy.published, policy.effective)
    if not changes and not dated:
        return []
    if rewords(kept, policy):
        fix = f"if they mean the same, run: consent-mw publish --wording {policy.file}"
        return [Fault(policy.file, "revision", f"revision {policy.revision} was published in other words", fix)]
    what = ", ".join([*map(_named, changes[:_NAMED]), *(["..."] if len(changes) > _NAMED else [])]) or "its dates"
    number = (revisions.latest() or 0) + 1
    fix = f"write revision = {number} and run: consent-mw publish {policy.file}; for development there is debug=True"
    return [
        Fault(policy.file, "revision", f"revision {policy.revision} was published with other content ({what})", fix)
    ]


def rewords(kept: Policy, policy: Policy) -> bool:
    """Whether `policy` says in other words what `kept` says, which is of the same revision."""
    dates = (kept.published, kept.effective) == (policy.published, policy.effective)
    return dates and all(change.what in _WORDS and change.reason is None for change in amendments(kept, policy))


def early(revisions: Revisions, policy: Policy, now: datetime) -> list[Fault]:
    """
    Return what forbids to serve by the revision that would be in force at `now`: it is not yet, and what holds until
    then is not known here, as on a new disk or where only the new file was copied. Raises as `refusals`.
    """
    holds = revisions.course(policy).at(now) or policy
    if begins(holds) <= now:
        return []
    problem = (
        f"revision {holds.revision} takes effect on {holds.effective} ({holds.time_zone.key}), the clock says "
        f"{now.astimezone(holds.time_zone):%Y-%m-%d %H:%M}, and no revision that is in force now is in "
        f"{revisions.directory}"
    )
    fix = "put the revisions of the running site there; a site that nobody has visited yet may write today as effective"
    return [Fault(policy.file, "effective", problem, fix)]


def notes(revisions: Revisions, policy: Policy, now: datetime, *, begun: bool) -> list[Fault]:
    """
    Return what is allowed but worth knowing before the start. Raises as `refusals`.

    Args:
        begun: Whether the site was started in this data directory before.
    """
    if revisions.numbers():
        return []
    faults = early(revisions, policy, now)
    if begun:
        problem = (
            f"the site was started here, and {revisions.directory} holds no revision: what it promised is not known"
        )
        faults.append(Fault(policy.file, "revision", problem, "restore that directory from a backup"))
    if policy.revision > 1 and not faults:
        problem = f"is revision {policy.revision}, and no earlier one is in {revisions.directory}"
        fix = "put the revisions of the running site there; without them who answered an earlier one is asked anew"
        faults.append(Fault(policy.file, "revision", problem, fix))
    return faults


def _named(amendment: Amendment) -> str:
    about = amendment.cookie or amendment.purpose
    return f"{amendment.what} of {about}" if about else amendment.what
