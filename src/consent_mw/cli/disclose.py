"""`consent-mw disclose`: what was given to others goes into a ledger, which nobody can change unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from consent_mw.audit import Audit
from consent_mw.cli.access import note, sealer_of
from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.default_group import DefaultGroup
from consent_mw.cli.instant import Instant
from consent_mw.cli.keys import ring_option
from consent_mw.cli.local_time import local, local_json
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import log_store, where
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import complain, progress_of
from consent_mw.cli.words import Words
from consent_mw.consent.data_subject import Person, tokens
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.kinds import DISCLOSED
from consent_mw.paths import Places
from consent_mw.policy.model import Policy
from consent_mw.records import Query
from consent_mw.rights.disclosure_proof import write
from consent_mw.rights.disclosures import BASES, Basis, Disclosure, Disclosures
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand, staff, who
from consent_mw.staff.existing_site import check_in_use, check_purposes, existing_store, policy_in_force, site_keys_at
from consent_mw.staff.receipt_holder import receipt_holder
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages
from consent_mw.system.escaping import as_json

#: The records that are about somebody.
_HEADINGS: Final = ("when", "to", "basis", "reference", "purposes", "items", "period", "of whom", "by")


@click.group(
    cls=DefaultGroup,
    epilog="Example: consent-mw disclose --to 'Seoul police' --basis lawful_demand --reference 2026-123 "
    "--purpose abuse. Without a command: add.",
)
def disclose() -> None:
    """Write down what was given to others, and on which basis; or list it."""


@disclose.command(
    epilog="Example: consent-mw disclose add --to 'Seoul police' --basis lawful_demand --reference 'warrant 2026-123' "
    "--purpose abuse --item client.address --since 2026-11-01 --until 2026-11-08",
)
@where
@log_store
@ring_option
@click.option("--to", type=Words(), required=True, help="The recipient.")
@click.option("--basis", type=click.Choice(BASES), required=True, help="The basis: one of these two.")
@click.option("--reference", type=Words(), default="", help="Where that is written: a warrant's number, a contract.")
@click.option("--purpose", "purposes", multiple=True, required=True, help="Whose records; may be repeated.")
@click.option("--item", "items", type=Words(), multiple=True, help="Which fields, if not all; may be repeated.")
@click.option("--since", type=Instant(), help="Records from this time on, such as 2026-11-23.")
@click.option("--until", type=Instant(), help="Records up to this time, without it.")
@click.option("--receipt", type=Words(), default="", metavar="NAME", help="Only records of the holder of this receipt.")
@click.option("--as", "name", type=Words(), default="", help="Your name, if the account does not say it.")
@click.option("--json", "json_wanted", is_flag=True, help="Say it as one object.")
def add(
    directory: Path,
    url: str | None,
    log_urls: Sequence[str],
    ring: str | None,
    to: str,
    basis: Basis,
    reference: str,
    purposes: tuple[str, ...],
    items: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    receipt: str,
    name: str,
    json_wanted: bool,
) -> int:
    """
    Write into the ledger that something is given to somebody else, before it is given.

    Visitors see it when they look at their data. The output says how many records it covers. By consent, records of
    persons under restriction are left out and may not be given; a lawful demand includes them. The audit chain
    confirms each entry, so consent-mw audit verify notices one that was removed.
    """
    places, now = Places(directory), utc_now()
    check_in_use(places, url, log_urls)
    check_purposes(places, purposes)
    _check(policy_in_force(places, now), to, basis, reference, purposes, items)
    if since and until and since >= until:
        raise click.UsageError("--since is not before --until")
    disclosure = Disclosure.new(
        now_ns(), to=to, basis=basis, reference=reference, purposes=purposes, items=items,
        since=since and since.astimezone(UTC), until=until and until.astimezone(UTC), by=staff(name),
    )  # fmt: skip
    sealer = sealer_of(places, ring)
    store = existing_store(places, url, log_urls)
    written, access = with_store(store, lambda store: _added(disclosure, receipt, places, store, sealer, name))
    if json_wanted:
        click.echo(as_json({**_row(written), "records": access.records, "left_out": access.left_out}))
    else:
        click.echo(f"disclosure {written.id}: {access.records:,} records lie in its scope")
    if access.left_out:
        complain(f"note: {access.left_out:,} records more are of persons under restriction; they may not be given")
    return 0


def _check(
    policy: Policy, to: str, basis: Basis, reference: str, purposes: Collection[str], items: Collection[str]
) -> None:
    """Refuse what rests on nothing. Raises click.BadParameter, click.UsageError, ConfigurationError."""
    if not to:
        raise click.BadParameter("is empty; write who receives it", param_hint="--to")
    if basis == "lawful_demand" and not reference:
        raise click.UsageError("a lawful demand has a number or a date; write it with --reference")
    for item in items:
        if not item or item.split() != [item]:
            raise click.BadParameter(f'"{item}" is no field; write one such as client.address', param_hint="--item")
    for purpose in purposes if basis == "consent" else ():
        declared = policy.purposes.get(purpose)
        if declared is None or declared.basis != "consent":
            why = f"its basis is {declared.basis}" if declared else "the policy in force does not declare it"
            raise ConfigurationError(
                f'nobody consented to the purpose "{purpose}": {why}; give what was consented to, or name a lawful '
                "demand with its --reference"
            )


async def _added(
    disclosure: Disclosure, receipt: str, places: Places, store: Store, sealer: Sealer, name: str
) -> tuple[Disclosure, Access]:
    """Write it, and return it with what counted the records that it means."""
    demanded = disclosure.basis == "lawful_demand"
    access = Access(
        sealer, personal=True, purposes=disclosure.purposes, demanded=demanded, spool=places.spool, note=note
    )
    await access.consult(store)
    own: frozenset[bytes] | None = None
    if receipt:
        person = await receipt_holder(receipt, store, sealer)
        own = await _subjects(person, sealer, access, disclosure.purposes)
        disclosure = msgspec.structs.replace(disclosure, receipts=person.names)
    meant = Query(kinds=DISCLOSED, purposes=frozenset(disclosure.purposes), subjects=own,
                  since=disclosure.since, until=disclosure.until)  # fmt: skip
    await _count(store, meant, access)
    chain, now = Audit(places.audit, places.audit_head), utc_now()
    await write(disclosure, store, sealer, chain, _facts(disclosure, name), given=access.records, now=now)
    return disclosure, access


async def _subjects(person: Person, sealer: Sealer, access: Access, purposes: Collection[str]) -> frozenset[bytes]:
    """Return the tokens of a person under these purposes. Raises ConfigurationError if they are under restriction."""
    if not access.may_use(person):
        raise ConfigurationError(
            f'who holds the receipt "{person.names[0]}" is under restriction: nobody may use their data until their '
            "request is done; see `consent-mw requests`"
        )
    subjects = await asyncio.to_thread(tokens, sealer, person, purposes)
    return frozenset[bytes]().union(*subjects.values())


async def _count(store: Store, meant: Query, access: Access) -> None:
    with progress_of("counting") as show:
        async for page in pages(store, meant):
            access.records += len(access.usable(page))
            show(access.records)


def _facts(disclosure: Disclosure, name: str) -> dict[str, object]:
    """What the chain says of it: whom it names stays in the ledger, sealed."""
    period = [moment.isoformat() if moment else "" for moment in (disclosure.since, disclosure.until)]
    why = f"{disclosure.to}: {disclosure.basis} {disclosure.reference}".strip()
    return who(Errand("disclose", disclosure.purposes, why, name, *period))


@disclose.command(
    "list",
    epilog="Example: consent-mw disclose list --json. It does not say which person an entry is about.",
)
@where
@click.option("--json", "json_wanted", is_flag=True, help="One object an entry.")
def list_(directory: Path, url: str | None, json_wanted: bool) -> int:
    """List the ledger, the latest last."""
    places = Places(directory)
    store, sealer = existing_store(places, url), Sealer.without_keys(site_keys_at(places))
    # Whom they name is not shown, so no key is needed.
    entries = with_store(store, lambda store: Disclosures(store, sealer).all())
    if json_wanted:
        for entry in entries:
            click.echo(as_json(_row(entry)))
    elif entries:
        _print(entries)
    else:
        click.echo("nothing was disclosed")
    return 0


def _row(entry: Disclosure) -> dict[str, object]:
    """Return an entry with its times local, and without whom it names."""
    return {
        "number": str(entry.id),
        "time": local_json(entry.at),
        "to": entry.to,
        "basis": entry.basis,
        "reference": entry.reference,
        "purposes": list(entry.purposes),
        "items": list(entry.items),
        "since": entry.since and local_json(entry.since),
        "until": entry.until and local_json(entry.until),
        "named": bool(entry.receipts),
        "by": entry.by,
    }


def _print(entries: Sequence[Disclosure]) -> None:
    rows = (
        (local(entry.at), entry.to, entry.basis, entry.reference, ", ".join(entry.purposes),
         ", ".join(entry.items) or "all", _period(entry), "one person" if entry.receipts else "everybody", entry.by)
        for entry in entries
    )  # fmt: skip
    print_table(_HEADINGS, rows)


def _period(entry: Disclosure) -> str:
    since = f"from {local(entry.since)}" if entry.since else ""
    until = f"up to {local(entry.until)}" if entry.until else ""
    return " ".join(filter(None, (since, until))) or "always"
