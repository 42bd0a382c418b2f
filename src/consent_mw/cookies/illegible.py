"""Header lines of the application that no two servers would read alike: not sent, and told of."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from consent_mw.cookies.header_lines import shown
from consent_mw.exceptions import IllegibleHeader
from consent_mw.system.escaping import as_json

__all__ = ["Illegible"]

_log = logging.getLogger("consent_mw")

#: Different names that are told: one may come from anywhere.
_TOLD: Final = 100


class Illegible:
    """What this process has refused to send. In development it is an error, else it is told once for each name."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._told: set[str] = set()

    def refuse(self, lines: Iterable[object]) -> None:
        """
        Say that `lines` do not leave.

        Raises:
            IllegibleHeader: In development, about the first of them.
        """
        for line in lines:
            name = as_json(shown(line))
            if self._strict:
                raise IllegibleHeader(_ADVICE % name)
            if name not in self._told and len(self._told) < _TOLD:
                self._told.add(name)
                _log.error("not sent: " + _ADVICE, name)


_ADVICE: Final = (
    "the header line %s is none that the gate can judge; give name and value as bytes, a name of letters, digits and "
    "hyphens, and a value without line ends"
)
