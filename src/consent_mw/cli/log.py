"""`consent-mw log`: the latest records of the log or of the archive, opened, as a table or as JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import click

from consent_mw.cli.access import accessing
from consent_mw.cli.archive_list import list_archive
from consent_mw.cli.clock import utc_now
from consent_mw.cli.record_table import RecordTable
from consent_mw.cli.session import with_store
from consent_mw.cli.site_purposes import purposes_of_site
from consent_mw.cli.source import SourceOptions, exit_code_of, source_options
from consent_mw.cli.terminal import FAULT, busy, complain, console
from consent_mw.kinds import SHOWN
from consent_mw.records import Query, Record, time_of
from consent_mw.staff.access import Access
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.escaping import as_json

_MOST = 1_000_000
_POLL_SECONDS = 0.5
# A record is named after the beginning of its exchange, and reaches the store after the end.
_LATE = timedelta(minutes=1)
# Where the clock is put back, what the site records meanwhile is this near to the present.
_MOMENT = timedelta(seconds=1)

_Show: TypeAlias = Callable[[Sequence[Record]], None]


@click.command(
    epilog="Example: consent-mw log --purpose necessary --reason 'ticket 4711' -n 50; "
    "consent-mw log --archive --purpose abuse --basis 'order 2026-114, Seoul Central District Court'. "
    "An exchange that took longer than a minute does not show in --follow.",
)
@click.option("-n", "--number", type=click.IntRange(0, _MOST), default=20, show_default=True, help="How many at most.")
@click.option("--follow", is_flag=True, help="Go on with new ones until Ctrl-C.")
@click.option("--json", "json_wanted", is_flag=True, help="One object a line, all fields, named as in OpenTelemetry.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(SHOWN), help="Only these; may be repeated.")
@click.option(
    "--purpose", "purposes", multiple=True, shell_complete=purposes_of_site, help="Only these; may be repeated."
)
@source_options
def log(
    options: SourceOptions,
    number: int,
    follow: bool,
    json_wanted: bool,
    kinds: tuple[str, ...],
    purposes: tuple[str, ...],
) -> int:
    """
    Show the latest records, the newest last.

    Personal fields are shown for the purposes that --purpose names, if there is a --reason, and the access is recorded
    (consent-mw audit). Without, they stay sealed. What was destroyed is shown as destroyed.

    With --archive, what a law demands to be kept longer: without --purpose a list of what is held, and by which law;
    with --purpose and --basis its records. The basis, the law and who read are recorded before the first record is
    shown.
    """
    places = options.places
    if options.archive and not purposes and options.basis is None:
        list_archive(places, options.existing_archive(), json_wanted=json_wanted)
        return 0
    if follow and (options.archive or options.until):
        raise click.UsageError("--follow goes on with new records; leave out --archive and --until")
    source = options.source("log --archive" if options.archive else "log", purposes)
    query = options.query(kinds or SHOWN, purposes)
    with accessing(places, source.errand, source.keyring) as access:
        with_store(source.store, lambda store: _show(store, query, number, follow, access, json_wanted))
    if options.archive:
        return exit_code_of(access)
    if source.errand.reason is None:
        complain(_HINT)
    waiting = _waiting_bytes(places.spool)
    if waiting and not options.url:
        complain(f"note: {places.spool}: {waiting} bytes wait for the store; a running site moves them within a second")
    return FAULT if access.changed else 0


_HINT = "note: personal fields stay sealed; to read them: consent-mw log --purpose necessary --reason 'why'"


def _printer(access: Access, json_wanted: bool) -> _Show:
    table = RecordTable(console())

    def show(records: Sequence[Record]) -> None:
        rows = access.rows(records)
        if json_wanted:
            for row in rows:
                click.echo(as_json(row))
        else:
            table.print(rows)

    return show


async def _show(store: Store, query: Query, number: int, follow: bool, access: Access, json_wanted: bool) -> None:
    await access.consult(store)
    show = _printer(access, json_wanted)
    # Read first: what arrives between this and the table is in the table, or still new.
    before = await _since(store, query, utc_now() - _LATE) if follow else []
    with busy("reading the log"):
        newest = await store.fetch(query, limit=number, newest_first=True)
    show(newest[::-1])
    if follow:
        await _follow(store, query, {record.id for record in (*before, *newest)}, show, access)


async def _follow(store: Store, query: Query, seen: set[UUID], show: _Show, access: Access) -> None:
    """Show each half second what is not in `seen`, until cancelled."""
    now = utc_now()
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        before, now = now, utc_now()
        recent = await _since(store, query, now - _LATE)
        if now < before:  # the clock was put back: of what stands there the last moments alone were not shown
            seen |= {record.id for record in recent if abs(now - time_of(record.id)) > _MOMENT}
        await access.consult(store)
        show([record for record in recent if record.id not in seen])
        seen = {record_id for record_id in seen if time_of(record_id) >= now - _LATE} | {record.id for record in recent}


async def _since(store: Store, query: Query, since: datetime) -> list[Record]:
    """Return all records that `query` means, from `since` on."""
    return await every(store, Query(kinds=query.kinds, purposes=query.purposes, since=since))


def _waiting_bytes(spool: Path) -> int:
    try:
        with os.scandir(spool) as segments:
            return sum(segment.stat().st_size for segment in segments)
    except OSError:  # none yet, or drained meanwhile: this is a hint, nothing depends on it
        return 0
