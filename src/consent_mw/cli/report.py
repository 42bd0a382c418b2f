"""`consent-mw report`: what the days were like, as a table with bars, as JSON, or as one HTML file with charts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consent_mw.cli.access import existing_store, policies, where
from consent_mw.cli.report_page import report_page
from consent_mw.cli.terminal import as_json, complain, console, printable
from consent_mw.exceptions import ConfigurationError, ConsentError
from consent_mw.keyring import FileKeyring
from consent_mw.places import Places
from consent_mw.reports import Day, Ending, Report, endings, ordered, report_of, title_of
from consent_mw.retention import Retention, day_of
from consent_mw.spool import Backlog, Spool
from consent_mw.stores.base import Store

__all__ = ["report"]

_DAYS: Final = 28
_ROWS: Final = 10
_HOURS: Final = 25  # and "(other)"
_BAR_COLUMNS: Final = 24
_1970: Final = date(1970, 1, 1).toordinal()


@click.command(
    epilog="Example: consent-mw report --days 90 --html report.html. A day is counted half an hour after it is over "
    "(UTC); cells of fewer than five visitors are never told."
)
@where
@click.option("--days", type=click.IntRange(1), default=_DAYS, show_default=True, help="How many, up to yesterday.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day (UTC), in the place of --days.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day (UTC); yesterday unless told.")
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as one object.")
@click.option(
    "--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write one file that needs no other."
)
def report(
    directory: Path,
    url: str | None,
    days: int,
    since: datetime | None,
    until: datetime | None,
    json_wanted: bool,
    html: Path | None,
) -> int:
    """
    Say what the site's days were like, from counts that identify nobody.

    Visits by day and hour, routes, statuses, latencies, browsers, choices over time and per language; what ends next;
    and how far behind the drain is. No personal record is read, so no reason is asked.
    """
    places = Places(directory)
    store = existing_store(places, url)
    last = _number(until) if until else day_of(datetime.now(UTC)) - 1
    first = _number(since) if since else last - days + 1
    if first > last:
        raise click.UsageError("--since is after --until; give the earlier day first")
    found = asyncio.run(_read(store, first, last))
    found.ending = _endings(places)
    behind = _behind(places)
    if html is not None:
        _write(html, report_page(found, behind))
        click.echo(f"{html}: {len(found.days)} days")
    elif json_wanted:
        click.echo(as_json(msgspec.to_builtins(found) | {"drain": _drain(behind)}))
    else:
        _print(found, behind)
    if not found.days:
        complain("note: no day in this span was counted yet; a day is counted half an hour after it is over")
    return 0


def _number(day: datetime) -> int:
    return day.date().toordinal() - _1970


async def _read(store: Store, first: int, last: int) -> Report:
    await store.open()
    try:
        return await report_of(store, first, last)
    finally:
        await store.close()


def _endings(places: Places) -> list[Ending]:
    declared = policies(places)
    if not declared or not places.keys.exists():
        return []
    return endings(Retention(declared), FileKeyring(places.keys).live(), datetime.now(UTC))


def _behind(places: Places) -> Backlog:
    try:
        return Spool(places.spool).backlog if places.spool.exists() else Backlog(0, None)
    except ConsentError as error:
        complain(f"note: {error}")
        return Backlog(0, None)


def _drain(behind: Backlog) -> dict[str, object]:
    waiting, oldest = behind
    return {"waiting_bytes": waiting, "oldest": oldest.astimezone().isoformat() if oldest and waiting else None}


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written ({error.strerror}); give another place") from error


def _print(found: Report, behind: Backlog) -> None:
    out = console()
    out.print(f"{found.since} to {found.until}, days of UTC")
    _print_days(out, found.days)
    if found.latency:
        bounds = (f"{name} {_seconds(bound)}" for name, bound in found.latency.items())
        out.print(f"\nlatency: {', '.join(bounds)}")
    for by, count in found.counts.items():
        _print_count(out, f"{title_of(by)} ({count.of})", count.cells, _HOURS if by.endswith("hour") else _ROWS)
    if found.ending:
        out.print("\nnext to be destroyed")
        for each in found.ending:
            out.print(f"  {each.ends}  {printable(each.purpose)} of {each.day}", markup=False)
    waiting, oldest = behind
    since = f", the oldest since {oldest.astimezone().isoformat(sep=' ', timespec='seconds')}" if oldest else ""
    out.print(f"\ndrain: {waiting:,} bytes wait{since}" if waiting else "\ndrain: nothing waits")


def _print_days(out: Console, days: Mapping[str, Day]) -> None:
    most = max((day.exchanges for day in days.values()), default=0)
    table = Table(box=None, pad_edge=False)
    for heading in ("day", "requests", "visits", "events", "choices", ""):
        table.add_column(heading, justify="left" if heading in ("day", "choices", "") else "right", no_wrap=True)
    for name, day in days.items():
        choices = ", ".join(f"{choice} {count:,}" for choice, count in sorted(day.choices.items()))
        cells = (name, f"{day.exchanges:,}", f"{day.visits:,}", f"{day.events:,}", choices or str(day.receipts or ""))
        table.add_row(*map(_text, cells), _bar(day.exchanges, most))
    out.print(table)


def _print_count(out: Console, heading: str, cells: Mapping[str, int], limit: int) -> None:
    rows = ordered(cells)
    whole, most = sum(cells.values()), max(cells.values(), default=0)
    table = Table(box=None, pad_edge=False, title=_text(heading), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("")
    for label, number in rows[:limit]:
        table.add_row(_text(label), f"{number:,}", f"{number / whole:.0%}", _bar(number, most))
    if len(rows) > limit:
        rest = sum(number for _, number in rows[limit:])
        table.add_row(f"{len(rows) - limit} more", f"{rest:,}", f"{rest / whole:.0%}", "")
    out.print()
    out.print(table)


def _bar(value: int, most: int) -> Bar:
    return Bar(size=max(most, 1), begin=0, end=value, width=_BAR_COLUMNS)


def _seconds(bound: float | None) -> str:
    return "more than 10 s" if bound is None else f"{bound:g} s"


def _text(value: str) -> Text:
    return Text(printable(value))
