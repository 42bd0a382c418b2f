"""What a site of some age takes for each thing, in its own process: `python -m bench.aged DIRECTORY [URL SCHEMA]`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bench.lived import Browser, known_of, served
from bench.running import lifespan
from consent_mw import ConsentMiddleware
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.log import drain
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.people import People
from consent_mw.rights.reach import out_of_reach
from consent_mw.rights.restriction import restricted
from consent_mw.runtime import runtime
from consent_mw.stores.base import Store
from consent_mw.stores.postgres import PostgresStore
from consent_mw.system.days import day_of

__all__ = ["MEMORY", "START", "figures"]

START: Final = "start of the site, until it is ready"
MEMORY: Final = "resident memory after an hour's work"
#: An hour has 60 looks of destruction and 360 of erasure, which are alike.
_HOUR_OF_LOOKS: Final = 60
_HOUR: Final = timedelta(minutes=61)
_LOADED: Final = (drain, runtime)  # a site's start is not to be that of Python's modules


async def figures(directory: Path, store: Store | None) -> dict[str, float]:
    """Return milliseconds by what took them, the least of some, and megabytes for `MEMORY`."""
    began = time.perf_counter()
    app = served(directory, store=store)
    async with lifespan(app):
        taken = {START: (time.perf_counter() - began) * 1e3}
        taken |= await _looks(app)
        taken |= await _visitors(app, directory)
        taken |= await _staff(app)
        taken |= await asyncio.to_thread(_keys, app)
        taken[MEMORY] = await _hour(app)
    return taken


async def _looks(app: ConsentMiddleware) -> dict[str, float]:
    erasure, destruction = app.runtime.erasure, app.runtime.destruction
    hours = (datetime.now(UTC) + number * _HOUR for number in range(1, 100))
    return {
        "first look for what is to be erased": await _least(lambda: erasure.once(datetime.now(UTC)), 1),
        "later look for what is to be erased": await _least(lambda: erasure.once(datetime.now(UTC)), 7),
        "the same, an hour after another": await _least(lambda: erasure.once(next(hours)), 7),
        "first look for what has ended": await _least(lambda: destruction.once(datetime.now(UTC)), 1),
        "look for what has ended, with each quarter": await _least(lambda: destruction.once(datetime.now(UTC)), 7),
        "the same, each minute": await _least(lambda: destruction.once(datetime.now(UTC), between=True), 7),
    }


async def _visitors(app: ConsentMiddleware, directory: Path) -> dict[str, float]:
    known = known_of(directory)
    visitor = Browser(app, cookies=known["visitor"][0])
    member = Browser(app, "ada", known["member"][0])
    return {
        "an exchange": await _least(lambda: visitor.get("/items/1"), 50),
        "a first choice, on the disk": await _least(
            lambda: Browser(app).post("/consent/choice", choice="accept"), 15
        ),
        "My data, the first after the start": await _least(lambda: visitor.get("/consent/my-data", as_json=True), 1),
        "My data of a visitor": await _least(lambda: visitor.get("/consent/my-data", as_json=True), 9),
        "My data of a member with three browsers": await _least(
            lambda: member.get("/consent/my-data", as_json=True), 9
        ),
    }  # fmt: skip


async def _staff(app: ConsentMiddleware) -> dict[str, float]:
    parts = app.runtime
    desk = Desk(parts.store, parts.sealer, kept_by_store(parts.store))
    people, stages = People(parts.store, parts.sealer), parts.destruction.stages
    return {
        "whom a restriction meets": await _least(lambda: restricted(desk, people, parts.sealer), 7),
        "what other keyrings sealed": await _least(lambda: out_of_reach(stages), 7),
    }


def _keys(app: ConsentMiddleware) -> dict[str, float]:
    """Measure in a copy of the key file: keys that are made for it would stay."""
    with tempfile.TemporaryDirectory(dir=app.runtime.places.directory) as place:
        file = Path(place, "keys")
        shutil.copy(app.runtime.places.keys, file)
        making, reading = FileKeyring(file), FileKeyring(file)
        making_seconds: list[float] = []
        read: list[float] = []
        for number in range(1, 8):
            day = day_of(datetime.now(UTC)) + 30 + number  # none that the site has made ready
            began = time.perf_counter()
            making.key(day, "necessary", create=True)
            making_seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            reading.key(day, "necessary", create=False)
            read.append(time.perf_counter() - began)
        making.close()
        reading.close()
    return {"a key made": min(making_seconds) * 1e3, "a key that another process made, noticed": min(read) * 1e3}


async def _hour(app: ConsentMiddleware) -> float:
    visitor = Browser(app)
    for number in range(_HOUR_OF_LOOKS):
        now = datetime.now(UTC) + number * timedelta(minutes=1)
        await app.runtime.destruction.once(now)
        await app.runtime.erasure.once(now)
        for _ in range(10):
            await visitor.get(f"/items/{number}")
    gc.collect()
    return _resident()


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _least(work: Callable[[], Awaitable[object]], times: int) -> float:
    milliseconds: list[float] = []
    while len(milliseconds) < times:
        began = time.perf_counter()
        done = await work()
        taken = time.perf_counter() - began
        if getattr(done, "busy", False):
            await asyncio.sleep(0.01)  # the site's own task is at it, and gets no turn without this
        else:
            milliseconds.append(taken * 1e3)
    return min(milliseconds)


def _postgres(url: str = "", schema: str = "") -> Store | None:
    return PostgresStore(url, schema=schema) if url else None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(figures(Path(sys.argv[1]), _postgres(*sys.argv[2:])))))
