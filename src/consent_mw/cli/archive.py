"""`consent-mw archive`: what a law demands to be held, read on a legal basis that is stated and recorded first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
from rich.table import Table
from rich.text import Text

from consent_mw.cli.access import accessing
from consent_mw.cli.instant import Instant
from consent_mw.cli.record_table import RecordTable
from consent_mw.cli.session import with_store
from consent_mw.cli.terminal import FAULT, as_json, complain, console, printable, progress_of
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.kinds import SHOWN
from consent_mw.paths import DATA_DIRECTORY, Places
from consent_mw.policy.model import did_you_mean
from consent_mw.records import Query, time_of
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand
from consent_mw.staff.existing_site import policies
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages
from consent_mw.stores.sqlite import SQLiteStore

__all__ = ["archive"]


class _Held(NamedTuple):
    """What one or more revisions declare of a purpose's archive: the law, and for how long, each once, newest first."""

    laws: tuple[str, ...]
    retentions: tuple[str, ...]


class _Row(NamedTuple):
    """One purpose of the list; times in ISO 8601, None where nothing is held yet."""

    purpose: str
    held_for: tuple[str, ...]
    oldest: str | None
    newest: str | None
    laws: tuple[str, ...]


@click.command(
    epilog="Example: consent-mw archive --purpose abuse --basis 'order 2026-114, Seoul Central District Court' --json. "
    "Exit code 1 if there is no archive, or some records could not be opened.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DATA_DIRECTORY,
    show_default=True,
    help="The site's data directory: its archive and the archive's keys.",
)
@click.option("--purpose", help="Whose records are read.")
@click.option("--basis", help="On what legal basis, such as an order with its number. It is recorded.")
@click.option("--since", type=Instant(), help="From this time on, such as 2026-11-23 or 2026-11-23T09:00+09:00.")
@click.option("--until", type=Instant(), help="Up to this time, without it.")
@click.option("--json", "json_wanted", is_flag=True, help="One object a line, all fields, named as in OpenTelemetry.")
@click.option("--as", "name", default="", help="Who you are, if the account does not tell.")
def archive(
    directory: Path,
    purpose: str | None,
    basis: str | None,
    since: datetime | None,
    until: datetime | None,
    json_wanted: bool,
    name: str,
) -> int:
    """
    Read what is held because a law demands it, the oldest first; without --purpose list what is held, and by which law.

    The archive is opened on a legal basis only: without --basis nothing of a record is shown. The basis, the law that
    the policy declares, and who read are in the audit chain (consent-mw audit) before the first record is.
    """
    if basis is not None and not purpose:
        raise click.UsageError("a basis opens the records of one purpose; add --purpose")
    if since and until and since >= until:
        raise click.UsageError("--since is not before --until")
    places = Places(directory)
    store, held = _existing(places), _declared(places)
    if not held:
        complain(f"note: {places.revisions}: no declaration with an archive is kept here, so no law can be named")
    if not purpose:
        _list(with_store(store, lambda store: _rows(store, held)), json_wanted)
        return 0
    laws = _of(purpose, held)
    errand = Errand("archive", [purpose], None, name, _iso(since), _iso(until), _stated(basis), laws)
    complain(*(f"note: {purpose} is held by: {law}" for law in laws))
    query = Query(kinds=frozenset(SHOWN), purposes=frozenset((purpose,)), since=since, until=until)
    # Opening a key file that is not there would make it.
    keyring = FileKeyring(places.archive_keys) if places.archive_keys.exists() else None
    with accessing(places, errand, keyring) as access:
        with_store(store, lambda store: _read(store, query, access, json_wanted))
    return _told(access)


def _iso(time: datetime | None) -> str:
    return time.isoformat() if time else ""


def _existing(places: Places) -> Store:
    places.check()
    if not places.archive.exists():
        raise ConfigurationError(
            f"{places.archive}: there is no archive here; it begins when the first record of a purpose with "
            "[purposes.NAME.archive] ends. Is it another --directory?"
        )
    return SQLiteStore(places.archive)


def _declared(places: Places) -> dict[str, _Held]:
    """Return what is held of which purpose, by every declaration that was in force. Raises ConfigurationError."""
    held: dict[str, _Held] = {}
    for policy in sorted(policies(places), key=lambda policy: policy.revision, reverse=True):
        for purpose in policy.purposes.values():
            if purpose.archive:
                law, _ = purpose.archive.law.read(policy.languages[0])
                known = held.get(purpose.name, _Held((), ()))
                held[purpose.name] = _Held(
                    tuple(dict.fromkeys((*known.laws, law))),
                    tuple(dict.fromkeys((*known.retentions, str(purpose.archive.retention)))),
                )
    return held


def _of(purpose: str, held: Mapping[str, _Held]) -> tuple[str, ...]:
    """Return the laws by which the purpose is held. Where no declaration was kept, nobody knows them."""
    if purpose in held or not held:
        return held[purpose].laws if held else ()
    raise ConfigurationError(f'the purpose "{purpose}" has no archive; {did_you_mean(purpose, sorted(held))}')


def _stated(basis: str | None) -> str:
    """Return the basis; asked for at a terminal where it is missing. Raises click.UsageError where there is none."""
    if basis is None and sys.stdin.isatty() and sys.stderr.isatty():
        basis = click.prompt("On what legal basis? It is recorded", default="", show_default=False, err=True)
    if not (basis or "").strip():
        raise click.UsageError("the archive is opened on a legal basis only; add --basis 'the order and its number'")
    return str(basis).strip()


async def _rows(store: Store, held: Mapping[str, _Held]) -> list[_Row]:
    return [await _row(store, purpose, held[purpose]) for purpose in sorted(held)]


def _list(rows: Sequence[_Row], json_wanted: bool) -> None:
    """Say what is held: nothing of a record but its time."""
    if json_wanted:
        for row in rows:
            click.echo(as_json(row._asdict()))
        return
    table = Table("purpose", "held for", "oldest", "newest", "law", box=None, pad_edge=False)
    for row in rows:
        cells = (row.purpose, " or ".join(row.held_for), row.oldest or "-", row.newest or "-", "; ".join(row.laws))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console().print(table)


async def _row(store: Store, purpose: str, held: _Held) -> _Row:
    query = Query(kinds=frozenset(SHOWN), purposes=frozenset((purpose,)))
    first, last = await store.fetch(query, limit=1), await store.fetch(query, limit=1, newest_first=True)
    times = [time_of(record.id).astimezone().isoformat(timespec="seconds") for record in (*first, *last)]
    oldest, newest = times or (None, None)
    return _Row(purpose, held.retentions, oldest, newest, held.laws)


async def _read(store: Store, query: Query, access: Access, json_wanted: bool) -> None:
    """Print page by page. Where that goes into a file or a pipe, a terminal sees how many it were so far."""
    table = RecordTable(console())
    with progress_of("reading the archive", shown=not sys.stdout.isatty()) as told:
        async for page in pages(store, query):
            rows = [access.row(record) for record in access.whole(page)]
            if json_wanted:
                click.echo("\n".join(map(as_json, rows)))
            else:
                table.print(rows)
            told(access.records)


def _told(access: Access) -> int:
    """Say what could not be opened; that of a destroyed key is no fault."""
    if access.records == 0:
        complain("note: the archive holds no record of this purpose and period")
    for why, count in sorted(access.closed.items()):
        complain(f"note: the personal fields of {count} records are missing: {_WHY[why]}")
    return FAULT if access.unreadable or access.changed else 0


_WHY = {
    "destroyed": "they were destroyed",
    "of another keyring": "another keyring sealed them, or archive-keys is gone; read them where it is",
    "unreadable": "they were changed since they were sealed, or the keyring cannot be reached",
}
