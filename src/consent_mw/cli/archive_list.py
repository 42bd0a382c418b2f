"""What the archive holds, and by which law: nothing of a record but its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import click

from consent_mw.cli.keys import keyring_at
from consent_mw.cli.session import with_store
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import complain
from consent_mw.crypto.archive_keys import archive_keys
from consent_mw.crypto.keyring import FileKeyring, Keyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.kinds import SHOWN
from consent_mw.paths import Places
from consent_mw.policy.model import did_you_mean
from consent_mw.records import Query, time_of
from consent_mw.staff.existing_site import policies
from consent_mw.stores import is_shared, store_from
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.escaping import as_json


class _Held(NamedTuple):
    """What one or more revisions declare of a purpose's archive: the law, and for how long, each once, newest first."""

    laws: tuple[str, ...]
    retentions: tuple[str, ...]


class _Row(NamedTuple):
    """One purpose of the list; times in ISO 8601, None where nothing is held yet."""

    purpose: str
    held_for: tuple[str, ...]
    oldest: str | None
    newest: str | None
    laws: tuple[str, ...]


class ReadArchive(NamedTuple):
    """An existing archive, and the keyring that opens its records; None if it is not here."""

    store: Store
    keyring: Keyring | None


def archive_of(places: Places, url: str | None, ring: str | None) -> ReadArchive:
    """
    Return the archive: that of the shared store at `url`, or else the file of this host.

    Raises:
        ConfigurationError: There is none, and opening it would create it; or the keys cannot be used.
    """
    places.check()
    if url is not None and is_shared(url):
        live = keyring_at(places, ring)
        shared, keys = archive_beside(store_from(url)), archive_keys(live) if live else None
        if shared and (keys or not live):
            if places.archive.exists():
                complain(
                    f"note: {places.archive}: moves into the store while this host's site runs, and is not read here"
                )
            return ReadArchive(shared, keys)
    if not places.archive.exists():
        raise ConfigurationError(
            f"{places.archive}: there is no archive here; it begins when the first record of a purpose with "
            "[purposes.NAME.archive] ends. Is it another --directory, or that of several hosts (--store)?"
        )
    # Opening a key file that is not there would make it.
    keyring = FileKeyring(places.archive_keys) if places.archive_keys.exists() else None
    return ReadArchive(SQLiteStore(places.archive), keyring)


def laws_of(places: Places, purpose: str) -> tuple[str, ...]:
    """
    Return the laws by which the records of a purpose are held; none if no declaration was kept that names them.

    Raises:
        ConfigurationError: No declaration gave the purpose an archive.
    """
    held = _declared(places)
    if purpose in held or not held:
        return held[purpose].laws if held else ()
    raise ConfigurationError(f'the purpose "{purpose}" has no archive; {did_you_mean(purpose, sorted(held))}')


def list_archive(places: Places, archive: ReadArchive, *, json_wanted: bool) -> None:
    """Print what is held, since when, for how long, and by which law."""
    held = _declared(places)
    rows = with_store(archive.store, lambda store: _rows(store, held))
    if json_wanted:
        for row in rows:
            click.echo(as_json(row._asdict()))
        return
    cells = (
        (row.purpose, " or ".join(row.held_for), row.oldest or "-", row.newest or "-", "; ".join(row.laws))
        for row in rows
    )
    print_table(("purpose", "held for", "oldest", "newest", "law"), cells)


def _declared(places: Places) -> dict[str, _Held]:
    """Return what is held of which purpose, by every declaration that was in force. Raises ConfigurationError."""
    held: dict[str, _Held] = {}
    for policy in sorted(policies(places), key=lambda policy: policy.revision, reverse=True):
        for purpose in policy.purposes.values():
            if purpose.archive:
                law, _ = purpose.archive.law.read(policy.languages[0])
                known = held.get(purpose.name, _Held((), ()))
                held[purpose.name] = _Held(
                    tuple(dict.fromkeys((*known.laws, law))),
                    tuple(dict.fromkeys((*known.retentions, str(purpose.archive.retention)))),
                )
    if not held:
        complain(f"note: {places.revisions}: no declaration with an archive is kept here, so no law can be named")
    return held


async def _rows(store: Store, held: Mapping[str, _Held]) -> list[_Row]:
    return [await _row(store, purpose, held[purpose]) for purpose in sorted(held)]


async def _row(store: Store, purpose: str, held: _Held) -> _Row:
    query = Query(kinds=frozenset(SHOWN), purposes=frozenset((purpose,)))
    first, last = await store.fetch(query, limit=1), await store.fetch(query, limit=1, newest_first=True)
    times = [time_of(record.id).astimezone().isoformat(timespec="seconds") for record in (*first, *last)]
    oldest, newest = times or (None, None)
    return _Row(purpose, held.retentions, oldest, newest, held.laws)
