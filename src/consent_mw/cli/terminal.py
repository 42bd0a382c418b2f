"""How the commands speak: one line on standard error, tables, local times, and nothing that steers a terminal."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from consent_mw.escaping import as_json, printable

__all__ = ["FAULT", "as_json", "complain", "console", "printable"]

#: The exit code when something is wrong and was told.
FAULT = 1

# Wide enough for any row: a table that goes into a file or a pipe is not cut to a terminal's width.
_ENDLESS_COLUMNS = 2_000


def console() -> Console:
    """Return where tables go: with colours and a width only if it is a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS_COLUMNS)


def complain(*lines: str) -> None:
    """Write each of `lines` on standard error, as one line that begins with the program's name."""
    for line in lines:
        click.echo(f"consent-mw: {printable(line)}", err=True)
