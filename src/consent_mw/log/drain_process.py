"""A process of its own that drains for all workers of a machine, begun by whichever of them is busy first."""

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

__all__ = ["DrainProcess"]

_log = logging.getLogger("consent_mw")

#: Python and its modules take half a second, on a busy machine several.
_PATIENCE_SECONDS: Final = 60.0
_END_SECONDS: Final = 2.0
#: While it starts, which takes a second: a tenth of a core where all are busy.
_NICE: Final = 10
#: After so many ends that nobody asked for, this worker drains by itself: no memory, or a system that forbids it.
_MOST_FAILURES: Final = 3
_GIVEN_UP: Final = "the process that drains cannot be kept up (%s): this worker drains by itself, as a quiet site does"


class DrainProcess:
    """
    Sees that one process of a machine drains, at a lower priority, while its workers serve.

    It holds the lock for as long as it is at work, so that of several one goes on, and every worker sees it, whoever
    began it. It ends when its worker does, however that ends: another worker that is busy then begins the next.

    It takes of the processors what nobody else wants. Where that is too little for too long it is begun anew, and
    then takes its share as everybody does: no process may raise its own priority.

    Args:
        lock: The file that it locks.
        named: What it is to work with, as JSON: it reads that, since an address may hold a password.
    """

    def __init__(self, lock: Path, named: Mapping[str, str | None]) -> None:
        self._lock = lock
        self._named = json.dumps(named).encode()
        self._child: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._failures = 0
        self._gives_way = True

    def is_at_work(self, *, busy: bool, late: bool = False) -> bool:
        """
        Whether it drains, so that this worker need not. Begins it where the site is `busy` and there is none, and anew
        where it is `late`, because everybody else is busier.

        Never raises: where the system forbids it, the answer is no. For a thread.
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
        """End the one that this worker began. What it has not handed over stays in the spool. For a thread."""
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
        # In a group of its own: Ctrl-C in a terminal is for the server, which then ends it in order. In no session of
        # its own: Linux shares a processor between sessions, whatever the priorities in them.
        gives_way = ["gives-way"] if self._gives_way else []
        self._child = subprocess.Popen(  # noqa: S603 - our own module, and a number
            [python, "-P", "-m", "consent_mw.cli.drain_beside", str(os.getpid()), *gives_way],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        if self._gives_way:
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICE)
        # Whoever drops this object without an end leaves no process behind; a worker that ends takes its own along.
        finalize(self, _killed, self._child).atexit = False
        self._begun = time.monotonic()
        if self._child.stdin is not None:
            with suppress(BrokenPipeError), self._child.stdin as told:  # one that has ended is looked after later
                told.write(self._named)

    def _look_after_child(self) -> None:
        """Forget one that has ended, or does not come to work."""
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
    """End it at once, which loses nothing: what it had not handed over stays in the spool."""
    if child.poll() is None:
        child.kill()
        child.wait()
