"""
PostgreSQL is killed at each write of making, sharing and destroying keys; after each, all is as it should be. To be run
as a program: it kills a server of its own, before a write is asked for and while it is carried out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Timer

from tests.support.deaths import meddled
from tests.support.killed_host import ENDED, a_host, check
from tests.support.one_host import DAY, OneHost
from tests.support.postgres import PostgresServer

from consent_mw.exceptions import StoreError
from consent_mw.stores.postgres import PostgresStore

_WHILE_SECONDS = 0.002
_TRIES = 100


class Deaths:
    """Kills the server at the `point`th step, once, and starts it again."""

    def __init__(self, server: PostgresServer, point: int, *, amid: bool) -> None:
        self._server = server
        self._point = point
        self._death = Timer(_WHILE_SECONDS if amid else 0.0, self._die)
        self._amid = amid
        self._steps = count()
        self.was_there = False

    def step(self) -> None:
        """Count a step."""
        if next(self._steps) == self._point:
            self.was_there = True
            self._death.start()
            if not self._amid:
                self._death.join()

    def _die(self) -> None:
        self._server.kill()
        for _ in range(_TRIES):
            with suppress(RuntimeError):  # a child of the one that was killed has not ended yet
                self._server.start()
                break
            time.sleep(0.1)

    def wait(self) -> None:
        """Return when the server is there again."""
        if self.was_there:
            self._death.join()


async def insists(deaths: Deaths, work: Callable[[], Awaitable[object]]) -> None:
    """Do something until the store takes it."""
    while True:
        try:
            await work()
        except StoreError:
            await asyncio.to_thread(deaths.wait)
        else:
            return


async def live(one: OneHost, two: OneHost, day: int, deaths: Deaths) -> None:
    """Make and share keys, seal, and destroy one on both."""
    await one.agree(day)
    await asyncio.to_thread(deaths.wait)
    record = one.seal()
    await insists(deaths, lambda: one.store.append([record], durable=True))
    for _ in range(2):
        for host in (two, one):
            await insists(deaths, host.hosts.sync)
    for host in (one, two):
        host.keyring.destroy(day, ENDED)
        await insists(deaths, host.hosts.sync)
    deaths.wait()


async def at(directory: Path, url: str, day: int, deaths: Deaths) -> None:
    """Live through one death, and see that it left nothing."""
    one, two = (a_host(directory / name, url, day) for name in ("one", "two"))
    with meddled([(PostgresStore, "append"), (PostgresStore, "delete")], deaths.step):
        await live(one, two, day, deaths)
    for host in (one, two):
        await host.store.close()
    await check(directory, url, day)


def main(directory: Path, *, amid: bool) -> None:
    with PostgresServer() as server:
        url = server.database()
        asyncio.run(check(directory, url, DAY))
        for steps in count(1):
            deaths = Deaths(server, steps - 1, amid=amid)
            asyncio.run(at(directory, url, DAY + steps, deaths))
            if not deaths.was_there:
                break
        print(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), amid=sys.argv[2] == "amid")
