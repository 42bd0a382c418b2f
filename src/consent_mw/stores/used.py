"""The store of a site and its earlier ones: what those still hold is read, erased and destroyed there too."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from consent_mw.exceptions import ConfigurationError
from consent_mw.system.durable import replace
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import content

_SQLITE: Final = "sqlite:///"


class _Kept(msgspec.Struct):
    store: str
    earlier: list[str] = []
    logs: list[str] = []


class UsedStores:
    """
    A file in the data directory (mode 0600, because a URL may have a password). It changes when the site starts with
    another store, and when everything was moved out of one. A store that is an object has no URL, and is not listed.
    A database file of the directory itself is listed by its name alone, so that it stays the site's own one when the
    directory is copied or renamed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, database: Path) -> UsedStores:
        """Return the file of the site whose embedded store is the file `database`."""
        return cls(database.with_name("stores.json"))

    @property
    def store(self) -> str:
        """The store that the site started with last; "" if unknown. Raises ConfigurationError."""
        return self._read().store

    def elsewhere(self, database: Path) -> str:
        """As `store`, if that is another one than the file `database`; else ""."""
        return "" if self.store == canonical(f"{_SQLITE}{database}") else self.store

    def others(self, database: Path) -> Sequence[str]:
        """Every store that may hold records beside the file `database`. Raises ConfigurationError."""
        kept = self._read()
        return [url for url in (kept.store, *kept.earlier) if url not in ("", canonical(f"{_SQLITE}{database}"))]

    @property
    def earlier(self) -> Sequence[str]:
        """The stores that may still hold records. Raises ConfigurationError."""
        return self._read().earlier

    @property
    def logs(self) -> Sequence[str]:
        """The stores of visits and events that the site started with last. Raises ConfigurationError."""
        return self._read().logs

    def use(self, url: str, logs: Sequence[str] = ()) -> None:
        """
        Record the store that the site starts with, and those of its log. Raises ConfigurationError.

        If an earlier store and the new one are both server databases, the earlier one is forgotten: a password was
        changed, the server has another name, or the data was moved with the database's own tools.
        """
        url, named_logs = canonical(url), list(map(canonical, logs))
        known = self._read()
        if (known.store, known.logs) != (url, named_logs):
            with self._alone():
                kept = self._read()  # another worker may have been faster
                earlier = dict.fromkeys((kept.store, *kept.earlier))
                stay = [
                    other
                    for other in earlier
                    if other not in ("", url) and not (is_database(other) and is_database(url))
                ]
                self._write(_Kept(url, stay, named_logs))

    def forget(self, url: str) -> None:
        """Record that nothing is left in an earlier store. Raises ConfigurationError."""
        with self._alone():
            kept = self._read()
            self._write(_Kept(kept.store, [other for other in kept.earlier if other != canonical(url)], kept.logs))

    def journal(self, url: str) -> Path:
        """Return the file that lists what is being moved out of a store: see `Move`."""
        return self.path.with_name(f"move-{sha256(os.fsencode(canonical(url))).hexdigest()[:8]}")

    def _read(self) -> _Kept:
        try:
            return _with(msgspec.convert(json.loads(content(self.path)), _Kept), self._whole)
        except FileNotFoundError:
            return _Kept("")
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"{self.path}: cannot be read ({why}); put it back, or remove it") from error

    @contextmanager
    def _alone(self) -> Generator[None]:
        try:
            with in_turn(self.path.parent):
                yield
        except OSError as error:
            raise ConfigurationError(f"{self.path}: cannot be written ({error.strerror}); see to the disk") from error

    def _write(self, kept: _Kept) -> None:
        text = json.dumps(msgspec.to_builtins(_with(kept, self._named)))
        replace(self.path, text.encode())  # a file name may not be text

    def _whole(self, url: str) -> str:
        """A URL as the file lists it, with the whole path of a database file."""
        return f"{_SQLITE}{self._here / url[len(_SQLITE) :]}" if url.startswith(_SQLITE) else url

    def _named(self, url: str) -> str:
        """A URL as the file lists it: of a database file of this directory only the name."""
        return f"{_SQLITE}{url.rpartition('/')[2]}" if url.rpartition("/")[0] == f"{_SQLITE}{self._here}" else url

    @property
    def _here(self) -> Path:
        return self.path.parent.absolute()


def _with(kept: _Kept, change: Callable[[str], str]) -> _Kept:
    return _Kept(change(kept.store), list(map(change, kept.earlier)), list(map(change, kept.logs)))


def canonical(url: str) -> str:
    """Return a URL as the file stores it: a database file with its absolute path."""
    return f"{_SQLITE}{Path(url[len(_SQLITE) :]).absolute()}" if url.startswith(_SQLITE) else url


def is_database(url: str) -> bool:
    """Whether a URL names a database on a server."""
    return url.startswith(("postgresql:", "postgres:"))
