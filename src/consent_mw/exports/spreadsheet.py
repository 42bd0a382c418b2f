"""Comma-separated values (RFC 4180) that a spreadsheet may open: no cell of them is a formula."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from consent_mw.exports import Row
from consent_mw.system.escaping import as_json, printable

#: Without it Excel reads Korean as Western European.
BYTE_ORDER_MARK: Final = "\ufeff"

#: The columns of every table of records. `SEALED` says why a record has no personal fields, `MORE` holds the rest.
COLUMNS: Final = (
    "time",
    "kind",
    "purpose",
    "id",
    "http.request.method",
    "http.route",
    "url.path",
    "url.query",
    "http.response.status_code",
    "http.server.request.duration",
    "http.request.body.size",
    "http.response.body.size",
    "network.protocol.name",
    "error.type",
    "client.address",
    "http.request.header.referer",
    "user_agent.original",
    "user_agent.name",
    "user_agent.version",
    "user_agent.os.name",
    "device.type",
    "user_agent.synthetic.type",
    "consent.choice",
    "consent.revision",
    "event.name",
    "abuse.reason",
)
MORE: Final = "more"
SEALED: Final = "sealed"

# A cell that begins like this is computed (OWASP, "CSV Injection"), in full width too, and blanks before it do not
# help. The same after a ";" or "|": where that is the list separator, a spreadsheet cuts there, quotes or not.
_FORMULA = re.compile(r"(^|[;|])(?=\s*[=+\-@＝＋－＠])")


class Spreadsheet:
    """
    The `Format` for people: UTF-8 with a byte order mark, without which Excel reads Korean as Western European, CRLF,
    and every text quoted. A text that would be a formula gets an apostrophe before it.

    Args:
        fields: The events' declared fields, such as "event.results": a column each. What has no column is in "more".
    """

    def __init__(self, fields: Iterable[str] = ()) -> None:
        self._columns = (*COLUMNS, *sorted(set(fields) - set(COLUMNS)))
        self._known = {*self._columns, SEALED}

    def head(self) -> str:
        """Return the byte order mark and the names of the columns."""
        return BYTE_ORDER_MARK + csv_line([*self._columns, SEALED, MORE])

    def line(self, row: Row) -> str:
        """Return the record, its fields in the columns of `head`."""
        more = {name: value for name, value in row.items() if name not in self._known and value is not None}
        return csv_line([*(row.get(name) for name in self._columns), row.get(SEALED), as_json(more) if more else None])


def csv_line(cells: Iterable[object]) -> str:
    """Return cells as one line: numbers as they are, every text quoted, none of it a formula."""
    return ",".join(map(_cell, cells)) + "\r\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return as_json(value)
    text = printable(value if isinstance(value, str) else as_json(value))
    return '"' + _FORMULA.sub(r"\1'", text).replace('"', '""') + '"'
