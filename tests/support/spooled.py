"""A site whose spool holds records, and what of them a store has."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

from tests.support.policies import POLICY

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.paths import Places
from consent_mw.records import Record, encode_record, new_id
from consent_mw.spool.bundles import frame_head, length_of
from consent_mw.spool.spool import Spool


def make_site(directory: Path) -> Path:
    """Write the shared policy, and make the data directory as a middleware leaves it."""
    (directory / "policy.toml").write_text(POLICY)
    places = Places(directory / "consent-data")
    places.prepare()
    FileKeyring(places.keys)
    Spool(places.spool)
    return directory


def clear_records(count: int) -> list[Record]:
    """Return visits that hold nothing sealed."""
    now_ns = time.time_ns()
    instants = range(now_ns, now_ns + 1_000 * count, 1_000)
    return [Record(new_id(at_ns), "visit", "necessary", None, "", {"n": at_ns}, b"") for at_ns in instants]


def spool_records(site: Path, count: int, ring: str = "") -> set[UUID]:
    """Write records of a process that has ended since, sealed by `ring` if given, and return their ids."""
    spool = Spool(site / "consent-data/spool", segment_bytes=1 << 20)
    records = clear_records(count)
    sealed = frame_head(ring)
    frames = [sealed + row.id.bytes + length_of(b"") + b"\1" * 60 if ring else encode_record(row) for row in records]
    assert all(spool.write([frame]) for frame in frames)
    spool.close()
    return {record.id for record in records}


@contextmanager
def keep_spooling(site: Path) -> Generator[list[UUID]]:
    """Write records from a thread for as long as the block runs, and collect the ids of those that were kept."""
    spool = Spool(site / "consent-data/spool")
    written: list[UUID] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.01):  # some thousand records a second: a drain is never done, and soon after it ends
            records = clear_records(20)
            if spool.write([encode_record(record) for record in records]):
                written.extend(record.id for record in records)
            if len(written) % 1_000 == 0:
                spool.rotate()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()
        spool.close()


def ids_in(site: Path) -> set[UUID]:
    """Return the ids that the embedded store holds; the table itself forbids one to be there twice."""
    return set(_ids(site / "consent-data/consent.sqlite3"))


def _ids(file: Path) -> Iterator[UUID]:
    if file.is_file():
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            try:
                yield from (UUID(bytes=row[0]) for row in connection.execute("SELECT id FROM records"))
            except sqlite3.OperationalError:  # not made yet
                return
