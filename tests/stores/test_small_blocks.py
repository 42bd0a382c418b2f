"""A full disk with blocks smaller than a page is an error, and not the end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.repository import ROOT

KILLED_AMID_ITS_LOG = """
import asyncio, os, sys
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.testing.sample_records import make_record

async def run():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    assert os.stat(sys.argv[1] + "-shm").st_blocks * 512 >= 32_768, "holes"
    await store.append([make_record(n) for n in range(2_000)])
    os.kill(os.getpid(), 9)

asyncio.run(run())
"""
OPENED = """
import asyncio, sys
from consent_mw.exceptions import StoreUnavailable
from consent_mw.stores.sqlite import SQLiteStore

try:
    asyncio.run(SQLiteStore(sys.argv[1]).open())
except StoreUnavailable as error:
    sys.exit("make room on the disk" not in str(error))
sys.exit("opened")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    """Yield a file system of a few MB, with blocks of 1,024 bytes."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    image.touch()
    os.truncate(image, 8 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-b", "1024", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, mkfs.ext4 and a loop device")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def run(code: str, database: Path) -> int:
    return subprocess.run([sys.executable, "-c", code, database], cwd=ROOT, check=False).returncode


def fill(disk: Path, left: int) -> None:
    """Leave so many blocks, besides those that ext4 keeps for itself."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 1024)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - 1024 * left)


def test_a_store_that_finds_its_log_on_a_full_disk_is_an_error(disk: Path) -> None:
    database = disk / "consent.sqlite3"
    assert run(KILLED_AMID_ITS_LOG, database) == -signal.SIGKILL
    database.with_name("consent.sqlite3-shm").unlink()
    fill(disk, left=16)
    assert run(OPENED, database) == 0
