"""Commands run one after the other in processes of their own, forked from one that has loaded them already."""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from consent_mw.__main__ import main
from consent_mw.cli.clock import by_clock
from consent_mw.cli.commands import COMMANDS

_NOBODY = 65_534


class Result(NamedTuple):
    """What a command ended with. A negative code is the signal that ended it."""

    code: int
    stdout: bytes
    stderr: str


class Ran(NamedTuple):
    """As `Result`, with what was printed as text."""

    returncode: int
    stdout: str
    stderr: str


class AheadClock:
    """The machine's clock, moved by so many seconds: no store's clock is compared with it."""

    invented = True

    def __init__(self, seconds: float) -> None:
        self._ahead_ns = int(seconds * 1e9)

    def __call__(self) -> int:
        return time.time_ns() + self._ahead_ns


def run(*words: object, cwd: Path | None = None, **how: Any) -> Ran:
    """Run one command in Seoul, with the environment of the test. `how` is as of `Commands.run`."""
    env = {name: os.environ.get(name) for name in {*os.environ, *_ENVIRONMENT}} | {"TZ": "Asia/Seoul"}
    done = _commands().run(*words, cwd=cwd or Path.cwd(), env=env, **how)
    return Ran(done.code, done.stdout.decode(), done.stderr)


def refused(result: Ran, code: int = 1) -> str:
    """Return the one line on standard error of a command that failed as it should."""
    assert result.returncode == code, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("consent-mw: ")
    return line


#: What the process that forks has; a test may have taken some of it away.
_ENVIRONMENT = dict(os.environ)


@cache
def _commands() -> Commands:
    """One for all tests of this process."""
    scratch = Path(tempfile.mkdtemp(prefix="consent-mw-commands-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    commands = Commands(scratch)
    atexit.register(commands.__exit__, None, None, None)
    return commands


class Commands:
    """
    Runs commands: `with Commands(scratch) as commands: commands.run("check", "policy.toml", cwd=site)`.

    Python and the package are loaded once, so a run takes some milliseconds; what it does to its own process (its
    limits, its account, its streams) touches no other.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")},
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, *words: object, cwd: Path, **how: Any) -> Result:
        """
        Run one command.

        Args:
            how: `ahead` (of the machine's clock, in seconds), `env` (a value of None takes it away), `file_bytes` (no
                file may grow past it), `stdout` (a file, or "closed" for a pipe that nobody reads), `nobody` (not as
                root), `seconds` until Ctrl-C, `until_output` (Ctrl-C comes once the command has printed something).
        """
        out = self._scratch / "stdout"
        asked = {"words": list(map(str, words)), "cwd": str(cwd), "stdout": str(out), **how}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code, stderr = json.loads(self._process.stdout.readline())
        return Result(code, out.read_bytes() if "stdout" not in how else b"", stderr)


def load(*modules: str) -> None:
    """
    Load modules and our templates before this process forks. They would be loaded at first use otherwise, in each of
    the children, and not by another user where Python is root's own.
    """
    for module in modules:
        import_module(module)
    templating = import_module("consent_mw.site.templating")
    templating.Templates().load("en", [file.name for file in templating.TEMPLATES.iterdir()])
    gc.freeze()  # the pages that children share stay shared


def _serve() -> None:
    """Fork for each line of standard input, and answer with the exit code."""
    commands = (f"consent_mw.cli.{name}" for name in COMMANDS)
    load("encodings.idna", "importlib.readers", "rich.table", "rich.progress", "consent_mw.demo.server", *commands)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.dup2(writing, 2)
                _become(json.loads(line))
            except KeyboardInterrupt:  # before the command had begun, or after it had ended
                os._exit(130)
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
            except BaseException:  # noqa: BLE001 - as Python does at its end
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        with open(reading, "rb") as pipe:  # a pipe: what a command says must not count as a file of its
            stderr = pipe.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), stderr]), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Be the command that was asked for, and end as its process would."""
    _redirect(asked)
    os.chdir(asked["cwd"])
    for name, value in asked.get("env", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    time.tzset()
    if asked.get("nobody"):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    if "file_bytes" in asked:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_bytes"],) * 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "seconds" in asked or "until_output" in asked:  # Ctrl-C may come between the opening of a file and its `with`
        warnings.filterwarnings("ignore", category=ResourceWarning)
    _set_alarm(asked)
    sys.argv[1:] = asked["words"]
    with by_clock(AheadClock(asked["ahead"])) if "ahead" in asked else nullcontext():
        code = main()
    try:
        sys.stdout.flush()
    except OSError as error:  # as Python does at its end, where nobody catches it any more
        print(f"Traceback: Exception ignored in: {sys.stdout} {error!r}", file=sys.stderr)
        code = 120
    os._exit(code)  # to clear away every module that was loaded takes longer than most commands


def _set_alarm(asked: dict[str, Any]) -> None:
    """Have Ctrl-C pressed when it is asked for, and in any case after a minute."""
    until, look_seconds = time.monotonic() + asked.get("seconds", 60), 0.02

    def look(*ignored: object) -> None:
        if time.monotonic() >= until or (asked.get("until_output") and os.fstat(1).st_size):
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.setitimer(signal.ITIMER_REAL, look_seconds)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, look_seconds if asked.get("until_output") else asked.get("seconds", 60))


def _redirect(asked: dict[str, Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if asked["stdout"] == "closed":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(asked["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(writing, 1)
    os.close(writing)
    encoding = asked.get("env", {}).get("PYTHONIOENCODING") or "utf-8"
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - they last as long as the process
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115


if __name__ == "__main__":
    _serve()
