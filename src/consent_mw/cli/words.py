"""A text that somebody types after an option: trimmed, of bounded length, and such as every store can keep."""

from __future__ import annotations

import sys
from typing import Final

import click

_LINE: Final = 500
_LETTER: Final = 10_000


class Words(click.ParamType[str]):
    """
    A line, or a letter of several lines, of which - stands for standard input.

    Args:
        letter: Whether it may have several lines.
    """

    name = "TEXT"

    def __init__(self, *, letter: bool = False) -> None:
        self._letter = letter

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text without blanks around it."""
        limit = _LETTER if self._letter else _LINE
        text = value.strip()
        if self._letter and text == "-":
            text = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
        if len(text) > limit:
            self.fail(f"{len(text):,} characters are too many; {limit:,} are kept", param, ctx)
        if not text.isprintable() and not (self._letter and all(line.isprintable() for line in text.splitlines())):
            # A lone surrogate, of an argument that was not UTF-8, is not printable either.
            self.fail("has characters that cannot be shown; write it as plain text", param, ctx)
        return text
