"""A separate process that drains for all workers of a machine. The worker that is busy first starts it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import finalize

from consent_mw.system.locks import alone

_log = logging.getLogger("consent_mw")

#: How long it may take to start: Python and its modules take half a second, on a busy machine several.
_PATIENCE_SECONDS: Final = 60.0
_END_SECONDS: Final = 2.0
#: Its priority while it starts, which takes a second: a tenth of a core if all cores are busy.
_NICE: Final = 10
#: After this many unexpected ends, this worker drains by itself: memory is short, or the system forbids the process.
_MOST_FAILURES: Final = 3
_GIVEN_UP: Final = "the process that drains cannot be kept up (%s): this worker drains by itself, as a quiet site does"


class DrainProcess:
    """
    Makes sure that one process of a machine drains, at a lower priority, while its workers serve.

    The process holds the lock while it is at work. So only one of several continues, and every worker sees it, no
    matter which worker started it. It ends when its worker ends, for any reason. Then the next busy worker starts
    another.

    It uses only processor time that nothing else wants. If that is too little for too long, it is started again at
    normal priority, since no process may raise its own.

    Args:
        lock: The file that the process locks.
        named: What the process is to work with. It reads this as JSON from its input, since an address may hold a
            password.
    """

    def __init__(self, lock: Path, named: Mapping[str, str | list[str] | None]) -> None:
        self._lock = lock
        self._named = json.dumps(named).encode()
        self._child: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._failures = 0
        self._gives_way = True

    def is_at_work(self, *, busy: bool, late: bool = False) -> bool:
        """
        Whether the process drains, so that this worker need not. Starts it if the site is `busy` and there is none.
        Starts it again if it is `late` because everything else is busier.

        Never raises: if the system forbids the process, the answer is no. Call it in a thread.
        """
        try:
            with alone(self._lock) as nobody:
                if not nobody:
                    if late and self._gives_way and self._child is not None:
                        self._gives_way = False
                        self.end()
                    return True
            self._look_after_child()
            if busy and self._child is None and self._failures < _MOST_FAILURES:
                self._begin()
        except (OSError, ValueError) as error:
            self._fail(f"{error}")
        return False

    def end(self) -> None:
        """
        End the process that this worker started. What it has not moved yet stays in the spool. Call it in a thread.
        """
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _begin(self) -> None:
        python = sys.executable or ""
        if getattr(sys, "frozen", False) or not Path(python).name.startswith(("python", "pypy")):
            self._failures = _MOST_FAILURES - 1
            raise OSError(f"{python or 'this program'} is no Python that could be started")
        # In its own process group: Ctrl-C in a terminal is for the server, which then ends it in order. Not in its own
        # session: Linux shares a processor between sessions, whatever the priorities in them.
        gives_way = ["gives-way"] if self._gives_way else []
        self._child = subprocess.Popen(  # noqa: S603 - our own module, and a number
            [python, "-P", "-m", "consent_mw.cli.drain_beside", str(os.getpid()), *gives_way],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        if self._gives_way:
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICE)
        # If this object is dropped without `end`, no process stays behind. A worker that ends also ends its own
        # process.
        finalize(self, _killed, self._child).atexit = False
        self._begun = time.monotonic()
        if self._child.stdin is not None:
            with suppress(BrokenPipeError), self._child.stdin as pipe:  # one that has ended is looked after later
                pipe.write(self._named)

    def _look_after_child(self) -> None:
        """Forget a process that has ended, or that does not get to work."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            if time.monotonic() - self._begun < _PATIENCE_SECONDS:
                return
            child.kill()
            child.wait()
        self._child = None
        self._fail(f"it ended with {child.returncode}")

    def _fail(self, why: str) -> None:
        self._failures += 1
        if self._failures == _MOST_FAILURES:
            _log.warning(_GIVEN_UP, why)


def _killed(child: subprocess.Popen[bytes]) -> None:
    """Kill the process. Nothing is lost: what it had not moved yet stays in the spool."""
    if child.poll() is None:
        child.kill()
        child.wait()
