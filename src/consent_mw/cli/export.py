"""`consent-mw export`: the records of a period, as a file that other programs read."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import click

from consent_mw.cli.access import accessing, asked, from_whom
from consent_mw.cli.clock import utc_now
from consent_mw.cli.instant import Instant
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import log_store, where
from consent_mw.cli.site_purposes import purposes_of_site
from consent_mw.cli.terminal import FAULT, complain, progress_of
from consent_mw.exceptions import ConfigurationError
from consent_mw.exports import Export, Lines
from consent_mw.exports.combined import Combined
from consent_mw.exports.jsonl import JSONLines
from consent_mw.exports.parquet import Parquet
from consent_mw.exports.spreadsheet import Spreadsheet
from consent_mw.kinds import SHOWN
from consent_mw.paths import Places
from consent_mw.records import Query, time_of
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand
from consent_mw.staff.existing_site import check_purposes, existing_store, policies
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages

__all__ = ["export"]


@click.command(
    epilog="Example: consent-mw export --format csv --purpose analytics --reason 'yearly report' --output visits.csv",
)
@where
@ring_option
@log_store
@click.option(
    "--format", "format_name", type=click.Choice(["jsonl", "csv", "parquet", "combined"]), help="Needed, or --json."
)
@click.option("--json", "json_wanted", is_flag=True, help="The same as --format jsonl: one object a line.")
@click.option(
    "--purpose",
    shell_complete=purposes_of_site,
    help="Only the records of this one. Needed for personal fields, and for combined.",
)
@click.option("--since", type=Instant(), help="From this time on, such as 2026-11-23 or 2026-11-23T09:00+09:00.")
@click.option("--until", type=Instant(), help="Up to this time, without it.")
@click.option("--output", type=click.Path(path_type=Path), help="A new file. Standard output if none is given.")
@from_whom
def export(
    directory: Path,
    url: str | None,
    ring: str | None,
    log_url: str | None,
    format_name: str | None,
    json_wanted: bool,
    purpose: str | None,
    since: datetime | None,
    until: datetime | None,
    output: Path | None,
    reason: str | None,
    name: str,
) -> int:
    """
    Write records to a file or to standard output, the oldest first.

    Personal fields are written for the purpose that --purpose names, if there is a --reason, and the access is recorded
    (consent-mw audit). Without, they stay sealed.
    """
    if json_wanted and format_name not in (None, "jsonl"):
        raise click.UsageError(f"--json is --format jsonl; leave one of them out, or --format {format_name}")
    format_name = "jsonl" if json_wanted else format_name
    if format_name is None:
        raise click.MissingParameter(param_type="option", param_hint="--format, or --json")
    if format_name == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is not for a terminal; add --output FILE")
    if format_name == "combined" and not purpose:
        raise click.UsageError("combined needs --purpose: an exchange stands once under each that it served")
    if since and until and since >= until:
        raise click.UsageError("--since is not before --until")
    places, purposes = Places(directory), [purpose] if purpose else []
    store = existing_store(places, url, log_url)
    check_purposes(places, purposes)
    period = [time.isoformat() if time else "" for time in (since, until)]
    errand = asked(Errand(f"export --format {format_name}", purposes, reason, name, *period))
    query = Query(kinds=frozenset(SHOWN), purposes=frozenset(purposes) or None, since=since, until=until)
    with accessing(places, errand, keyring_at(places, ring)) as access:
        form = _format(format_name, places, purpose)
        with_store(store, lambda store: _written(store, query, access, form, output))
    return _told(access)


def _format(name: str, places: Places, purpose: str | None) -> Export:
    if name in ("csv", "parquet"):
        fields = _event_fields(places, purpose)
        return Lines(Spreadsheet(fields)) if name == "csv" else Parquet(fields)
    return Lines(JSONLines() if name == "jsonl" else Combined())


def _event_fields(places: Places, purpose: str | None) -> dict[str, type]:
    """Return the declared fields of events, each with its type; where revisions or events differ in it, text."""
    found: dict[str, set[type]] = {}
    for policy in policies(places):
        for event in policy.events.values():
            for field, kind in event.fields.items() if purpose in (None, event.purpose) else ():
                found.setdefault(f"event.{field}", set()).add(_TYPES[kind])
    return {
        name: float if kinds == {int, float} else next(iter(kinds)) if len(kinds) == 1 else str
        for name, kinds in found.items()
    }


async def _written(store: Store, query: Query, access: Access, form: Export, output: Path | None) -> None:
    """Write page by page: memory does not follow what is stored."""
    with _opened(output) as file, progress_of("exporting", shown=output is not None) as told:
        await access.consult(store)
        file.write(form.head())
        first: datetime | None = None
        async for page in pages(store, query):
            file.write(form.page(access.rows(page)))
            first = first or time_of(page[0].id)
            # How far in time: how many there are nobody knows.
            told((time_of(page[-1].id) - first).total_seconds(), (utc_now() - first).total_seconds())
        file.write(form.tail())


@contextmanager
def _opened(output: Path | None) -> Generator[IO[bytes]]:
    """Give where to write. A file is new, for its owner only, and does not stay where it could not be finished."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ConfigurationError(f"{output}: is already there; give another name, or move it away") from error
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
    except BaseException as error:
        with suppress(OSError):
            output.unlink()
        if isinstance(error, OSError):
            raise _unwritable(output, error) from error
        raise


def _unwritable(output: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{output}: cannot be written ({error.strerror}); give a file in a directory with room")


def _told(access: Access) -> int:
    """Say what could not be opened; that of a destroyed key is no fault."""
    for why, count in sorted(access.closed.items()):
        complain(f"note: the personal fields of {count} records are missing: {_WHY[why]}")
    return FAULT if access.unreadable or access.changed else 0


_TYPES: Final = {"str": str, "int": int, "float": float, "bool": bool}
_WHY = {
    "sealed": "they stay sealed; to read them give --purpose and --reason",
    "destroyed": "they were destroyed",
    "of another keyring": "another keyring sealed them, or the key file is gone; export them where it is",
    "unreadable": "they were changed since they were sealed, or the keyring cannot be reached",
}
