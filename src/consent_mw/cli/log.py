"""`consent-mw log`: the latest records, opened, as a table or as JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import click

from consent_mw.cli.access import accessing, asked, from_whom
from consent_mw.cli.clock import utc_now
from consent_mw.cli.instant import Instant
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.record_table import RecordTable
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import log_store, where
from consent_mw.cli.site_purposes import purposes_of_site
from consent_mw.cli.terminal import FAULT, as_json, busy, complain, console
from consent_mw.kinds import SHOWN
from consent_mw.paths import Places
from consent_mw.records import Query, Record, time_of
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand
from consent_mw.staff.existing_site import check_purposes, existing_store
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every

__all__ = ["log"]

_MOST = 1_000_000
_POLL_SECONDS = 0.5
# A record is named after the beginning of its exchange, and reaches the store after the end.
_LATE = timedelta(minutes=1)

_Show: TypeAlias = Callable[[Sequence[Record]], None]


@click.command(
    epilog="Example: consent-mw log --purpose necessary --reason 'ticket 4711' -n 50. "
    "An exchange that took longer than a minute does not show in --follow.",
)
@where
@ring_option
@log_store
@click.option("-n", "--number", type=click.IntRange(0, _MOST), default=20, show_default=True, help="How many at most.")
@click.option("--follow", is_flag=True, help="Go on with new ones until Ctrl-C.")
@click.option("--json", "json_wanted", is_flag=True, help="One object a line, all fields, named as in OpenTelemetry.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(SHOWN), help="Only these; may be repeated.")
@click.option(
    "--purpose", "purposes", multiple=True, shell_complete=purposes_of_site, help="Only these; may be repeated."
)
@click.option("--since", type=Instant(), help="None older than this, such as 2026-11-23 or 2026-11-23T09:00+09:00.")
@from_whom
def log(
    directory: Path,
    url: str | None,
    ring: str | None,
    log_url: str | None,
    number: int,
    follow: bool,
    json_wanted: bool,
    kinds: tuple[str, ...],
    purposes: tuple[str, ...],
    since: datetime | None,
    reason: str | None,
    name: str,
) -> int:
    """
    Show the latest records, the newest last.

    Personal fields are shown for the purposes that --purpose names, if there is a --reason, and the access is recorded
    (consent-mw audit). Without, they stay sealed. What was destroyed is shown as destroyed.
    """
    places = Places(directory)
    store = existing_store(places, url, log_url)
    check_purposes(places, purposes)
    errand = asked(Errand("log", purposes, reason, name, since.isoformat() if since else ""))
    query = Query(kinds=frozenset(kinds or SHOWN), purposes=frozenset(purposes) if purposes else None, since=since)
    changed = with_store(store, lambda store: _shown(store, query, number, follow, places, errand, ring, json_wanted))
    if errand.reason is None:
        complain(_HINT)
    waiting = _waiting_bytes(places.spool)
    if waiting and not url:
        complain(f"note: {places.spool}: {waiting} bytes wait for the store; a running site moves them within a second")
    return FAULT if changed else 0


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


async def _shown(
    store: Store,
    query: Query,
    number: int,
    follow: bool,
    places: Places,
    errand: Errand,
    ring: str | None,
    json_wanted: bool,
) -> int:
    """Show them, and return how many are not as the site wrote them."""
    with accessing(places, errand, keyring_at(places, ring)) as access:
        await access.consult(store)
        show = _printer(access, json_wanted)
        # Asked first: what comes between this and the table is in the table, or still new.
        before = await _since(store, query, utc_now() - _LATE) if follow else []
        with busy("reading the log"):
            newest = await store.fetch(query, limit=number, newest_first=True)
        show(newest[::-1])
        if follow:
            await _follow(store, query, {record.id for record in (*before, *newest)}, show, access)
        return access.changed


async def _follow(store: Store, query: Query, seen: set[UUID], show: _Show, access: Access) -> None:
    """Show each half second what is not in `seen`, until cancelled."""
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        edge = utc_now() - _LATE
        recent = await _since(store, query, edge)
        await access.consult(store)
        show([record for record in recent if record.id not in seen])
        seen = {record_id for record_id in seen if time_of(record_id) >= edge} | {record.id for record in recent}


async def _since(store: Store, query: Query, since: datetime) -> list[Record]:
    """Return all records that `query` means, from `since` on."""
    return await every(store, Query(kinds=query.kinds, purposes=query.purposes, since=since))


def _waiting_bytes(spool: Path) -> int:
    try:
        with os.scandir(spool) as segments:
            return sum(segment.stat().st_size for segment in segments)
    except OSError:  # none yet, or drained meanwhile: this is a hint, nothing depends on it
        return 0
