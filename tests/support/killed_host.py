"""
One host is killed at each step of making, sharing and destroying keys; after each, all is as it should be. To be run as
a program: its children are forks, which only a process of one thread may have.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.one_host import DAY, LABELS, OneHost, beside, settle

from consent_mw.crypto.keyring import FileKeyring
from consent_mw.hosts.messages import Place
from consent_mw.records import Query
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.system import durable
from consent_mw.system.days import DAY_NS

SEALED, ENDED = LABELS


def die_at(point: int) -> Callable[[], None]:
    counted = count()

    def step() -> None:
        if next(counted) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def break_off(point: int) -> None:
    """
    Have this process die before the `point`th time that it writes, or asks the store. After one is as before the next:
    nothing in between outlives the process.
    """
    step = die_at(point)

    def around(owner: Any, name: str) -> None:
        made = getattr(owner, name)

        @functools.wraps(made)
        def watched(*args: Any, **options: Any) -> Any:
            step()
            return made(*args, **options)

        @functools.wraps(made)
        async def awaited(*args: Any, **options: Any) -> Any:
            step()
            return await made(*args, **options)

        setattr(owner, name, awaited if asyncio.iscoroutinefunction(made) else watched)

    for verb in ("append", "delete"):
        around(PostgresStore, verb)
    for name in ("append", "replace"):
        around(durable, name)
    around(FileKeyring, "_overwrite")


def in_a_fork(work: Callable[[], Coroutine[Any, Any, None]], prepare: Callable[[], None] = lambda: None) -> int:
    """Run something in a child, and return how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare()
            asyncio.run(work())
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def a_host(directory: Path, url: str, day: int) -> OneHost:
    host = OneHost(directory, OpenedStore(PostgresStore(url)))
    host.now_ns = day * DAY_NS + DAY_NS // 2
    return host


async def live(directory: Path, url: str, day: int) -> None:
    """Make and share keys, seal, and destroy one."""
    host = a_host(directory / "one", url, day)
    await host.agree(day)
    await host.store.append([host.seal()], durable=True)
    await settle(host, times=1)
    host.keyring.destroy(day, ENDED)
    await settle(host, times=1)
    await host.store.close()


async def check(directory: Path, url: str, day: int) -> None:
    one, two = a_host(directory / "one", url, day), a_host(directory / "two", url, day)
    await beside(one.agree(day), one, two)
    await beside(two.agree(day), one, two)
    await settle(one, two)
    records = await one.store.fetch(Query(kinds=frozenset(("visit",))))
    for host in (one, two):
        assert all(host.sealer.open(record) == b"x" for record in records)
    assert len({host.sealer.token(day, SEALED, b"kim") for host in (one, two)}) == 1
    for host in (one, two):
        host.keyring.destroy(day, ENDED)
    await settle(one, two)
    for host in (one, two):
        assert Place(day, ENDED) in host.keyring.view.places
        assert host.keyring.waits_for(day, ENDED) == []
        await host.store.close()


def main(directory: Path, url: str) -> None:
    assert in_a_fork(lambda: check(directory, url, DAY)) == 0
    for point in count():
        day = DAY + 1 + point
        ended = in_a_fork(lambda day=day: live(directory, url, day), functools.partial(break_off, point))  # type: ignore[misc]
        assert ended in (0, -signal.SIGKILL), f"point {point}: {ended}"
        assert in_a_fork(lambda day=day: check(directory, url, day)) == 0, f"after point {point}"  # type: ignore[misc]
        if ended == 0:
            print(point)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
