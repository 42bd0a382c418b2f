"""Opened records as a file, one format a module. Pure: records in, a line or bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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


class Export(Protocol):
    """How records are written page by page: what it returns, one after the other, is the file."""

    def head(self) -> bytes:
        """Return what stands before all records."""
        ...

    def page(self, rows: Sequence[Row]) -> bytes:
        """Return some records; may be none."""
        ...

    def tail(self) -> bytes:
        """Return what stands after all records. Nothing is called after it."""
        ...


class Lines:
    """The `Export` of a format of lines, in UTF-8."""

    def __init__(self, form: Format) -> None:
        self._form = form

    def head(self) -> bytes:
        """Return what stands before all records."""
        return self._form.head().encode()

    def page(self, rows: Sequence[Row]) -> bytes:
        """Return some records, a line each."""
        return "".join(map(self._form.line, rows)).encode()

    def tail(self) -> bytes:
        """Return b"": lines end by themselves."""
        return b""
