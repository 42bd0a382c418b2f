"""The drain in a hurry: it reads ahead of its store, and whatever stops it midway, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from pathlib import Path

import pytest
from tests.support.policies import POLICY
from tests.support.spooled import ids_in, make_site, spool_records

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import StoreUnavailable
from consent_mw.log.drain import Drain
from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.records import Record
from consent_mw.spool.bundles import frame_head
from consent_mw.spool.spool import Spool
from consent_mw.stores.sqlite import SQLiteStore


def _run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: object, **options: object) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **options), 60))

    return run


class _Stops(SQLiteStore):
    """A store that takes some batches and then fails, or never comes back."""

    def __init__(self, path: Path, batches: int, *, hangs: bool = False) -> None:
        super().__init__(path)
        self._left = batches
        self._hangs = hangs
        self.reached = asyncio.Event()

    async def append(self, records: Sequence[Record], *, durable: bool = False) -> None:
        if self._left == 0:
            self.reached.set()
            if self._hangs:
                await asyncio.Event().wait()
            raise StoreUnavailable("gone")
        self._left -= 1
        await super().append(records, durable=durable)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path)


def _drain(site: Path, store: SQLiteStore) -> Drain:
    places = Places(site / "consent-data")
    return Drain(loads(POLICY), Spool(places.spool), store, Sealer.of_site(places))


async def _finish(site: Path) -> int:
    store = SQLiteStore(Places(site / "consent-data").database)
    await store.open()
    try:
        return await _drain(site, store).once()
    finally:
        await store.close()


@pytest.mark.parametrize("batches", range(6))
@_run
async def test_a_store_that_fails_leaves_the_segment_for_the_next(site: Path, batches: int) -> None:
    written = spool_records(site, 3_000)
    store = _Stops(Places(site / "consent-data").database, batches)
    await store.open()
    with pytest.raises(StoreUnavailable):
        await _drain(site, store).once()
    await store.close()
    assert len(ids_in(site)) == 500 * batches
    assert await _finish(site) == 3_000
    assert ids_in(site) == written


@pytest.mark.parametrize("batches", [0, 1, 3])
@_run
async def test_a_drain_that_is_cancelled_reads_no_further(site: Path, batches: int) -> None:
    written = spool_records(site, 20_000)
    store = _Stops(Places(site / "consent-data").database, batches, hangs=True)
    await store.open()
    working = asyncio.create_task(_drain(site, store).once())
    await store.reached.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await store.close()
    assert len(ids_in(site)) == 500 * batches
    assert await _finish(site) == 20_000
    assert ids_in(site) == written


@_run
async def test_whole_frames_that_hold_nothing_it_understands_are_counted_and_pass(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = FileKeyring(Places(site / "consent-data").keys).name
    head = frame_head(ring)
    spool = Spool(site / "consent-data/spool")
    for end in (1, 2, len(head), len(head) + 15, len(head) + 16, len(head) + 17):
        assert spool.write([(head + bytes([255] * 40))[:end]])
    spool.close()
    written = spool_records(site, 10)
    await _finish(site)
    assert "6 frames or more are damaged and lost" in caplog.text
    assert written < ids_in(site)
    assert len(ids_in(site)) == 11  # the records, and the gap


@_run
async def test_a_segment_that_cannot_be_read_to_its_end_stays(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = spool_records(site, 3_000)
    # No disk of a test has a bad block: the read's error alone is made up, and undone for the second run.
    read = os.pread

    def bad_block(fd: int, length: int, at: int) -> bytes:
        if at > 0 and length > 4_096:
            raise OSError(5, "Input/output error")
        return read(fd, length, at)

    monkeypatch.setattr("consent_mw.spool.segment.os.pread", bad_block)
    store = SQLiteStore(Places(site / "consent-data").database)
    await store.open()
    await _drain(site, store).once()
    await store.close()
    assert "the segment cannot be read (Input/output error)" in caplog.text
    assert ids_in(site) < written
    monkeypatch.undo()
    await _finish(site)
    assert ids_in(site) == written


@_run
async def test_a_disk_that_takes_nothing_is_said_once_and_again_after_it_took_something(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drain = _drain(site, SQLiteStore(Places(site / "consent-data").database))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for outage in (1, 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            for _ in range(3):
                assert not drain._spool.write([b"one"])
                await drain._keep()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caplog.text.count("spool takes nothing: full, over its quota or read-only") == outage
        drain._spool._broken_until = 0.0  # as after a second
        await drain._keep()  # writes down what was lost
        await drain._keep()
