"""
Python programs in forks of a process that has loaded the package and a server: to load them is half of what a short
life takes. Each is a process of its own, which may be killed, and its parent is the one that asked for it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.commands import load

_SET_CHILD_SUBREAPER = 36  # prctl(2): a process whose parent has ended becomes a child of this one
_LOADED = (
    "httptools", "psycopg", "starlette.applications", "starlette.responses", "uvicorn.main",
    "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto",
    "consent_mw.hosts.hosts", "consent_mw.stores.postgres",
)  # fmt: skip


class Process:
    """What a test does with a process, as of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, or None."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """Return how it ended, once it has."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def begin(*words: object, cwd: Path, env: dict[str, str], said: Path = Path(os.devnull)) -> Process:
    """Run `python *words`, words being `-m` and a module or `-c` and a program, which writes to the end of `said`."""
    asked = {"words": list(map(str, words)), "cwd": str(cwd), "env": env, "said": str(said)}
    asking, answering = _loaded()
    os.write(asking, json.dumps(asked).encode() + b"\n")
    return Process(int(os.read(answering, 32)))


@cache
def _loaded() -> tuple[int, int]:
    """Return where the process that forks is asked, and where it answers: one for all tests of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return process.stdin.fileno(), process.stdout.fileno()


def _serve() -> None:
    """Fork for each line of standard input, and answer with the number of the process."""
    load(*_LOADED)
    for line in sys.stdin:
        reading, writing = os.pipe()
        between = os.fork()
        if not between:  # it ends at once, so that its child becomes the asker's
            child = os.fork()
            if child:
                os.write(writing, b"%d" % child)
                os._exit(0)
            os.close(reading)
            os.close(writing)
            _become(json.loads(line))
            sys.exit()
        os.waitpid(between, 0)
        os.write(1, os.read(reading, 32))
        os.close(reading)
        os.close(writing)


def _become(asked: dict[str, Any]) -> None:
    """Be the program that was asked for."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kind, program, *words = asked["words"]
    sys.argv[:] = [kind if kind == "-c" else program, *words]
    gc.unfreeze()
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve()
