"""Where records are kept: the contract in `base`, and the stores that come with the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from consent_mw.exceptions import ConfigurationError
from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore
from consent_mw.stores.lease import Leasing
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.stores.several import SeveralStores
from consent_mw.stores.split import SplitStore
from consent_mw.stores.used import UsedStores, canonical

#: Where visits and events are: in one store, or in several, of which a host appends to the first.
LogStores: TypeAlias = str | Store | Sequence[str | Store]

_SCHEMES = ("memory", "sqlite", "postgresql", "postgres")


def store_from(url_or_store: str | Store) -> Store:
    """
    Return the store that a URL names, not yet opened; a store is returned as it is.

    `sqlite:///consent.db` is a file in the working directory, `sqlite:////var/lib/site/consent.db` one by its
    full path (percent escapes are undone), `postgresql://user@host/database` a PostgreSQL database as libpq reads it,
    `memory:` a `MemoryStore`.

    Raises:
        ConfigurationError: The URL does not name a store that we know, or its extra is not installed.
    """
    if not isinstance(url_or_store, str):
        return url_or_store
    scheme, colon, rest = url_or_store.partition(":")
    if colon and scheme == "memory" and rest in ("", "//"):
        from consent_mw.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > 3:
        from consent_mw.stores.sqlite import SQLiteStore

        return SQLiteStore(unquote(rest[3:]))
    if scheme in ("postgresql", "postgres") and rest.startswith("//"):
        return _postgres(url_or_store)
    raise ConfigurationError(f"store {without_password(url_or_store)!r}: {_complaint(scheme if colon else '')}")


def is_shared(store: str | Store | None) -> bool:
    """Whether several hosts may keep their records in this store. Raises ConfigurationError as `store_from`."""
    return store is not None and isinstance(store_from(store), Leasing)


def each_of(log_store: LogStores | None) -> list[str | Store]:
    """Return the stores of a `log_store=`, which may be none."""
    if log_store is None:
        return []
    return list(log_store) if isinstance(log_store, Sequence) and not isinstance(log_store, str) else [log_store]


def log_store_from(log_store: LogStores | None) -> Store | None:
    """
    Return the store of visits and events, not yet opened; None if the site has no other one for them.

    Raises:
        ConfigurationError: As `store_from`; or one of several is named twice.
    """
    stores = each_of(log_store)
    for position, part in enumerate(stores):
        if part in stores[:position]:
            named = without_password(part) if isinstance(part, str) else repr(part)
            raise ConfigurationError(f"log_store: names {named} twice; name each store once, this host's own first")
    if len(stores) > 1:
        return SeveralStores([OpenedStore(store_from(part)) for part in stores])
    return store_from(stores[0]) if stores else None


def opened_store(store: str | Store, log_store: LogStores | None = None) -> Store:
    """
    Return the store of a site, which opens itself. With a `log_store`, visits and events are kept there.

    Raises:
        ConfigurationError: As `store_from`.
    """
    log = log_store_from(log_store)
    return OpenedStore(store_from(store)) if log is None else SplitStore(store_from(store), log)


def site_store(database: Path, store: str | Store | None, log_store: LogStores | None = None) -> Store:
    """
    Return the store of a site whose embedded store is the file `database`, unless it has another `store`. If the site
    kept records in that file or in another store before, they are found, erased and destroyed there too.

    Raises:
        ConfigurationError: As `store_from`; or the list of the site's stores cannot be read.
    """
    chosen = store_from(store or f"sqlite:///{database}")
    logs = [store_from(part) for part in each_of(log_store)]
    log_store_from(log_store)  # so that one that is named twice raises
    whole, used = opened_store(chosen, logs), UsedStores.beside(database)
    for url in earlier_stores(database, chosen, *logs):
        whole = JoinedStore(whole, store_from(url), used.journal(url))
    return whole


def earlier_stores(database: Path, *stores: str | Store | None) -> list[str]:
    """Return the URLs of the stores that a site used before `stores`, the file `database` among them."""
    now = [store_from(named_store) for named_store in stores if named_store is not None]
    named = [url for url in stores if isinstance(url, str)]
    file, used = f"sqlite:///{database}", UsedStores.beside(database)
    earlier = dict.fromkeys((*used.earlier, canonical(file)))
    return [url for url in earlier if url not in map(canonical, named) and _holds(store_from(url), now)]


def _holds(store: Store, now: Sequence[Store]) -> bool:
    """Whether an earlier store exists, as far as this is known without opening it, and is not one of `now`."""
    path = getattr(store, "path", None)
    return not isinstance(path, Path) or (path.exists() and not any(_is_file(current, path) for current in now))


def _is_file(store: Store | None, database: Path) -> bool:
    path = getattr(store, "path", None)
    return isinstance(path, Path) and os.path.realpath(path) == os.path.realpath(database)


def _postgres(url: str) -> Store:
    try:
        from consent_mw.stores.postgres import PostgresStore
    except ImportError as error:
        # psycopg without a libpq is an ImportError too, and the binary extra brings one.
        raise ConfigurationError(
            f"store {without_password(url)!r}: PostgreSQL needs psycopg ({error}); pip install 'consent-mw[postgres]'"
        ) from error
    return PostgresStore(url)


def _complaint(scheme: str) -> str:
    if scheme == "sqlite":
        return "no file is named; write sqlite:///consent.db, or sqlite:////full/path/consent.db"
    if scheme == "memory":
        return "a store in memory has no name; write memory:"
    if scheme.startswith("postgres"):
        return "no server is named; write postgresql://user@host/database"
    if not scheme:
        return "is no URL; write sqlite:///consent.db for a file, postgresql://user@host/database, or memory:"
    near = get_close_matches(scheme.lower(), _SCHEMES, n=1)
    hint = (
        f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_SCHEMES)}; any other is passed as an object"
    )
    return f"the scheme {scheme!r} is not known; {hint}"


def without_password(url: str) -> str:
    """Return a URL as an error may show it: without the part before an @, which may be a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url
