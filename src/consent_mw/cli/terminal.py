"""
How the commands speak: one line on standard error, progress, local times, and nothing that steers a terminal.

Rich is loaded where it is first used: it takes a third of a command's start, and most output does not need it.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from threading import Timer
from typing import TYPE_CHECKING, Final, Protocol

import click

from consent_mw.system.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console

#: The exit code when something is wrong; standard error says what.
FAULT = 1

# Wide enough for any row: a table that goes into a file or a pipe is not cut to a terminal's width.
_ENDLESS_COLUMNS = 2_000
_PATIENCE_SECONDS: Final = 1.0
_ESCAPE: Final = "consent_mw.escape"


class Progressed(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: float, total: float | None = None, text: str | None = None, /) -> None:
        """Show that `done` of `total` (None: unknown) are done. A `text` replaces the one before the bar."""


def console() -> Console:
    """Return where tables go: with colours and a width only if it is a terminal."""
    from rich.console import Console

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
    """Show on standard error that work goes on, once it has taken a second, and on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    out = Console(stderr=True)
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
def progress_of(doing: str, *, shown: bool = True) -> Generator[Progressed]:
    """Yield a function that moves a bar on standard error: how far, and of how much. It shows on a terminal only."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total=None, text=None: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total=None, text=None: progress.update(task, completed=done, total=total, description=text)


def speak_any_encoding() -> None:
    """
    Write characters that a terminal's encoding lacks, and file names that are not text, as escapes.

    These are JSON's escapes, so the output of `--json` stays JSON.
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
