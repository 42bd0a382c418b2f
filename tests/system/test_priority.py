"""A command steps back behind the site, with the threads that it begins, and comes forward again where it may."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from consent_mw.system.priority import behind_the_site


def own() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def beside() -> int:
    with ThreadPoolExecutor(1) as other:
        return other.submit(own).result()


def test_a_command_and_its_threads_step_back_behind_the_site() -> None:
    def work() -> tuple[int, int, int, int]:
        before = own()
        with behind_the_site():
            during, there = own(), beside()
        return before, during, there, own()

    with ThreadPoolExecutor(1) as apart:  # the priority is that of a thread, and not everybody may raise it again
        before, during, there, after = apart.submit(work).result()
    assert during == there == min(before + 10, 19)
    assert after in (before, during)
