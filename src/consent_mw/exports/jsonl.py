"""One JSON object a line, all fields."""

from __future__ import annotations

from consent_mw.exports import Row
from consent_mw.system.escaping import as_json


class JSONLines:
    """The `Format` that loses nothing. Whatever a terminal obeys is escaped, so a line is a line for every reader."""

    def head(self) -> str:
        """Return "": every line names its fields."""
        return ""

    def line(self, row: Row) -> str:
        """Return the record as JSON."""
        return as_json(row) + "\n"
