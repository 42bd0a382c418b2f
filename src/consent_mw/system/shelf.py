"""What was published on one host and is kept on each: files that are never rewritten, named by what they hold."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """
    A text that is kept.

    Attributes:
        at_ns: When it was put in force, in nanoseconds since 1970: of several revisions with one number the latest is.
        until_ns: From when on nobody needs it; 0 if that never comes.
    """

    text: str
    at_ns: int
    until_ns: int = 0


class Shelf(Protocol):
    """A directory of such files. What is there stays; a name says which text it is."""

    @property
    def label(self) -> str:
        """What it is called among hosts."""
        ...

    def names(self) -> Set[str]:
        """Return the names of what is there. Raises ConfigurationError or OSError."""
        ...

    def kept(self, name: str) -> Kept:
        """Return what stands there under a name. Raises OSError."""
        ...

    def take(self, name: str, kept: Kept) -> None:
        """
        Keep what another host has. On return it survives a power cut.

        Raises:
            ValueError: The text has another name.
            ConfigurationError, OSError: It cannot be written.
        """
        ...
