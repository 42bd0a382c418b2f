"""Combined Log Format, as Apache and nginx write it and every log analyser reads it."""

from __future__ import annotations

import re
from datetime import datetime

from consent_mw.exports import Row
from consent_mw.kinds import ABUSE, VISIT
from consent_mw.system.escaping import hex_escaped, path_sent

# Not strftime's %b, which speaks the language of the machine.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: nginx's status for a visitor who left before an answer began. No log reader accepts 0.
_NO_ANSWER = 499
#: GoAccess reads a line of 4,095 bytes at most, and takes what is left of a longer one for another.
_TARGET_LIMIT, _REFERER_LIMIT, _AGENT_LIMIT, _WORD_LIMIT = 1_900, 1_000, 800, 60
_CUT_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]?|\\(?:x[0-9A-F]?)?)\Z")


class Combined:
    """
    The `Format` of exchanges; other records have no line. What was not kept is `-`.

    The version of HTTP is not kept and stands as HTTP/1.1. An agent that was kept in families is written in them.
    Of what is long the beginning is written: no line has more than 4,095 bytes.
    """

    def head(self) -> str:
        """Return "": the format has none."""
        return ""

    def line(self, row: Row) -> str:
        """Return the line of one exchange."""
        if row["kind"] not in (VISIT, ABUSE):
            return ""
        address, referer = _word(row, "client.address"), _text(row, "http.request.header.referer", _REFERER_LIMIT)
        status, size = row.get("http.response.status_code") or _NO_ANSWER, row.get("http.response.body.size", "-")
        return f'{address} - - [{_time(row)}] "{_request(row)}" {status} {size} "{referer}" "{_agent(row)}"\n'


def _time(row: Row) -> str:
    at = datetime.fromisoformat(str(row["time"]))
    return f"{at:%d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S %z}"


def _request(row: Row) -> str:
    path = row.get("url.path") or row.get("http.route")
    if not path or "http.request.method" not in row:
        return "-"
    target, query = hex_escaped(path_sent(str(path))), row.get("url.query")
    if query:
        target += "?" + hex_escaped(str(query)).replace(" ", "%20")
    return f"{_word(row, 'http.request.method')} {_cut(target, _TARGET_LIMIT)} HTTP/1.1"


def _agent(row: Row) -> str:
    if row.get("user_agent.original") or not row.get("user_agent.name"):
        return _text(row, "user_agent.original", _AGENT_LIMIT)
    name, version = row["user_agent.name"], row.get("user_agent.version")
    families = (row.get("user_agent.os.name"), row.get("device.type"))
    browser = f"{name}/{version}" if version else str(name)
    return _cut(hex_escaped(f"{browser} ({'; '.join(str(family) for family in families if family)})"), _AGENT_LIMIT)


def _text(row: Row, name: str, limit: int) -> str:
    return _cut(hex_escaped(str(row.get(name) or "-")), limit)


def _word(row: Row, name: str) -> str:
    """A field that no quotes protect: without blanks."""
    return _text(row, name, _WORD_LIMIT).replace(" ", "\\x20")


def _cut(text: str, limit: int) -> str:
    """Return the beginning of an escaped text, without an escape that was cut in two."""
    return text if len(text) <= limit else _CUT_ESCAPE.sub("", text[:limit])
