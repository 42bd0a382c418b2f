"""A data directory as a running site leaves it, for the commands that read it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from tests.support.commands import Ran, run

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.paths import Places
from consent_mw.records import Record, Scalar, new_id
from consent_mw.stores.sqlite import SQLiteStore

DAY_NS = 86_400_000_000_000
NOON = 20_780 * DAY_NS + DAY_NS // 2 + 123_000_000  # 2026-11-23 12:00:00.123 UTC


class Site:
    """A data directory with a store and keys, as a running site leaves them."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.places = Places(directory)
        self.keyring = FileKeyring(self.places.keys)
        # Every host of a site has the same secret keys.
        self.sealer = Sealer(self.keyring, SiteKeys.kept(self.places.site_keys, [b"a key of at least 16 bytes"]))

    def record(
        self,
        at_ns: int,
        kind: str = "visit",
        purpose: str = "necessary",
        clear: dict[str, Scalar] | None = None,
        **sealed: Scalar,
    ) -> Record:
        record_id = new_id(at_ns)
        plain = {name.replace("__", "."): value for name, value in sealed.items()}
        packed = msgspec.msgpack.encode(plain) if plain else None
        return self.sealer.record(record_id, kind, purpose, data=clear, plain=packed)

    def append(self, *records: Record) -> None:
        async def append() -> None:
            store = SQLiteStore(self.places.database)
            await store.open()
            await store.append(records)
            await store.close()

        asyncio.run(append())

    def log(self, *options: object) -> Ran:
        """Read the personal fields of `necessary`."""
        return run("log", "--directory", self.places.directory, *READS, *options)


READS = ("--purpose", "necessary", "--reason", "a test")

VISIT: dict[str, Scalar] = {
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "http.server.request.duration": 0.0123,
    "http.route": "/books/{id}",
}
