"""The words that visitors were shown, kept once each: a receipt names them by their hash, whatever changes later."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from consent_mw.system import durable
from consent_mw.system.ownership import content, make_directory
from consent_mw.system.shelf import Kept

_HASH = re.compile(r"[0-9a-f]{64}")


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class Wordings:
    """
    A directory with one file HASH.txt (mode 0600) for each text. A few in practice: surfaces times languages times
    revisions, and again when a template or a translation changes.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` need not exist: it is made when the first text is kept."""
        self.directory = directory

    def keep(self, text: str) -> str:
        """
        Keep `text` if it is new, and return its hash. On return it survives a power cut.

        Raises:
            OSError: It could not be written.
        """
        name = text_hash(text)
        place = self.directory / f"{name}.txt"
        if not place.exists():
            make_directory(self.directory)
            durable.keep(place, text.encode())
        return name

    @property
    def label(self) -> str:
        """As `Shelf.label`."""
        return "wording"

    def names(self) -> frozenset[str]:
        """Return the hashes of all that are kept. Raises OSError."""
        try:
            return frozenset(path.stem for path in self.directory.iterdir() if _HASH.fullmatch(path.stem))
        except FileNotFoundError:
            return frozenset()

    def changed(self) -> list[Path]:
        """Return the files that hold other words than their names say. Raises OSError."""
        files = [self.directory / f"{name}.txt" for name in sorted(self.names())]
        return [file for file in files if hashlib.sha256(content(file)).hexdigest() != file.stem]

    def kept(self, name: str) -> Kept:
        """As `Shelf.kept`."""
        place = self.directory / f"{name}.txt"
        return Kept(content(place).decode(), place.stat().st_mtime_ns)

    def take(self, name: str, kept: Kept) -> None:
        """As `Shelf.take`."""
        if text_hash(kept.text) != name:
            raise ValueError("are other words than their name says")
        self.keep(kept.text)

    def read(self, name: str) -> str | None:
        """Return the text with that hash; None where none was kept, or where its file says something else by now."""
        if not _HASH.fullmatch(name):
            return None
        try:
            text = content(self.directory / f"{name}.txt").decode("utf-8", "replace")
        except OSError:
            return None
        return text if text_hash(text) == name else None
