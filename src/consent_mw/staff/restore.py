"""Restore a backup: check all of it first, and report everything newer that is lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.audit import Audit
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError, ConsentError, SchemaError, StoreUnavailable
from consent_mw.kinds import ANSWER, CERTIFICATE, DISCLOSURE, ERASED, KINDS, LINK, RECEIPT, REQUEST
from consent_mw.paths import Places
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query, Record, time_of
from consent_mw.retention.brought_back import destroyed_again
from consent_mw.retention.tier import ARCHIVE, LIVE
from consent_mw.rights.erasure import erased_again
from consent_mw.rights.ledger import Ledger
from consent_mw.staff.backup import Manifest, copy_file, read_manifest
from consent_mw.staff.errand import Errand, who
from consent_mw.staff.strange_files import strange_erasures
from consent_mw.stores import sqlite_copy, without_password
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.used import UsedStores
from consent_mw.system.durable import sync_directory
from consent_mw.system.locks import alone, in_turn
from consent_mw.system.ownership import content, make_directory

#: Kinds of records that a restored store must not lose, even if they are newer than the backup.
_CARRIED: Final = frozenset((REQUEST, ANSWER, LINK, ERASED, CERTIFICATE, DISCLOSURE, RECEIPT))
#: How many records are read to find out whether the backup is of this site.
_LOOKED_AT: Final = 1_000
_COMPANIONS: Final = ("-wal", "-shm", "-journal")


class Restored(msgspec.Struct, kw_only=True):
    """
    The result of a restoration.

    Attributes:
        created: When the backup was made (aware, UTC).
        put_back: The names of the files that were replaced, or were missing.
        aside: The directory that holds the replaced files now; "" if none was replaced.
        carried: How many newer records were carried over from the replaced store, by kind.
        requests: The ids of the visitors' requests among them.
        certificates: The times (ISO 8601, UTC) of the certificates among them, of destruction and of erasure.
        erased_again: How many records of the backup were erased again, because they were erased after the backup.
        destroyed_again: How many records of the backup were left out, because they were destroyed after the backup.
        lost: What cannot be restored, one line each.
        notes: Other remarks for the operator.
    """

    created: datetime
    put_back: list[str] = []
    aside: str = ""
    carried: dict[str, int] = {}
    requests: list[str] = []
    certificates: list[str] = []
    erased_again: int = 0
    destroyed_again: int = 0
    lost: list[str] = []
    notes: list[str] = []


def restore(places: Places, policy: Path, backup: Path, now: datetime) -> Restored:
    """
    Replace the site's data with `backup`. Check everything first, and move the replaced files aside.

    If a restoration is interrupted, start it again. The store is replaced in one step, and until then the old one stays
    in use.

    Raises:
        ConfigurationError: The backup is incomplete, is of another site or of a newer version, or the site runs.
            Nothing was changed.
        StoreError: A file cannot be used, or the audit chain is another one; the message names it.
    """
    manifest = read_manifest(backup)
    names = [name for name in (places.database.name, places.archive.name) if name in manifest.files]
    site_keys = SiteKeys.read(places.site_keys)
    places.prepare()
    if places.audit.name in manifest.files:
        Audit(places.audit, places.audit_head).check_copy(content(backup / places.audit.name))
    done = Restored(created=manifest.created)
    used = UsedStores.beside(places.database)
    moved_here = [] if used.elsewhere(places.database) else [*map(without_password, used.earlier), *manifest.elsewhere]
    try:
        with _site_at_rest(places), _workplace(places) as work, ExitStack() as turn:
            for name in names:  # check copies, since opening a store may write to it
                copy_file(backup / name, work / name)
                _check_store(work / name, backup / name, site_keys, places)
            turn.enter_context(_stores_at_rest(places))
            aside = _unused(places.directory / f"before-restore-{now.astimezone():%Y-%m-%d-%H%M%S}")
            certificates = list[Record]()
            for name in names:
                certificates += _carry_over(places.directory / name, work / name, moved_here, done)
            done.destroyed_again = _destroy_again(certificates, site_keys, places, work)
            for name in names:
                _replace(places.directory / name, work / name, aside, done)
            _put_files(places, manifest, backup, policy, done)
            _put_chain(places, backup, done, now)
        if places.database.exists():
            done.lost += strange_erasures(places)
            _erase_again(places, done)
        if names and (elsewhere := used.elsewhere(places.database)):
            shown = without_password(elsewhere)
            done.notes.append(
                f"{places.database}: the site keeps its records in {shown} now, and what had moved there counts twice "
                f"until you move it again: consent-mw store move sqlite:///{places.database} {shown}"
            )
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or places.directory}: cannot be used ({error.strerror}); see that there is room, and "
            "begin again"
        ) from error
    return done


def _check_store(copy: Path, file: Path, site_keys: SiteKeys, places: Places) -> None:
    """Refuse a `copy` of `file` that is damaged or belongs to another site."""
    if sqlite_copy.faults(copy):
        raise ConfigurationError(f"{file}: is damaged; take another backup")
    records = asyncio.run(_some(SQLiteStore(copy), Query(kinds=frozenset(KINDS)), limit=_LOOKED_AT))
    if site_keys.keys and records and not Sealer.without_keys(site_keys).whole(records):
        raise ConfigurationError(
            f"{file}: no record of it was written by this site; give a backup of this site, or the site-keys that "
            "belong to it"
        )
    # Sites with the same secrets have keyrings of their own.
    known, sealed_by = KnownRings(places.rings).names, {record.ring for record in records if record.sealed}
    if known and sealed_by and not known & sealed_by:
        raise ConfigurationError(
            f"{file}: its records are sealed by keyring {min(sealed_by)}, which was never used here, so the backup is "
            f"of another site with the same secret_keys; if it is this site's, move {places.rings} away, and write "
            "down why"
        )


async def _some(store: Store, query: Query, limit: int) -> Sequence[Record]:
    """Return the latest records that match."""
    await store.open()
    try:
        return await store.fetch(query, limit=limit, newest_first=True)
    finally:
        await store.close()


@contextmanager
def _site_at_rest(places: Places) -> Generator[None]:
    """Hold all locks of a site and its commands, and refuse if one of them is at work."""
    with ExitStack() as held:
        for lock in (places.site_lock, places.destruction_lock, places.erasure_lock, places.requests_lock):
            if not held.enter_context(alone(lock)):
                raise _at_work(places)
        for segment in places.spool.glob("*.spool1"):  # a process that serves requests locks the segment that it writes
            if not held.enter_context(alone(segment)):
                raise _at_work(places)
        yield


@contextmanager
def _stores_at_rest(places: Places) -> Generator[None]:
    """Have no log beside a store, and nobody who opens it. Refuse if a command still uses one."""
    settled = [path for path in (places.database, places.archive) if path.exists() and _settle(path, places)]
    # From now on opening a store waits, and so does a site that starts. One opened a moment ago has made such a file.
    with in_turn(places.directory):
        if any(path.with_name(f"{path.name}-shm").exists() for path in settled):
            raise _at_work(places)
        yield


def _settle(path: Path, places: Places) -> bool:
    """Leave no log beside a store, if it can be read: a damaged one is the reason for a restoration."""
    try:
        sqlite_copy.settle(path)
    except StoreUnavailable as error:
        if getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF != sqlite3.SQLITE_BUSY:
            raise  # the disk, and nobody's lock
        raise _at_work(places, f" ({error.__cause__})") from error
    except SchemaError:
        return False
    return True


def _at_work(places: Places, why: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"{places.directory}: a site or a command is at work in it{why}; stop the site and its drain, then restore"
    )


@contextmanager
def _workplace(places: Places) -> Generator[Path]:
    """Yield an empty directory beside the files, for incomplete files. Empty it first if it was left over."""
    work = places.directory / ".restore"
    make_directory(work)
    for path in work.iterdir():
        path.unlink()
    try:
        yield work
    finally:
        for path in work.iterdir():
            path.unlink()
        work.rmdir()


def _unused(place: Path) -> Path:
    """Return `place`, with a number if it exists: a restoration killed in this second may have moved files there."""
    names = (place.with_name(f"{place.name}{'' if number == 1 else f'-{number}'}") for number in count(1))
    return next(name for name in names if not name.exists())


def _carry_over(old: Path, new: Path, moved_here: Sequence[str], done: Restored) -> Sequence[Record]:
    """
    Add to `new` what the store `old` has and the backup lacks, and return the certificates of destruction among it.
    What moved into it meanwhile, out of the stores `moved_here`, is not in those any more: then it is all that it has.
    """
    if not old.exists():
        return []
    try:
        carried = sqlite_copy.carry_over(new, old, KINDS if moved_here else _CARRIED)
    except ConsentError as error:
        done.lost.append(f"{old}: cannot be read ({error}); requests and receipts since the backup are lost with it")
        done.lost += [f"{old}: so is what had moved into it out of {other} since" for other in moved_here]
        done.lost += _erasures_since(old.parent, done.created)
        return []
    _count(carried, done)
    ids = frozenset(record_id for record_id, kind in carried if kind == CERTIFICATE)
    return asyncio.run(_some(SQLiteStore(new), Query(kinds=frozenset((CERTIFICATE,)), ids=ids), limit=len(ids)))


def _destroy_again(certificates: Sequence[Record], site_keys: SiteKeys, places: Places, work: Path) -> int:
    """Leave out of the copies in `work` what was destroyed after the backup."""
    files = {LIVE: work / places.database.name, ARCHIVE: work / places.archive.name}
    stores = {where: SQLiteStore(file) for where, file in files.items() if file.exists()}
    whole = Sealer.without_keys(site_keys).whole(certificates) if site_keys.keys else certificates

    async def destroy() -> int:
        for store in stores.values():
            await store.open()
        try:
            return await destroyed_again(whole, stores)
        finally:
            for store in stores.values():
                await store.close()

    return asyncio.run(destroy()) if whole and LIVE in stores else 0


def _replace(old: Path, new: Path, aside: Path, done: Restored) -> None:
    """Replace the store `old` with `new`."""
    if old.exists():
        make_directory(aside)
        for ending in _COMPANIONS:  # they belong to the replaced file only
            left = old.with_name(f"{old.name}{ending}")
            if left.exists():
                left.rename(aside / left.name)
        os.link(old, aside / old.name)
        done.aside = str(aside)
    for ending in _COMPANIONS:
        new.with_name(f"{new.name}{ending}").unlink(missing_ok=True)
    new.replace(old)
    sync_directory(old.parent)
    done.put_back.append(old.name)


def _count(carried: list[tuple[UUID, str]], done: Restored) -> None:
    for carried_record, kind in carried:
        done.carried[kind] = done.carried.get(kind, 0) + 1
        if kind == REQUEST:
            done.requests.append(str(carried_record))
        if kind in (CERTIFICATE, ERASED):
            done.certificates.append(time_of(carried_record).isoformat(timespec="seconds"))


def _erasures_since(directory: Path, since: datetime) -> list[str]:
    entries = Ledger(Places(directory).erasures).entries()
    numbers = sorted({entry.request for entry in entries if entry.at >= since})
    return [
        f"request {number}: was erased after the backup; its certificate is lost, not the erasure" for number in numbers
    ]


def _put_files(places: Places, manifest: Manifest, backup: Path, policy: Path, done: Restored) -> None:
    """Restore declarations and wordings that are missing, or were changed: their names fix their content."""
    changed = {*Revisions(places.revisions).changed(), *Wordings(places.wordings).changed()}
    for directory in (places.revisions, places.wordings):
        for name in sorted(manifest.files):
            to = directory / Path(name).name
            if Path(name).parent == Path(directory.name) and (not to.exists() or to in changed):
                make_directory(directory)
                to.unlink(missing_ok=True)
                copy_file(backup / name, to)
                done.put_back.append(name)
    if policy.name in manifest.files:
        if not policy.exists():
            copy_file(backup / policy.name, policy)
            done.put_back.append(policy.name)
        elif content(policy) != content(backup / policy.name):
            done.notes.append(f"{policy}: differs from {backup / policy.name}, and was left as it is")


def _put_chain(places: Places, backup: Path, done: Restored, now: datetime) -> None:
    audit = Audit(places.audit, places.audit_head)
    if (backup / places.audit.name).exists():
        chain, head = (content(backup / path.name) for path in (places.audit, places.audit_head))
        if not audit.put_back(chain, head):
            done.put_back.append(places.audit.name)
    errand = Errand("restore", (), f"the backup of {done.created:%Y-%m-%dT%H:%M:%SZ}")
    audit.append({**who(errand), "records": 0}, now=now)


def _erase_again(places: Places, done: Restored) -> None:
    entries = Ledger(places.erasures).entries()
    stores = [SQLiteStore(path) for path in (places.database, places.archive) if path.exists()]

    async def erase() -> int:
        try:
            for store in stores:
                await store.open()
            return await erased_again(entries, stores[0], *stores[1:])
        finally:
            for store in stores:
                await store.close()

    done.erased_again = asyncio.run(erase())
