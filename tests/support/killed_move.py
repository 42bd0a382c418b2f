"""
A move that is killed at each of its steps; after each, all is there once. To be run as a program: its children are
forks, which only a process of one thread may have.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.deaths import at_each_step, in_a_fork

from consent_mw.kinds import KINDS
from consent_mw.records import Query, Record, new_id
from consent_mw.stores import move, sqlite, store_from
from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore

EVERY = Query(kinds=frozenset(KINDS))
NOW_NS = 1_790_000_000_000_000_000
RECORDS = [Record(new_id(NOW_NS + 1_000_000 * n), "visit", "necessary", None, "", {"n": n}, b"") for n in range(400)]
#: One of each is deleted by the site after a kill: it must be counted once, and stay away.
DELETED = [record.id for record in RECORDS[::3]]


STEPS = [
    (move, "replace"),
    *((type(store_from(kind)), verb) for verb in ("append", "delete") for kind in ("sqlite:///x", "postgresql://x/y")),
    *((sqlite, step) for step in ("_insert", "_delete_rows", "truncate_wal")),
    (Path, "unlink"),
]


async def live(journal: Path, source: Store, target: Store) -> None:
    await source.open()
    await target.open()
    async for _ in move.Move(source, target, journal).run():
        pass


async def fill(source: Store) -> None:
    await source.open()
    await source.append(RECORDS, durable=True)
    await source.close()


async def check(journal: Path, source: Store, target: Store, deleted: int) -> None:
    """Find everything in both stores together, once; delete one record more, and find nothing in both of them."""
    joined = JoinedStore(target, source, journal)
    await joined.open()
    left = [record for record in RECORDS if record.id not in DELETED[:deleted]]
    assert list(await joined.fetch(EVERY)) == left
    gone = DELETED[deleted]
    assert await joined.delete(Query(kinds=EVERY.kinds, ids=frozenset((gone,)))) == 1
    left = [record for record in left if record.id != gone]
    assert list(await joined.fetch(EVERY)) == left
    assert sorted([*(await source.fetch(EVERY)), *(await target.fetch(EVERY))], key=lambda record: record.id) == left
    await joined.close()


def main(journal: Path, *urls: str) -> None:
    move._PAGE = 12  # type: ignore[misc]
    source, target = map(store_from, urls)
    assert in_a_fork(lambda: fill(source)) == 0
    print(
        at_each_step(
            lambda _: live(journal, source, target), lambda point: check(journal, source, target, point), STEPS
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
