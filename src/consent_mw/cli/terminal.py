"""How the commands speak: one line on standard error, tables, local times, and nothing that steers a terminal."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console

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


def printable(text: str) -> str:
    """
    Return `text` with everything escaped that a terminal obeys instead of showing it.

    Those are controls, escape sequences, line ends, and characters that turn the writing direction.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def as_json(value: object) -> str:
    """
    Return `value` as JSON on one line, as harmless to a terminal as what `printable` returns.

    In JSON a character that is not ASCII can stand only inside a string, where an escape means the same.
    """
    text = msgspec.json.encode(value).decode()
    return "".join(char if char.isprintable() else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be")  # RFC 8259, section 7: what lies beyond 16 bits is a surrogate pair
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
