"""`consent-mw audit`: who read personal fields, and whether that list is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from consent_mw.audit import Anchor, Audit, Entry, Verdict
from consent_mw.cli.checked import Checked, everything_checked
from consent_mw.cli.clock import utc_now
from consent_mw.cli.session import with_store
from consent_mw.cli.terminal import FAULT, busy, complain, console
from consent_mw.exceptions import ConsentError
from consent_mw.hosts.audit_chains import ANCHORS, HostChain, faults_between
from consent_mw.hosts.audit_shelf import chains_in
from consent_mw.hosts.identity import Identity
from consent_mw.paths import DATA_DIRECTORY, Places
from consent_mw.retention.calendar import Retention
from consent_mw.rights.disclosure_proof import Findings, compared, entries_of, named
from consent_mw.staff.existing_site import existing_store, policies
from consent_mw.system.escaping import as_json, printable

_HEADINGS = ("n", "time", "who", "command", "purposes", "records", "reason")


@click.command(epilog="Example: consent-mw audit verify --anchor 42:1f3c…")
@click.argument("action", type=click.Choice(["show", "verify"]), default="show")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DATA_DIRECTORY,
    show_default=True,
    help="The site's data directory.",
)
@click.option("--store", "url", help="With verify: another store than the one in the directory, for the disclosures.")
@click.option("-n", "--number", type=click.IntRange(0), default=20, show_default=True, help="Show how many at most.")
@click.option("--json", "json_wanted", is_flag=True, help="Each entry, or the verdict, as one object a line.")
@click.option("--anchor", help="With verify: an end of the chain that was written down before.")
def audit(action: str, directory: Path, url: str | None, number: int, json_wanted: bool, anchor: str | None) -> int:
    """
    Show who read personal fields, the latest last; or verify that no entry was changed, removed or inserted.

    On a site of several hosts that is one list of all hosts, as far as this one has heard: its site tells and hears
    within seconds while it runs. verify then also finds a host whose chain was cut, or made anew.

    verify also compares the ledger of disclosures with the chain: none may be missing or changed. And it reads every
    record: each must be as the site wrote it.

    It prints the end of the chain, its anchor. Anyone who may write the data directory can make a whole new chain:
    write the anchor down elsewhere, and give it next time.
    """
    places = Places(directory)
    chain = Audit(places.audit, places.audit_head)
    if action == "verify":
        known = Anchor.parse(anchor) if anchor else None
        with busy("reading the chain"):
            verdict, disclosures = chain.verify(known), compared_disclosures(chain, places, url)
            hosts = chains_in(places.audit_of_hosts)
            between = faults_of_hosts(chain, places, hosts)
        return _verified(verdict, disclosures, _records(places, url), hosts, between, json_wanted)
    rows = _rows(_chains(chain, places))
    if json_wanted:
        for row in rows[-number:] if number else []:
            click.echo(as_json(row))
    else:
        _print(rows, number)
    return 0


def _chains(own: Audit, places: Places) -> dict[str, Sequence[Entry]]:
    """Return the entries of this host, under "", and of each other host, under its id."""
    me = _own_id(places)
    others = {chain.host: chain.entries for chain in chains_in(places.audit_of_hosts) if chain.host != me}
    return {"": list(own.entries()), **others}


def faults_of_hosts(chain: Audit, places: Places, hosts: Sequence[HostChain]) -> list[str]:
    """Return what is wrong with this host's chain and those of the others, by each other."""
    return faults_between(chain.lines(), _own_id(places), hosts, _names(hosts))


def _own_id(places: Places) -> str:
    """Return this host's id; "" on a site with one host. Opening an identity would make it."""
    return Identity(places.host_identity).id.hex() if places.host_identity.exists() else ""


def _rows(chains: Mapping[str, Sequence[Entry]]) -> list[dict[str, object]]:
    """Return the accesses on all hosts in the order of their time. That of another host has its id as "of"."""
    rows = [
        {"n": entry.number, **entry.facts, **({"of": host} if host else {})}
        for host, entry in _entries_once(chains)
        if ANCHORS not in entry.facts
    ]
    if len(chains) > 1:
        rows.sort(key=lambda row: str(row.get("time", "")))  # UTC in each chain, so texts compare as instants
    return [{**row, **_local(row.get("time"))} for row in rows]


def _entries_once(chains: Mapping[str, Sequence[Entry]]) -> Iterator[tuple[str, Entry]]:
    """Yield every entry with its host. One that goes on as a new host has the entries of the old one in its chain."""
    passed = set[str]()
    for host, entries in chains.items():
        new = [entry for entry in entries if entry.hash not in passed]
        passed.update(entry.hash for entry in new)
        yield from ((host, entry) for entry in new)


def compared_disclosures(chain: Audit, places: Places, url: str | None) -> Findings:
    """Hold the ledger of disclosures against the chain. Where neither is there, all is well."""
    vouched = {
        record_id: entry for entries in _chains(chain, places).values() for record_id, entry in named(entries).items()
    }
    if not vouched and not url and not places.database.exists():
        return Findings(0, (), ())
    try:
        records = with_store(existing_store(places, url), entries_of)
    except ConsentError as error:  # the chain can still be shown
        return Findings(0, [f"the disclosures cannot be looked up ({error}); name their store with --store"], ())
    return compared(vouched, records, Retention(policies(places)), utc_now())


def _records(places: Places, url: str | None) -> list[Checked]:
    """Check every record, where there is a store."""
    return everything_checked(places, existing_store(places, url)) if url or places.database.exists() else []


def _names(chains: Sequence[HostChain]) -> dict[str, str]:
    """Return what to call each host: the name that its entries have, and the beginning of its id."""
    names: dict[str, str] = {}
    for chain in chains:
        name = next((str(entry.facts["host"]) for entry in reversed(chain.entries) if "host" in entry.facts), "host")
        names[chain.host] = f"{name} ({chain.host[:8]})"
    return names


def _verified(
    verdict: Verdict,
    disclosures: Findings,
    records: Sequence[Checked],
    hosts: Sequence[HostChain],
    between: Sequence[str],
    json_wanted: bool,
) -> int:
    faults = [*between, *(fault for checked in records for fault in checked.faults)]
    names = _names(hosts)
    if json_wanted:
        facts = {"anchor": str(verdict.anchor), "broken": verdict.broken, "note": verdict.note}
        record_checks = [checked.as_dict() for checked in records]
        of_hosts = {host.host: str(host.verdict.anchor) for host in hosts}
        checks = {"disclosures": disclosures._asdict(), "records": record_checks, "hosts": of_hosts, "faults": between}
        click.echo(as_json({**facts, **checks}))
    else:
        click.echo(f"{verdict.anchor.number} entries hold; anchor {verdict.anchor}")
        for host in hosts:
            click.echo(f"{host.verdict.anchor.number} entries hold of {names[host.host]}, as it told the other hosts")
        if disclosures.held:
            click.echo(f"{disclosures.held} disclosures are in the ledger as they were written")
        click.echo("\n".join(map(str, records)), nl=bool(records))
    complain(*(f"note: {note}" for note in (verdict.note, *disclosures.notes) if note))
    complain(*(line for line in (verdict.fault, *disclosures.broken, *faults) if line))
    return FAULT if verdict.broken or disclosures.broken or faults else 0


def _local(time: object) -> dict[str, str]:
    """Return the time of an entry in the zone of this machine; as it stands there, if it is none."""
    try:
        return {"time": datetime.fromisoformat(str(time)).astimezone().isoformat(timespec="seconds")}
    except (ValueError, OverflowError):
        return {"time": str(time)}


def _print(rows: list[dict[str, object]], number: int) -> None:
    """Print one row an access: what closes it is shown in its row."""
    closing = {(row.get("of"), row["closes"]): row for row in rows if "closes" in row}
    accesses = [row for row in rows if "closes" not in row]
    if not accesses:
        complain("note: no access is recorded here")
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, pad_edge=False, expand=out.is_terminal)
    for heading in _HEADINGS:
        table.add_column(heading, ratio=1 if heading == "reason" else None, no_wrap=True)
    for row in accesses[-number:] if number else []:
        cells = _cells(row, closing.get((row.get("of"), row["n"])))
        table.add_row(*(Text(printable(str(cell))) for cell in cells))
    out.print(table)


def _cells(row: Mapping[str, object], closing: Mapping[str, object] | None) -> tuple[object, ...]:
    purposes = row.get("purposes")
    return (
        row["n"],
        str(row.get("time", "")).replace("T", " "),
        _who(row),
        row.get("command", ""),
        ", ".join(map(str, purposes)) if isinstance(purposes, list) else "",  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON of a file that anyone may have written
        _count(closing),
        row.get("reason") or row.get("basis", ""),
    )


def _who(row: Mapping[str, object]) -> str:
    user, sudo, name = row.get("user", ""), row.get("sudo"), row.get("as")
    account = f"{user} (sudo by {sudo})" if sudo else str(user)
    return f"{name}, {account}@{row.get('host', '')}" if name else f"{account}@{row.get('host', '')}"


def _count(closing: Mapping[str, object] | None) -> str:
    if closing is None:
        return "not told"  # the command was killed, or is at it
    return f"{closing.get('records')}" + ("" if closing.get("ended") == "whole" else " (stopped)")
