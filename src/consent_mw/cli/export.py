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

from consent_mw.cli.access import accessing
from consent_mw.cli.clock import utc_now
from consent_mw.cli.session import with_store
from consent_mw.cli.site_purposes import purposes_of_site
from consent_mw.cli.source import SourceOptions, exit_code_of, source_options
from consent_mw.cli.terminal import progress_of
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
from consent_mw.staff.existing_site import policies
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages


@click.command(
    epilog="Example: consent-mw export --format csv --purpose analytics --reason 'yearly report' --output visits.csv; "
    "consent-mw export --archive --json --purpose abuse --basis 'order 2026-114' --since 2026-03-01",
)
@click.option(
    "--format", "format_name", type=click.Choice(["jsonl", "csv", "parquet", "combined"]), help="Needed, or --json."
)
@click.option("--json", "json_wanted", is_flag=True, help="The same as --format jsonl: one object a line.")
@click.option(
    "--purpose",
    shell_complete=purposes_of_site,
    help="Only the records of this one. Needed for personal fields, for --archive and for combined.",
)
@click.option("--output", type=click.Path(path_type=Path), help="A new file. Standard output if none is given.")
@source_options
def export(
    options: SourceOptions, format_name: str | None, json_wanted: bool, purpose: str | None, output: Path | None
) -> int:
    """
    Write records to a file or to standard output, the oldest first.

    Personal fields are written for the purpose that --purpose names, if there is a --reason, and the access is recorded
    (consent-mw audit). Without, they stay sealed. With --archive, all that a law demands to be kept of the purpose, on
    a legal basis that is recorded first.
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
    places, purposes = options.places, [purpose] if purpose else []
    source = options.source(f"export{' --archive' if options.archive else ''} --format {format_name}", purposes)
    query = options.query(SHOWN, purposes)
    form = _format(format_name, places, purpose)  # before the access is recorded: a library may be missing
    with accessing(places, source.errand, source.keyring) as access:
        with_store(source.store, lambda store: _write(store, query, access, form, output))
    return exit_code_of(access)


def _format(name: str, places: Places, purpose: str | None) -> Export:
    if name in ("csv", "parquet"):
        fields = _event_fields(places, purpose)
        return Lines(Spreadsheet(fields)) if name == "csv" else Parquet(fields)
    return Lines(JSONLines() if name == "jsonl" else Combined())


def _event_fields(places: Places, purpose: str | None) -> dict[str, type]:
    """Return the declared fields of events, each with its type; where revisions or events differ in it, text."""
    types: dict[str, set[type]] = {}
    for policy in policies(places):
        for event in policy.events.values():
            for field, kind in event.fields.items() if purpose in (None, event.purpose) else ():
                types.setdefault(f"event.{field}", set()).add(_TYPES[kind])
    return {
        name: float if kinds == {int, float} else next(iter(kinds)) if len(kinds) == 1 else str
        for name, kinds in types.items()
    }


async def _write(store: Store, query: Query, access: Access, form: Export, output: Path | None) -> None:
    """Write page by page: memory does not follow what is stored."""
    with _opened(output) as file, progress_of("exporting", shown=output is not None) as show:
        await access.consult(store)
        file.write(form.head())
        first: datetime | None = None
        async for page in pages(store, query):
            file.write(form.page(access.rows(page)))
            first = first or time_of(page[0].id)
            # Progress in time, since the number of records is unknown.
            show((time_of(page[-1].id) - first).total_seconds(), (utc_now() - first).total_seconds())
        file.write(form.tail())


@contextmanager
def _opened(output: Path | None) -> Generator[IO[bytes]]:
    """Yield the output. A file is new, readable by its owner only, and removed if it could not be finished."""
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


_TYPES: Final = {"str": str, "int": int, "float": float, "bool": bool}
