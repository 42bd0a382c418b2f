"""`consent-mw store check`: whether the store is there, ours and writable, and how far behind the drain is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import msgspec

from consent_mw.cli.checked import everything_checked
from consent_mw.cli.clock import clock_of_commands, now_ns, utc_now
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.site_options import by_policy, log_store, other_store, places_of
from consent_mw.cli.store_move import move
from consent_mw.cli.terminal import FAULT, busy, complain
from consent_mw.crypto.archive_keys import archive_keys
from consent_mw.crypto.keyring import FileKeyring, MemoryKeyring
from consent_mw.crypto.known_keyrings import KnownRings, lost_ring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError, ConsentError, StoreError
from consent_mw.kinds import ENDING
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.model import NECESSARY
from consent_mw.records import Query, Record, new_id
from consent_mw.retention.calendar import Retention
from consent_mw.retention.tier import ARCHIVE, LIVE, Stage
from consent_mw.rights.reach import out_of_reach
from consent_mw.spool.spool import Spool
from consent_mw.staff.existing_site import existing_store, policies
from consent_mw.staff.strange_files import strange_files
from consent_mw.stores import sqlite_copy, without_password
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.store_clock import StoreClock
from consent_mw.system.escaping import as_json

#: The drain works twice a second. What has waited longer waits for something.
_LATE_SECONDS: Final = 300
_KIND: Final = "check"


class _State(msgspec.Struct):
    """What was found of one store."""

    store: str
    reachable: bool = False
    writable: bool = False
    milliseconds: float = 0.0  # of one durable append
    problem: str = ""


class _Behind(msgspec.Struct):
    """What waits in the spool of this machine."""

    waiting_bytes: int = 0
    behind_seconds: int = 0
    problem: str = ""


class _Older(msgspec.Struct):
    """The file in which the site kept its records before it had another store."""

    file: str
    holds: bool = False
    problem: str = ""

    @property
    def line(self) -> str:
        """One line about it."""
        if self.holds:
            return f"{self.file}: holds records from before the site had another store; leave it where it is"
        return f"{self.file}: holds certificates and daily counts at most; keep it with your papers"


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.pass_context
def store(context: click.Context) -> int:
    """Look after the place where records are kept."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


store.add_command(move)


@store.command(
    epilog="Example: consent-mw store check --store postgresql://consent@db.example/site --json. "
    "For a monitor: --quick, and exit code 1 if the store cannot be used or anything has waited for more than five "
    "minutes."
)
@by_policy
@other_store
@log_store
@ring_option
@click.option("--quick", is_flag=True, help="Do not read the records: for a monitor that asks every minute.")
@click.option("--json", "json_wanted", is_flag=True, help="Say it as one object.")
def check(
    file: Path,
    directory: Path | None,
    url: str | None,
    log_urls: Sequence[str],
    ring: str | None,
    quick: bool,
    json_wanted: bool,
) -> int:
    """
    Say whether the store is reachable, migrated and writable, how far behind the drain is, whether the keys are there,
    and whether every record is as the site wrote it.

    A schema that is missing or older is made or migrated, as the site itself does when it starts. One record is
    written and deleted again. All are read, and every page of a file, which takes some ten seconds for a million.
    """
    places = places_of(file, directory)
    named = url or f"sqlite:///{places.database}"
    stores = [(named, existing_store(places, url))]
    stores += [(log_url, existing_store(places, log_url)) for log_url in log_urls]
    if (shared := archive_beside(stores[0][1])) and _declares_archive(places, file):
        stores.append((named, shared))
    with busy("asking the store"):
        states = asyncio.run(_states(stores))
        older = asyncio.run(_older(places, stores[0][1]))
        rings = asyncio.run(_rings(places, existing_store(places, url, log_urls), ring))
    behind = _behind(places)
    usable = not quick and all(state.writable for state in states)
    checked = everything_checked(places, existing_store(places, url, log_urls)) if usable else []
    if json_wanted:
        sections = {"stores": states, "older": older, "drain": behind, "rings": rings}
        records = [result.as_dict() for result in checked]
        click.echo(
            as_json({name: msgspec.to_builtins(section) for name, section in sections.items()} | {"records": records})
        )
    else:
        _say(states, behind)
        click.echo("\n".join(map(str, checked)), nl=bool(checked))
        if older:
            click.echo(older.line)
        for keyring in rings:
            click.echo(keyring.line, nl=bool(keyring.line))
    problems = [*(state.problem for state in states), behind.problem, older.problem if older else ""]
    problems += [*(keyring.problem for keyring in rings), *places.emptied, *strange_files(places)]
    problems += [fault for result in checked for fault in result.faults]
    problems += [] if quick else _damage(places)
    problems = list(dict.fromkeys(filter(None, problems)))
    complain(*problems)
    return FAULT if problems else 0


def _declares_archive(places: Places, file: Path) -> bool:
    """Whether the policy, or one before it, has an archive: then the owner makes its tables too."""
    declared = [*policies(places), *([load(file)] if file.exists() else [])]
    return bool(Retention(declared).of_archive().purposes)


def _damage(places: Places) -> list[str]:
    """Return what is wrong with the structure of the files here: a half of a copy, or an old log in it."""
    damaged: list[str] = []
    with busy("reading every page"):
        for database in (places.database, places.archive):
            with suppress(ConsentError):  # one that cannot be opened was reported before
                damaged += sqlite_copy.faults(database) if database.exists() else []
    return damaged


async def _states(stores: list[tuple[str, Store]]) -> list[_State]:
    return [await _state(without_password(url), one) for url, one in stores]


async def _state(name: str, one: Store) -> _State:
    state = _State(name)
    record = Record(new_id(now_ns()), _KIND, NECESSARY, None, "", {}, b"")
    # By id alone, and within a span that touches today's partition only.
    query = Query(kinds=frozenset((_KIND,)), purposes=frozenset((NECESSARY,)), ids=frozenset((record.id,)))
    try:
        await one.open()
        state.reachable = True
        began = time.perf_counter()
        await one.append([record], durable=True)
        state.milliseconds = round((time.perf_counter() - began) * 1000, 1)
        kept = await one.fetch(query)
        if len(kept) != 1 or await one.delete(query) != 1:
            raise StoreError(f"{name}: does not give back what it took; see that it is a store of records")
        state.writable = True
        state.problem = await StoreClock(one, clock_of_commands()).fault(utc_now())
    except StoreError as error:
        state.problem = str(error)
    finally:
        await one.close()
    return state


class _Ring(msgspec.Struct):
    """A keyring whose keys are not here, and what it sealed."""

    name: str
    records: int
    problem: str = ""

    @property
    def line(self) -> str:
        """One line about it; "" if no key file could be read, as `problem` says."""
        return (
            self.name and f"{self.records:,} records or more are sealed by keyring {self.name}, whose keys are not here"
        )


async def _rings(places: Places, one: Store, ring: str | None) -> list[_Ring]:
    """
    Return the keyrings that sealed records here and are not at hand. One that was used here is a fault, and so is any
    in a file, which no other host can have written to; unless it was given up.
    """
    known = KnownRings(places.rings)
    if ring is None and any(used.given for used in known.used("live")[-1:]):
        complain("note: this site has a keyring=; give it with --keyring to know whether the keys are there")
        return []
    try:
        stages = _stages(places, one, ring)
        unreached = await out_of_reach(stages)
    except ConsentError as error:  # a failing store was reported before
        return [_Ring("", 0, str(error))] if isinstance(error, ConfigurationError) else []
    finally:
        await one.close()
    archived = known.missing("archive", *stages[-1].sealer.rings)
    gone = known.missing("live", *stages[0].sealer.rings) + archived
    faults = set(unreached if isinstance(one, SQLiteStore) else gone) - known.given_up
    files = dict.fromkeys(faults, places.keys) | dict.fromkeys(faults.intersection(archived), places.archive_keys)
    return [
        _Ring(name, count, lost_ring(files[name], name) if name in files else "")
        for name, count in sorted(unreached.items())
    ]


def _stages(places: Places, one: Store, ring: str | None) -> list[Stage]:
    retention = Retention(policies(places))
    opened = OpenedStore(one)
    site_keys = SiteKeys.read(places.site_keys)
    live = keyring_at(places, ring) or MemoryKeyring()
    stages = [Stage(LIVE, opened, Sealer(live, site_keys), retention)]
    shared, keys, of_archive = archive_beside(one), archive_keys(live), retention.of_archive()
    if shared and keys and of_archive.purposes:
        stages.append(Stage(ARCHIVE, OpenedStore(shared), Sealer(keys, site_keys), of_archive))
    elif places.archive.exists():
        keyring = FileKeyring(places.archive_keys) if places.archive_keys.exists() else MemoryKeyring()
        archive = OpenedStore(SQLiteStore(places.archive))
        stages.append(Stage(ARCHIVE, archive, Sealer(keyring, site_keys), of_archive))
    return stages


async def _older(places: Places, chosen: Store) -> _Older | None:
    """Return what is left in the file beside another store; None if the file does not exist."""
    if not isinstance(chosen, JoinedStore):
        return None
    file = SQLiteStore(places.database)
    older = _Older(str(places.database))
    try:
        await file.open()
        older.holds = bool(await file.fetch(Query(kinds=ENDING), limit=1))
    except StoreError as error:
        older.problem = str(error)
    finally:
        await file.close()
    return older


def _behind(places: Places) -> _Behind:
    if not places.spool.exists():
        return _Behind()
    try:
        waiting, oldest = Spool(places.spool, clock=now_ns).backlog
    except ConsentError as error:
        return _Behind(problem=str(error))
    seconds = max(0, int((utc_now() - oldest).total_seconds())) if oldest else 0
    late = (
        f"{places.spool}: {waiting:,} bytes wait, for {seconds:,} seconds; see that the site or `consent-mw drain` runs"
    )
    return _Behind(waiting, seconds, late if seconds > _LATE_SECONDS else "")


def _say(states: list[_State], behind: _Behind) -> None:
    for state in states:
        if state.writable:
            click.echo(f"{state.store}: reachable, migrated, writable ({state.milliseconds} ms for a durable record)")
        else:
            click.echo(f"{state.store}: {'reachable, not writable' if state.reachable else 'cannot be used'}")
    if behind.waiting_bytes:
        click.echo(f"the drain is {behind.behind_seconds:,} seconds behind: {behind.waiting_bytes:,} bytes wait")
    else:
        click.echo("the drain is not behind: nothing waits")
