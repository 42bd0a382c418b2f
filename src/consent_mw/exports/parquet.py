"""Apache Parquet, for those who analyse elsewhere: typed columns, a group of rows for each page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from consent_mw.exceptions import ConfigurationError
from consent_mw.exports import Row
from consent_mw.exports.spreadsheet import COLUMNS, MORE, SEALED
from consent_mw.system.escaping import as_json

_TIME: Final = "time"
#: The columns with numbers. Names and units are those of OpenTelemetry.
_NUMBERS: Final[Mapping[str, type]] = {
    "http.response.status_code": int,
    "http.server.request.duration": float,
    "http.request.body.size": int,
    "http.response.body.size": int,
    "consent.revision": int,
}


class Parquet:
    """
    The `Export` with types: "time" is an instant in UTC (milliseconds), numbers are numbers, every other column is
    text. The columns are the same for every file of a policy, whatever it holds. What has no column, or a value of
    another type than its column, is JSON in "more", so nothing is lost.

    Args:
        fields: The events' declared fields, such as "event.results", with their types: a column each.

    Raises:
        ConfigurationError: The extra is not installed.
    """

    def __init__(self, fields: Mapping[str, type]) -> None:
        self._types: dict[str, type] = {name: _NUMBERS.get(name, str) for name in COLUMNS}
        self._types |= {name: kind for name, kind in sorted(fields.items()) if name not in self._types}
        self._types[SEALED] = str
        self._pa, parquet = _library("pyarrow"), _library("pyarrow.parquet")
        self._bytes = _Bytes()
        self._writer = parquet.ParquetWriter(self._bytes, self._schema(), compression="zstd")

    def head(self) -> bytes:
        """Return the first bytes."""
        return self._bytes.taken()

    def page(self, rows: Sequence[Row]) -> bytes:
        """Return rows as a row group."""
        if rows:
            table = self._pa.Table.from_pylist([self._cells(row) for row in rows], self._schema())
            self._writer.write_table(table)
        return self._bytes.taken()

    def tail(self) -> bytes:
        """Return what makes the file whole: where its columns are."""
        self._writer.close()
        return self._bytes.taken()

    def _schema(self) -> Any:
        types = {str: self._pa.string(), int: self._pa.int64(), float: self._pa.float64(), bool: self._pa.bool_()}
        columns = [(name, types[kind]) for name, kind in self._types.items()]
        columns[0] = _TIME, self._pa.timestamp("ms", tz="UTC")
        return self._pa.schema([*columns, (MORE, self._pa.string())])

    def _cells(self, row: Row) -> dict[str, object]:
        cells: dict[str, object] = {_TIME: datetime.fromisoformat(str(row[_TIME]))}
        more: dict[str, object] = {}
        for name, value in row.items():
            if value is not None and name != _TIME:
                (cells if _fits(value, self._types.get(name)) else more)[name] = value
        return cells | ({MORE: as_json(more)} if more else {})


def _fits(value: object, kind: type | None) -> bool:
    """Whether a column holds a value as it is: of its type, an integer in 64 bits, and in 53 beside fractions."""
    if type(value) is int and kind in (int, float):
        return -(limit := 1 << (63 if kind is int else 53)) <= value < limit
    return type(value) is kind


class _Bytes:
    """A file for the library to write, of which we take what was written: memory does not follow what is exported."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._length = 0

    def taken(self) -> bytes:
        written = b"".join(self._written)
        self._written.clear()
        return written

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        self._length += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        return self._length

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _library(name: str) -> Any:
    try:
        return import_module(name)  # without types of its own
    except ImportError as error:
        raise ConfigurationError(
            f"--format parquet needs pyarrow ({error}); run: pip install 'consent-mw[parquet]'"
        ) from error
