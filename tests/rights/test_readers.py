"""The queue of those who read their data: fair by person and network, and short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from consent_mw.site.reader_queue import Busy, Readers


class Reading:
    """Readers that stay until they are let go, and what became of each."""

    def __init__(self) -> None:
        self.readers = Readers()
        self.reading: list[tuple[str, str]] = []
        self.turned_away: list[tuple[str, str]] = []
        self.gates: dict[asyncio.Task[None], asyncio.Event] = {}

    async def comes(self, person: str, network: str) -> asyncio.Task[None]:
        gate = asyncio.Event()
        task = asyncio.create_task(self._reads(person, network, gate))
        self.gates[task] = gate
        await settled()
        return task

    async def goes(self, task: asyncio.Task[None]) -> None:
        self.gates[task].set()
        await settled()

    async def _reads(self, person: str, network: str, gate: asyncio.Event) -> None:
        try:
            async with self.readers.turn(person, network):
                self.reading.append((person, network))
                try:
                    await gate.wait()
                finally:
                    self.reading.remove((person, network))
        except Busy:
            self.turned_away.append((person, network))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def runs(work: Callable[[Reading], Awaitable[None]]) -> None:
    async def run() -> None:
        reading = Reading()
        await work(reading)
        for task in reading.gates:
            task.cancel()
        await asyncio.gather(*reading.gates, return_exceptions=True)
        left = reading.readers
        assert not left._waiting
        assert not left._of_person
        assert not left._reading_of_person
        assert not left._reading_of_network
        assert not left._served

    asyncio.run(run())


def test_of_one_person_one_reads_some_wait_and_the_rest_is_turned_away() -> None:
    async def work(at: Reading) -> None:
        for _ in range(30):
            await at.comes("mallory", "203.0.113.0/24")
        assert at.reading == [("mallory", "203.0.113.0/24")]
        assert len(at.turned_away) == 26
        await at.comes("kim", "203.0.113.0/24")  # and the neighbour waits for nobody
        assert ("kim", "203.0.113.0/24") in at.reading

    runs(work)


def test_a_network_full_of_people_leaves_turns_to_all_others() -> None:
    async def work(at: Reading) -> None:
        for number in range(100):
            await at.comes(f"mallory {number}", "203.0.113.0/24")
        assert len(at.reading) == 2
        assert len(at.turned_away) == 100 - 2 - 16
        await at.comes("kim", "198.51.100.0/24")
        assert ("kim", "198.51.100.0/24") in at.reading

    runs(work)


def test_who_comes_from_a_quiet_network_is_next_whoever_waits() -> None:
    async def work(at: Reading) -> None:
        busy = [await at.comes(f"m{n} {m}", f"198.51.{n}.0/24") for n in range(20) for m in range(5)]
        assert len(at.reading) == 4
        await at.comes("kim", "203.0.113.0/24")
        await at.goes(busy[0])
        # Twenty networks that were not served yet came before; of those that were, none.
        while ("kim", "203.0.113.0/24") not in at.reading:
            served = {network for _, network in at.reading}
            assert len(served) > 1
            await at.goes(next(task for task in busy if not task.done() and at.gates[task].is_set() is False))

    runs(work)


def test_a_full_queue_turns_away_the_network_that_waits_most() -> None:
    async def work(at: Reading) -> None:
        for number in range(600):
            await at.comes(f"m{number}", f"10.{number // 18}.0.0/24")
        before = len(at.turned_away)
        await at.comes("kim", "203.0.113.0/24")
        assert ("kim", "203.0.113.0/24") not in at.turned_away
        assert len(at.turned_away) == before + 1

    runs(work)


def test_who_was_cancelled_just_now_and_is_turned_away_is_nobody_elses_error() -> None:
    async def work(at: Reading) -> None:
        for number in range(600):
            await at.comes(f"m{number}", f"10.{number // 18}.0.0/24")
        for task in at.gates:
            task.cancel()
        async with at.readers.turn("kim", "203.0.113.0/24"):
            pass

    runs(work)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("comes"), st.sampled_from("abcdef"), st.sampled_from("xyz")),
        st.tuples(st.sampled_from(("goes", "cancels")), st.integers(0, 50), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_whatever_comes_and_goes_nobody_reads_twice_and_no_turn_is_lost(
    steps: list[tuple[str, str | int, str | None]],
) -> None:
    async def work(at: Reading) -> None:
        tasks: list[asyncio.Task[None]] = []
        for what, which, network in steps:
            if what == "comes":
                tasks.append(await at.comes(str(which), str(network)))
            elif tasks and isinstance(which, int):
                task = tasks[which % len(tasks)]
                if what == "goes":
                    await at.goes(task)
                else:
                    task.cancel()
                    await settled()
            people = [person for person, _ in at.reading]
            assert len(people) == len(set(people)) <= 4
            assert all([network for _, network in at.reading].count(name) <= 2 for name in "xyz")
        for _ in range(len(tasks)):  # whoever may read does, so all come to their end
            for task in tasks:
                await at.goes(task)
        assert all(task.done() for task in tasks)

    runs(work)
