"""When all hosts join the places of a new day at once, each reads what the others say a few times, and not sixty."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.one_host import DAY, LABELS, OneHost, settle

from consent_mw.hosts.messages import Place, Published, written
from consent_mw.records import Record
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import DAY_NS

_LOOK_NS = 2 * 10**9


class CountedStore(MemoryStore):
    """Counts the rows that are read."""

    rows = 0

    async def fetch(self, *words: Any, **more: Any) -> Sequence[Record]:
        records = await super().fetch(*words, **more)
        self.rows += len(records)
        return records


async def pass_by(looks: int, *hosts: OneHost) -> None:
    for _ in range(looks):
        for host in hosts:
            host.now_ns += _LOOK_NS
        await settle(*hosts, times=1)


async def rows_at_midnight(directory: Path, count: int) -> float:
    """Return how many rows each of so many hosts reads in the two and a half minutes after midnight."""
    store = CountedStore()
    hosts = [OneHost(directory / str(number), store) for number in range(count)]
    for host in hosts:
        host.now_ns = DAY * DAY_NS - 70 * _LOOK_NS
        host.hosts._joining.wanted = frozenset(Place(DAY, label) for label in LABELS)
    await pass_by(70, *hosts)
    store.rows = 0
    for host in hosts:
        host.hosts._joining.wanted = frozenset(Place(DAY + 1, label) for label in LABELS)
    await pass_by(75, *hosts)
    assert all(len(host.keyring.keys(DAY + 1, label)) == 1 for host in hosts for label in LABELS)
    assert len({host.keyring.key(DAY + 1, LABELS[0], create=False) for host in hosts}) == 1
    return store.rows / count


def test_a_host_reads_a_new_days_messages_of_another_a_few_times(tmp_path: Path) -> None:
    rows: list[float] = []
    for count in (2, 8):
        (tmp_path / str(count)).mkdir()
        rows.append(asyncio.run(rows_at_midnight(tmp_path / str(count), count)))
    few, many = rows
    assert (many - few) / 6 < 20, "two messages of each further host"


def test_what_comes_later_than_its_clock_says_is_heard_within_a_minute(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        await pass_by(70, one, two)
        late = Published(shelf="revision", name="late", text="x", at_ns=1)
        await store.append([written(late, two.keyring.identity, two.signing, one.now_ns - 50 * 10**9)], durable=True)
        await pass_by(30, one)
        assert "late" in one.keyring.view.published["revision"]

    asyncio.run(work())


def test_a_host_whose_clock_is_known_to_be_behind_is_heard_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        store = MemoryStore()
        one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)
        two.now_ns -= 40 * 10**9
        two.hosts._link.store_clock.ahead = timedelta(seconds=-40)
        await pass_by(70, one, two)
        soon = Published(shelf="revision", name="soon", text="x", at_ns=1)
        await store.append([written(soon, two.keyring.identity, two.signing, two.now_ns)], durable=True)
        await pass_by(1, one)
        assert "soon" in one.keyring.view.published["revision"]

    asyncio.run(work())
