"""Opened records as lines of a file, one format a module. Pure: a record in, a line out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Format", "Row"]

#: One opened record: "time" (ISO 8601, with offset), "kind", "purpose", "id" and its own fields, flat.
Row = Mapping[str, object]


class Format(Protocol):
    """How records are written. What comes from outside must not reach beyond its own field of its own line."""

    def head(self) -> str:
        """Return what stands before all records, with its line end; may be empty."""
        ...

    def line(self, row: Row) -> str:
        """Return one record with its line end, or "" where it has no place in this format."""
        ...
