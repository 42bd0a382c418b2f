"""Open an existing site for its operators: its store, its keys, its declarations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime

from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places
from consent_mw.policy.model import Policy, did_you_mean
from consent_mw.policy.revisions import Revisions
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.staff.strange_files import strange_declarations
from consent_mw.stores import earlier_stores, log_store_from, site_store, store_from, without_password
from consent_mw.stores.base import Store
from consent_mw.stores.split import SplitStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.stores.used import UsedStores, canonical, is_database

_EVERY_REVISION = sys.maxsize


def existing_store(places: Places, url: str | None, log_urls: Sequence[str] | None = None) -> Store:
    """
    Return the store of the site, to read from. Refuse a file that does not exist, since opening it would create it.

    If the site uses another store now, it also covers what the site kept in its earlier ones. A store that is named,
    and is none of the site's, is read alone, as a copy is.

    Args:
        url: The URL of the store; None for the file in the data directory.
        log_urls: The URLs of the stores for visits and events; empty if everything is in one store. None where neither
            is read.

    Raises:
        ConfigurationError: There is no such store, or another user could replace the keys beside it; or the site keeps
            records in a store that is not named.
    """
    places.check()
    if url is None or canonical(url) == UsedStores.beside(places.database).store:
        check_in_use(places, url, log_urls)
    log_urls = log_urls or ()
    store = _existing(url or f"sqlite:///{places.database}", places)
    logs = [_existing(log_url, places) for log_url in log_urls]
    if url is None:
        is_alone = not earlier_stores(places.database, f"sqlite:///{places.database}", *log_urls)
    else:  # a file that the site did not start with may be a copy of its own
        is_alone = isinstance(store, SQLiteStore) and canonical(url) != UsedStores.beside(places.database).store
    if is_alone:
        log = log_store_from(logs)
        return SplitStore(store, log) if log else store
    return site_store(places.database, url, logs)


def check_in_use(places: Places, url: str | None, log_urls: Sequence[str] | None = None) -> None:
    """
    Refuse stores that are not the site's: its records are elsewhere. What is written here would not be found there, and
    keys would be destroyed before what they seal.

    Args:
        log_urls: The stores of visits and events; None to leave them out.

    Raises:
        ConfigurationError: The site started with another one last.
    """
    used = UsedStores.beside(places.database)
    for option, at_work, named in (
        ("--store", [used.store] if used.store else [], [url or f"sqlite:///{places.database}"]),
        ("--log-store", used.logs if log_urls is not None else [], log_urls or []),
    ):
        if missing := _missing(at_work, list(map(canonical, named))):
            shown = without_password(missing[0])
            raise ConfigurationError(
                f"{used.path}: the site keeps records in {shown}, and this would pass them by; add {option} {shown}"
            )


def _missing(at_work: Sequence[str], named: Sequence[str]) -> list[str]:
    """Return the stores at work that are not named; a database may be named for another user, or at another address."""
    databases = [url for url in at_work if is_database(url) and url not in named]
    renamed = [url for url in named if is_database(url) and url not in at_work]
    return [url for url in at_work if url not in (*named, *databases)] + databases[len(renamed) :]


def _existing(url: str, places: Places) -> Store:
    store, used = store_from(url), UsedStores.beside(places.database)
    if isinstance(store, SQLiteStore) and not store.path.exists():
        if canonical(url) in (used.store, *used.logs) and places.destruction_lock.exists():  # taken once it was open
            raise ConfigurationError(
                f"{store.path}: the site kept its records here, and the file is gone; stop the site, and put it back, "
                "or restore a backup: consent-mw restore"
            )
        raise ConfigurationError(
            f"{store.path}: there is no log here; run the site first, or give its data directory with --directory"
        )
    return store


def check_purposes(places: Places, named: Sequence[str]) -> None:
    """
    Refuse a purpose that no declaration of the site ever had. If no declaration was kept, any name passes.

    Raises:
        ConfigurationError: No declaration had one of `named`; or the directory cannot be read.
    """
    declared = {name for policy in policies(places) for name in policy.purposes}
    known = {*declared, AGGREGATES}
    for name in named if declared else ():
        if name not in known:
            raise ConfigurationError(f'the purpose "{name}" is not known here; {did_you_mean(name, sorted(known))}')


def policies(places: Places) -> list[Policy]:
    """
    Return every published declaration of the site that can be read.

    Raises:
        ConfigurationError: The directory cannot be read.
    """
    return list(Revisions(places.revisions).before(_EVERY_REVISION).values())


def policy_in_force(places: Places, now: datetime) -> Policy:
    """
    Return the declaration in force at `now` (aware). Its jurisdiction and time zone set the operator's deadlines.

    Raises:
        ConfigurationError: No readable declaration is kept; or the directory cannot be read.
    """
    policy = Revisions(places.revisions).course().at(now)
    if policy is None:
        nothing = (
            f"{places.revisions}: no declaration is kept here; run the site first, or give its data directory with "
            "--directory"
        )
        raise ConfigurationError(next(iter(strange_declarations(places)), nothing))
    return policy


def working_policy(declared: Policy, places: Places, now: datetime) -> Policy:
    """
    Return the declaration by which a site works at `now` (aware): the published one in force; `declared`, which is in
    its policy file, only where nothing was published. What a file says before it is published was promised to nobody,
    and nothing may be destroyed by it.

    Raises:
        ConfigurationError: The directory cannot be read.
    """
    return Revisions(places.revisions).course().at(now) or declared


def site_keys_at(places: Places) -> SiteKeys:
    """
    Return the keys that prove that the site wrote a record.

    Raises:
        ConfigurationError: The site has no such keys here, so no record could be checked; or they cannot be read.
    """
    site_keys = SiteKeys.read(places.site_keys)
    if not site_keys.keys:
        raise ConfigurationError(
            f"{places.site_keys}: is not there, so no record can be checked; run the site first, or give its data "
            "directory with --directory"
        )
    return site_keys
