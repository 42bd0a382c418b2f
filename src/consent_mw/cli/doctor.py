"""`consent-mw doctor`: whether a site keeps its promises, by everything that the other commands can tell."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from consent_mw.audit import Audit
from consent_mw.cli.audit import compared_disclosures, faults_of_hosts
from consent_mw.cli.check import check
from consent_mw.cli.clock import utc_now
from consent_mw.cli.keys import ring_option
from consent_mw.cli.purge import complaint, purge
from consent_mw.cli.requests import requests
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import by_policy, log_store, other_store, places_of
from consent_mw.cli.store import store
from consent_mw.cli.terminal import FAULT, busy, complain
from consent_mw.exceptions import ConsentError, Fault, PolicyError
from consent_mw.hosts.audit_shelf import chains_in
from consent_mw.kinds import KINDS, SHARING
from consent_mw.paths import Places, cut_off
from consent_mw.records import Query, time_of
from consent_mw.retention.overdue import Due
from consent_mw.staff.backup import latest_backup
from consent_mw.staff.existing_site import existing_store
from consent_mw.stores.base import Store
from consent_mw.system.escaping import as_json

#: Hosts that set their clock by the network are milliseconds apart.
_AHEAD: Final = timedelta(minutes=5)
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"
_BEGINNING: Final = "consent-mw: "
_NOTE: Final = "note: "
_UNSAID: Final = "something is wrong"


class _Finding(msgspec.Struct):
    """
    What one examination found. `output` is what its command prints with `--json`; None if it has no command. `same_as`
    names the finding before it that has a problem of this one.
    """

    name: str
    problems: list[str] = []
    notes: list[str] = []
    output: Any = None
    same_as: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not self.same_as

    def __str__(self) -> str:
        if self.same_as and not self.problems:
            return f"{self.name}: wrong, for the reason given under {self.same_as}"
        return f"{self.name}: {'well' if self.is_well else f'{len(self.problems)} wrong'}"


@click.command(epilog="Example: consent-mw doctor --backups /var/backups/mysite, each night by a timer.")
@by_policy
@other_store
@log_store
@ring_option
@click.option("--backups", type=click.Path(path_type=Path), help="Where `consent-mw backup` puts them.")
@click.option(
    "--backup-hours",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    help="How old the latest backup may be.",
)
@click.option("--quick", is_flag=True, help="Do not read every record: for a monitor that asks every minute.")
@click.option("--json", "json_wanted", is_flag=True, help="Say everything that was found as one object.")
def doctor(
    file: Path,
    directory: Path | None,
    url: str | None,
    log_urls: Sequence[str],
    ring: str | None,
    backups: Path | None,
    backup_hours: int,
    quick: bool,
    json_wanted: bool,
) -> int:
    """
    Examine the policy, the owners of files, the store, the drain, the keys, what should be destroyed by now, requests,
    the audit chain, the clock and the backups. One line for each, one exit code for all.

    Everything is examined, whatever is found first. What the site's own --keyring and its proxies are, a command
    cannot see: give the first, and look at the site's log for the second.
    """
    places = places_of(file, directory)
    where = ["--directory", str(places.directory)]
    stores = [*_given("--store", url), *(word for log_url in log_urls for word in _given("--log-store", log_url))]
    opens = ["--policy", str(file), *where, *stores, *_given("--keyring", ring)]
    examinations: dict[str, Callable[[], _Finding]] = {
        "policy": lambda: _policy([str(file), *where]),
        "files": lambda: _Finding("", [*_owners(places), *filter(None, [places.lock_fault])]),
        "store": lambda: _by(store.commands["check"], [*opens, *(["--quick"] if quick else [])]),
        "destruction": lambda: _destruction([*opens, "--dry-run"]),
        "requests": lambda: _by(requests.commands["list"], [*where, *_given("--store", url)]),
        "audit": lambda: _chain(places, url),
        "clock": lambda: _Finding("", with_store(existing_store(places, url, log_urls), _ahead)),
    }
    if not places.directory.exists():  # which the second says
        examinations = {name: examinations[name] for name in ("policy", "files")}
    if backups:
        examinations["backup"] = lambda: _Finding("", [*_age(backups, timedelta(hours=backup_hours))])
    with busy("examining"):
        findings = [_examined(name, examine) for name, examine in examinations.items()]
    _say_once(findings)
    is_well = all(finding.is_well for finding in findings)
    if json_wanted:
        checks = [{"ok": finding.is_well, **msgspec.to_builtins(finding)} for finding in findings]
        click.echo(as_json({"ok": is_well, "checks": checks}))
    else:
        for finding in findings:
            click.echo(str(finding))
    for finding in findings:
        complain(*(f"{_NOTE}{finding.name}: {line}" for line in finding.notes))
        complain(*(f"{finding.name}: {line}" for line in finding.problems))
    return 0 if is_well else FAULT


def _say_once(findings: Iterable[_Finding]) -> None:
    """Leave a problem in the first finding that has it: a store that cannot be read, say, is met by most of them."""
    known: dict[str, str] = {}
    for finding in findings:
        problems = dict.fromkeys(finding.problems)
        finding.problems = [line for line in problems if not any(other in line for other in known)]
        finding.same_as = next((name for other, name in known.items() if any(other in line for line in problems)), "")
        known |= dict.fromkeys(finding.problems, finding.name)


def _given(option: str, value: str | None) -> list[str]:
    return [] if value is None else [option, value]


def _examined(name: str, examine: Callable[[], _Finding]) -> _Finding:
    try:
        finding = examine()
    except PolicyError as error:
        finding = _Finding("", [str(fault) for fault in error.faults])
    except ConsentError as error:
        finding = _Finding("", [str(error)])
    except OSError as error:  # of an open file it has no name
        place = error.filename or "a file of the site"
        finding = _Finding("", [f"{place}: {error.strerror}; let this user use it, and look at the disk"])
    finding.name = name
    return finding


def _by(command: click.Command, words: list[str]) -> _Finding:
    """Run another command, and tell what it says on standard error as problems and notes."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = command.main([*words, "--json"], prog_name=command.name, standalone_mode=False)
    finding = _Finding("")
    for line in err.getvalue().splitlines():
        text = line.removeprefix(_BEGINNING)
        (finding.notes if text.startswith(_NOTE) else finding.problems).append(text.removeprefix(_NOTE))
    # A file name that is not text is an escape there, and only JSON reads it.
    lines: list[Any] = [json.loads(line) for line in out.getvalue().splitlines()]
    finding.output = lines[0] if len(lines) == 1 else lines
    if not code:  # it found nothing wrong, so these are notes
        finding.problems, finding.notes = [], finding.notes + finding.problems
    elif not finding.problems:
        finding.problems.append(_UNSAID)
    return finding


def _policy(words: list[str]) -> _Finding:
    finding = _by(check, words)
    if finding.problems:
        finding.problems = [str(Fault(**fault)) for fault in finding.output["faults"]] or finding.problems
    return finding


def _destruction(words: list[str]) -> _Finding:
    finding = _by(purge, words)
    if finding.problems:  # a table tells it otherwise
        left = msgspec.convert(finding.output["left"], list[Due])
        said = [line for line in finding.problems if line != _UNSAID]
        complaints = [complaint(due) for due in left if due.late and not due.is_of_others]
        finding.problems = list(dict.fromkeys([*said, *complaints])) or [_UNSAID]
    return finding


def _chain(places: Places, url: str | None) -> _Finding:
    chain = Audit(places.audit, places.audit_head)
    verdict, disclosures = chain.verify(), compared_disclosures(chain, places, url)
    between = faults_of_hosts(chain, places, chains_in(places.audit_of_hosts))
    emptied = next((line for line in map(cut_off, (chain.path, chain.head)) if line in places.emptied), "")
    problems = [emptied or verdict.fault, *disclosures.broken, *between]
    notes = [note for note in (verdict.note, *disclosures.notes) if note]
    return _Finding("", [*filter(None, problems)], notes, {"anchor": str(verdict.anchor)})


def _owners(places: Places) -> Iterator[str]:
    """Yield what the site's user cannot use, as a command of another user made it."""
    places.check()
    if not places.directory.exists():
        yield f"{places.directory}: is not there; run the site first, or name its data directory with --directory"
        return
    owner = places.directory.stat().st_uid
    for path in sorted(places.directory.rglob("*")):
        try:
            status = path.lstat()
        except FileNotFoundError:  # the site is at work, and a segment goes once it was moved
            continue
        if status.st_uid != owner != 0:
            yield f"{path}: does not belong to the owner of {places.directory}; run: chown -h {owner} {path}"
        needed = stat.S_IRWXU if stat.S_ISDIR(status.st_mode) else stat.S_IRUSR | stat.S_IWUSR
        if status.st_mode & needed != needed and not stat.S_ISLNK(status.st_mode):
            yield f"{path}: its own user may not use it; run: chmod u+rwX {path}"


async def _ahead(store: Store) -> list[str]:
    """Return that a record is of the future: the clock of this host, or of another one, is or was wrong."""
    since = utc_now() + _AHEAD
    # Several hosts agree on a key days ahead, and that record is of the day of the key.
    kinds = frozenset(KINDS) - {SHARING}
    late = await store.fetch(Query(kinds=kinds, since=since), limit=1, newest_first=True)
    fix = "set the clock of every host by the network (chrony, systemd-timesyncd)"
    return [f"a {record.kind} is of {time_of(record.id):{_INSTANT}}; {fix}, and this ends then" for record in late]


def _age(backups: Path, most: timedelta) -> Iterator[str]:
    newest = latest_backup(backups)
    if newest is None:
        yield f"{backups}: there is no whole backup; run: consent-mw backup {backups}"
    elif (age := utc_now() - newest) > most:
        yield f"{backups}: the latest backup is {age // timedelta(hours=1)} hours old; run: consent-mw backup {backups}"
    elif age < -_AHEAD:
        yield (
            f"{backups}: the latest backup is of {newest:{_INSTANT}}, so a clock is or was ahead, and newer ones count "
            "as older; set the clock, remove that backup, and take another"
        )
