"""`consent-mw hosts`: which hosts a site has, how each is, and what is to be done about one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.default_group import DefaultGroup
from consent_mw.cli.keys import keyring_at
from consent_mw.cli.local_time import local
from consent_mw.cli.site_options import where
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import FAULT, complain
from consent_mw.cli.words import Words
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.lacking import Lack, lacks
from consent_mw.hosts.publishing import StorePublications
from consent_mw.hosts.register import KnownHost, Register
from consent_mw.paths import Places
from consent_mw.policy.revisions import Revisions
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.staff.existing_site import check_in_use, existing_store, site_keys_at
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.system.escaping import as_json, printable

_Result = TypeVar("_Result")
#: A host says each minute that it is there.
_AWAY: Final = timedelta(minutes=5)


@click.group(
    cls=DefaultGroup,
    epilog="Example: consent-mw hosts --store postgresql://consent_writer@db.example/site. Without a command: list.",
)
def hosts() -> None:
    """List the hosts of a site that share its keys, or retire one that is gone."""


@hosts.command(
    "list",
    epilog="Example: consent-mw hosts list --store postgresql://consent_writer@db.example/site, for a monitor: exit "
    "code 1 if one is away for five minutes, its clock is wrong, or it is late to destroy.",
)
@where
@click.option("--json", "json_wanted", is_flag=True, help="Say it as one list of objects.")
def list_hosts(directory: Path, url: str | None, json_wanted: bool) -> int:
    """
    List the hosts: when each was seen last, what waits in its spool, and what it has not destroyed in time; and what
    this host lacks of what the others have.
    """
    places = Places(directory)

    async def work(register: Register) -> tuple[list[KnownHost], list[Lack]]:
        shelves = (Revisions(places.revisions), Wordings(places.wordings), LedgerShelf.of_site(places, now_ns))
        publications = StorePublications(places, site_keys_at(places), shelves, now_ns)
        return await register.hosts(unlisted=True), await lacks(register.keyring, register.store, publications)

    known_hosts, lacking = _with_register(directory, url, work)
    if json_wanted:
        click.echo(as_json(msgspec.to_builtins({"hosts": known_hosts, "lacks": lacking})))
    else:
        print_table(_HEADINGS, map(_row, known_hosts))
        if lacking:
            print_table(_LACKING, map(_lack, lacking))
    faults = [f"{_called(known)}: {fault}" for known in known_hosts for fault in _faults(known)]
    complain(*faults)
    return FAULT if faults else 0


@hosts.command(
    epilog="Example: consent-mw hosts retire web3 --reason 'scaled down, disk wiped' "
    "--store postgresql://consent_writer@db.example/site",
)
@where
@click.argument("host")
@click.option("--reason", type=Words(), required=True, help="Why it is gone, and where its disk is now.")
@click.option("--although-at-work", "forced", is_flag=True, help="Retire it although it was seen in the last minutes.")
@click.option("--json", "json_wanted", is_flag=True, help="Say it as an object.")
def retire(directory: Path, url: str | None, host: str, reason: str, forced: bool, json_wanted: bool) -> int:
    """
    Retire HOST, a name or the beginning of an id: it is gone for good, and its disk is wiped or lost.

    It gets no keys any more, and no destruction waits for it; each certificate names it as not confirmed. What only it
    had sealed under keys that reached nobody cannot be read. If it returns, it joins as a new host.
    """

    check_in_use(Places(directory), url)

    async def work(register: Register) -> KnownHost:
        retiring = _meant(host, await register.hosts(unlisted=True), forced=forced)
        await register.retire(retiring, reason, now_ns())
        return retiring

    gone = _with_register(directory, url, work)
    click.echo(as_json({"retired": msgspec.to_builtins(gone)}) if json_wanted else f"{_called(gone)} is retired")
    return 0


def _with_register(
    directory: Path, url: str | None, work: Callable[[Register], Coroutine[Any, Any, _Result]]
) -> _Result:
    places = Places(directory)
    store = OpenedStore(existing_store(places, url))
    site_keys = site_keys_at(places)
    keyring = keyring_at(places, None)
    if not isinstance(keyring, SharedKeyring):
        raise ConfigurationError(
            f"{places.host_book}: is not there: this host has its keys for itself. Hosts share them where the site has "
            'store="postgresql://…"; run it first, or name its --directory'
        )

    async def run() -> _Result:
        try:
            return await work(Register(store, keyring, Sealer.without_keys(site_keys)))
        finally:
            await store.close()

    return asyncio.run(run())


def _meant(name: str, known: Sequence[KnownHost], *, forced: bool) -> KnownHost:
    """Return the host that is meant. Raises ConfigurationError: none is, several are, or it is there."""
    if not name:  # as of a variable that is not set: every id would begin with it
        raise ConfigurationError("no host is named; name one by its id, as the list has it")
    named = [candidate for candidate in known if candidate.name == name or candidate.id.startswith(name)]
    living = [candidate for candidate in named if candidate.retired is None]
    if len(living) != 1:
        several = ", ".join(map(_called, living or named or known))
        why = "is retired already" if named and not living else "names several" if living else "is not known"
        raise ConfigurationError(f'"{name}" {why}; name one by its id: {several}')
    (host,) = living
    if host.here:
        raise ConfigurationError(f"{_called(host)}: is the host of this directory; run this on another one")
    if host.seen is not None and utc_now() - host.seen < _AWAY and not forced:
        raise ConfigurationError(
            f"{_called(host)}: was there at {host.seen:%Y-%m-%dT%H:%M:%SZ}, so it runs; stop it first. If it is gone "
            "since then, add --although-at-work"
        )
    return host


def _faults(host: KnownHost) -> list[str]:
    if host.retired is not None:
        return []
    faults = [host.fault] if host.fault else []
    if host.seen is None or utc_now() - host.seen > _AWAY:
        seen = f"was last seen at {host.seen:%Y-%m-%dT%H:%MZ}" if host.seen else "was never seen"
        faults.append(f"{seen}; start it, or if it is gone for good: consent-mw hosts retire {host.id[:8]}")
    if host.overdue:
        faults.append(f"has not destroyed {host.overdue:,} keys that others have; see its log")
    return faults


def _called(host: KnownHost) -> str:
    return printable(host.called)


_HEADINGS = ("host", "id", "seen", "version", "revision", "oldest in spool", "")


_LACKING = ("this host lacks", "", "which")
_SHOWN: Final = 5
_WHAT: Final = {
    "messages": "everything that others said before it began; it has not read that yet",
    "statement": "what a host holds",
    "key": "keys",
    "revision": "revisions",
    "wording": "wordings",
    "erasure": "erasures",
}


def _lack(lack: Lack) -> tuple[object, ...]:
    more = len(lack.which) - _SHOWN
    which = ", ".join(lack.which[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return _WHAT[lack.what], f"of {lack.host}" if lack.host else "", which


def _row(host: KnownHost) -> tuple[object, ...]:
    seen = local(host.seen) if host.seen else "-"
    oldest = local(host.oldest) if host.oldest else "-"
    state = f"retired: {host.retired}" if host.retired is not None else "this host" if host.here else ""
    state = state or ("ended" if host.left else "")
    return host.name, host.id[:8], seen, host.version, "-" if host.revision is None else host.revision, oldest, state
