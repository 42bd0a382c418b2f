"""The style sheets and the script, under names that change with their content: caches may keep them for ever."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final, NamedTuple

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
#: What only a reader of the source needs, and what replaces it, in this order: comments that fill or end a line,
#: indentation, the word `const` between constants that follow each other, and the spaces and line ends around
#: punctuation. This is safe: none of our string literals spans lines or holds the start of a comment, and none of our
#: patterns holds a space. Literals are matched first and stay.
_FOR_READERS: Final[Mapping[str, tuple[tuple[re.Pattern[bytes], bytes], ...]]] = {
    ".css": (
        (re.compile(rb"/\*.*?\*/|^\s+", re.DOTALL | re.MULTILINE), b""),
        (re.compile(rb"""("[^"\n]*")|\s*([{};>])\s*|([:,])\s+"""), rb"\1\2\3"),
        (re.compile(rb";\}"), b"}"),
    ),
    ".js": (
        (re.compile(rb"(?:^|\s)\s*// .*$|^\s+", re.MULTILINE), b""),
        (re.compile(rb"^(const .*);\n(?=const )", re.MULTILINE), rb"\1,"),
        (re.compile(rb",const "), b","),
        (re.compile(rb"""("[^"\n]*"|'[^'\n]*'|`[^`\n]*`)|[ \t]*([=+*<>&|?:;,(){}!-]+)[ \t]*"""), rb"\1\2"),
        (re.compile(rb"(?<=[{};,(=])\n|\n(?=[})\]:&?.])"), b""),
        (re.compile(rb";\}"), b"}"),
    ),
}


_LITERAL: Final = rb"""("[^"\n]*"|'[^'\n]*'|`[^`\n]*`|(?<=[(,=:!&|?])/(?:\\.|\[[^]\n]*]|[^/\\[\n])+/)"""
_WORD: Final = re.compile(_LITERAL + rb"|(?<![\w.$])[A-Za-z]\w+")
#: A variable or a parameter, where it gets its value; and what may be a key: also in a pattern, or read in a template.
_VARIABLE: Final = re.compile(rb"(?<![\w.$])[A-Za-z]\w+(?==[^=])|(?<=[(,])\w\w+(?=[\w,]*\)=>)|(?<=let )\w+(?=[,;])")
_KEY: Final = re.compile(rb"(?<=\.)\w+|(?<=[{,])\w+(?=[,}:])|\w+(?=:)|\{[^{}]*}(?=]?\)=>|]?=[^=])|`[^`\n]*`")
#: An arrow function with one parameter needs no parentheses, but a word before it would run into it.
_ONE_PARAMETER: Final = re.compile(rb"(?<![\w$])\((\w+)\)=>")


class Asset(NamedTuple):
    """One file: `name` carries the hash of `body`."""

    name: str
    media_type: str
    body: bytes


class Assets:
    """Every file of static/, read once and stripped of what only a reader of its source needs."""

    def __init__(self, folder: Path = _FOLDER, *, layouts: bool = False) -> None:
        """With `layouts` the banner's style sheet supports other layouts than the bar at the bottom."""
        files = [file for file in sorted(folder.iterdir()) if file.suffix in _TYPES]
        self._by_file = {file.name: _asset(file) for file in files}
        if layouts:
            body = self._by_file["consent.css"].body + self._by_file["layouts.css"].body
            self._by_file["consent.css"] = _named("consent", ".css", body)
        self._by_name = {asset.name: asset for asset in self._by_file.values()}

    def name(self, file: str) -> str | None:
        """Return the hashed name of the file called `file`, or None if there is none."""
        asset = self._by_file.get(file)
        return asset.name if asset else None

    def text(self, file: str) -> str:
        """Return the text of the file called `file`, for a page that is a single file itself."""
        return self._by_file[file].body.decode()

    def get(self, name: str) -> Asset | None:
        """Return the asset under its hashed name, or None."""
        return self._by_name.get(name)


def _asset(file: Path) -> Asset:
    return _named(file.stem, file.suffix, _stripped(file.read_bytes(), file.suffix))


@lru_cache(maxsize=16)
def _stripped(body: bytes, suffix: str) -> bytes:
    """Each revision has its own pages, and all of them the same files."""
    for pattern, instead in _FOR_READERS[suffix]:
        body = pattern.sub(instead, body)
    return _with_short_names(body) if suffix == ".js" else body


def _named(stem: str, suffix: str, body: bytes) -> Asset:
    return Asset(f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}{suffix}", _TYPES[suffix], body)


def _with_short_names(script: bytes) -> bytes:
    """
    Give every word that is a variable everywhere a name of one or two letters, one tenth of what is sent.

    One word gets one new name, which was not there before, so the meaning cannot change: whatever might be a property,
    a key of an object or a part of a template stays.
    """
    code = re.sub(_LITERAL, lambda match: match[0] if match[0][:1] == b"`" else b"0", script)
    taken = set(re.findall(rb"\w+", b" ".join(_KEY.findall(code))))
    words = Counter(match[0] for match in _WORD.finditer(code))
    fresh = (name for name in _short_names() if name not in words and name not in taken)
    ours = set(_VARIABLE.findall(code)) - taken
    short = dict(zip(sorted(ours, key=lambda word: (-words[word], word)), fresh, strict=False))
    return _ONE_PARAMETER.sub(rb"\1=>", _WORD.sub(lambda match: short.get(match[0], match[0]), script))


def _short_names() -> Iterator[bytes]:
    yield from (letter.encode() for letter in ascii_letters)
    yield from ((a + b).encode() for a, b in product(ascii_letters, "0123456789"))
