"""Tables in the terminal. Rich is loaded when the first one is printed: with `--json` no command needs it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from consent_mw.cli.terminal import console
from consent_mw.system.escaping import printable


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, no_wrap: bool = False, bold: Collection[int] = ()
) -> None:
    """
    Print rows of cells below headings. What steers a terminal is escaped.

    Args:
        no_wrap: Whether each row stays on one line, cut where the terminal ends; otherwise long cells are folded.
        bold: The numbers of the rows to emphasise, from 0.
    """
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(heading, overflow="ellipsis" if no_wrap else "fold", no_wrap=no_wrap) for heading in headings)
    table = Table(*columns, box=None, pad_edge=False)
    for number, row in enumerate(rows):
        # Text, not str: a cell may hold what looks like Rich's markup.
        table.add_row(*(Text(printable(str(cell)), style="bold" if number in bold else "") for cell in row))
    console().print(table)
