"""A command of `consent-mw`, run in the process of a test, by the clock and in the directory of its site."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from consent_mw.cli import consent_mw as program
from consent_mw.cli import main
from consent_mw.cli.clock import by_clock
from consent_mw.cli.default_group import DefaultGroup

__all__ = ["Done", "run_command"]


class Done(NamedTuple):
    """What a command ended with. The exit codes are those of `consent-mw --help`."""

    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return what it said with `--json`, as one object."""
        return msgspec.json.decode(self.stdout)

    def json_lines(self) -> list[Any]:
        """Return what it said with `--json` where that is one object a line: `log`, `requests list`, ..."""
        return [msgspec.json.decode(line) for line in self.stdout.splitlines()]


def run_command(
    arguments: Sequence[str],
    *,
    clock: Callable[[], int],
    directory: Path,
    options: Mapping[str, Sequence[str]] | None = None,
    typed: str = "",
) -> Done:
    """
    Run one command to its end, and return what it said. One that never ends (`demo`, `drain` without `--once`,
    `log --follow`) does not end here either.

    Args:
        clock: From which the command takes the present, in nanoseconds since 1970.
        directory: In which it runs: policy.toml and consent-data are found there.
        options: Given to a command that has them, unless `arguments` do it, once for each value: {"--store":
            ["postgresql://..."]}.
        typed: What stands on its standard input.
    """
    words = [*arguments, *_missing(arguments, options or {})]
    out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with ExitStack() as changed:
        changed.enter_context(by_clock(clock))
        changed.enter_context(chdir(directory))
        changed.enter_context(redirect_stdout(out))
        changed.enter_context(redirect_stderr(err))
        changed.callback(setattr, sys, "stdin", sys.stdin)
        sys.stdin = TextIOWrapper(BytesIO(typed.encode()), "utf-8")
        changed.enter_context(_logged(err))
        code = main(words)
    return Done(code, _said(out), _said(err))


@contextmanager
def _logged(stream: TextIOWrapper) -> Generator[None]:
    """Write warnings to `stream`, as Python does in a process of its own where nobody has set up logging."""
    log, handler = logging.getLogger("consent_mw"), logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _said(stream: TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def _missing(arguments: Sequence[str], options: Mapping[str, Sequence[str]]) -> list[str]:
    """Return those of `options` that the command has and was not given."""
    command: click.Command | None = program
    words = iter(arguments)
    while isinstance(command, click.Group):
        named = command.get_command(click.Context(command), next(words, ""))
        # `requests --all` is `requests list --all`: where none is named, the first is meant.
        command = named or (command.commands[command.default] if isinstance(command, DefaultGroup) else None)
    known = {name for option in (command.params if command else ()) for name in option.opts}
    given = {word.partition("=")[0] for word in arguments}
    return [part for name in options if name in known - given for value in options[name] for part in (name, value)]
