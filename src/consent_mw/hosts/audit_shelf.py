"""The audit chains of all hosts, kept on each of them: a shelf that takes what others tell, and tells what is here."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from consent_mw.audit import Anchor, Audit
from consent_mw.hosts.audit_chains import ANCHORS, HostChain, anchored
from consent_mw.hosts.messages import AUDIT, PART_LINES
from consent_mw.system import durable
from consent_mw.system.days import instant_of
from consent_mw.system.ownership import content, make_directory
from consent_mw.system.shelf import Kept

_log = logging.getLogger("consent_mw")

#: A host writes down the others' ends this often at most, and only after somebody read something there.
_ANCHOR_SECONDS: Final = 3_600.0
_PART: Final = re.compile(r"([0-9a-f]{32})-([0-9]{12})-([0-9a-f]{32})")


class _Part(NamedTuple):
    """The name of some consecutive lines of a chain: the host's id, the number of the first entry, and their hash."""

    host: str
    first: int
    digest: str

    @classmethod
    def of(cls, host: str, first: int, text: bytes) -> _Part:
        return cls(host, first, blake2b(text, digest_size=16).hexdigest())

    @classmethod
    def parse(cls, name: str) -> _Part | None:
        match = _PART.fullmatch(name)
        return cls(match[1], int(match[2]), match[3]) if match else None

    def __str__(self) -> str:
        return f"{self.host}-{self.first:012}-{self.digest}"


class AuditShelf:
    """
    A `Shelf` of audit chains: each host tells the others its own as it grows, and keeps theirs.

    What a host has told is in the store and on every other host, signed by it. If its chain is cut or made anew later,
    the next entry contradicts what it told before, and every host can show both.

    An entry "anchors" in a host's own chain names the ends of the others' at that time. So the others' chains cannot be
    cut everywhere at once either, unless this one is changed too.
    """

    label: str = AUDIT

    def __init__(self, audit: Audit, directory: Path, host: Callable[[], str], clock: Callable[[], int]) -> None:
        """
        Args:
            directory: Where the parts of all chains are kept, a file each. It is made if it is missing.
            host: Returns the id of this host, in hexadecimal.
            clock: Returns nanoseconds since 1970.
        """
        self._audit = audit
        self._directory = directory
        self._host = host
        self._clock = clock
        self._shared_until = Anchor(-1, "")  # the end of the own chain that was published last
        self._anchored_at = -_ANCHOR_SECONDS
        self._dropped_of: Sequence[_Part] = []  # the parts when it was looked for such that are within another
        self._looked_at: Sequence[_Part] = []  # the others' parts when it was looked for what to anchor

    def names(self) -> Set[str]:
        """As `Shelf.names`. What is new in the own chain is made a part first."""
        make_directory(self._directory)
        if time.monotonic() - self._anchored_at >= _ANCHOR_SECONDS:
            self._anchor_what_came()
        if (end := self._audit.end) != self._shared_until:
            self._tell()
            self._make_blocks()
            self._shared_until = end
        self._drop_contained()
        return {str(part) for part in _parts(self._directory)}

    def kept(self, name: str) -> Kept:
        """As `Shelf.kept`."""
        return Kept(content(self._directory / name).decode(), self._clock())

    def take(self, name: str, kept: Kept) -> None:
        """As `Shelf.take`."""
        part, text = _Part.parse(name), kept.text.encode()
        if part is None or part != _Part.of(part.host, part.first, text):
            raise ValueError("is another part of an audit chain than its name says")
        make_directory(self._directory)
        durable.replace(self._directory / name, text)

    def _tell(self) -> None:
        """Make parts of the lines that this host has not published yet."""
        lines, shared = dict(enumerate(self._audit.lines(), 1)), _shared_lines(self._directory).get(self._host(), {})
        if other := [number for number, some in shared.items() if some - {lines.get(number)}]:
            _log.error(
                "%s: entry %d is missing or another than this host told the others: the chain was cut or made anew, or "
                "the directory was copied while it ran; see consent-mw audit verify",
                self._audit.path, min(other),
            )  # fmt: skip
        new = [number for number, line in lines.items() if line not in shared.get(number, ())]
        for first, some in _runs(new):
            text = b"".join(lines[number] for number in some)
            durable.replace(self._directory / str(_Part.of(self._host(), first, text)), text)

    def _make_blocks(self) -> None:
        """Make one part of each whole block of lines, in place of those that this host told as they came."""
        shared = _shared_lines(self._directory).get(self._host(), {})
        for first in range(1, len(shared) + 2 - PART_LINES, PART_LINES):
            lines = [shared.get(number, set()) for number in range(first, first + PART_LINES)]
            if all(len(some) == 1 for some in lines):  # what contradicts itself stays
                text = b"".join(line for some in lines for line in some)
                path = self._directory / str(_Part.of(self._host(), first, text))
                if not path.exists():
                    durable.replace(path, text)

    def _drop_contained(self) -> None:
        """Remove each part whose lines are in a block of the same chain too: see `View`, which drops its message."""
        parts = _parts(self._directory)
        if parts == self._dropped_of:
            return
        texts = {part: content(self._directory / str(part)) for part in parts}
        blocks = [part for part in parts if texts[part].count(b"\n") == PART_LINES]
        for part in parts:
            within = (block for block in blocks if block.host == part.host and block != part)
            if any(texts[part] in texts[block] for block in within):
                (self._directory / str(part)).unlink(missing_ok=True)
        self._dropped_of = _parts(self._directory)

    def _anchor_what_came(self) -> None:
        parts = [part for part in _parts(self._directory) if part.host != self._host()]
        if parts != self._looked_at:
            self._anchor()
            self._looked_at = parts

    def _anchor(self) -> None:
        """Write the ends of the others' chains into the own one, if somebody read something there since."""
        known = anchored(self._audit.entries())
        new = {
            chain.host: str(chain.verdict.anchor)
            for chain in chains_in(self._directory)
            if chain.host != self._host() and not chain.verdict.broken
            if any(entry.number > known.get(chain.host, 0) and ANCHORS not in entry.facts for entry in chain.entries)
        }
        if new:
            self._audit.append({ANCHORS: new}, now=instant_of(self._clock()))
            self._anchored_at = time.monotonic()


def chains_in(directory: Path) -> list[HostChain]:
    """Return what each host told of its chain, as far as it is kept in `directory`. Raises OSError."""
    return [HostChain.of(host, lines) for host, lines in sorted(_shared_lines(directory).items())]


def _shared_lines(directory: Path) -> Mapping[str, Mapping[int, Set[bytes]]]:
    """Return the published lines by host and number: more than one if the host contradicts itself."""
    by_host: dict[str, dict[int, set[bytes]]] = {}
    for part in _parts(directory):
        lines = content(directory / str(part)).splitlines(keepends=True)
        for number, line in enumerate(lines, part.first):
            by_host.setdefault(part.host, {}).setdefault(number, set()).add(line)
    return by_host


def _parts(directory: Path) -> list[_Part]:
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(part for name in names if (part := _Part.parse(name)))


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield consecutive numbers together, at most `PART_LINES`, each with the first of them."""
    for _, run in groupby(enumerate(numbers), lambda numbered: numbered[1] - numbered[0]):
        some = [number for _, number in run]
        for first in range(0, len(some), PART_LINES):
            yield some[first], some[first : first + PART_LINES]
