"""`consent-mw backup`: a whole copy of what a site keeps, while it runs, and never a key."""

from __future__ import annotations

from pathlib import Path

import click

from consent_mw.cli.clock import utc_now
from consent_mw.cli.site_options import by_policy, places_of
from consent_mw.cli.terminal import busy, complain
from consent_mw.staff.backup import back_up, forget_old, read_manifest
from consent_mw.stores import without_password
from consent_mw.stores.used import UsedStores
from consent_mw.system.escaping import as_json, printable
from consent_mw.system.priority import behind_the_site


@click.command(
    epilog="Example: consent-mw backup /var/backups/mysite --keep 14. Put it back with consent-mw restore.",
)
@click.argument("target", type=click.Path(path_type=Path))
@by_policy
@click.option("--keep", type=click.IntRange(1), help="Remove all backups in TARGET but the latest so many.")
@click.option("--json", "json_wanted", is_flag=True, help="Say what was made as one object.")
def backup(target: Path, file: Path, directory: Path | None, keep: int | None, json_wanted: bool) -> int:
    """
    Back up records, archive, declarations, wordings and audit chain into a new directory below TARGET.

    The site may run. Nobody but this user can read the backup. Keys are in none: what can be restored was not
    destroyed. A database of PostgreSQL is backed up by its own tools, the rest by this.
    """
    places = places_of(file, directory)
    places.check()
    with busy("backing up"), behind_the_site():
        backup_directory = back_up(places, file, target, utc_now())
    gone = forget_old(target, keep) if keep else []
    held = sorted(read_manifest(backup_directory).files)
    if json_wanted:
        click.echo(as_json({"backup": str(backup_directory), "files": held, "removed": list(map(str, gone))}))
    else:
        click.echo(f"{printable(str(backup_directory))}: {len(held)} files, no keys among them")
        click.echo("".join(f"removed: {printable(str(removed))}\n" for removed in gone), nl=False)
    used = UsedStores.beside(places.database)
    if used.earlier:
        earlier, now = ", ".join(map(without_password, used.earlier)), without_password(used.store)
        complain(
            f"note: records may still move out of {earlier}; back that up first, and {now} after it: what moves in "
            "between would be in neither backup"
        )
    if elsewhere := used.elsewhere(places.database):
        complain(f"note: the site keeps its records in {without_password(elsewhere)}; back that up with its own tools")
    elif places.database.name not in held:
        complain(f"note: {places.database}: is not there; if the records are in PostgreSQL, back them up with pg_dump")
    return 0
