"""`consent-mw report`: what the days were like, as a table with bars, as JSON, or as one HTML file with charts."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import where
from consent_mw.cli.terminal import busy, complain
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, ConsentError
from consent_mw.paths import Places
from consent_mw.retention.calendar import Retention
from consent_mw.retention.reports import Ending, Owed, Queue, Report, endings, report_of
from consent_mw.rights.deadlines import end_of
from consent_mw.rights.queue import waiting
from consent_mw.spool.spool import Backlog, Spool
from consent_mw.staff.existing_site import existing_store, policies, policy_in_force, site_keys_at
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of, day_of_date
from consent_mw.system.escaping import as_json, printable

_DAYS: Final = 28
_MOST_DAYS: Final = 10_000


@click.command(
    epilog="Example: consent-mw report --days 90 --html report.html. A day is counted half an hour after it is over "
    "(UTC); cells of fewer than five visitors are never shown."
)
@where
@ring_option
@click.option(
    "--days", type=click.IntRange(1, _MOST_DAYS), default=_DAYS, show_default=True, help="How many, up to yesterday."
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day (UTC), instead of --days.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day (UTC); yesterday by default.")
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as one object.")
@click.option(
    "--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write one file that needs no other."
)
def report(
    directory: Path,
    url: str | None,
    ring: str | None,
    days: int,
    since: datetime | None,
    until: datetime | None,
    json_wanted: bool,
    html: Path | None,
) -> int:
    """
    Say what the site's days were like, from counts that identify nobody.

    Visits by day and hour, routes, statuses, latencies, browsers and bots, choices over time and per language, cookies
    blocked and undeclared; what ends next, which requests are overdue, and how far behind the drain is. No personal
    record is read, so no reason is asked.
    """
    places = Places(directory)
    store = existing_store(places, url)
    last = _number(until) if until else day_of(utc_now()) - 1
    first = _number(since) if since else last - days + 1
    if first > last:
        raise click.UsageError("--since is after --until; give the earlier day first")
    with busy("reading the counts"):
        sealer = Sealer.without_keys(site_keys_at(places))
        summary = with_store(store, lambda store: _read(store, sealer, first, last, _queue(places, sealer)))
    summary.ending = _endings(places, ring)
    behind = _behind(places)
    if html is not None:
        from consent_mw.cli.report_page import report_page  # templates, for this alone

        _write(html, report_page(summary, behind))
        if not json_wanted:
            click.echo(f"{printable(str(html))}: {len(summary.days)} days")
    if json_wanted:
        click.echo(as_json(msgspec.to_builtins(summary) | {"drain": _drain(behind)}))
    elif html is None:
        from consent_mw.cli.report_table import print_report  # Rich, for this alone

        print_report(summary, behind)
    if not summary.days:
        complain(
            "note: no day in this span was counted yet, or each had fewer than five visitors; "
            "a day is counted half an hour after it is over"
        )
    return 0


def _queue(places: Places, sealer: Sealer) -> Queue | None:
    """Return what reads the open requests; None where no declaration says by when they are due."""
    if not policies(places):
        return None
    policy = policy_in_force(places, utc_now())

    async def owed(store: Store, now: datetime) -> list[Owed]:
        return [
            Owed(
                str(case.request.id),
                case.request.kind,
                end_of(case.due(policy), policy.time_zone).astimezone().isoformat(timespec="minutes"),
                case.is_overdue(policy, now),
            )
            for case in await waiting(store, policy, sealer)
        ]

    return owed


def _number(day: datetime) -> int:
    return day_of_date(day.date())


async def _read(store: Store, sealer: Sealer, first: int, last: int, queue: Queue | None) -> Report:
    summary = await report_of(store, sealer, first, last)
    if queue is not None:
        summary.requests = list(await queue(store, utc_now()))
    return summary


def _endings(places: Places, ring: str | None) -> list[Ending]:
    declared, keyring = policies(places), keyring_at(places, ring)
    if not declared or keyring is None:
        return []
    return endings(Retention(declared), keyring.live(), utc_now())


def _behind(places: Places) -> Backlog:
    try:
        return Spool(places.spool, clock=now_ns).backlog if places.spool.exists() else Backlog(0, None)
    except ConsentError as error:
        complain(f"note: {error}")
        return Backlog(0, None)


def _drain(behind: Backlog) -> dict[str, object]:
    waiting, oldest = behind
    began = oldest if waiting else None
    seconds = max(0, int((utc_now() - began).total_seconds())) if began else 0
    return {
        "waiting_bytes": waiting,
        "behind_seconds": seconds,
        "oldest": began.astimezone().isoformat() if began else None,
    }


def _write(file: Path, page: str) -> None:
    """
    Write it whole or not at all: a page of last week may be there already. A device, a pipe or a link is written to.

    Unlike `durable.replace`, whose files are ours alone: others read a report.
    """
    is_written_to = file.is_symlink() or (file.exists() and not file.is_file())
    aside = file if is_written_to else file.with_name(f".{file.name}.new")
    try:
        aside.write_text(page, "utf-8")
        if aside != file:
            aside.replace(file)
    except OSError as error:
        if aside != file:
            with suppress(OSError):
                aside.unlink()
        raise ConfigurationError(f"{file}: cannot be written ({error.strerror}); give another place") from error
