"""What a busy worker begins: one process that drains for a site until that worker ends. Nobody types it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from consent_mw.cli.clock import now_ns
from consent_mw.cli.drain import Work, hand_over_on, work_of
from consent_mw.cli.terminal import complain
from consent_mw.exceptions import ConsentError
from consent_mw.paths import Places
from consent_mw.system.locks import alone

#: The least there is, where the system knows no idle processes.
_NICE: Final = 19
_LOOK_SECONDS: Final = 0.25
#: Workers look, for a moment, whether the lock is taken.
_LOCK_SECONDS: Final = 2.0


def main() -> int:
    """
    Drain for the worker whose number is the first argument, with what it names on standard input, as JSON; with a
    second argument, give way to everybody.
    """
    worker = int(sys.argv[1])
    named: dict[str, Any] = json.load(sys.stdin)  # as `Options.named_for_a_process` gives it
    places = Places(Path(named["directory"]))
    try:
        with _lock(places.drain_lock) as mine:
            if mine:
                work = work_of(Path(named["policy"]), places, named["store"], named["log_store"], named["keyring"])
                if "gives-way" in sys.argv[2:]:  # not before: to start must not take for ever
                    _give_way()
                asyncio.run(_run(work, worker))
    except (ConsentError, OSError) as error:
        complain(str(error))
        return 1
    return 0


def _give_way() -> None:
    """
    Take what nobody else wants. Lower priority alone would not do: a request that comes while a process of any other
    kind has the processor may wait for the end of its slice, some milliseconds (Linux 6.6 and later).
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICE)


@contextmanager
def _lock(file: Path) -> Generator[bool]:
    """Give True once this is the only one at work; False if another is."""
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        with alone(file) as mine:
            if mine or time.monotonic() > until:
                yield mine
                return
        time.sleep(_LOOK_SECONDS)


async def _run(work: Work, worker: int) -> None:
    """Drain and destroy until the worker ends or a signal arrives. Erasing is left to the workers."""
    ended = asyncio.ensure_future(_ended(worker))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.cancel)
    work.keeper.start()
    handing = asyncio.ensure_future(hand_over_on(work))
    destroying = asyncio.ensure_future(work.destruction.keep_on(now_ns))
    try:
        await asyncio.wait((ended, handing), return_when=asyncio.FIRST_COMPLETED)
        if handing.done():
            await handing  # raises what went wrong
    finally:
        await asyncio.to_thread(work.keeper.close)
        for task in (ended, handing, destroying):
            task.cancel()
        await asyncio.gather(ended, handing, destroying, return_exceptions=True)
        for chore in (work.destruction, work.erasure):
            await chore.close()
        with suppress(ConsentError):
            await work.store.close()
        work.spool.close()


async def _ended(worker: int) -> None:
    """Return when the worker is not our parent any more: it has ended, in order or by SIGKILL."""
    while os.getppid() == worker:  # noqa: ASYNC110 - the end of a process that is no child has no event
        await asyncio.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
