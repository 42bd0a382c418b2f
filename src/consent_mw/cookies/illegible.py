"""Illegible header lines of the application, which servers could read differently: block and log them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from consent_mw.cookies.header_lines import shown
from consent_mw.exceptions import IllegibleHeader
from consent_mw.system.escaping import as_json

_log = logging.getLogger("consent_mw")

#: How many different names are logged. The limit is needed because names may come from a visitor.
_MOST_REPORTED: Final = 100


class Illegible:
    """Refuse illegible header lines: raise an error in development, otherwise log each name once."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._reported: set[str] = set()

    def refuse(self, lines: Iterable[object]) -> None:
        """
        Report that `lines` are not sent.

        Raises:
            IllegibleHeader: In development, for the first of `lines`.
        """
        for line in lines:
            name = as_json(shown(line))
            if self._strict:
                raise IllegibleHeader(_ADVICE % name)
            if name not in self._reported and len(self._reported) < _MOST_REPORTED:
                self._reported.add(name)
                _log.error("not sent: " + _ADVICE, name)


_ADVICE: Final = (
    "the header line %s is none that the gate can judge; give name and value as bytes, a name of letters, digits and "
    "hyphens, and a value without line ends"
)
