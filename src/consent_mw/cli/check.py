"""`consent-mw check`: whether a policy can be enforced, and in short what it promises."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path

import click
from msgspec import to_builtins

from consent_mw.cli.clock import utc_now
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import FAULT, complain
from consent_mw.exceptions import Fault, PolicyError
from consent_mw.paths import Places
from consent_mw.policy.checklist import Finding, findings, in_short, unsaid, wrong_bases, wrong_bases_of_tables
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy, Purpose
from consent_mw.policy.plausible import implausible, implausible_tables, mistaken_languages, placeholders, unspoken
from consent_mw.policy.recipients import receivers
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.startup_check import early, notes, refusals
from consent_mw.policy.timeline import Course, begins
from consent_mw.policy.toml_lines import with_lines
from consent_mw.system.escaping import as_json, printable


@click.command(epilog="Example: consent-mw check policy.toml && systemctl restart mysite")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="The site's data directory, which knows the revisions that were in force. [default: consent-data beside it]",
)
@click.option("--strict", is_flag=True, help="What the law demands and the page does not say is a fault.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object instead of text.")
def check(policy_file: Path, directory: Path | None, strict: bool, json_wanted: bool) -> int:
    """Check POLICY and say what it promises, or every fault with its line, its place and its fix.

    What the law of its jurisdiction asks a privacy policy to say, and this one does not, is noted: a checklist, and
    no legal advice. Exit code 0 if it can be enforced, 1 if not.
    """
    places = Places(directory) if directory else Places.beside(policy_file)
    revisions = Revisions(places.revisions)
    policy, faults, notes = _examined(policy_file, revisions, begun=places.rings.exists())
    duties = findings(policy) if policy else []
    if policy:
        must, other = unsaid(policy, duties)
        faults += [*placeholders(policy), *must] if strict else []
        if not faults or json_wanted:  # first things first
            notes += other if strict else [*placeholders(policy), *must, *other]
        text = policy_file.read_text("utf-8")
        faults, notes = with_lines(text, faults), with_lines(text, notes)
    if json_wanted:
        click.echo(as_json(_as_dict(policy_file, policy, faults, notes, duties)))
    else:
        complain(*map(str, faults))
        if policy and not faults:
            _summarise(policy, _state(policy, revisions.course(policy), utc_now()))
        complain(*(f"note: {note}" for note in notes))
        if policy and duties and not faults:
            complain(in_short(policy, duties))
    return FAULT if faults else 0


def _examined(file: Path, revisions: Revisions, *, begun: bool) -> tuple[Policy | None, list[Fault], list[Fault]]:
    """Return the policy if it could be read, its faults, and what is allowed but worth knowing."""
    try:
        policy = load(file)
    except PolicyError as error:
        places_with_errors = {fault.place for fault in error.faults}
        return None, [*error.faults, *(fault for fault in _besides(file) if fault.place not in places_with_errors)], []
    now = utc_now()
    refused = refusals(revisions, policy, now)
    too_early = early(revisions, policy, now) if revisions.numbers() else []
    worth_knowing = [
        *notes(revisions, policy, now, begun=begun),
        *mistaken_languages(policy),
        *_untranslated(policy),
        *_unanswered(policy),
        *unspoken(policy),
    ]
    meant = [*implausible(policy), *wrong_bases(policy), *_unheard(policy)]
    return policy, [*refused, *([] if refused else too_early), *meant], worth_knowing


def _besides(file: Path) -> list[Fault]:
    """Return what else is wrong in a file that cannot be read as a policy, so that one run lists all faults."""
    if not file.is_file():  # which the faults say already, and a pipe may never end
        return []
    try:
        text = file.read_text("utf-8")
        raw = tomllib.loads(text)
    except (OSError, ValueError, RecursionError):  # which the faults say already
        return []
    return with_lines(text, [*implausible_tables(raw, str(file)), *wrong_bases_of_tables(raw, str(file))])


def _untranslated(policy: Policy) -> list[Fault]:
    """Return a note for each language in which our own sentences are not all there, or were not read by anybody."""
    from consent_mw.site.sentences import untranslated

    faults: list[Fault] = []
    for tag in policy.languages:
        missing, of, by_machine = untranslated(tag)
        catalogue = f"locale/{tag}/LC_MESSAGES/consent_mw.po in the folder of templates="
        if missing == of:
            said, fix = "the pages' own sentences are English there", f"bring {catalogue}, or leave the language out"
        elif missing:
            said, fix = f"{missing} of the pages' {of} own sentences are English there", f"bring them in {catalogue}"
        elif by_machine:
            said, fix = "a machine translated the pages' own sentences", f"have them read; correct some in {catalogue}"
        else:
            continue
        also = "; a machine translated the others" if by_machine and missing else ""
        faults.append(Fault(policy.file, "languages", f'"{tag}": {said}{also}', fix))
    return faults


def _unanswered(policy: Policy) -> list[Fault]:
    """Return a note for each purpose whose data nobody is named to answer for: the page says so too."""
    said, fix = (
        "nobody is named who answers for these data",
        'add answered_by = "my_data" (personal_data=), or "staff"',
    )
    return [
        Fault(policy.file, f"purposes.{purpose.name}.answered_by", said, fix)
        for purpose in policy.by_application
        if purpose.answered_by is None
    ]


def _unheard(policy: Policy) -> list[Fault]:
    """Return a fault for each signal that refuses nothing, since nobody is asked about its purpose."""
    problem = "no signal can refuse what nobody is asked about"
    fix = 'leave refused_by out, or write basis = "consent" or "opt_out"'
    return [
        Fault(policy.file, f"purposes.{purpose.name}.refused_by", problem, fix)
        for purpose in policy.purposes.values()
        if purpose.refused_by and not purpose.asked
    ]


def _as_dict(
    file: Path, policy: Policy | None, faults: list[Fault], notes: list[Fault], duties: list[Finding]
) -> dict[str, object]:
    answer: dict[str, object] = {
        "file": str(file),
        "ok": not faults,
        "faults": [fault._asdict() for fault in faults],
        "notes": [note._asdict() for note in notes],
        "law": [{**to_builtins(duty), "unsaid": list(places)} for duty, places in duties],
    }
    if policy:
        answer |= {
            "revision": policy.revision,
            "published": policy.published.isoformat(),
            "effective": policy.effective.isoformat(),
            "purposes": {
                purpose.name: {"basis": purpose.basis, "asked": purpose.asked, "retention": _lasts(policy, purpose)}
                for purpose in policy.purposes.values()
            },
            "receivers": {purpose.name: _receivers(policy, purpose) for purpose in policy.purposes.values()},
            "cookies": [
                {"name": cookie.name, "purpose": cookie.purpose, "expires": str(cookie.expires or "session")}
                for cookie in policy.cookies
            ],
            "undeclared": policy.undeclared,
            "log": policy.log,
        }
    return answer


def _lasts(policy: Policy, purpose: Purpose) -> str:
    return str(purpose.retention or (purpose.until and purpose.until.read(policy.languages[0])[0]))


def _receivers(policy: Policy, purpose: Purpose) -> list[str]:
    return [receiver.name.read(policy.languages[0])[0] for receiver in receivers(policy, purpose.name)]


def _state(policy: Policy, course: Course, now: datetime) -> str:
    holds, zone = course.at(now), policy.time_zone.key
    if holds is not None and holds.revision > policy.revision:
        return f"not in force any more: revision {holds.revision} is"
    if begins(policy) <= now:
        return f"in force since {policy.effective} ({zone})"
    if course.ahead(now) == policy:
        return f"announced, in force from {policy.effective} ({zone})"
    return f"not in force before {policy.effective} ({zone}), and no site can be started with it earlier"


def _summarise(policy: Policy, state: str) -> None:
    click.echo(printable(f"{policy.file}: revision {policy.revision}, {state}"))
    headings = ("purpose", "visitors are", "kept for", "cookies", "the log keeps", "goes to")
    rows: list[tuple[str, ...]] = []
    for purpose in policy.purposes.values():
        cookies = ", ".join(cookie.name for cookie in policy.cookies if cookie.purpose == purpose.name)
        fields = ", ".join(f"{name} ({how})" for name, how in policy.log.get(purpose.name, {}).items() if how != "off")
        asked = "asked" if purpose.asked else "not asked" if purpose.held_by == "server" else "not asked here"
        goes_to = ", ".join(_receivers(policy, purpose))
        rows.append((purpose.name, asked, _lasts(policy, purpose), cookies or "-", fields or "-", goes_to or "-"))
    print_table(headings, rows)
    fate = {"block": "is blocked", "report": "passes and is reported"}[policy.undeclared]
    click.echo(f"A cookie that is not declared {fate}.")
