"""`consent-mw report`: what the days were like, as a table with bars, as JSON, or as one HTML file with charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.report_page import report_page
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import where
from consent_mw.cli.terminal import as_json, busy, complain, console, printable
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, ConsentError
from consent_mw.paths import Places
from consent_mw.retention.calendar import Retention
from consent_mw.retention.reports import (
    UNTOLD,
    Count,
    Day,
    Ending,
    Owed,
    Period,
    Queue,
    Report,
    cell_of,
    choices_of,
    endings,
    in_order,
    is_mostly_hidden,
    ordered,
    report_of,
    title_of,
    title_of_period,
)
from consent_mw.retention.small_cells import OTHER
from consent_mw.rights.deadlines import end_of
from consent_mw.rights.queue import waiting
from consent_mw.spool.spool import Backlog, Spool
from consent_mw.staff.existing_site import existing_store, policies, policy_in_force, site_keys_at
from consent_mw.stores.base import Store
from consent_mw.system.days import day_of, day_of_date

__all__ = ["report", "show"]

_DAYS: Final = 28
_MOST_DAYS: Final = 10_000
_ROWS: Final = 10
_HOURS: Final = 24
_BAR_COLUMNS: Final = 24
_NARROW_BAR: Final = 8
_ROOMY_COLUMNS: Final = 80
_NARROW_COLUMNS: Final = 40
_LABEL_COLUMNS: Final = 28
_DAY_COLUMNS: Final = 10
_SEVERAL_DAYS: Final = (
    "a day with too few of one choice is counted together with others; the last ones may wait for those that follow"
)


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
        _write(html, report_page(summary, behind))
        if not json_wanted:
            click.echo(f"{printable(str(html))}: {len(summary.days)} days")
    if json_wanted:
        click.echo(as_json(msgspec.to_builtins(summary) | {"drain": _drain(behind)}))
    elif html is None:
        show(summary, behind)
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
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written ({error.strerror}); give another place") from error


def show(summary: Report, behind: Backlog) -> None:
    """Print the whole report on standard output."""
    out = console()
    out.print(Text(f"{summary.since} to {summary.until}, days of UTC", "bold"))
    _print_days(out, summary.days)
    if summary.latency:
        bounds = (f"{name} {_seconds(bound)}" for name, bound in summary.latency.items())
        out.print(f"\nlatency: {', '.join(bounds)}")
    if choices_of(summary.choices) and out.width >= _NARROW_COLUMNS:
        _print_choices(out, summary.choices)
    for by, count in in_order(summary.counts):
        _print_count(out, f"{title_of(by)} ({count.of})", count, _HOURS if by.endswith("hour") else _ROWS)
    if summary.requests is not None:
        _print_requests(out, summary.requests)
    if summary.ending:
        out.print(Text("\nnext to be destroyed", "bold"))
        for ending in summary.ending:
            out.print(Text(f"  {ending.ends}  {printable(ending.purpose)} of {ending.day}"))
    out.print(f"\ndrain: {_drain_said(behind)}")


def _drain_said(behind: Backlog) -> str:
    waiting, oldest = behind
    since = f", the oldest since {oldest.astimezone().isoformat(sep=' ', timespec='seconds')}" if oldest else ""
    return f"{waiting:,} bytes wait{since}" if waiting else "nothing waits"


def _print_requests(out: Console, requests: list[Owed]) -> None:
    late = sum(request.overdue for request in requests)
    out.print(Text(f"\nrequests of visitors: {len(requests)} open, {late} overdue", "bold"))
    for request in requests:
        state = "overdue" if request.overdue else "open"
        line = f"  {request.due}  {state}  {request.kind} {request.number}"
        out.print(Text(printable(line), "red" if request.overdue else ""))


def _print_days(out: Console, days: Mapping[str, Day]) -> None:
    most = max((day.exchanges or 0 for day in days.values()), default=0)
    headings = ("requests", "visits", "events", "choices", "blocked", "undeclared")
    shown = len(headings) if out.width >= _ROOMY_COLUMNS else 2 if out.width >= _NARROW_COLUMNS else 1
    table = _table("day", *headings[:shown], "")
    for name, day in days.items():
        numbers = (day.exchanges, day.visits, day.events, day.receipts, day.blocked, day.undeclared)
        bar = _bar(out, day.exchanges or 0, most, beside=_DAY_COLUMNS * shown)
        table.add_row(_text(name), *map(_number_said, numbers[:shown]), bar)
    out.print(table)
    if days:
        out.print(Text(f"{UNTOLD}: fewer than five visitors, or none", "dim"))


def _print_choices(out: Console, periods: Sequence[Period]) -> None:
    names = choices_of(periods)
    most = max((period.receipts or 0 for period in periods), default=0)
    table = _table("choices by day", *map(printable, names), "")
    for period in periods:
        counts = [_number_said(cell_of(period, name)) for name in names]
        table.add_row(_text(title_of_period(period)), *counts, _bar(out, period.receipts or 0, most))
    out.print()
    out.print(table)
    if any(len(period.days) > 1 or period.cells is None for period in periods):
        out.print(Text(_SEVERAL_DAYS, "dim"))


def _print_count(out: Console, heading: str, count: Count, limit: int) -> None:
    cells = count.cells
    named = [(label, number) for label, number in ordered(cells) if label != OTHER]
    whole, most = sum(cells.values()), max(cells.values(), default=0)
    table = _table(heading, "", "", "", least=_LABEL_COLUMNS if out.width >= _ROOMY_COLUMNS else _DAY_COLUMNS)
    hidden = is_mostly_hidden(cells)  # bars of the rest would mislead
    for label, number in named[:limit]:
        table.add_row(_text(label), f"{number:,}", f"{number / whole:.0%}", "" if hidden else _bar(out, number, most))
    rest = {f"{len(named) - limit} more": sum(number for _, number in named[limit:]), OTHER: cells.get(OTHER, 0)}
    for label, number in rest.items():
        if number:
            table.add_row(label, f"{number:,}", f"{number / whole:.0%}", "")
    if count.untold:
        table.add_row("not told", f"{count.untold:,}", "", "")
    out.print()
    out.print(table)


def _number_said(number: int | None) -> str:
    return UNTOLD if number is None else f"{number:,}"


def _table(first: str, *numbers: str, least: int = 0) -> Table:
    """Return a table whose first column has words, folded where `least` columns are enough, and whose last a bar."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(_text(first), overflow="fold", min_width=least, no_wrap=not least)
    for heading in numbers[:-1]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(numbers[-1], no_wrap=True)
    return table


def _bar(out: Console, value: int, most: int, beside: int = 0) -> Bar | str:
    width = _BAR_COLUMNS if out.width >= _ROOMY_COLUMNS + beside // 2 else _NARROW_BAR
    if out.width < _NARROW_COLUMNS:
        return ""
    if not out.encoding.startswith("utf"):
        return "#" * round(width * value / max(most, 1))
    return Bar(size=max(most, 1), begin=0, end=value, width=width, color="cyan")


def _seconds(bound: float | None) -> str:
    return "more than 10 s" if bound is None else f"{bound:g} s"


def _text(value: str) -> Text:
    return Text(printable(value))
