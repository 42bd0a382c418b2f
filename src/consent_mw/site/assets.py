"""The style sheets and the script, under names that change with their content: caches may keep them for ever."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Asset", "Assets"]

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
#: What only a reader of the source needs: comments that fill a line or end one, and indentation. No text of ours spans
#: lines, and none holds what a comment begins with.
_FOR_READERS = {
    ".css": re.compile(rb"/\*.*?\*/|^\s+", re.DOTALL | re.MULTILINE),
    ".js": re.compile(rb"(?:^|\s)\s*// .*$|^\s+", re.MULTILINE),
}


class Asset(NamedTuple):
    """One file: `name` carries the hash of `body`."""

    name: str
    media_type: str
    body: bytes


class Assets:
    """Every file of static/, read once, without what only its readers need."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        files = [file for file in sorted(folder.iterdir()) if file.suffix in _TYPES]
        self._by_file = {file.name: _asset(file) for file in files}
        self._by_name = {asset.name: asset for asset in self._by_file.values()}

    def name(self, file: str) -> str | None:
        """Return the hashed name of the file called `file`, or None if there is none."""
        asset = self._by_file.get(file)
        return asset.name if asset else None

    def text(self, file: str) -> str:
        """Return what stands in the file called `file`, for a page that is one file itself."""
        return self._by_file[file].body.decode()

    def get(self, name: str) -> Asset | None:
        """Return the asset under its hashed name, or None."""
        return self._by_name.get(name)


def _asset(file: Path) -> Asset:
    body = _FOR_READERS[file.suffix].sub(b"", file.read_bytes())
    return Asset(f"{file.stem}.{hashlib.sha256(body).hexdigest()[:12]}{file.suffix}", _TYPES[file.suffix], body)
