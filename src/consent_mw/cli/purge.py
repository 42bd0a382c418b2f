"""`consent-mw purge`: destroy what has ended, and say what is left and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from consent_mw.cli.clock import clock_of_commands, now_ns, utc_now
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.site_options import by_policy, log_store, other_store, places_of
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import FAULT, busy, complain, progress_of
from consent_mw.crypto.keyring import Keyring, MemoryKeyring
from consent_mw.crypto.known_keyrings import KnownRings, Where, lost_ring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, SpoolError
from consent_mw.hosts.hosts import Hosts
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.retention.destruction import Destruction, Outcome, Progress
from consent_mw.retention.overdue import Due, at_work, due
from consent_mw.retention.tier import LIVE
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.spool.spool import Spool
from consent_mw.staff.existing_site import check_in_use, existing_store, working_policy
from consent_mw.stores import opened_store
from consent_mw.stores.base import Store
from consent_mw.system.escaping import as_json

# A running site looks each minute, for some milliseconds where nothing has ended.
_PATIENCE_SECONDS: Final = 3.0
_TRY_SECONDS: Final = 0.1


@click.command(
    epilog="Example: consent-mw purge --policy policy.toml --dry-run, for a monitor: exit code 1 if anything is late. "
    "It may be interrupted at any moment; the next run goes on.",
)
@by_policy
@other_store
@log_store
@ring_option
@click.option("--dry-run", is_flag=True, help="Change nothing: list what has ended and is still there.")
@click.option("--json", "json_wanted", is_flag=True, help="Say what was done and what is left as one object.")
@click.option(
    "--lost",
    multiple=True,
    metavar="KEYRING",
    help="A keyring that is gone for good: delete its records although its keys cannot be destroyed. May be repeated.",
)
@click.option(
    "--although-at-work", "forced", is_flag=True, help="Give up a --lost keyring that sealed something these days, too."
)
def purge(
    file: Path,
    directory: Path | None,
    url: str | None,
    log_urls: Sequence[str],
    ring: str | None,
    dry_run: bool,
    json_wanted: bool,
    lost: tuple[str, ...],
    forced: bool,
) -> int:
    """
    Destroy what has ended: keys, then rows, then a certificate. A running site does the same each minute.

    Exit code 1 if anything is overdue (more than 24 hours past its end), failed or out of reach, or if another process
    is at it. What another machine will destroy itself, whose keyring sealed something these days, is listed only.
    """
    places = places_of(file, directory)
    policy = working_policy(load(file), places, utc_now())
    check_in_use(places, url, log_urls)
    store = opened_store(existing_store(places, url, log_urls))
    keyring, unusable = _keyring(places, ring)
    sealer = Sealer.of_site(places, keyring, policy)
    destruction = _destruction(policy, places, store, sealer, lost)
    missing = _missing(destruction, places, ring)
    # One that was used here and is gone is no other machine's.
    of_others = frozenset[str]() if forced else frozenset(lost).difference(missing)
    done, left = asyncio.run(_run(destruction, store, dry_run, of_others))
    if done.busy:
        complain(f"{places.destruction_lock}: another process destroys at this moment; nothing was done here")
        return FAULT
    if json_wanted:
        click.echo(as_json({"dry_run": dry_run, "done": msgspec.to_builtins(done), "left": msgspec.to_builtins(left)}))
    else:
        _say(done, left, dry_run)
    if not dry_run:
        for name in lost:
            KnownRings(places.rings).give_up(name)
    gone = [unusable] if unusable else [message for name, message in missing.items() if name not in lost]
    wrong = [due for due in left if not due.is_of_others]
    said = wrong if not dry_run else [due for due in wrong if due.problem]
    complain(*gone, *done.troubles, *map(complaint, said))
    return FAULT if gone or done.troubles or any(due.late or due.problem for due in wrong) else 0


def _destruction(policy: Policy, places: Places, store: Store, sealer: Sealer, lost: Iterable[str]) -> Destruction:
    hosts = Hosts.of_site(
        places,
        store,
        sealer.keyring,
        sealer.site_keys,
        revision=lambda: policy.revision,
        oldest=lambda: Spool(places.spool, clock=now_ns).oldest if places.spool.exists() else None,
        clock=clock_of_commands(),
    )
    return Destruction.of_site(
        policy,
        places,
        store,
        sealer,
        SiteRestrictions(store, sealer),
        spool=_spool(places),
        lost=frozenset(lost),
        clock=clock_of_commands(),
        hosts=hosts,
    )


def _missing(destruction: Destruction, places: Places, ring: str | None) -> dict[str, str]:
    """Return a message for each keyring that was used here and is missing, by its name."""
    known, messages = KnownRings(places.rings), dict[str, str]()
    for stage in destruction.stages:
        where: Where = "live" if stage.where == LIVE else "archive"
        file = places.keys if where == "live" else places.archive_keys
        if where == "live" and ring is None and any(used.given for used in known.used("live")[-1:]):
            continue  # the site's keyring= is not told here, so nobody can say
        for name in known.missing(where, *stage.sealer.rings):
            messages[name] = lost_ring(file, name)
    return messages


def _keyring(places: Places, ring: str | None) -> tuple[Keyring, str]:
    """
    Return the keyring, and why it cannot be used, or "". Where there is none an empty one in memory stands for it, and
    reaches nothing.
    """
    try:
        keyring = keyring_at(places, ring)
    except ConfigurationError as error:
        if ring is not None:
            raise
        return MemoryKeyring(), str(error)
    if keyring is None:
        complain(f"note: {places.keys}: there is no key file; what was sealed is out of reach")
    return keyring or MemoryKeyring(), ""


def _spool(places: Places) -> Spool | None:
    try:
        return Spool(places.spool, clock=now_ns) if places.spool.exists() else None
    except SpoolError as error:
        complain(f"note: {error}")
        return None


async def _run(destruction: Destruction, store: Store, dry_run: bool, lost: Set[str]) -> tuple[Outcome, list[Due]]:
    now = utc_now()
    try:
        await _refuse_at_work(destruction, store, lost, now)
        with progress_of("destroying", shown=not dry_run) as show:
            done = Outcome() if dry_run else await _once(destruction, now, show)
        with busy("looking for what has ended"):
            return done, [] if done.busy or done.troubles else await due(destruction.stages, now)
    finally:
        await destruction.close()
        await store.close()


async def _refuse_at_work(destruction: Destruction, store: Store, lost: Set[str], now: datetime) -> None:
    """Refuse to give up a keyring that is there: its own machine would certify 0 records for what is deleted here."""
    if (mine := destruction.stages[0].ring) in lost:
        raise ConfigurationError(f"--lost {mine}: is the keyring of this data directory; leave it out")
    for ring, sealed in (await at_work(store, destruction.stages[0].sealer, lost, now)).items() if lost else ():
        raise ConfigurationError(
            f"--lost {ring}: sealed something at {sealed:%Y-%m-%dT%H:%MZ}, so its machine runs, and destroys what has "
            "ended itself; nothing was done. If it is gone since then, add --although-at-work"
        )


async def _once(destruction: Destruction, now: datetime, show: Progress) -> Outcome:
    for _ in range(int(_PATIENCE_SECONDS / _TRY_SECONDS)):
        done = await destruction.once(now, show)
        if not done.busy:
            return done
        await asyncio.sleep(_TRY_SECONDS)
    return Outcome(busy=True)


def _say(done: Outcome, left: Sequence[Due], dry_run: bool) -> None:
    if dry_run:
        _list(left)
        return
    archived = f", {done.archived:,} of them into the archive" if done.archived else ""
    click.echo(
        f"destroyed: {done.keys:,} keys, {done.records:,} records{archived}; {done.certificates:,} certificates written"
    )


def _list(left: Sequence[Due]) -> None:
    if not left:
        click.echo("nothing has ended that is still there")
        return
    print_table(("day (UTC)", "purpose", "where", "key", "records", ""), map(_row, left))


def _row(due: Due) -> tuple[object, ...]:
    count = due.records + sum(due.unreached.values())
    state = "overdue" if due.late else "of another machine" if due.is_of_others else "due"
    return due.day, due.purpose, due.where, "live" if due.key else "-", f"{count:,}", state


def complaint(due: Due) -> str:
    """Return one line about what is left, with what keeps it."""
    what = [*(["its key"] if due.key else []), *([f"{due.records:,} records"] if due.records else [])]
    what += [f"{count:,} records of keyring {ring}" for ring, count in due.unreached.items()]
    why = due.problem or "try again; if it stays, look into the log of the site"
    state = "overdue" if due.late else "still there"
    return f"{due.day}, {due.purpose} ({due.where}): {' and '.join(what)} {state}; {why}"
