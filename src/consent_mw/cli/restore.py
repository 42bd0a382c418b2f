"""`consent-mw restore`: put a backup back, and say what came after it."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from consent_mw.cli.clock import utc_now
from consent_mw.cli.site_options import by_policy, places_of
from consent_mw.cli.terminal import FAULT, busy, complain
from consent_mw.staff.restore import Restored
from consent_mw.staff.restore import restore as put_back
from consent_mw.system.escaping import as_json, printable


@click.command(
    epilog="Example: consent-mw restore /var/backups/mysite/2026-11-29-040000, then start the site.",
)
@click.argument("backup", type=click.Path(path_type=Path))
@by_policy
@click.option("--json", "json_wanted", is_flag=True, help="Say what was done as one object.")
def restore(backup: Path, file: Path, directory: Path | None, json_wanted: bool) -> int:
    """
    Replace the contents of the data directory by BACKUP, a directory that `consent-mw backup` made.

    Stop the site first. The backup is checked before anything is changed, and what is replaced is moved aside.
    Requests, certificates, disclosures and receipts that came after the backup are carried over, erasures are applied
    again, and the audit chain keeps its length. Keys stay as they are.

    Exit code 1 if something that came after the backup is lost.
    """
    places = places_of(file, directory)
    with busy("restoring"):
        done = put_back(places, file, backup, utc_now())
    if json_wanted:
        click.echo(as_json(msgspec.to_builtins(done)))
    else:
        click.echo("\n".join(map(printable, _lines(done))))
    complain(*(f"note: {note}" for note in done.notes), *done.lost)
    return FAULT if done.lost else 0


def _lines(done: Restored) -> list[str]:
    lines = [
        f"the backup of {done.created:%Y-%m-%d %H:%M:%SZ} is put back: {', '.join(done.put_back) or 'nothing missed'}"
    ]
    lines += [f"carried over, newer than the backup: {count:,} {kind}" for kind, count in sorted(done.carried.items())]
    lines += [f"request since the backup: {number}" for number in done.requests]
    lines += [f"certificate since the backup: {instant}" for instant in done.certificates]
    if done.destroyed_again:
        lines.append(f"left out: {done.destroyed_again:,} records, which were destroyed since the backup")
    if done.erased_again:
        lines.append(f"erased again: {done.erased_again:,} records, of erasures since the backup")
    if done.aside:
        lines.append(f"what was replaced: {done.aside}; remove it when all is well")
    return lines
