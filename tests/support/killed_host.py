"""
One host is killed at each step of making, sharing and destroying keys; after each, all is as it should be. To be run as
a program: its children are forks, which only a process of one thread may have.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.support.deaths import at_each_step, in_a_fork
from tests.support.one_host import DAY, LABELS, OneHost, beside, settle

from consent_mw.hosts.messages import Place
from consent_mw.records import Query
from consent_mw.stores.postgres import PostgresStore
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.system.days import DAY_NS

SEALED, ENDED = LABELS


#: Whatever changes what outlives a process; what is synchronised in between is there for the next one either way.
STEPS: dict[str, list[tuple[Any, str]]] = {
    "store": [(PostgresStore, "append"), (PostgresStore, "delete")],
    "disk": [(os, verb) for verb in ("pwrite", "ftruncate", "replace", "link", "unlink")],
}


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
    for host in (one, two):
        # Nobody may have the key of what has ended any more: to wait for it would be most of the time of each step.
        await beside(host.hosts.agree([(day, SEALED)]), one, two)
        host.hosts._joining.want([(day, label) for label in LABELS])
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


def main(directory: Path, url: str, steps: str) -> None:
    assert in_a_fork(lambda: check(directory, url, DAY)) == 0
    print(
        at_each_step(
            lambda point: live(directory, url, DAY + 1 + point),
            lambda point: check(directory, url, DAY + 1 + point),
            STEPS[steps],
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
