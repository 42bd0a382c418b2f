"""The style sheets and the script, under names that change with their content: caches may keep them for ever."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, product
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
#: A word that is no property; `...` before it spreads it.
_NAME: Final = rb"(?<![\w$])(?<!(?<!\.\.)\.)[A-Za-z]"
_WORD: Final = re.compile(_LITERAL + rb"|" + _NAME + rb"\w+")
_TOKEN: Final = re.compile(_LITERAL + rb"|(?P<word>" + _NAME + rb"\w*)|[][(){},;]")
#: A word that is declared where it stands, or may be.
_DECLARES: Final = re.compile(rb"(?<=let )\w+|(?<=const )\w+|(?<=,)\w+|\w+(?==[^=>])")
#: A variable or a parameter, where it gets its value; and what may be a key: also in a pattern, or read in a template.
_VARIABLE: Final = re.compile(rb"(?<![\w.$])[A-Za-z]\w+(?==[^=])|(?<=[(,])\w\w+(?=[\w,]*\)=>)|(?<=let )\w+(?=[,;])")
_KEY: Final = re.compile(rb"(?<=(?<!\.\.)\.)\w+|(?<=[{,])\w+(?=[,}:])|\w+(?=:)|\{[^{}]*}(?=]?\)=>|]?=[^=])|`[^`\n]*`")
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

    Whatever might be a property, a key of an object or a part of a template stays. Variables share a name only where
    neither stands in the other's part of the script, and no name was there before, so the meaning cannot change.
    """
    code = re.sub(_LITERAL, lambda match: match[0] if match[0][:1] == b"`" else b"0", script)
    taken = set(re.findall(rb"\w+", b" ".join(_KEY.findall(code))))
    whole, places = _read(script)
    names = [name for name in _short_names() if name not in places and name not in taken]
    variables = [one for word in set(_VARIABLE.findall(code)) - taken for one in whole.variables(places[word])]
    sharing: dict[bytes, list[_Variable]] = {name: [] for name in names}
    short: dict[int, bytes] = {}
    for variable in sorted(variables, key=lambda one: (-len(one.places), one.places)):
        name = next(name for name in names if not any(map(variable.meets, sharing[name])))
        sharing[name].append(variable)
        short.update(dict.fromkeys(variable.places, name))
    return _ONE_PARAMETER.sub(rb"\1=>", _WORD.sub(lambda match: short.get(match.start(), match[0]), script))


class _Variable(NamedTuple):
    """Where one variable stands, and the part of the script in which it can stand."""

    places: Sequence[int]
    part: range

    def meets(self, other: _Variable) -> bool:
        return any(at in other.part for at in self.places) or any(at in self.part for at in other.places)


class _Block:
    """What stands between two brackets: statements or what commas separate, and blocks in them."""

    def __init__(self, start: int) -> None:
        self.part = range(start, start)
        self.inner: list[_Block] = []
        self.ends: list[int] = []
        self.declared: set[int] = set()

    def variables(self, places: Sequence[int]) -> Iterator[_Variable]:
        """Return the variables that a word is at these places: one, or one of each statement that declares it."""
        if not self.declared.isdisjoint(places):
            yield _Variable(places, self.part)
            return
        for number, standing in groupby(places, lambda at: bisect(self.ends, at)):
            here = list(standing)
            block = next((block for block in self.inner if here[0] in block.part and here[-1] in block.part), None)
            if block:
                yield from block.variables(here)
            else:
                ends = [self.part.start, *self.ends, self.part.stop]
                yield _Variable(here, range(ends[number], ends[number + 1]))


def _read(script: bytes) -> tuple[_Block, Mapping[bytes, Sequence[int]]]:
    """Return the blocks of a script, and where each of its words stands."""
    around = [_Block(0)]
    places: dict[bytes, list[int]] = {}
    for token in _TOKEN.finditer(script):
        at, block = token.start(), around[-1]
        if token[0] in b"([{":
            around.append(_Block(at))
            block.inner.append(around[-1])
        elif token[0] in b")]}":
            around.pop().part = range(block.part.start, at)
        elif token[0] in b",;":
            block.ends.append(at)
        elif token["word"]:
            places.setdefault(token[0], []).append(at)
            if _DECLARES.match(script, at):
                block.declared.add(at)
    around[0].part = range(len(script))
    return around[0], places


def _short_names() -> Iterator[bytes]:
    yield from (letter.encode() for letter in ascii_letters)
    yield from ((a + b).encode() for a, b in product(ascii_letters, "0123456789"))
