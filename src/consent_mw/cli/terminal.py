"""How the commands speak: one line on standard error, tables, local times, and nothing that steers a terminal."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from threading import Timer
from typing import Final, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from consent_mw.system.escaping import as_json, printable

__all__ = ["FAULT", "as_json", "busy", "complain", "console", "local", "printable", "progress_of", "speak_any_encoding"]

#: The exit code when something is wrong and was told.
FAULT = 1

# Wide enough for any row: a table that goes into a file or a pipe is not cut to a terminal's width.
_ENDLESS_COLUMNS = 2_000
_PATIENCE_SECONDS: Final = 1.0
_ESCAPE: Final = "consent_mw.escape"


class Told(Protocol):
    """What is told how far a command is."""

    def __call__(self, done: float, total: float | None = None, /) -> None:
        """Show that `done` of `total` are done, of an unknown number where it is None."""


def console() -> Console:
    """Return where tables go: with colours and a width only if it is a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS_COLUMNS)


def complain(*lines: str) -> None:
    """Write each of `lines` on standard error, as one line that begins with the program's name."""
    for line in lines:
        click.echo(f"consent-mw: {printable(line)}", err=True)


def local(moment: datetime) -> str:
    """Return an aware instant as people read it: in the zone of this machine, to the second, with the offset."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


@contextmanager
def busy(doing: str) -> Generator[None]:
    """Show on standard error that work goes on, from its second second, and on a terminal only."""
    out = Console(stderr=True)
    if not out.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=out, transient=True)
    progress.add_task(doing, total=None)
    timer = Timer(_PATIENCE_SECONDS, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be at it: what was not started must not be stopped
        progress.stop()


@contextmanager
def progress_of(doing: str, *, shown: bool = True) -> Generator[Told]:
    """Give what moves a bar on standard error, told how far and of how much, if that is known. On a terminal only."""
    out = Console(stderr=True)
    with Progress(console=out, transient=True, disable=not (shown and out.is_terminal)) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total=None: progress.update(task, completed=done, total=total)


def speak_any_encoding() -> None:
    """
    Let characters that a terminal's encoding lacks, and names of files that are no text, be written as escapes.

    They are those of JSON, so that what `--json` prints stays JSON.
    """
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end
