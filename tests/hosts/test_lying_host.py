"""A host with the site's secret that says what is not so, or cannot be: the others go on, and an operator ends it."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from tests.support.one_host import DAY, OneHost, beside, settle, start

from consent_mw.hosts.messages import Beat, Body, Chosen, Holds, Pub, Wraps, written
from consent_mw.stores.memory import MemoryStore
from consent_mw.system.days import instant_of

_PARTS = {"analytics": (b"p" * 1216, b"i" * 16)}
_AT = DAY * 86_400.0


def _beat(at: float = _AT, oldest: float | None = None, ahead: float = 0.0) -> Beat:
    return Beat(name="l", version="1", revision=1, run=b"r" * 8, at=at, oldest=oldest, ahead=ahead, began=True)


@pytest.mark.parametrize(
    "body",
    [
        Pub(name="liar", day=2**40, parts=_PARTS),
        Pub(name="liar", day=DAY, parts={"a" * 81: _PARTS["analytics"]}),
        Wraps(day=2**40, to=b"t" * 16, keys=[("analytics", b"o" * 16, b"e" * 1168)]),
        Holds(number=1, places={"analytics": [(2**40, 1)]}, used={}),
        Holds(number=1, places={"a" * 81: [(DAY, 1)]}, used={}),
        _beat(at=1e300),
        _beat(at=math.nan),
        _beat(oldest=math.inf),
        _beat(ahead=-1e300),
        _beat(ahead=math.nan),
    ],
)
def test_what_cannot_be_stops_no_other_host(tmp_path: Path, body: Body) -> None:
    store = MemoryStore()

    async def work() -> None:
        one, two, liar = (OneHost(tmp_path / name, store) for name in ("one", "two", "liar"))
        await start(one, two)
        await store.append([written(body, liar.keyring.identity, liar.signing, one.now_ns)], durable=True)
        for host in (one, two):
            host.now_ns += 61 * 10**9
        await settle(one, two)
        record = two.seal()
        await settle(one, two)
        assert one.sealer.open(record) == b"x"
        now = instant_of(one.now_ns)
        assert {host.name for host in await one.register.hosts()} == {"one", "two"}
        assert {host.name for host in (await one.register.spools(now, now)).waiting} == {"one", "two"}

    asyncio.run(work())


def test_a_holder_that_was_invented_is_listed_and_can_be_retired(tmp_path: Path) -> None:
    store = MemoryStore()

    async def work() -> None:
        one, two, liar = (OneHost(tmp_path / name, store) for name in ("one", "two", "liar\x1b[2J"))
        lie = Chosen(day=DAY + 1, label="analytics", owner=b"nobody at all...")
        await store.append([written(lie, liar.keyring.identity, liar.signing, one.now_ns)], durable=True)
        await start(one, two)
        await beside(one.agree(DAY + 1), two)
        for host in (one, two):
            host.keyring.destroy(DAY + 1, "analytics")
        await settle(one, two)
        (waits_for,) = one.keyring.waits_for(DAY + 1, "analytics")
        (invented,) = (known for known in await one.register.hosts(unlisted=True) if known.called == waits_for)
        await one.register.retire(invented, "there is no such host", one.now_ns)
        assert one.keyring.waits_for(DAY + 1, "analytics") == []

    asyncio.run(work())


def test_the_name_of_a_machine_steers_no_terminal_and_forges_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()

    async def work() -> None:
        one, liar = OneHost(tmp_path / "one", store), OneHost(tmp_path / "liar\nERROR: all is lost", store)
        await start(one, liar)
        assert "joins" in caplog.text
        assert "\nERROR: all is lost" not in caplog.text
        assert all(host.name.isprintable() for host in await one.register.hosts())

    asyncio.run(work())
