"""`consent-mw store move`: everything that a site kept in one store goes into the one that it has now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from consent_mw.cli.clock import now_ns
from consent_mw.cli.site_options import by_policy, log_store, places_of
from consent_mw.cli.terminal import progress_of
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, StoreError
from consent_mw.kinds import KINDS
from consent_mw.policy.model import NECESSARY
from consent_mw.records import Query, Record, new_id, time_of
from consent_mw.staff.existing_site import policies, site_keys_at
from consent_mw.stores import opened_store, store_from, without_password
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.move import Move
from consent_mw.stores.other_kinds import others
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.used import UsedStores, canonical, is_database
from consent_mw.system.escaping import as_json
from consent_mw.system.priority import behind_the_site

_EVERY: Final = frozenset(KINDS)
_SAMPLE: Final = 500
_PROBE: Final = "check"


class _Moved(msgspec.Struct):
    """
    What was done. `others`: records of kinds that are none of ours, which stay where they are. `archive`: whether what
    a law demands stays there.
    """

    source: str
    target: str
    records: int = 0
    others: int = 0
    archive: bool = False
    seconds: float = 0.0


@click.command(
    epilog="Example: consent-mw store move sqlite:///consent-data/consent.sqlite3 "
    "postgresql://consent@db.example/site, once the site was started with store=postgresql://consent@db.example/site."
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@by_policy
@log_store
@click.option("--json", "json_wanted", is_flag=True, help="Say what was done as one object.")
def move(
    source: str, target: str, file: Path, directory: Path | None, log_urls: Sequence[str], json_wanted: bool
) -> int:
    """
    Move every record from the store FROM, which the site had, into the store TO, which it has now.

    The site goes on meanwhile, started with store=TO: until everything is moved it reads, erases and destroys in both.
    What is broken off, by Ctrl-C or a crash, is taken up by the same command; nothing is lost and nothing is twice.
    """
    places = places_of(file, directory)
    sealer = Sealer.without_keys(site_keys_at(places))
    used = UsedStores.beside(places.database)
    _check_use(used, source, target)
    stores = _existing(source), opened_store(_target(target), log_urls)
    moved = _Moved(without_password(source), without_password(target))
    began = time.perf_counter()
    with behind_the_site():
        asyncio.run(_run(*stores, used.journal(source), sealer, moved))
        if any(purpose.archive for policy in policies(places) for purpose in policy.purposes.values()):
            asyncio.run(_run_archive(*stores, used.journal(source), moved))
    moved.seconds = round(time.perf_counter() - began, 1)
    if not moved.others and not moved.archive:
        used.forget(source)
    click.echo(as_json(msgspec.to_builtins(moved)) if json_wanted else _sentence(moved))
    return 0


def _check_use(used: UsedStores, source: str, target: str) -> None:
    """Raises ConfigurationError: the site does not read both stores, so it would not find all that it has."""
    if canonical(source) == canonical(target):
        raise ConfigurationError(f"{without_password(source)}: FROM and TO are the same store; name two")
    if is_database(source) and is_database(target):
        raise ConfigurationError(
            f"{without_password(source)}: a site reads one database at a time, so what is in this one would be outside "
            "of its visitors' rights until it is moved. Stop the site, move the database with its own tools (pg_dump), "
            "and start the site with the new one"
        )
    if used.store != canonical(target):
        now = without_password(used.store) if used.store else "a store that its data directory does not name"
        raise ConfigurationError(
            f"{without_password(target)}: the site keeps its records in {now}. Give it this store, written in the same "
            "way (store=), restart it, and begin again: until everything is moved it reads both"
        )


def _existing(url: str) -> Store:
    store = store_from(url)
    if isinstance(store, SQLiteStore) and not store.path.exists():
        raise ConfigurationError(f"{store.path}: there is no store here to move from; name the site's file")
    return store


def _target(url: str) -> Store:
    if url.partition(":")[0] == "memory":
        raise ConfigurationError("memory: ends with this command; name a file or a database")
    return store_from(url)


async def _run(source: Store, target: Store, journal: Path, sealer: Sealer, moved: _Moved) -> None:
    async with _opened(source), _opened(target):
        await _check_apart(source, target, moved)
        for store, name in ((source, moved.source), (target, moved.target)):
            await _check_ours(store, name, sealer)
        first, last = [await _end(source, newest_first=newest) for newest in (False, True)]
        total = (last - first).total_seconds() if first and last else None
        with progress_of("moving the records, by their time") as show:
            async for page in Move(source, target, journal).run():
                moved.records += page
                at = await _end(source, newest_first=False)
                show((at - first).total_seconds() if at and first else total or 0, total)
        moved.others = await others(source, _EVERY | {_PROBE})


async def _run_archive(source: Store, target: Store, journal: Path, moved: _Moved) -> None:
    """Move what a law demands, where both stores have an archive beside them; else it stays, and is read there."""
    old, new = archive_beside(source), archive_beside(target)
    if old is None:
        return
    async with _opened(old):
        if new is not None:
            async with _opened(new):
                async for page in Move(old, new, journal.with_name(f"{journal.name}-archive")).run():
                    moved.records += page
        moved.archive = await _end(old, newest_first=False) is not None


@asynccontextmanager
async def _opened(store: Store) -> AsyncGenerator[None]:
    await store.open()
    try:
        yield
    finally:
        await store.close()


async def _check_apart(source: Store, target: Store, moved: _Moved) -> None:
    """Raises ConfigurationError: both URLs lead to one place, where moving would delete everything."""
    probe = Record(new_id(now_ns()), _PROBE, NECESSARY, None, "", {}, b"")
    query = Query(kinds=frozenset((_PROBE,)), purposes=frozenset((NECESSARY,)), ids=frozenset((probe.id,)))
    await source.append([probe])
    try:
        if await target.fetch(query):
            raise ConfigurationError(f"{moved.source} and {moved.target} are the same store; name two")
    finally:
        await source.delete(query)


async def _check_ours(store: Store, name: str, sealer: Sealer) -> None:
    """Raises StoreError: a store holds records, and they are another site's."""
    for newest in (False, True):
        sample = await store.fetch(Query(kinds=_EVERY), limit=_SAMPLE, newest_first=newest)
        foreign = len(sample) - len(sealer.whole(sample))
        if foreign * 2 > len(sample):
            raise StoreError(
                f"{name}: {foreign} of {len(sample)} records that were looked at are not this site's; name a store "
                "that is empty or its own. Nothing was moved"
            )


async def _end(store: Store, *, newest_first: bool) -> datetime | None:
    records = await store.fetch(Query(kinds=_EVERY), limit=1, newest_first=newest_first)
    return time_of(records[0].id) if records else None


def _sentence(moved: _Moved) -> str:
    if moved.others:
        return (
            f"moved {moved.records:,} records into {moved.target}; {moved.others:,} of kinds that this version does "
            f"not know stay in {moved.source}, which is read as before"
        )
    if moved.archive:
        return (
            f"moved {moved.records:,} records into {moved.target}; what a law demands stays in the archive of "
            f"{moved.source}, which is read as before: keep it until that has ended"
        )
    return (
        f"moved {moved.records:,} records into {moved.target} in {moved.seconds:,} s; {moved.source} holds nothing "
        "more: remove it when the site is restarted next"
    )
